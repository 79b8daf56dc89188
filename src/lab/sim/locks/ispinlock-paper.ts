/**
 * `hvm-ispinlock-paper` and `pv-ispinlock-paper` (I-Spinlock 4.1, 4.2.2, figure 5): a ticket
 * spinlock whose tickets are given only to a thread that can be through before its vCPU is
 * preempted (capability.ts).
 *
 * An incapable thread waits for its next slice once, and takes its ticket then: HVM spins until the
 * slice id changes, PV gives the processor back. The listing halts there; as nobody would kick it,
 * the hypercall is the yield that halting amounts to.
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
import { CAPABILITY, lockCap } from './capability.ts';
import { awaitTicket, takeTicket, ticketUnlock } from './ticket.ts';

/** Register: the slice it was found incapable in. */
const SLICE_ID = 4;

export const PAPER = { ...CAPABILITY, incapable: 5, take: 6, wait: 7 } as const;

export const hvmIspinlockPaper = (parameters: LockParameters) =>
  paperOf(parameters, 'hvm-ispinlock-paper', true);
export const pvIspinlockPaper = (parameters: LockParameters) =>
  paperOf(parameters, 'pv-ispinlock-paper', false);

function paperOf({ csdNs }: LockParameters, name: LockName, spins: boolean): LockModel {
  function lock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case PAPER.begin:
        if (!spins) return lockCap(t, s, csdNs, PAPER.take, PAPER.incapable);
        t.r[SLICE_ID] = s.sliceId();
        t.pc = PAPER.readPreemption;
        return NEXT;
      case PAPER.incapable:
        return incapable(t, s);
      case PAPER.take:
        t.r[SLICE_ID] = 0;
        return takeTicket(t, s, PAPER.wait);
      case PAPER.wait:
        return awaitTicket(t, s);
      default:
        return lockCap(t, s, csdNs, PAPER.take, PAPER.incapable);
    }
  }

  function incapable(t: Thread, s: Steps): Outcome {
    if (!spins) {
      t.pc = PAPER.take;
      return YIELD;
    }
    t.budget = Number.POSITIVE_INFINITY;
    if (s.sliceId() === t.r[SLICE_ID]) return spinWhile(t, SLICE, t.r[SLICE_ID]);
    t.pc = PAPER.take;
    return NEXT;
  }

  return { name, fifo: true, words: 2, lock, unlock: ticketUnlock };
}
