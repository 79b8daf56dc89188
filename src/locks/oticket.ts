/**
 * oticket: opportunistic ticket spinlocks (Kashyap, Min and Kim, Operating Systems Review 2016,
 * figure 5; I-Spinlock 3.2, "OT"): pv-ticket, which see, with two changes.
 *
 *   lock    SPIN_THRESHOLD by the distance to the lock, dist = (my - head) / 2, when the ticket is
 *           taken: 2^34 >> (dist - 1) for dist < 18, else 2^15: whoever is next should not sleep
 *   unlock  if SLOWPATH: kick the vCPUs that want head and the three tickets after it, so that they
 *           are awake when their turn comes
 *
 * For up to 17 waiters the threshold is at least 2^18, and that of the next one never ends: a
 * virtual machine of 16 vCPUs has, but for the early kicks, the plain ticket lock.
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
import { SLOWPATH, STEP, spinForTurn, WAITING, WANT } from './pv-ticket.ts';
import { HEAD, TAIL } from './ticket.ts';

/** Waiters nearer than this spin longer, twice as long for every place. */
const NEAR = 18;
/** 2^34 / 2^15, for dist 1. */
const NEAREST = 20;
/** Waiters woken at once (OPPORTUNISTIC_WAKEUP_NCPU). */
const WAKEUPS = 4;

export class OpportunisticTicketLock implements Lock {
  readonly stats: LockStats;
  private readonly memory: Int32Array;
  private readonly vcpu: Vcpu;
  private readonly psp: Psp;
  private readonly patience: Patience;
  private readonly spinThreshold: number;
  /** Our word of those the waiters have. */
  private readonly want: number;

  constructor(memory: Int32Array, vcpu: Vcpu, options: LockOptions = {}) {
    this.memory = memory;
    this.vcpu = vcpu;
    this.psp = new Psp(vcpu);
    this.stats = this.psp.stats;
    this.patience = new Patience(vcpu, options);
    this.spinThreshold = positive('spinThreshold', options.spinThreshold ?? SPIN_THRESHOLD);
    this.want = WANT + vcpu.id - vcpu.first;
  }

  lock(): void {
    this.psp.ticket();
    const my = Atomics.add(this.memory, TAIL, STEP);
    const head = Atomics.load(this.memory, HEAD);
    if (head !== my) this.wait(my, head);
    this.psp.acquired();
  }

  tryLock(): boolean {
    const { memory } = this;
    const head = Atomics.load(memory, HEAD) & ~SLOWPATH;
    if (Atomics.compareExchange(memory, TAIL, head, (head + STEP) | 0) !== head) return false;
    this.psp.acquiredAtOnce();
    return true;
  }

  unlock(): void {
    this.psp.released();
    // An atomic addition, other than in ticket: waiters set the flag in the same word.
    const head = Atomics.add(this.memory, HEAD, STEP);
    if ((head & SLOWPATH) !== 0) this.kick(((head & ~SLOWPATH) + STEP) | 0);
  }

  private wait(my: number, seen: number): void {
    const { memory, vcpu, psp, patience } = this;
    let head = seen;
    if ((head & ~SLOWPATH) !== my) {
      psp.stats.waits++;
      psp.spinBegins();
      // For ever, at the nearest: not an int32.
      const places = ((my - (head & ~SLOWPATH)) >>> 0) / STEP;
      const threshold =
        places < NEAR ? this.spinThreshold * 2 ** (NEAREST - places) : this.spinThreshold;
      for (;;) {
        patience.start(threshold);
        head = spinForTurn(memory, my, vcpu, patience);
        if ((head & ~SLOWPATH) === my) break;
        this.halt(my);
        head = Atomics.load(memory, HEAD);
        if ((head & ~SLOWPATH) === my) break;
      }
      psp.spinEnds();
    }
    if ((head & SLOWPATH) !== 0) this.clearSlowpath(my);
  }

  private halt(my: number): void {
    const { memory, want } = this;
    // What we wait for, then the flag, then one more look: an unlock either sees the flag and our
    // word, or we see its new head. A kick between that look and the halt ends the halt.
    Atomics.store(memory, want, my | WAITING);
    Atomics.or(memory, HEAD, SLOWPATH);
    if ((Atomics.load(memory, HEAD) & ~SLOWPATH) !== my) this.psp.halt();
    Atomics.store(memory, want, 0);
  }

  /**
   * The lock is ours and the flag is set: takes it back if nobody waits. Linux compares and
   * exchanges head and tail at once. With two words a waiter may come in between, and set a flag
   * that we take back: it had its ticket then, so we see that, and set the flag again. Only our
   * own unlock looks at it.
   */
  private clearSlowpath(my: number): void {
    const { memory } = this;
    const tail = (my + STEP) | 0;
    if (Atomics.load(memory, TAIL) !== tail) return;
    Atomics.and(memory, HEAD, ~SLOWPATH);
    if (Atomics.load(memory, TAIL) !== tail) Atomics.or(memory, HEAD, SLOWPATH);
  }

  private kick(head: number): void {
    const { memory, vcpu } = this;
    for (let i = 0; i < vcpu.count; i++) {
      const want = Atomics.load(memory, WANT + i);
      if (want === 0) continue;
      const places = (((want & ~WAITING) - head) >>> 0) / STEP;
      if (places < WAKEUPS) this.psp.kick(vcpu.first + i);
    }
  }
}

export const oticket: LockKind = {
  name: 'oticket',
  words: (vcpus) => WANT + vcpus,
  create(memory, vcpu, options) {
    checkMemory(this, memory, vcpu);
    return new OpportunisticTicketLock(memory, vcpu, options);
  },
};
