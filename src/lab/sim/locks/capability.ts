/**
 * lock_cap as steps (I-Spinlock 4.1; src/locks/capability.ts), the first ones of the informed locks:
 *
 *   lock_cap = r_ts - (lql + 1) * csd       r_ts = preemption time - now
 *
 *   if (t.pc <= CAPABILITY.readTail) return lockCap(t, s, csdNs, ifCapable, ifNot);
 */
import { NEXT, type Outcome, type Steps, type Thread } from '../lock-model.ts';
import { HEAD, TAIL } from './ticket.ts';

/** `begin` is `readPreemption`, or whatever a lock does before. */
export const CAPABILITY = {
  begin: 0,
  readPreemption: 1,
  readClock: 2,
  readHead: 3,
  readTail: 4,
} as const;

/** Registers: what is left of the slice, the head. */
const LEFT = 2;
const SERVED = 3;

/** One step; the last one goes on with one of the two. */
export function lockCap(
  t: Thread,
  s: Steps,
  csdNs: number,
  ifCapable: number,
  ifNot: number,
): Outcome {
  switch (t.pc) {
    case CAPABILITY.begin:
    case CAPABILITY.readPreemption:
      s.asks();
      t.r[LEFT] = s.preemptionNs();
      t.pc = CAPABILITY.readClock;
      return NEXT;
    case CAPABILITY.readClock:
      t.r[LEFT] -= s.nowNs();
      t.pc = CAPABILITY.readHead;
      return NEXT;
    // Head before tail: head then is not ahead of it.
    case CAPABILITY.readHead:
      t.r[SERVED] = s.load(HEAD);
      t.pc = CAPABILITY.readTail;
      return NEXT;
    default: {
      const lql = (s.load(TAIL) - t.r[SERVED]) | 0;
      const left = t.r[LEFT] - (lql + 1) * csdNs;
      t.r[LEFT] = 0;
      t.r[SERVED] = 0;
      t.pc = left < 0 ? ifNot : ifCapable;
      return NEXT;
    }
  }
}
