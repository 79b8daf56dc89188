/**
 * `pv-qspinlock`: the paravirtual queued spinlock of Linux 4.2 and later. An MCS queue in front of
 * a lock word; a newcomer may steal a free lock once, unless the head of the queue has forbidden it
 * (pending). A waiter halts when it has spun long or when the one before it is not running. Unlock
 * kicks only if the word says so (SLOW): then the hash tells whom.
 *
 * Two words instead of Linux's one {locked, pending | tail}: no operation needs both at once, as
 * stealing looks at locked and pending only. One lock, so the hash is one word.
 */
import {
  DONE,
  HALT,
  type LockModel,
  type LockParameters,
  NEXT,
  type Outcome,
  type Steps,
  spinUntil,
  spinWhile,
  type Thread,
} from '../lock-model.ts';

/** The lock byte and the pending bit; the last node of the queue. */
const WORD = 0;
const TAIL = 1;
const LOCKED = 1;
/** Held, and whoever unlocks has to kick: LOCKED and one bit more. */
const SLOW = 3;
const SLOW_BIT = 2;
const BYTE = 0xff;
const PENDING = 0x100;

/** A node's state. */
const RUNNING = 0;
const HALTED = 1;
const HASHED = 2;

/** Every so many iterations the one before us is looked at. */
const EARLY = 256;

/** Registers: node before, node after, iterations left, whether we are in the hash. */
const BEFORE = 0;
const AFTER = 1;
const LEFT = 2;
const IN_HASH = 3;

export const QSPIN = {
  steal: 0,
  clearNext: 1,
  clearGranted: 2,
  setRunning: 3,
  enqueue: 4,
  link: 5,
  wait: 6,
  lookBefore: 7,
  setHalted: 8,
  recheck: 9,
  waitHalted: 10,
  wake: 11,
  readState: 12,
  headRunning: 13,
  setPending: 14,
  headWait: 15,
  take: 16,
  clearPending: 17,
  hash: 18,
  setSlow: 19,
  setHashed: 20,
  waitSlow: 21,
  fastAgain: 22,
  unhashSelf: 23,
  close: 24,
  awaitNext: 25,
  grant: 26,
  hashNext: 27,
  slowNext: 28,
  publishNext: 29,
  halt: 30,
  headHalt: 31,
  unlock: 0,
  readHash: 1,
  clearHash: 2,
  free: 3,
  kick: 4,
} as const;

