/**
 * js-mutex: the futex mutex of JavaScript: Drepper's second ("Futexes Are Tricky", 2011) over
 * Atomics.wait, which is how it is usually written for shared memory (Hansen's js-lock-and-condition).
 *
 *   0 free, 1 locked, 2 locked and somebody may sleep
 *   lock    c = cas(word, 0, 1); while c != 0 { if c == 2 or cas(word, 1, 2) != 0: wait(word, 2);
 *           c = cas(word, 0, 2) }
 *   unlock  if sub(word, 1) != 1: word = 0; wake one
 *
 * Nothing is reserved, so there is no LWP. No spinning: every contended acquisition is a sleep and
 * a wake-up, and V8 does both under one lock for the whole process. The hypervisor does not know
 * of the sleep: the vCPU keeps its slice.
 */
import type { Vcpu } from '../share-info/vcpu.ts';
import { checkMemory, type Lock, type LockKind, type LockStats } from './lock.ts';
import { Psp } from './psp.ts';

export class JsMutex implements Lock {
  readonly stats: LockStats;
  private readonly memory: Int32Array;
  private readonly psp: Psp;

  constructor(memory: Int32Array, vcpu: Vcpu) {
    this.memory = memory;
    this.psp = new Psp(vcpu);
    this.stats = this.psp.stats;
  }

  lock(): void {
    this.psp.asks();
    const state = Atomics.compareExchange(this.memory, 0, 0, 1);
    if (state !== 0) this.wait(state);
    this.psp.acquiredAtOnce();
  }

  tryLock(): boolean {
    if (Atomics.compareExchange(this.memory, 0, 0, 1) !== 0) return false;
    this.psp.acquiredAtOnce();
    return true;
  }

  unlock(): void {
    const { memory, psp } = this;
    psp.released();
    if (Atomics.sub(memory, 0, 1) === 1) return;
    Atomics.store(memory, 0, 0);
    psp.stats.kicks++;
    Atomics.notify(memory, 0, 1);
  }

  private wait(seen: number): void {
    const { memory } = this;
    const { stats } = this.psp;
    let state = seen;
    stats.waits++;
    do {
      if (state === 2 || Atomics.compareExchange(memory, 0, 1, 2) !== 0) {
        stats.halts++;
        Atomics.wait(memory, 0, 2);
      }
      state = Atomics.compareExchange(memory, 0, 0, 2);
    } while (state !== 0);
  }
}

export const jsMutex: LockKind = {
  name: 'js-mutex',
  words: 1,
  create(memory, vcpu) {
    checkMemory(this, memory, vcpu);
    return new JsMutex(memory, vcpu);
  },
};
