/**
 * `mcs`: the queue lock of Mellor-Crummey and Scott (TOCS'91). FIFO; each waiter spins on a line
 * of its own, so a release moves one line. One node per vCPU; node ids count from 1, 0 is none.
 */
import {
  DONE,
  type LockModel,
  type LockParameters,
  NEXT,
  type Outcome,
  type Steps,
  spinUntil,
  spinWhile,
  type Thread,
} from '../lock-model.ts';

const TAIL = 0;
/** Registers: the node before ours, the node after it. */
const BEFORE = 0;
const AFTER = 1;

export const MCS = {
  clearNext: 0,
  setWaiting: 1,
  enqueue: 2,
  link: 3,
  wait: 4,
  readNext: 0,
  close: 1,
  awaitNext: 2,
  pass: 3,
} as const;

export function mcs({ threads, stride }: LockParameters): LockModel {
  const record = Math.max(2, stride);
  const next = (node: number) => stride + (node - 1) * record;
  const waiting = (node: number) => stride + (node - 1) * record + 1;

  function lock(t: Thread, s: Steps): Outcome {
    const me = t.id + 1;
    switch (t.pc) {
      case MCS.clearNext:
        s.store(next(me), 0);
        t.pc = MCS.setWaiting;
        return NEXT;
      case MCS.setWaiting:
        s.store(waiting(me), 1);
        t.pc = MCS.enqueue;
        return NEXT;
      case MCS.enqueue:
        t.r[BEFORE] = s.exchange(TAIL, me);
        s.ticket();
        if (t.r[BEFORE] === 0) return DONE;
        t.budget = Number.POSITIVE_INFINITY;
        t.pc = MCS.link;
        return NEXT;
      case MCS.link:
        s.store(next(t.r[BEFORE]), me);
        t.pc = MCS.wait;
        return NEXT;
      default:
        if (s.load(waiting(me)) === 0) return DONE;
        return spinUntil(t, waiting(me), 0);
    }
  }

  function unlock(t: Thread, s: Steps): Outcome {
    const me = t.id + 1;
    switch (t.pc) {
      case MCS.readNext:
        t.r[AFTER] = s.load(next(me));
        t.pc = t.r[AFTER] === 0 ? MCS.close : MCS.pass;
        return NEXT;
      case MCS.close:
        if (s.compareExchange(TAIL, me, 0) === me) {
          s.released();
          return DONE;
        }
        t.budget = Number.POSITIVE_INFINITY;
        t.pc = MCS.awaitNext;
        return NEXT;
      case MCS.awaitNext:
        // Somebody is in the queue behind us but has not linked itself yet.
        t.r[AFTER] = s.load(next(me));
        if (t.r[AFTER] === 0) return spinWhile(t, next(me), 0);
        t.pc = MCS.pass;
        return NEXT;
      default:
        s.store(waiting(t.r[AFTER]), 0);
        s.released();
        return DONE;
    }
  }

  return { name: 'mcs', fifo: true, words: stride + threads * record, lock, unlock };
}
