/**
 * Which kind of syscall thread an entry goes to first: a table with a measured reason per call.
 *
 * - `spot`: Linux is asked on the JS thread, in one native call for the whole batch, for an
 *   answer without blocking; what it cannot answer goes on to the ring or the crew.
 * - `ring`: io_uring.
 * - `crew`: a native thread.
 *
 * Figures: Linux 6.18 x86_64 on 2 cores, median; `trapless doctor --measure` takes them anew on
 * your machine (it reports; it does not change the table).
 */
import { NUMBER_NOP } from '../abi/entry.ts';
import type { SyscallName } from '../abi/syscalls.ts';
import { syscallNumber } from '../abi/syscalls.ts';

export type Route = 'spot' | 'ring' | 'crew';
export const ROUTE = { crew: 0, ring: 1, spot: 2 } as const;

export interface RouteReason {
  readonly first: Route;
  /** Where it goes when it would block. */
  readonly next: 'ring' | 'crew';
  readonly reason: string;
}

/** Everything not listed goes to the crew: it may block, and nothing is known about it. */
export const ROUTES: Partial<Record<SyscallName | 'nop', RouteReason>> = {
  nop: { first: 'ring', next: 'crew', reason: 'measures the ring itself: ~0.1 us in a batch' },
  getpid: { first: 'spot', next: 'crew', reason: 'never blocks, 0.15 us; a hand-over costs 5 us' },
  getppid: { first: 'spot', next: 'crew', reason: 'never blocks, 0.15 us; a hand-over costs 5 us' },
  lseek: { first: 'spot', next: 'crew', reason: 'never blocks' },
  statx: {
    first: 'spot',
    next: 'crew',
    reason: 'cached: 1.1-1.6 us on the spot; the ring always takes a worker for it, 3-22 us',
  },
  faccessat: { first: 'spot', next: 'crew', reason: 'as statx; the ring has no such call' },
  readlinkat: { first: 'spot', next: 'crew', reason: 'as statx; the ring has no such call' },
  openat: {
    first: 'spot',
    next: 'crew',
    reason: 'cached and read-only: 2-3 us (RESOLVE_CACHED); creating always takes a ring worker',
  },
  close: { first: 'spot', next: 'crew', reason: 'read-only files: 1 us; written ones may flush' },
  read: {
    first: 'spot',
    next: 'ring',
    reason: 'cached: 0.4-0.8 us (RWF_NOWAIT) against 0.65-1 on the ring; uncached: the ring',
  },
  pread64: { first: 'spot', next: 'ring', reason: 'as read' },
  write: {
    first: 'crew',
    next: 'crew',
    reason: 'buffered writes without blocking are refused by ext4; order matters more',
  },
  pwrite64: { first: 'crew', next: 'crew', reason: 'as write' },
  fsync: { first: 'ring', next: 'crew', reason: 'blocks for the disk: costs no thread of ours' },
  fdatasync: { first: 'ring', next: 'crew', reason: 'as fsync' },
};

export interface RouteTables {
  /** ROUTE of each syscall number. */
  readonly first: Uint8Array;
  /** Where the spot passes it on to. */
  readonly next: Uint8Array;
}

/** The table as arrays indexed by syscall number; without a ring its part goes to the crew. */
export function routeTables(ring: boolean): RouteTables {
  const first = new Uint8Array(NUMBER_NOP + 1);
  const next = new Uint8Array(NUMBER_NOP + 1);
  for (const [name, route] of Object.entries(ROUTES)) {
    const number = name === 'nop' ? NUMBER_NOP : syscallNumber(name as SyscallName);
    first[number] = route.first === 'ring' && !ring ? ROUTE.crew : ROUTE[route.first];
    next[number] = route.next === 'ring' && !ring ? ROUTE.crew : ROUTE[route.next];
  }
  return { first, next };
}
