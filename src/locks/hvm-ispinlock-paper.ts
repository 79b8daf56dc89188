/**
 * hvm-ispinlock-paper: hvm-ispinlock exactly as the paper's listing has it (I-Spinlock figure 5).
 *
 * An incapable thread waits for the next slice once, and takes its ticket then without checking
 * again: with slices short against (lql + 1) * csd, or a queue that grew meanwhile, it takes one
 * it cannot use in time. For comparison.
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
import { spinUntil } from './spin.ts';
import { HEAD, TAIL } from './ticket.ts';

export class HvmISpinlockPaper implements InformedLock {
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
    const slice = info.sliceId(id);
    if (this.capability.lockCap() < 0) this.incapable(slice);
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
    const { psp } = this;
    psp.stats.incapable++;
    psp.spinBegins();
    this.awaitSliceAfter(slice);
    psp.spinEnds();
  }

  /** A function of its own, as in spin.ts. */
  private awaitSliceAfter(slice: number): void {
    const { info, id } = this.vcpu;
    while (info.sliceId(id) === slice) this.vcpu.relax(1);
  }

  private wait(my: number): void {
    const { memory, vcpu, psp } = this;
    psp.stats.waits++;
    psp.spinBegins();
    spinUntil(memory, HEAD, my, vcpu);
    psp.spinEnds();
  }
}

export const hvmISpinlockPaper: InformedLockKind = {
  name: 'hvm-ispinlock-paper',
  words: 2,
  create(memory, vcpu, options) {
    checkMemory(this, memory, vcpu);
    return new HvmISpinlockPaper(memory, vcpu, options);
  },
};