export function pvQspinlock({ threads, stride, spinThreshold }: LockParameters): LockModel {
  const HASH = Math.max(2, stride);
  const record = Math.max(3, stride);
  const nodes = HASH + Math.max(1, stride);
  const next = (node: number) => nodes + (node - 1) * record;
  const granted = (node: number) => next(node) + 1;
  const state = (node: number) => next(node) + 2;
  const to = (t: Thread, pc: number): Outcome => {
    t.pc = pc;
    return NEXT;
  };

  function lock(t: Thread, s: Steps): Outcome {
    const me = t.id + 1;
    switch (t.pc) {
      case QSPIN.steal:
        s.ticket();
        if (s.compareExchange(WORD, 0, LOCKED) === 0) return DONE;
        return to(t, QSPIN.clearNext);
      case QSPIN.clearNext:
        s.store(next(me), 0);
        return to(t, QSPIN.clearGranted);
      case QSPIN.clearGranted:
        s.store(granted(me), 0);
        return to(t, QSPIN.setRunning);
      case QSPIN.setRunning:
        s.store(state(me), RUNNING);
        return to(t, QSPIN.enqueue);
      case QSPIN.enqueue:
        t.r[BEFORE] = s.exchange(TAIL, me);
        t.r[IN_HASH] = 0;
        return to(t, t.r[BEFORE] === 0 ? QSPIN.headRunning : QSPIN.link);
      case QSPIN.link:
        s.store(next(t.r[BEFORE]), me);
        t.budget = 0;
        t.r[LEFT] = spinThreshold;
        return to(t, QSPIN.wait);

      // Not the head yet: wait to be made it.
      case QSPIN.wait:
        if (s.load(granted(me)) !== 0) return to(t, QSPIN.readState);
        if (t.budget > 0) return spinUntil(t, granted(me), 1);
        return to(t, QSPIN.lookBefore);
      case QSPIN.lookBefore:
        if (s.load(state(t.r[BEFORE])) !== RUNNING || t.r[LEFT] <= 0) return to(t, QSPIN.setHalted);
        t.budget = Math.min(EARLY, t.r[LEFT]);
        t.r[LEFT] -= t.budget;
        return to(t, QSPIN.wait);
      case QSPIN.setHalted:
        s.exchange(state(me), HALTED);
        return to(t, QSPIN.recheck);
      case QSPIN.recheck:
        return to(t, s.load(granted(me)) === 0 ? QSPIN.waitHalted : QSPIN.wake);
      case QSPIN.waitHalted:
        return to(t, s.load(state(me)) === HALTED ? QSPIN.halt : QSPIN.wake);
      case QSPIN.halt:
        t.pc = QSPIN.wake;
        return HALT;
      case QSPIN.wake:
        // If this fails, whoever made us the head has already put us into the hash.
        s.compareExchange(state(me), HALTED, RUNNING);
        t.budget = 0;
        t.r[LEFT] = spinThreshold;
        return to(t, QSPIN.wait);

      // The head: wait for the lock word.
      case QSPIN.readState:
        t.r[IN_HASH] = s.load(state(me)) === HASHED ? 1 : 0;
        return to(t, QSPIN.headRunning);
      case QSPIN.headRunning:
        s.store(state(me), RUNNING);
        return to(t, QSPIN.setPending);
      case QSPIN.setPending:
        s.or(WORD, PENDING);
        t.budget = spinThreshold;
        return to(t, QSPIN.headWait);
      case QSPIN.headWait:
        if ((s.load(WORD) & BYTE) === 0) return to(t, QSPIN.take);
        if (t.budget > 0) return spinUntil(t, WORD, 0, BYTE);
        return to(t, QSPIN.clearPending);
      case QSPIN.take:
        return to(
          t,
          s.compareExchange(WORD, PENDING, LOCKED) === PENDING ? QSPIN.close : QSPIN.headWait,
        );
      case QSPIN.clearPending:
        s.and(WORD, ~PENDING);
        return to(t, t.r[IN_HASH] === 0 ? QSPIN.hash : QSPIN.setHashed);
      // First the hash, then SLOW: who sees SLOW finds us.
      case QSPIN.hash:
        s.store(HASH, me);
        t.r[IN_HASH] = 1;
        return to(t, QSPIN.setSlow);
      case QSPIN.setSlow:
        return to(t, s.exchange(WORD, SLOW) === 0 ? QSPIN.fastAgain : QSPIN.setHashed);
      case QSPIN.setHashed:
        s.store(state(me), HASHED);
        return to(t, QSPIN.waitSlow);
      case QSPIN.waitSlow:
        // Stolen meanwhile: it is LOCKED, nobody would kick, so spin again.
        return to(t, (s.load(WORD) & BYTE) === SLOW ? QSPIN.headHalt : QSPIN.headRunning);
      case QSPIN.headHalt:
        t.pc = QSPIN.headRunning;
        return HALT;
      case QSPIN.fastAgain:
        s.store(WORD, LOCKED);
        return to(t, QSPIN.unhashSelf);
      case QSPIN.unhashSelf:
        s.store(HASH, 0);
        return to(t, QSPIN.close);

      // The lock is ours; hand the head of the queue on.
      case QSPIN.close:
        t.budget = Number.POSITIVE_INFINITY;
        if (s.compareExchange(TAIL, me, 0) === me) return DONE;
        return to(t, QSPIN.awaitNext);
      case QSPIN.awaitNext:
        t.r[AFTER] = s.load(next(me));
        if (t.r[AFTER] === 0) return spinWhile(t, next(me), 0);
        return to(t, QSPIN.grant);
      case QSPIN.grant:
        s.store(granted(t.r[AFTER]), 1);
        return to(t, QSPIN.hashNext);
      // It is halted: instead of a kick now, a kick when the lock is free.
      case QSPIN.hashNext:
        if (s.compareExchange(state(t.r[AFTER]), HALTED, HASHED) !== HALTED) return DONE;
        return to(t, QSPIN.slowNext);
      case QSPIN.slowNext:
        s.or(WORD, SLOW_BIT);
        return to(t, QSPIN.publishNext);
      default:
        s.store(HASH, t.r[AFTER]);
        return DONE;
    }
  }

  function unlock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case QSPIN.unlock:
        if (s.compareExchangeByte(WORD, LOCKED, 0) === LOCKED) {
          s.released();
          return DONE;
        }
        return to(t, QSPIN.readHash);
      case QSPIN.readHash:
        t.r[AFTER] = s.load(HASH);
        return to(t, QSPIN.clearHash);
      case QSPIN.clearHash:
        s.store(HASH, 0);
        return to(t, QSPIN.free);
      case QSPIN.free:
        s.and(WORD, ~BYTE);
        s.released();
        return to(t, QSPIN.kick);
      default:
        s.kick(t.r[AFTER] - 1);
        return DONE;
    }
  }

  return { name: 'pv-qspinlock', fifo: false, words: nodes + threads * record, lock, unlock };
}
