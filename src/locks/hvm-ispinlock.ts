/**
 * hvm-ispinlock: I-Spinlock for guests that make no hypercalls (I-Spinlock 4.2.2).
 *
 *   lock    do { slice = slice id; cap = preemption time - now - (lql + 1) * csd;
 *              if cap >= 0 break; while slice id == slice: PAUSE }; then as the ticket lock
 *   unlock  as the ticket lock
 *
 * The paper's listing does not check again after the wait (hvm-ispinlock-paper); its text does: a
 * thread may take a ticket only if it is capable. A thread stays incapable when the whole slice is
 * shorter than (lql + 1) * csd; it then waits until the queue is shorter.
 */
import type { Vcpu } from '../share-info/vcpu.ts';
import { Capability } from './capability.ts';
import {
  checkMemory,
  type InformedLock,
  type InformedLockKind,
  type LockOptions,
  type LockStats,
} from './lock.ts';
import { Psp } from './psp.ts';
import { HEAD, TAIL } from './ticket.ts';

export class HvmISpinlock implements InformedLock {
  readonly stats: LockStats;
  private readonly memory: Int32Array;
  private readonly vcpu: Vcpu;
  private readonly psp: Psp;
  private readonly capability: Capability;

  constructor(memory: Int32Array, vcpu: Vcpu, options?: LockOptions) {
    this.memory = memory;
    this.vcpu = vcpu;
    this.psp = new Psp(vcpu);
    this.stats = this.psp.stats;
    this.capability = new Capability(memory, vcpu, options);
  }

  get lql(): number {
    return this.capability.lql();
  }

  get csdNs(): number {
    return this.capability.csdNs;
  }

  lockCap(): number {
    return this.capability.lockCap();
  }

  lock(): void {
    this.psp.asks();
    const { info, id } = this.vcpu;
    for (;;) {
      // Read first: a slice that ends while we reckon is not waited for.
      const slice = info.sliceId(id);
      if (this.capability.lockCap() >= 0) break;
      this.incapable(slice);
    }
    this.psp.ticket();
    const my = Atomics.add(this.memory, TAIL, 1);
    if (Atomics.load(this.memory, HEAD) !== my) this.wait(my);
    this.psp.acquired();
  }

  /** False, too, when the thread is incapable: it would have to wait for another slice. */
  tryLock(): boolean {
    const { memory } = this;
    if (this.capability.lockCap() < 0) return false;
    const head = Atomics.load(memory, HEAD);
    if (Atomics.compareExchange(memory, TAIL, head, (head + 1) | 0) !== head) return false;
    this.psp.acquiredAtOnce();
    return true;
  }

  unlock(): void {
    this.psp.released();
    const { memory } = this;
    Atomics.store(memory, HEAD, (memory[HEAD] + 1) | 0);
  }

  /** Spins until the slice is another one than the thread was found incapable in. */
  private incapable(slice: number): void {
    const { vcpu, psp } = this;
    const { info, id } = vcpu;
    psp.stats.incapable++;
    psp.spinBegins();
    while (info.sliceId(id) === slice) vcpu.relax(1);
    psp.spinEnds();
  }

  private wait(my: number): void {
    const { memory, vcpu, psp } = this;
    psp.stats.waits++;
    psp.spinBegins();
    do vcpu.relax(1);
    while (Atomics.load(memory, HEAD) !== my);
    psp.spinEnds();
  }
}

export const hvmISpinlock: InformedLockKind = {
  name: 'hvm-ispinlock',
  words: 2,
  create(memory, vcpu, options) {
    checkMemory(this, memory, vcpu);
    return new HvmISpinlock(memory, vcpu, options);
  },
};
