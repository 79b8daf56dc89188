/** All locks by name; see lock.ts for how to use them and docs/LOCKS.md for which. */
import { hvmISpinlock } from './hvm-ispinlock.ts';
import { hvmISpinlockPaper } from './hvm-ispinlock-paper.ts';
import { jsMutex } from './js-mutex.ts';
import type { InformedLockKind, LockKind, LockName } from './lock.ts';
import { mcs } from './mcs.ts';
import { oticket } from './oticket.ts';
import { pts } from './pts.ts';
import { pvISpinlock } from './pv-ispinlock.ts';
import { pvISpinlockPaper } from './pv-ispinlock-paper.ts';
import { pvQspinlock } from './pv-qspinlock.ts';
import { pvTicket } from './pv-ticket.ts';
import { ticket } from './ticket.ts';

export type {
  InformedLock,
  InformedLockKind,
  Lock,
  LockKind,
  LockName,
  LockOptions,
  LockStats,
} from './lock.ts';
export { CSD_NS, PAUSE_NS, SPIN_THRESHOLD, wordsOf } from './lock.ts';

type Informed = 'hvm-ispinlock' | 'pv-ispinlock' | 'hvm-ispinlock-paper' | 'pv-ispinlock-paper';

export const LOCKS: Readonly<
  Record<Exclude<LockName, Informed>, LockKind> & Record<Informed, InformedLockKind>
> = {
  ticket,
  pts,
  'pv-ticket': pvTicket,
  oticket,
  'hvm-ispinlock': hvmISpinlock,
  'pv-ispinlock': pvISpinlock,
  'hvm-ispinlock-paper': hvmISpinlockPaper,
  'pv-ispinlock-paper': pvISpinlockPaper,
  mcs,
  'pv-qspinlock': pvQspinlock,
  'js-mutex': jsMutex,
};
