/**
 * `hvm-ispinlock`, `pv-ispinlock` and their `-paper` forms (I-Spinlock 4.1, 4.2.2): a ticket
 * spinlock whose tickets are given only to a thread that can be through before its vCPU is
 * preempted:
 *
 *   lock_cap = r_ts - (lql + 1) * csd       r_ts = preemption time - now
 *
 * An incapable thread waits for its next slice: HVM spins until the slice id changes, PV gives the
 * processor back. The listing halts there; as nobody would kick it, the hypercall is the yield
 * that halting amounts to. `-paper` takes the ticket after one wait, as the listing does; the
 * others look at the capability again.
 */
import {
  type LockModel,
  type LockName,
  type LockParameters,
  NEXT,
  type Outcome,
  SLICE,
  type Steps,
  spinWhile,
  type Thread,
  YIELD,
} from '../lock-model.ts';
import { awaitTicket, HEAD, TAIL, takeTicket, ticketUnlock } from './ticket.ts';

/** Registers, beside the ticket's: slice id, what is left of the slice, the tail. */
const SLICE_ID = 2;
const LEFT = 3;
const NEXT_TICKET = 4;

export const INFORMED = {
  readSlice: 0,
  readPreemption: 1,
  readClock: 2,
  readTail: 3,
  readHead: 4,
  incapable: 5,
  take: 6,
  wait: 7,
} as const;

export interface InformedShape {
  readonly name: LockName;
  readonly incapable: 'spin' | 'yield';
  readonly recheck: boolean;
}

export const hvmIspinlock = (parameters: LockParameters) =>
  informedOf(parameters, { name: 'hvm-ispinlock', incapable: 'spin', recheck: true });
export const pvIspinlock = (parameters: LockParameters) =>
  informedOf(parameters, { name: 'pv-ispinlock', incapable: 'yield', recheck: true });
export const hvmIspinlockPaper = (parameters: LockParameters) =>
  informedOf(parameters, { name: 'hvm-ispinlock-paper', incapable: 'spin', recheck: false });
export const pvIspinlockPaper = (parameters: LockParameters) =>
  informedOf(parameters, { name: 'pv-ispinlock-paper', incapable: 'yield', recheck: false });

export function informedOf(
  { csdNs }: LockParameters,
  { name, incapable, recheck }: InformedShape,
): LockModel {
  const afterWait = recheck ? INFORMED.readSlice : INFORMED.take;

  function lock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case INFORMED.readSlice:
        t.r[SLICE_ID] = s.sliceId();
        t.pc = INFORMED.readPreemption;
        return NEXT;
      case INFORMED.readPreemption:
        t.r[LEFT] = s.preemptionNs();
        t.pc = INFORMED.readClock;
        return NEXT;
      case INFORMED.readClock:
        t.r[LEFT] -= s.nowNs();
        t.pc = INFORMED.readTail;
        return NEXT;
      // Tail before head: a release in between makes lql too large by one, never too small.
      case INFORMED.readTail:
        t.r[NEXT_TICKET] = s.load(TAIL);
        t.pc = INFORMED.readHead;
        return NEXT;
      case INFORMED.readHead: {
        const lql = Math.max(0, (t.r[NEXT_TICKET] - s.load(HEAD)) | 0);
        const lockCap = t.r[LEFT] - (lql + 1) * csdNs;
        t.pc = lockCap > 0 ? INFORMED.take : INFORMED.incapable;
        return NEXT;
      }
      case INFORMED.incapable:
        if (incapable === 'yield') {
          t.pc = afterWait;
          return YIELD;
        }
        t.budget = Number.POSITIVE_INFINITY;
        if (s.sliceId() === t.r[SLICE_ID]) return spinWhile(t, SLICE, t.r[SLICE_ID]);
        t.pc = afterWait;
        return NEXT;
      case INFORMED.take:
        return takeTicket(t, s, INFORMED.wait);
      default:
        return awaitTicket(t, s);
    }
  }

  return { name, fifo: true, words: 2, lock, unlock: ticketUnlock };
}
