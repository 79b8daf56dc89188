/**
 * The one kernel of this thread (main thread or worker), and what it can use here.
 *
 *   const kernel = threadKernel();      // registers at the first call; null: pass through to Node
 *   tier().name                         // 'ring', 'crew' or 'passthrough', and why
 *
 * Nothing is loaded, mapped or opened before the first accelerated call: a program that makes
 * none pays nothing. What was decided then holds for the thread's life. The kernel ends with its
 * thread (native/kernel.h); nobody closes it.
 */
import { isMainThread } from 'node:worker_threads';
import { checkLayout, ENTRIES_PER_PAGE } from '../abi/entry.ts';
import { syscallNumber } from '../abi/syscalls.ts';
import { Kernel } from '../kernel/kernel.ts';
import type { KernelOptions } from '../kernel/options.ts';
import { type Addon, loadAddon } from '../native/addon.ts';
import { guardCredentials } from './credentials.ts';
import { refusal, type Tier } from './refusal.ts';
import { shared } from './shared.ts';

export { refusal, type Tier };

/** undefined: not decided yet. */
let kernel: Kernel | null | undefined;
let decided: Tier | undefined;

/** This thread's kernel, registered at the first call; null, for ever, where that is impossible. */
export function threadKernel(): Kernel | null {
  if (kernel === undefined) {
    kernel = open();
    shared().kernel = kernel;
    shared().tier = tier;
  }
  return kernel;
}

/** What this thread's calls run on, and why. Registers the kernel to know. */
export function tier(): Tier {
  const kernel = threadKernel();
  if (kernel === null) return decided!;
  // The ring may have been lost since, when credentials changed.
  if (kernel.ring !== null) return { name: 'ring', reason: ringReason(kernel) };
  return decided ?? crewTier(kernel.ringRefused);
}

function open(): Kernel | null {
  decided = refusal();
  if (decided) return null;
  const addon = loadAddon();
  if (!addon.addon) {
    decided = { name: 'passthrough', reason: addon.reason, advice: '`trapless doctor`' };
    return null;
  }
  try {
    return registerKernel(addon.addon);
  } catch (error) {
    decided = { name: 'passthrough', reason: (error as Error).message };
    return null;
  }
}

function registerKernel(addon: Addon): Kernel {
  checkLayout(addon.layout);
  const options: KernelOptions = {};
  if (process.env.TRAPLESS_RING === '0') {
    decided = { name: 'crew', reason: 'TRAPLESS_RING=0', advice: 'unset TRAPLESS_RING' };
  } else if (!process.env.TRAPLESS_RING && sandboxed(addon)) {
    // Calls on a ring are not seen by seccomp filters: whoever set one up did not mean that.
    options.ring = false;
    decided = {
      name: 'crew',
      reason: 'a seccomp filter is active, and calls on a ring would pass it by',
      advice: 'TRAPLESS_RING=1 uses the ring all the same, if the filter allows io_uring',
    };
  }
  // Linux's polling thread keeps the credentials its ring was made with. The main thread renews
  // its ring when they change (credentials.ts); it could not renew a worker's.
  if (!isMainThread) options.sqpollCore = null;
  const opened = Kernel.register(options);
  guardCredentials(opened);
  const { TRAPLESS_STATS } = process.env;
  if (TRAPLESS_STATS && TRAPLESS_STATS !== '0')
    opened.counters.startTiming(opened.options.pagesMax * ENTRIES_PER_PAGE);
  return opened;
}

/** prctl(2): 0 without a filter. (/proc/self/status says the same, for a millisecond.) */
const PR_GET_SECCOMP = 21;

function sandboxed(addon: Addon): boolean {
  return addon.systemCall(syscallNumber('prctl'), PR_GET_SECCOMP) !== 0;
}

function ringReason({ ring, options }: Kernel): string {
  return ring?.sqpoll
    ? `io_uring, polled by Linux on core ${options.sqpollCore} (${ring.entries} entries)`
    : `io_uring, one kernel entry per batch (${ring?.entries} entries)`;
}

/** The most likely cause behind what io_uring_setup(2) answered. */
function crewTier(refused: string): Tier {
  const reason = `Linux refuses a ring: ${refused.replace(/^trapless: /, '')}`;
  let advice = '`trapless doctor` looks for the cause';
  if (/not permitted/.test(refused))
    advice =
      'sysctl kernel.io_uring_disabled=0, or allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile of the container';
  else if (/not implemented/.test(refused))
    advice = 'this kernel was built without io_uring, or is older than 5.1';
  else if (/allocate memory/.test(refused))
    advice = 'raise the limit on locked memory: ulimit -l, or LimitMEMLOCK= in a systemd unit';
  else if (/Invalid argument/.test(refused))
    advice = 'Linux 6.1 or newer is needed, and with --sqpoll a core that is online';
  return { name: 'crew', reason, advice };
}
