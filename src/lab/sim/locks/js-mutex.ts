/**
 * `js-mutex`: the three-state futex mutex (Drepper, "Futexes are tricky", mutex 2), as JavaScript
 * programs have it on Atomics.wait: 0 free, 1 held, 2 held and somebody may be asleep. No
 * spinning; no order: whoever comes by takes the lock before the one that was woken.
 */
import {
  DONE,
  HALT,
  type LockModel,
  type LockParameters,
  NEXT,
  type Outcome,
  type Steps,
  type Thread,
} from '../lock-model.ts';

const STATE = 0;
const FREE = 0;
const HELD = 1;
const CONTENDED = 2;

export const MUTEX = { try: 0, mark: 1, sleep: 2, retry: 3, leave: 0, free: 1, wake: 2 } as const;

export function jsMutex(_parameters: LockParameters): LockModel {
  function lock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case MUTEX.try: {
        const state = s.compareExchange(STATE, FREE, HELD);
        s.ticket();
        if (state === FREE) return DONE;
        t.pc = state === CONTENDED ? MUTEX.sleep : MUTEX.mark;
        return NEXT;
      }
      case MUTEX.mark:
        t.pc = s.compareExchange(STATE, HELD, CONTENDED) === FREE ? MUTEX.retry : MUTEX.sleep;
        return NEXT;
      case MUTEX.sleep:
        t.pc = MUTEX.retry;
        return s.futexWait(STATE, CONTENDED) ? HALT : NEXT;
      // From here on the state taken is 2: others may be asleep beside us, and we cannot know.
      default: {
        const state = s.compareExchange(STATE, FREE, CONTENDED);
        if (state === FREE) return DONE;
        t.pc = state === CONTENDED ? MUTEX.sleep : MUTEX.mark;
        return NEXT;
      }
    }
  }

  function unlock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case MUTEX.leave:
        if (s.add(STATE, -1) === HELD) {
          s.released();
          return DONE;
        }
        t.pc = MUTEX.free;
        return NEXT;
      case MUTEX.free:
        s.store(STATE, FREE);
        s.released();
        t.pc = MUTEX.wake;
        return NEXT;
      default:
        s.futexWake(STATE);
        return DONE;
    }
  }

  return { name: 'js-mutex', fifo: false, words: 1, lock, unlock };
}
