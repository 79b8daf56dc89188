/**
 * hvm-ispinlock: I-Spinlock for guests that make no hypercalls (I-Spinlock 4.2.2).
 *
 *   lock    while preemption time - now - (lql + 1) * csd < 0, or somebody with a ticket does not
 *           run: PAUSE; then as the ticket lock
 *   unlock  as the ticket lock
 *
 * The paper's listing waits for another slice id, and does not check again then
 * (hvm-ispinlock-paper); its text does: a thread may take a ticket only if it is capable. Here the
 * capability itself is what is waited for: it comes with the next slice, or when the queue is
 * shorter. That a queue must run
 * (owners.ts) is ours, too: without it one preemption that nobody foresaw starts a convoy for good.
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
import { TicketOwners, wordsWithOwners } from './owners.ts';
import { Psp } from './psp.ts';
import { spinUntil } from './spin.ts';
import { HEAD, TAIL } from './ticket.ts';

export class HvmISpinlock implements InformedLock {
  readonly stats: LockStats;
  private readonly memory: Int32Array;
  private readonly vcpu: Vcpu;
  private readonly psp: Psp;
  private readonly capability: Capability;
  private readonly owners: TicketOwners;

  constructor(memory: Int32Array, vcpu: Vcpu, options?: LockOptions) {
    this.memory = memory;
    this.vcpu = vcpu;
    this.psp = new Psp(vcpu);
    this.stats = this.psp.stats;
    this.capability = new Capability(memory, vcpu, options);
    this.owners = new TicketOwners(memory, vcpu);
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
    if (!this.capable()) this.incapable();
    this.psp.ticket();
    const my = Atomics.add(this.memory, TAIL, 1);
    this.owners.took(my);
    if (Atomics.load(this.memory, HEAD) !== my) this.wait(my);
    this.psp.acquired();
  }

  /** False, too, when the thread is incapable: it would have to wait for another slice. */
  tryLock(): boolean {
    const { memory } = this;
    if (this.capability.lockCap() < 0) return false;
    const head = Atomics.load(memory, HEAD);
    if (Atomics.compareExchange(memory, TAIL, head, (head + 1) | 0) !== head) return false;
    this.owners.took(head);
    this.psp.acquiredAtOnce();
    return true;
  }

  unlock(): void {
    this.psp.released();
    const { memory } = this;
    Atomics.store(memory, HEAD, (memory[HEAD] + 1) | 0);
  }

  private capable(): boolean {
    return this.capability.lockCap() >= 0 && this.owners.allRun();
  }

  /** In the next slice at the latest, unless that is too short; sooner when the queue was. */
  private incapable(): void {
    const { psp } = this;
    psp.stats.incapable++;
    psp.spinBegins();
    this.becomeCapable();
    psp.spinEnds();
  }

  /** A function of its own, as in spin.ts. */
  private becomeCapable(): void {
    while (!this.capable()) this.vcpu.relax(1);
  }

  private wait(my: number): void {
    const { memory, vcpu, psp } = this;
    psp.stats.waits++;
    psp.spinBegins();
    spinUntil(memory, HEAD, my, vcpu);
    psp.spinEnds();
  }
}

export const hvmISpinlock: InformedLockKind = {
  name: 'hvm-ispinlock',
  words: wordsWithOwners,
  create(memory, vcpu, options) {
    checkMemory(this, memory, vcpu);
    return new HvmISpinlock(memory, vcpu, options);
  },
};
