/**
 * `pv-qspinlock`: the paravirtual queued spinlock of Linux 4.2 and later. An MCS queue in front of
 * a lock word; a newcomer may steal a free lock once, unless the head of the queue has forbidden it
 * (pending). A waiter halts when it has spun long or when the one before it is not running. Unlock
 * kicks only if the word says so (SLOW): then the second word tells whom.
 *
 * As in src/locks/pv-qspinlock.ts: the word is Linux's {locked 8, pending 8, tail 16}; the head to
 * kick is noted whenever it halts.
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

/** The lock word, and the node of the head if it halts. */
const WORD = 0;
const HEAD = 1;
const LOCKED = 1;
/** Held, and whoever unlocks has to kick. */
const SLOW = 3;
const LOCKED_BYTE = 0xff;
const PENDING = 0x100;
const LOCKED_PENDING = 0xffff;
const TAIL_SHIFT = 16;
const TAIL_HALF = ~LOCKED_PENDING;

/** A node: {turn, next, state}; and its states. */
const RUNNING = 0;
const HALTED = 1;
const HASHED = 2;

/** Every so many iterations the one before us is looked at. */
const CHECK_PREVIOUS_EVERY = 256;

/** Registers: node before, node after, iterations left after the budget, the word as read. */
const BEFORE = 0;
const AFTER = 1;
const LEFT = 2;
const SEEN = 3;

export const QSPIN = {
  try: 0,
  look: 1,
  steal: 2,
  clearTurn: 3,
  clearNext: 4,
  setRunning: 5,
  enqueue: 6,
  link: 7,
  wait: 8,
  lookBefore: 9,
  setHalted: 10,
  recheck: 11,
  halt: 12,
  wake: 13,
  recheckAwake: 14,
  headRunning: 15,
  setPending: 16,
  headWait: 17,
  take: 18,
  clearPending: 19,
  note: 20,
  setSlow: 21,
  notSlow: 22,
  setHashed: 23,
  headRecheck: 24,
  headHalt: 25,
  readTail: 26,
  close: 27,
  awaitNext: 28,
  giveTurn: 29,
  kickNext: 30,
  noteNext: 31,
  slowNext: 32,
  unlock: 0,
  readHead: 1,
  free: 2,
  kick: 3,
} as const;

