/**
 * After setuid, setgid and their like, no call runs with the old credentials.
 *
 *   wrapCredentials();          // main thread: process.setuid … settle the kernels first
 *   guardCredentials(kernel);   // this kernel among them
 *
 * Who runs a call, and with which credentials:
 * - on the spot: the program's own thread, with those of the moment.
 * - crew threads: pthreads; glibc and musl change the credentials of every thread of the process
 *   before setuid() returns. A call that blocks at that moment is interrupted and begun anew.
 * - a ring: Linux's workers use what the program had when it entered the kernel with the request,
 *   so requests in flight keep the old ones. They are run to their end, or taken back, before.
 * - a polled ring (SQPOLL): its kernel thread keeps what the ring was made with, for ever. The
 *   ring is made anew. (Rings of worker threads are never polled: environment-kernel.ts.)
 *
 * What was posted before the change is run before it, with the old credentials: the program made
 * these calls while it had them. Nothing is delivered meanwhile: no callback runs inside
 * process.setuid(). A call that goes on blocking (a FIFO without a writer) does not hold it up.
 */
import type { Kernel } from '../kernel/kernel.ts';
import { disguise } from './disguise.ts';
import { shared } from './shared.ts';

const NAMES = ['setuid', 'setgid', 'seteuid', 'setegid', 'setgroups', 'initgroups'] as const;
type Change = (...args: unknown[]) => unknown;
type Changes = Record<(typeof NAMES)[number], Change | undefined>;

/** Has `kernel` settled before every change of credentials. */
export function guardCredentials(kernel: Kernel): void {
  shared().guarded.add(kernel);
  wrapCredentials();
}

/** Puts the wrappers in place, once. Workers cannot change credentials: nothing to wrap there. */
export function wrapCredentials(): void {
  const { credentialsWrapped } = shared();
  if (credentialsWrapped) return;
  shared().credentialsWrapped = true;
  const target = process as unknown as Changes;
  for (const name of NAMES) {
    const original = target[name];
    // In a worker they are there, but throw: Node marks them as disabled.
    if (typeof original === 'function' && !('disabled' in original)) target[name] = wrap(original);
  }
}

function wrap(original: Change): Change {
  function changed(this: unknown, ...args: unknown[]): unknown {
    const { guarded, prepare } = shared();
    // What the first call will load, the new user may not be allowed to read.
    prepare();
    for (const kernel of guarded) kernel.settle();
    const result = Reflect.apply(original, this, args);
    for (const kernel of guarded) if (kernel.ring?.sqpoll) kernel.renewRing();
    return result;
  }
  return disguise(changed, original);
}
