/**
 * The same test body on every way an entry can be executed.
 *
 *   onEveryBackend('reads what was written', async (open) => {
 *     const kernel = open();               // closed, and checked for leaks, after the body
 *     …
 *   });
 *
 * - mixed: as the routing table says, the ring batching
 * - ring: whatever the ring can do goes there first, nothing is tried on the spot
 * - crew: no ring, nothing on the spot: our own threads alone
 * - sqpoll: as ring, served by Linux's polling thread on core 1
 *
 * A backend that this machine lacks is a skipped test with the reason.
 */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { type TestContext, test } from 'node:test';
import { ROUTES } from '../../src/kernel/routes.ts';
import { callOf } from '../../src/syscall/call-arguments.ts';
import { type RegisterOptions, register, type SyscallKernel } from '../../src/syscall.ts';

export type Backend = 'mixed' | 'ring' | 'crew' | 'sqpoll';
export const BACKENDS: readonly Backend[] = ['mixed', 'ring', 'crew', 'sqpoll'];

const OPTIONS: Readonly<Record<Backend, RegisterOptions>> = {
  mixed: {},
  ring: {},
  crew: { ring: false },
  sqpoll: { sqpollCore: 1 },
};

/** Why a backend cannot be tested here, or null. */
function missing(backend: Backend): string | null {
  if (backend === 'sqpoll' && availableParallelism() < 2) return 'needs a second core';
  if (backend === 'crew') return null;
  const kernel = register(OPTIONS[backend]);
  const { ringRefused } = kernel;
  kernel.close();
  return ringRefused;
}

/** A kernel whose calls go where the backend says. */
export function openOn(backend: Backend, options: RegisterOptions = {}): SyscallKernel {
  const kernel = register({ ...OPTIONS[backend], ...options });
  if (backend === 'mixed') return kernel;
  for (const name of [...Object.keys(ROUTES), ...MORE]) {
    const { number } = callOf(name as 'nop');
    const ring = backend !== 'crew' && name !== NEVER_ON_RING && kernel.kernel.ring?.can(number);
    kernel.kernel.reroute(number, ring ? 'ring' : 'crew');
  }
  return kernel;
}

/** Calls that the ring can do though the table does not mention them. */
const MORE = ['unlinkat', 'mkdirat'];
/** io_uring first opens as if O_NONBLOCK were given: a FIFO without a writer would open at once. */
const NEVER_ON_RING = 'openat';

export type Open = (options?: RegisterOptions) => SyscallKernel;
type Body = (open: Open, t: TestContext, backend: Backend) => void | Promise<void>;

export function onEveryBackend(title: string, body: Body): void {
  for (const backend of BACKENDS) onBackend(backend, title, body);
}

export function onBackend(backend: Backend, title: string, body: Body): void {
  test(`${title} [${backend}]`, async (t) => {
    const reason = missing(backend);
    if (reason !== null) {
      t.skip(reason);
      return;
    }
    const opened: SyscallKernel[] = [];
    const open: Open = (options) => {
      const kernel = openOn(backend, options);
      opened.push(kernel);
      return kernel;
    };
    try {
      await body(open, t, backend);
      for (const kernel of opened) assertNothingHeld(kernel);
    } finally {
      for (const kernel of opened) kernel.close();
    }
  });
}

/** Every entry free, all of the arena back: unless the test closed the kernel itself. */
function assertNothingHeld(kernel: SyscallKernel): void {
  if (kernel.closed) return;
  // Done in memory is not yet collected.
  for (let i = 0; i < 100 && kernel.inFlight > 0; i++) kernel.wait(5);
  const { entriesInUse } = kernel.statistics();
  assert.equal(kernel.inFlight, 0, 'calls in flight at the end of the test');
  assert.equal(entriesInUse, 0, 'entries in use at the end of the test');
  assert.equal(kernel.arena.used, 0, 'bytes of the arena in use at the end of the test');
}

/** Waits until a condition holds, letting the event loop run. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 4000; i++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail(`never happened: ${what}`);
}
