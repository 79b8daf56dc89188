/**
 * pv-ispinlock-paper: pv-ispinlock exactly as the paper's listing has it (I-Spinlock figure 5).
 *
 * An incapable thread releases the processor once, and takes its ticket then without checking
 * again, whatever slice it finds itself in. For comparison.
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

export class PvISpinlockPaper implements InformedLock {
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
    if (this.capability.lockCap() < 0) this.incapable();
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

  private incapable(): void {
    this.psp.stats.incapable++;
    this.psp.stats.yields++;
    this.vcpu.yield();
  }

  private wait(my: number): void {
    const { memory, vcpu, psp } = this;
    psp.stats.waits++;
    psp.spinBegins();
    spinUntil(memory, HEAD, my, vcpu);
    psp.spinEnds();
  }
}

export const pvISpinlockPaper: InformedLockKind = {
  name: 'pv-ispinlock-paper',
  words: 2,
  create(memory, vcpu, options) {
    checkMemory(this, memory, vcpu);
    return new PvISpinlockPaper(memory, vcpu, options);
  },
};