export function pvQspinlock({ threads, stride, spinThreshold }: LockParameters): LockModel {
  const record = Math.max(3, stride);
  const turn = (node: number) => node * record;
  const next = (node: number) => node * record + 1;
  const state = (node: number) => node * record + 2;
  const to = (t: Thread, pc: number): Outcome => {
    t.pc = pc;
    return NEXT;
  };
  const patience = (t: Thread) => {
    t.budget = Math.min(CHECK_PREVIOUS_EVERY, spinThreshold);
    t.r[LEFT] = spinThreshold - t.budget;
  };

  function lock(t: Thread, s: Steps): Outcome {
    const me = t.id + 1;
    switch (t.pc) {
      case QSPIN.try:
        s.ticket();
        return s.compareExchange(WORD, 0, LOCKED) === 0 ? DONE : to(t, QSPIN.look);
      case QSPIN.look:
        s.waits();
        return to(t, (s.load(WORD) & LOCKED_PENDING) === 0 ? QSPIN.steal : QSPIN.clearTurn);
      case QSPIN.steal:
        return s.compareExchangePart(WORD, LOCKED_BYTE, 0, LOCKED) === 0
          ? DONE
          : to(t, QSPIN.clearTurn);
      case QSPIN.clearTurn:
        s.store(turn(me), 0);
        return to(t, QSPIN.clearNext);
      case QSPIN.clearNext:
        s.store(next(me), 0);
        return to(t, QSPIN.setRunning);
      case QSPIN.setRunning:
        s.store(state(me), RUNNING);
        return to(t, QSPIN.enqueue);
      case QSPIN.enqueue:
        t.r[BEFORE] = s.exchangePart(WORD, TAIL_HALF, me << TAIL_SHIFT) >>> TAIL_SHIFT;
        s.ticket();
        return to(t, t.r[BEFORE] === 0 ? QSPIN.headRunning : QSPIN.link);
      case QSPIN.link:
        s.store(next(t.r[BEFORE]), me);
        patience(t);
        return to(t, QSPIN.wait);

      // Not the head yet: wait for our turn to be it.
      case QSPIN.wait:
        if (s.load(turn(me)) !== 0) return to(t, QSPIN.headRunning);
        if (t.budget > 0) return spinUntil(t, turn(me), 1);
        return to(t, t.r[LEFT] > 0 ? QSPIN.lookBefore : QSPIN.setHalted);
      case QSPIN.lookBefore:
        if (s.load(state(t.r[BEFORE])) !== RUNNING) return to(t, QSPIN.setHalted);
        t.budget = Math.min(CHECK_PREVIOUS_EVERY, t.r[LEFT]);
        t.r[LEFT] -= t.budget;
        return to(t, QSPIN.wait);
      // State, then one more look at the turn; the one before sets the turn, then looks at the
      // state (kickNext).
      case QSPIN.setHalted:
        s.store(state(me), HALTED);
        return to(t, QSPIN.recheck);
      case QSPIN.recheck:
        return to(t, s.load(turn(me)) === 0 ? QSPIN.halt : QSPIN.wake);
      case QSPIN.halt:
        t.pc = QSPIN.wake;
        return HALT;
      case QSPIN.wake:
        // If this fails, the one before has noted us as the head that halts.
        s.compareExchange(state(me), HALTED, RUNNING);
        return to(t, QSPIN.recheckAwake);
      case QSPIN.recheckAwake:
        patience(t);
        return to(t, s.load(turn(me)) === 0 ? QSPIN.wait : QSPIN.headRunning);

      // The head: wait for the lock word.
      case QSPIN.headRunning:
        s.store(state(me), RUNNING);
        return to(t, QSPIN.setPending);
      case QSPIN.setPending:
        s.or(WORD, PENDING);
        t.budget = spinThreshold;
        return to(t, QSPIN.headWait);
      case QSPIN.headWait:
        if ((s.load(WORD) & LOCKED_BYTE) === 0) return to(t, QSPIN.take);
        if (t.budget > 0) return spinUntil(t, WORD, 0, LOCKED_BYTE);
        return to(t, QSPIN.clearPending);
      case QSPIN.take:
        return s.compareExchangePart(WORD, LOCKED_PENDING, PENDING, LOCKED) === PENDING
          ? to(t, QSPIN.readTail)
          : to(t, QSPIN.headWait);
      case QSPIN.clearPending:
        s.and(WORD, ~PENDING);
        return to(t, QSPIN.note);
      // First who is to be kicked, then that somebody is.
      case QSPIN.note:
        s.store(HEAD, me);
        return to(t, QSPIN.setSlow);
      case QSPIN.setSlow:
        return to(
          t,
          s.exchangePart(WORD, LOCKED_BYTE, SLOW) === 0 ? QSPIN.notSlow : QSPIN.setHashed,
        );
      case QSPIN.notSlow:
        // It was free, and is ours now.
        s.exchangePart(WORD, LOCKED_BYTE, LOCKED);
        return to(t, QSPIN.readTail);
      case QSPIN.setHashed:
        s.store(state(me), HASHED);
        return to(t, QSPIN.headRecheck);
      case QSPIN.headRecheck:
        return to(t, (s.load(WORD) & LOCKED_BYTE) === SLOW ? QSPIN.headHalt : QSPIN.headRunning);
      case QSPIN.headHalt:
        t.pc = QSPIN.headRunning;
        return HALT;

      // The lock is ours; leave the queue.
      case QSPIN.readTail:
        t.r[SEEN] = s.load(WORD);
        t.budget = Number.POSITIVE_INFINITY;
        return to(t, t.r[SEEN] >>> TAIL_SHIFT === me ? QSPIN.close : QSPIN.awaitNext);
      case QSPIN.close:
        return s.compareExchange(WORD, t.r[SEEN], LOCKED) === t.r[SEEN]
          ? DONE
          : to(t, QSPIN.awaitNext);
      case QSPIN.awaitNext:
        t.r[AFTER] = s.load(next(me));
        if (t.r[AFTER] === 0) return spinWhile(t, next(me), 0);
        return to(t, QSPIN.giveTurn);
      case QSPIN.giveTurn:
        s.store(turn(t.r[AFTER]), 1);
        return to(t, QSPIN.kickNext);
      // If it halts: instead of a kick now, a kick when the lock is free.
      case QSPIN.kickNext:
        return s.compareExchange(state(t.r[AFTER]), HALTED, HASHED) === HALTED
          ? to(t, QSPIN.noteNext)
          : DONE;
      case QSPIN.noteNext:
        s.store(HEAD, t.r[AFTER]);
        return to(t, QSPIN.slowNext);
      default:
        s.exchangePart(WORD, LOCKED_BYTE, SLOW);
        return DONE;
    }
  }

  function unlock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case QSPIN.unlock:
        if (s.compareExchangePart(WORD, LOCKED_BYTE, LOCKED, 0) !== LOCKED)
          return to(t, QSPIN.readHead);
        s.released();
        return DONE;
      // Before the word is free: the next holder may note another.
      case QSPIN.readHead:
        t.r[AFTER] = s.load(HEAD);
        return to(t, QSPIN.free);
      case QSPIN.free:
        s.exchangePart(WORD, LOCKED_BYTE, 0);
        s.released();
        return to(t, QSPIN.kick);
      default:
        s.kick(t.r[AFTER] - 1);
        return DONE;
    }
  }

  return {
    name: 'pv-qspinlock',
    fifo: false,
    words: (threads + 1) * record,
    lock,
    unlock,
  };
}
