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
import { readFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { ENTRIES_PER_PAGE } from '../abi/entry.ts';
import { Kernel } from '../kernel/kernel.ts';
import type { KernelOptions } from '../kernel/options.ts';
import { loadAddon, unsupported } from '../native/addon.ts';
import { guardCredentials } from './credentials.ts';

export interface Tier {
  /** ring: io_uring and crew threads; crew: our threads alone; passthrough: Node as it is. */
  readonly name: 'ring' | 'crew' | 'passthrough';
  readonly reason: string;
  /** What to do for a better tier; absent where nothing can be done. */
  readonly advice?: string;
}

/** undefined: not decided yet. */
let kernel: Kernel | null | undefined;
let decided: Tier | undefined;

// Taken now: a program may replace fs functions (tests do) before its first call reaches us.
const readFileNow = readFileSync;

const PASSTHROUGH_PERMISSION =
  "Node's permission model is on; its checks live in the functions that trapless replaces";

/** Why this thread cannot be accelerated at all, or undefined. Cheap: looks at nothing outside. */
export function refusal(): Tier | undefined {
  const no = (reason: string, advice?: string): Tier => ({ name: 'passthrough', reason, advice });
  if (process.env.TRAPLESS === '0') return no('TRAPLESS=0', 'unset TRAPLESS');
  const why = unsupported();
  if (why) return no(why);
  // No external ArrayBuffers there (V8's sandbox), and another event loop.
  if ('electron' in process.versions) return no('this is Electron; trapless needs plain Node.js');
  if ('permission' in process && process.permission !== undefined)
    return no(PASSTHROUGH_PERMISSION, 'run without --permission to use trapless');
  for (const argument of process.execArgv) {
    if (/^--(experimental-)?permission(-audit)?$/.test(argument))
      return no(PASSTHROUGH_PERMISSION, 'run without --permission to use trapless');
    // A snapshot cannot hold mapped memory.
    if (argument === '--build-snapshot') return no('a start-up snapshot is being built');
  }
  return undefined;
}

/** This thread's kernel, registered at the first call; null, for ever, where that is impossible. */
export function threadKernel(): Kernel | null {
  if (kernel === undefined) kernel = open();
  return kernel;
}

/** The same, but only if it exists already. */
export function openedKernel(): Kernel | null {
  return kernel ?? null;
}

/** What this thread's calls run on, and why. Registers the kernel to know. */
export function tier(): Tier {
  const kernel = threadKernel();
  if (kernel === null) return decided!;
  // The ring may have been lost since, when credentials changed.
  if (kernel.ring !== null) return { name: 'ring', reason: ringReason(kernel) };
  return decided?.name === 'crew' ? decided : crewTier(kernel.ringRefused);
}

function open(): Kernel | null {
  decided = refusal();
  if (decided) return null;
  const addon = loadAddon();
  if (!addon.addon) {
    decided = {
      name: 'passthrough',
      reason: addon.reason,
      advice: 'reinstall or rebuild trapless',
    };
    return null;
  }
  const options: KernelOptions = {};
  if (!process.env.TRAPLESS_RING && sandboxed()) {
    options.ring = false;
    decided = {
      name: 'crew',
      reason:
        'a seccomp filter is active, and calls on a ring would pass it by (Seccomp: 2 in /proc/self/status)',
      advice: 'TRAPLESS_RING=1 uses the ring all the same, if the filter allows io_uring',
    };
  } else if (process.env.TRAPLESS_RING === '0') {
    options.ring = false;
    decided = { name: 'crew', reason: 'TRAPLESS_RING=0', advice: 'unset TRAPLESS_RING' };
  }
  // Linux's polling thread keeps the credentials its ring was made with. The main thread renews
  // its ring when they change (credentials.ts); it could not renew a worker's.
  if (!isMainThread) options.sqpollCore = null;
  try {
    const opened = Kernel.register(options);
    guardCredentials(opened);
    const { TRAPLESS_STATS } = process.env;
    if (TRAPLESS_STATS && TRAPLESS_STATS !== '0')
      opened.counters.startTiming(opened.options.pagesMax * ENTRIES_PER_PAGE);
    return opened;
  } catch (error) {
    decided = { name: 'passthrough', reason: (error as Error).message };
    return null;
  }
}

/** Calls on a ring are not seen by seccomp filters: whoever set one up did not mean that. */
function sandboxed(): boolean {
  try {
    return /^Seccomp:\s*2$/m.test(readFileNow('/proc/self/status', 'latin1'));
  } catch {
    return false;
  }
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
