/**
 * ticket: the Linux ticket spinlock (arch/x86/include/asm/spinlock.h, 2.6.25 to 4.1; I-Spinlock
 * 2.1), the paper's base line.
 *
 *   lock    my = xadd(tail, 1); while head != my: PAUSE
 *   unlock  head = head + 1, by the owner alone
 *
 * First come, first served: the lock is reserved for whoever holds the next ticket, running or
 * not. Two words, head and tail, which wrap around. (Linux has both in one word to save space and
 * to read them at once; nothing here needs that.)
 */
import type { Vcpu } from '../share-info/vcpu.ts';
import { checkMemory, type Lock, type LockKind, type LockStats } from './lock.ts';
import { Psp } from './psp.ts';
import { spinUntil } from './spin.ts';

/** Words of the ticket family. */
export const HEAD = 0;
export const TAIL = 1;

export class TicketLock implements Lock {
  readonly stats: LockStats;
  private readonly memory: Int32Array;
  private readonly vcpu: Vcpu;
  private readonly psp: Psp;

  constructor(memory: Int32Array, vcpu: Vcpu) {
    this.memory = memory;
    this.vcpu = vcpu;
    this.psp = new Psp(vcpu);
    this.stats = this.psp.stats;
  }

  lock(): void {
    this.psp.ticket();
    const my = Atomics.add(this.memory, TAIL, 1);
    if (Atomics.load(this.memory, HEAD) !== my) this.wait(my);
    this.psp.acquired();
  }

  tryLock(): boolean {
    const { memory } = this;
    const head = Atomics.load(memory, HEAD);
    // Head never passes tail: if tail still is head, nobody holds the lock or waits.
    if (Atomics.compareExchange(memory, TAIL, head, (head + 1) | 0) !== head) return false;
    this.psp.acquiredAtOnce();
    return true;
  }

  unlock(): void {
    this.psp.released();
    const { memory } = this;
    Atomics.store(memory, HEAD, (memory[HEAD] + 1) | 0);
  }

  private wait(my: number): void {
    const { memory, vcpu, psp } = this;
    psp.stats.waits++;
    psp.spinBegins();
    spinUntil(memory, HEAD, my, vcpu);
    psp.spinEnds();
  }
}

export const ticket: LockKind = {
  name: 'ticket',
  words: 2,
  create(memory, vcpu) {
    checkMemory(this, memory, vcpu);
    return new TicketLock(memory, vcpu);
  },
};
