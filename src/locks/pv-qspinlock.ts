/**
 * pv-qspinlock: the paravirtual queued spinlock, what Linux has had under a hypervisor since 4.2
 * (kernel/locking/qspinlock.c and qspinlock_paravirt.h).
 *
 *   lock    cas(word, 0, locked), or
 *           steal: once, if neither locked nor pending; otherwise queue as in mcs:
 *     not the head: spin SPIN_THRESHOLD on the own node, less if the one before does not spin
 *             (looked at every 256 iterations); state = halted; unless it is our turn: halt
 *     head:   set pending (nobody steals now); spin SPIN_THRESHOLD for a free word; clear pending;
 *             note the head, locked = SLOW; state = hashed; halt
 *             with the lock: if we are last too, tail = none; otherwise the next one is the head:
 *             if it halts, note it and set locked = SLOW in its stead, so that unlock wakes it
 *   unlock  if cas(locked, 1, 0) fails, it is SLOW: locked = 0; kick the head noted
 *
 * The word is Linux's: locked in bits 0 to 7, pending in 8 to 15, the last vCPU + 1 in 16 to 31
 * (little endian), so one compare-and-exchange sees all three. Linux finds the head to kick in a
 * hash table of all locks; here it is the second word. Linux notes the head once per acquisition;
 * here whenever it halts, so a head whose wake-up was answered by a thief halts again.
 */
import type { Vcpu } from '../share-info/vcpu.ts';
import {
  checkMemory,
  type Lock,
  type LockKind,
  type LockOptions,
  type LockStats,
  positive,
  SPIN_THRESHOLD,
} from './lock.ts';
import { Patience } from './patience.ts';
import { Psp } from './psp.ts';
import { spinWhile } from './spin.ts';

/** Words in a cache line; the first is the lock's, then one for every vCPU's node. */
const LINE = 16;
const WORD = 0;
/** The vCPU at the head of the queue, + 1, if it halts. */
const HEAD = 1;
/** Bytes of the word. */
const LOCKED_BYTE = 0;
/** Halves of the word: locked with pending, and tail. */
const LOCKED_PENDING = 0;
const TAIL = 1;

const LOCKED = 1;
const SLOW = 3;
const PENDING = 1 << 8;
const LOCKED_PENDING_MASK = 0xffff;
const TAIL_SHIFT = 16;

/** In a node. */
const TURN = 0;
const NEXT = 1;
const STATE = 2;
const RUNNING = 0;
const HALTED = 1;
const HASHED = 2;

/** Iterations between two looks at the one before (PV_PREV_CHECK_MASK + 1). */
const CHECK_PREVIOUS_EVERY = 256;

export class PvQueuedLock implements Lock {
  readonly stats: LockStats;
  private readonly memory: Int32Array;
  /** The word's bytes and halves. */
  private readonly bytes: Uint8Array;
  private readonly halves: Uint16Array;
  private readonly vcpu: Vcpu;
  private readonly psp: Psp;
  private readonly patience: Patience;
  private readonly spinThreshold: number;
  private readonly me: number;
  private readonly node: number;

  constructor(memory: Int32Array, vcpu: Vcpu, options: LockOptions = {}) {
    this.memory = memory;
    this.bytes = new Uint8Array(memory.buffer, memory.byteOffset, 4);
    this.halves = new Uint16Array(memory.buffer, memory.byteOffset, 2);
    this.vcpu = vcpu;
    this.psp = new Psp(vcpu);
    this.stats = this.psp.stats;
    this.patience = new Patience(vcpu, options);
    this.spinThreshold = positive('spinThreshold', options.spinThreshold ?? SPIN_THRESHOLD);
    this.me = vcpu.id - vcpu.first + 1;
    this.node = this.me * LINE;
  }

  lock(): void {
    this.psp.ticket();
    if (Atomics.compareExchange(this.memory, WORD, 0, LOCKED) !== 0) this.slow();
    this.psp.acquired();
  }

  tryLock(): boolean {
    if (Atomics.compareExchange(this.memory, WORD, 0, LOCKED) !== 0) return false;
    this.psp.acquiredAtOnce();
    return true;
  }

  unlock(): void {
    this.psp.released();
    if (Atomics.compareExchange(this.bytes, LOCKED_BYTE, LOCKED, 0) !== LOCKED) this.unlockSlow();
  }

  private unlockSlow(): void {
    // Noted before SLOW was set, or by ourselves. Read before the word is free: the next holder
    // may note another.
    const head = Atomics.load(this.memory, HEAD);
    Atomics.store(this.bytes, LOCKED_BYTE, 0);
    this.psp.kick(this.vcpu.first + head - 1);
  }

