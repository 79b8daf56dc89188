/**
 * `pts`: the preemptable ticket spinlock (Ouyang and Lange, VEE'13; the authors' second patch). A
 * ticket orders the waiters only for as long as a timeout that grows with the distance to the head;
 * after it a waiter goes for the lock word out of order. Helps against a preempted waiter, not
 * against a preempted holder.
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

const HEAD = 0;
const TAIL = 1;
const HELD = 2;
/** Registers: our ticket, the head the timeout was computed from, the head as the owner read it. */
const MY = 0;
const SEEN = 1;
const SERVED = 2;

export const PTS = { take: 0, look: 1, wait: 2, grab: 3 } as const;

export function pts({ ptsShift }: LockParameters): LockModel {
  const timeout = (distance: number) => distance * 2 ** ptsShift;

  function lock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case PTS.take:
        t.r[MY] = s.add(TAIL, 1);
        s.ticket();
        t.pc = PTS.look;
        return NEXT;
      case PTS.look:
        t.r[SEEN] = s.load(HEAD);
        t.budget = timeout(t.r[MY] - t.r[SEEN]);
        t.pc = t.r[MY] === t.r[SEEN] ? PTS.grab : PTS.wait;
        return NEXT;
      case PTS.wait: {
        const head = s.load(HEAD);
        const ahead = (t.r[MY] - head) | 0;
        if (head !== t.r[SEEN] && ahead > 0) {
          t.r[SEEN] = head;
          t.budget = timeout(ahead);
        }
        // The head may be past us: others timed out while we were preempted. Then the timeout
        // just runs out.
        if (ahead === 0 || t.budget <= 0) {
          t.pc = PTS.grab;
          return NEXT;
        }
        return spinWhile(t, HEAD, head);
      }
      default:
        t.budget = Number.POSITIVE_INFINITY;
        if (s.exchange(HELD, 1) === 0) return DONE;
        return spinUntil(t, HELD, 0);
    }
  }

  function unlock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case 0:
        t.r[SERVED] = s.load(HEAD);
        t.pc = 1;
        return NEXT;
      case 1:
        s.store(HEAD, (t.r[SERVED] + 1) | 0);
        t.pc = 2;
        return NEXT;
      default:
        s.exchange(HELD, 0);
        s.released();
        return DONE;
    }
  }

  return { name: 'pts', fifo: false, words: 3, lock, unlock };
}
