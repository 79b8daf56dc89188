/**
 * Accounting of problematic spin preemptions (I-Spinlock 2.3.2), by slice ids:
 *
 *   LHP  a lock acquired in one slice and released in another
 *   LWP  a ticket taken in one slice and the lock acquired in another
 *
 * and beside it what the hypervisor's own clock says they cost (steal time). A lock calls, in order:
 *
 *   psp.ticket();             // just before it takes its ticket or place
 *   psp.spinBegins(); … psp.halt(); … psp.spinEnds();      // only if it must wait
 *   psp.acquired();           // or acquiredAtOnce(), where there was no ticket
 *   psp.released();           // just before the lock is free
 *
 * A slice id is read beside the atomic operation, not with it: a preemption in those nanoseconds
 * counts as one between ticket and lock though the ticket came after (never the other way round),
 * or is missed at the very end of the critical section. Locks hold one of these instead of
 * inheriting from it: one hidden class, so V8 inlines it into every lock.
 */
import type { ShareInfo } from '../share-info/share-info.ts';
import type { Vcpu } from '../share-info/vcpu.ts';
import type { LockStats } from './lock.ts';

/**
 * A zero that V8 does not keep as a small integer. A field that begins as one and gets a fraction
 * later makes V8 throw away the code of every lock that used it.
 */
const DOUBLE = -0;

/** Nothing counted yet. */
export function newStats(): LockStats {
  const stats: LockStats = {
    acquisitions: 0,
    waits: 0,
    lhp: 0,
    lwp: 0,
    spinNs: DOUBLE,
    holderPreemptedNs: DOUBLE,
    waiterPreemptedNs: DOUBLE,
    incapable: 0,
    halts: 0,
    yields: 0,
    kicks: 0,
    overtakes: 0,
  };
  // Doubles from now on; and 0 for who compares.
  stats.spinNs = stats.holderPreemptedNs = stats.waiterPreemptedNs = 0;
  return stats;
}

export class Psp {
  readonly stats = newStats();
  private readonly vcpu: Vcpu;
  private readonly info: ShareInfo;
  private readonly id: number;
  private held = false;
  /** At the ticket, and then at the acquisition. */
  private slice = 0;
  private stealNs = DOUBLE;
  private spinningFromNs = DOUBLE;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
    this.info = vcpu.info;
    this.id = vcpu.id;
  }

  /** lock() begins: for locks that do something else before they take a ticket. */
  asks(): void {
    if (this.held) throw recursive();
  }

  ticket(): void {
    if (this.held) throw recursive();
    this.slice = this.info.sliceId(this.id);
    this.stealNs = this.info.stealNs(this.id);
  }

  acquired(): void {
    const slice = this.info.sliceId(this.id);
    if (slice !== this.slice) this.waiterWasPreempted(slice);
    this.held = true;
    this.stats.acquisitions++;
  }

  acquiredAtOnce(): void {
    this.slice = this.info.sliceId(this.id);
    this.stealNs = this.info.stealNs(this.id);
    this.held = true;
    this.stats.acquisitions++;
  }

  released(): void {
    if (!this.held) throw notHeld();
    this.held = false;
    if (this.info.sliceId(this.id) !== this.slice) this.holderWasPreempted();
  }

  /** Until spinEnds, time on the processor is spent spinning. */
  spinBegins(): void {
    this.spinningFromNs = this.unstolenNs();
  }

  spinEnds(): void {
    this.stats.spinNs += this.unstolenNs() - this.spinningFromNs;
  }

  /** The hypercall halt, within spinBegins and spinEnds: its time is not spinning. */
  halt(): void {
    this.stats.halts++;
    const from = this.unstolenNs();
    this.vcpu.halt();
    this.spinningFromNs += this.unstolenNs() - from;
  }

  kick(vcpu: number): void {
    this.stats.kicks++;
    this.vcpu.kick(vcpu);
  }

  /** A clock that stands still while we are preempted. */
  unstolenNs(): number {
    for (;;) {
      const steal = this.info.stealNs(this.id);
      const now = this.vcpu.nowNs();
      // Preempted between the two readings they would not belong together.
      if (this.info.stealNs(this.id) === steal) return now - steal;
    }
  }

  private waiterWasPreempted(slice: number): void {
    const steal = this.info.stealNs(this.id);
    this.stats.lwp++;
    this.stats.waiterPreemptedNs += steal - this.stealNs;
    this.slice = slice;
    this.stealNs = steal;
  }

  private holderWasPreempted(): void {
    this.stats.lhp++;
    this.stats.holderPreemptedNs += this.info.stealNs(this.id) - this.stealNs;
  }
}

function recursive(): Error {
  return new Error('trapless: lock() by the thread that holds the lock already');
}

function notHeld(): Error {
  return new Error('trapless: unlock() of a lock that this thread does not hold');
}