  private slow(): void {
    const { memory, psp } = this;
    psp.stats.waits++;
    psp.spinBegins();
    if (this.steal()) psp.stats.overtakes++;
    else {
      // Like a ticket: from here on others wait for us.
      psp.ticket();
      this.queue(memory);
    }
    psp.spinEnds();
  }

  private steal(): boolean {
    const { memory, bytes } = this;
    if ((Atomics.load(memory, WORD) & LOCKED_PENDING_MASK) !== 0) return false;
    return Atomics.compareExchange(bytes, LOCKED_BYTE, 0, LOCKED) === 0;
  }

  private queue(memory: Int32Array): void {
    const { me, node, vcpu } = this;
    memory[node + TURN] = 0;
    memory[node + NEXT] = 0;
    Atomics.store(memory, node + STATE, RUNNING);
    const previous = Atomics.exchange(this.halves, TAIL, me);
    if (previous !== 0) {
      Atomics.store(memory, previous * LINE + NEXT, me);
      this.waitForTurn(previous);
    }
    this.waitAsHead();
    // The lock is ours; leave the queue.
    const word = Atomics.load(memory, WORD);
    if (word >>> TAIL_SHIFT === me && Atomics.compareExchange(memory, WORD, word, LOCKED) === word)
      return;
    // Somebody may be between the exchange and the store of our next.
    if (Atomics.load(memory, node + NEXT) === 0) spinWhile(memory, node + NEXT, 0, vcpu);
    const next = Atomics.load(memory, node + NEXT);
    Atomics.store(memory, next * LINE + TURN, 1);
    this.kickNext(next);
  }

  private waitForTurn(previous: number): void {
    const { memory, node, psp } = this;
    const previousState = previous * LINE + STATE;
    for (;;) {
      if (this.spinForTurn(previousState)) return;
      // State, then one more look at the turn; the one before sets the turn, then looks at the
      // state (kickNext).
      Atomics.store(memory, node + STATE, HALTED);
      if (Atomics.load(memory, node + TURN) === 0) psp.halt();
      // HASHED stays: the one before has noted us as the head that halts.
      Atomics.compareExchange(memory, node + STATE, HALTED, RUNNING);
      if (Atomics.load(memory, node + TURN) !== 0) return;
    }
  }

  /** A function of its own, as in spin.ts. False: it is time to halt. */
  private spinForTurn(previousState: number): boolean {
    const { memory, node, vcpu, patience } = this;
    patience.start(this.spinThreshold);
    for (let i = 1; patience.left(); i++) {
      if (Atomics.load(memory, node + TURN) !== 0) return true;
      if (i % CHECK_PREVIOUS_EVERY === 0 && Atomics.load(memory, previousState) !== RUNNING)
        return false;
      vcpu.relax(1);
    }
    return false;
  }

  /** Likewise, as the head of the queue. True: the lock is ours. */
  private spinAsHead(): boolean {
    const { bytes, halves, vcpu, patience } = this;
    patience.start(this.spinThreshold);
    while (patience.left()) {
      if (
        Atomics.load(bytes, LOCKED_BYTE) === 0 &&
        Atomics.compareExchange(halves, LOCKED_PENDING, PENDING, LOCKED) === PENDING
      )
        return true;
      vcpu.relax(1);
    }
    return false;
  }

  private waitAsHead(): void {
    const { memory, bytes, node, psp } = this;
    for (;;) {
      Atomics.store(memory, node + STATE, RUNNING);
      Atomics.or(memory, WORD, PENDING);
      if (this.spinAsHead()) return;
      Atomics.and(memory, WORD, ~PENDING);
      // First who is to be kicked, then that somebody is.
      Atomics.store(memory, HEAD, this.me);
      if (Atomics.exchange(bytes, LOCKED_BYTE, SLOW) === 0) {
        // It was free, and is ours now.
        Atomics.store(bytes, LOCKED_BYTE, LOCKED);
        return;
      }
      Atomics.store(memory, node + STATE, HASHED);
      if (Atomics.load(bytes, LOCKED_BYTE) === SLOW) psp.halt();
    }
  }

  /** We hold the lock, and `next` is the head now. If it halts, our unlock shall kick it. */
  private kickNext(next: number): void {
    const { memory, bytes } = this;
    const state = next * LINE + STATE;
    if (Atomics.compareExchange(memory, state, HALTED, HASHED) !== HALTED) return;
    Atomics.store(memory, HEAD, next);
    Atomics.store(bytes, LOCKED_BYTE, SLOW);
  }
}

export const pvQspinlock: LockKind = {
  name: 'pv-qspinlock',
  words: (vcpus) => LINE * (1 + vcpus),
  create(memory, vcpu, options) {
    checkMemory(this, memory, vcpu);
    return new PvQueuedLock(memory, vcpu, options);
  },
};
