/**
 * pv-ticket: the paravirtual ticket spinlock (Raghavendra and Fitzhardinge; Linux 3.12 to 4.1,
 * arch/x86/include/asm/spinlock.h and kernel/kvm.c; I-Spinlock 3.2, "PV TS").
 *
 *   lock    my = xadd(tail, 2)
 *           loop { for SPIN_THRESHOLD: if head == my goto out; PAUSE
 *                  want[me] = my; set SLOWPATH; if head != my: halt; want[me] = none }
 *     out:  if nobody else waits: clear SLOWPATH
 *   unlock  head = xadd(head, 2) + 2; if SLOWPATH: kick the vCPU that wants head
 *
 * A waiter whose turn does not come gives its processor back instead of burning it. The lock is
 * still reserved for the next ticket, and that vCPU must be woken first. The flag is the lowest
 * bit of head (as from Linux 4.0; of tail before). Linux keeps what a CPU waits for per CPU, for
 * all locks; here it is part of the lock, so the set of waiting CPUs is the words that are not 0.
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
import { HEAD, TAIL } from './ticket.ts';
/** The lowest bit of head is the flag, so tickets go up by two. */
export const STEP = 2;
export const SLOWPATH = 1;
/** The first of the waiters' words: 0, or the ticket the vCPU halts for with the lowest bit set. */
export const WANT = 2;
export const WAITING = 1;

/** Spins until it is our turn or patience ends: head as last seen. As in spin.ts. */
export function spinForTurn(
  memory: Int32Array,
  my: number,
  vcpu: Vcpu,
  patience: Patience,
): number {
  for (;;) {
    vcpu.relax(1);
    const head = Atomics.load(memory, HEAD);
    if ((head & ~SLOWPATH) === my || !patience.left()) return head;
  }
}

export class PvTicketLock implements Lock {
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
      const threshold = this.spinThreshold;
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
      if (Atomics.load(memory, WANT + i) !== (head | WAITING)) continue;
      this.psp.kick(vcpu.first + i);
      return;
    }
  }
}

export const pvTicket: LockKind = {
  name: 'pv-ticket',
  words: (vcpus) => WANT + vcpus,
  create(memory, vcpu, options) {
    checkMemory(this, memory, vcpu);
    return new PvTicketLock(memory, vcpu, options);
  },
};
