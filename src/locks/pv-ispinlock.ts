/**
 * pv-ispinlock: I-Spinlock for guests that make hypercalls (I-Spinlock 4.2.2).
 *
 *   lock    while preemption time - now - (lql + 1) * csd < 0, or somebody with a ticket does not
 *           run: yield; then as the ticket lock, but while who is next does not run: yield
 *   unlock  as the ticket lock
 *
 * The paper's incapable thread "releases the processor"; its listing calls __halt_cpu. Nobody
 * would kick a halted one, and it is to run again in its vCPU's next slice: that is the hypercall
 * yield. As in hvm-ispinlock the capability is checked again afterwards, which the listing
 * (pv-ispinlock-paper) does not: a yield with no other vCPU to run comes back in no time. That a
 * queue must run (owners.ts) is ours, too: without it one preemption that nobody foresaw starts a
 * convoy for good.
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
import { HEAD, TAIL } from './ticket.ts';

/** PAUSEs between two looks at who is next: it is another vCPU's line of share_info. */
const LOOK_EVERY = 64;

export class PvISpinlock implements InformedLock {
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
    while (!this.capable()) this.incapable();
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

  private incapable(): void {
    this.psp.stats.incapable++;
    this.psp.stats.yields++;
    this.vcpu.yield();
  }

  private wait(my: number): void {
    const { psp } = this;
    psp.stats.waits++;
    psp.spinBegins();
    while (!this.spin(my)) this.standsStill();
    psp.spinEnds();
  }

  /** A function of its own, as in spin.ts. False: who is next does not run. */
  private spin(my: number): boolean {
    const { memory, vcpu, owners } = this;
    for (let i = 1; Atomics.load(memory, HEAD) !== my; i++) {
      if (i % LOOK_EVERY === 0 && !owners.nextRuns()) return false;
      vcpu.relax(1);
    }
    return true;
  }

  /** Our slice would be spent spinning; whoever is next may need this very processor. */
  private standsStill(): void {
    this.psp.spinEnds();
    this.psp.stats.yields++;
    this.vcpu.yield();
    this.psp.spinBegins();
  }
}

export const pvISpinlock: InformedLockKind = {
  name: 'pv-ispinlock',
  words: wordsWithOwners,
  create(memory, vcpu, options) {
    checkMemory(this, memory, vcpu);
    return new PvISpinlock(memory, vcpu, options);
  },
};
