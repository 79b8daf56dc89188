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

/** Registers, beside the ticket's: slice id, what is left of the slice, the head. */
const SLICE_ID = 2;
const LEFT = 3;
const SERVED = 4;

export const INFORMED = {
  readSlice: 0,
  readPreemption: 1,
  readClock: 2,
  readHead: 3,
  readTail: 4,
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
  // Only the spinning form has to know which slice it was found incapable in.
  const start = incapable === 'spin' ? INFORMED.readSlice : INFORMED.readPreemption;
  const afterWait = recheck ? start : INFORMED.take;

  function lock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case INFORMED.readSlice:
        if (incapable === 'yield') return readPreemption(t, s);
        t.r[SLICE_ID] = s.sliceId();
        t.pc = INFORMED.readPreemption;
        return NEXT;
      case INFORMED.readPreemption:
        return readPreemption(t, s);
      case INFORMED.readClock:
        t.r[LEFT] -= s.nowNs();
        t.pc = INFORMED.readHead;
        return NEXT;
      // Head before tail: head then is not ahead of it.
      case INFORMED.readHead:
        t.r[SERVED] = s.load(HEAD);
        t.pc = INFORMED.readTail;
        return NEXT;
      case INFORMED.readTail: {
        const lql = (s.load(TAIL) - t.r[SERVED]) | 0;
        const lockCap = t.r[LEFT] - (lql + 1) * csdNs;
        t.r[LEFT] = 0;
        t.pc = lockCap < 0 ? INFORMED.incapable : INFORMED.take;
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

  function readPreemption(t: Thread, s: Steps): Outcome {
    t.r[LEFT] = s.preemptionNs();
    t.pc = INFORMED.readClock;
    return NEXT;
  }

  return { name, fifo: true, words: 2, lock, unlock: ticketUnlock };
}
