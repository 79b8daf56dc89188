/**
 * pts: the preemptable ticket spinlock (Ouyang and Lange, VEE 2013; I-Spinlock 3, "PTS"), as the
 * authors' second version for Linux has it.
 *
 *   lock    (head, my) = xadd; if head == my goto grab; timeout = (my - head) << SHIFT
 *           do { if head == my goto grab
 *                if head moved and my turn is still to come: timeout = (my - head) << SHIFT
 *                PAUSE } while timeout--
 *     grab: while xchg(acquired, 1) != 0: PAUSE
 *   unlock  head = head + 1; acquired = 0
 *
 * A ticket is a place to be patient at, not a reservation: a waiter whose predecessors do not run
 * gives up its turn and competes for the third word. Head overtakes the ticket of a preempted
 * waiter, which then just grabs. That answers LWP, not LHP. The first version compared tickets
 * with <=, which fails when they wrap around; here all is the sign of a difference. Head is read
 * after the ticket, not with it: if it has passed the ticket by then, there is nothing to wait for.
 *
 * SHIFT is 14, in iterations or as the time they took then (spinBy: 2^14 are 82 microseconds).
 */
import type { Vcpu } from '../share-info/vcpu.ts';
import {
  checkMemory,
  type Lock,
  type LockKind,
  type LockOptions,
  type LockStats,
  positive,
} from './lock.ts';
import { Patience } from './patience.ts';
import { Psp } from './psp.ts';
import { HEAD, TAIL } from './ticket.ts';

const ACQUIRED = 2;
const SHIFT = 14;

export class PreemptableTicketLock implements Lock {
  readonly stats: LockStats;
  private readonly memory: Int32Array;
  private readonly vcpu: Vcpu;
  private readonly psp: Psp;
  private readonly patience: Patience;
  /** Iterations per place in the queue. */
  private readonly unit: number;

  constructor(memory: Int32Array, vcpu: Vcpu, options: LockOptions = {}) {
    this.memory = memory;
    this.vcpu = vcpu;
    this.psp = new Psp(vcpu);
    this.stats = this.psp.stats;
    this.patience = new Patience(vcpu, options);
    this.unit = 2 ** positive('shift', options.shift ?? SHIFT);
  }

  lock(): void {
    const { memory } = this;
    this.psp.ticket();
    const my = Atomics.add(memory, TAIL, 1);
    const head = Atomics.load(memory, HEAD);
    // In the uncontended case both at once; otherwise one of the two must be waited for.
    if (head !== my || Atomics.exchange(memory, ACQUIRED, 1) !== 0) this.wait(my, head);
    this.psp.acquired();
  }

  tryLock(): boolean {
    const { memory } = this;
    const head = Atomics.load(memory, HEAD);
    if (Atomics.load(memory, TAIL) !== head) return false;
    // The word before the ticket: whoever unlocks has moved head and may not have freed it yet.
    if (Atomics.compareExchange(memory, ACQUIRED, 0, 1) !== 0) return false;
    if (Atomics.compareExchange(memory, TAIL, head, (head + 1) | 0) !== head) {
      Atomics.store(memory, ACQUIRED, 0);
      return false;
    }
    this.psp.acquiredAtOnce();
    return true;
  }

  unlock(): void {
    this.psp.released();
    const { memory } = this;
    Atomics.store(memory, HEAD, (memory[HEAD] + 1) | 0);
    Atomics.store(memory, ACQUIRED, 0);
  }

  private wait(my: number, head: number): void {
    const { psp } = this;
    psp.stats.waits++;
    psp.spinBegins();
    if (head !== my && !this.comesUp(my, head)) psp.stats.overtakes++;
    this.acquire();
    psp.spinEnds();
  }

  /** A function of its own, as in spin.ts. */
  private acquire(): void {
    while (Atomics.exchange(this.memory, ACQUIRED, 1) !== 0) this.vcpu.relax(1);
  }

  /** Waits for our turn; false when patience ends first, or head has passed us. */
  private comesUp(my: number, first: number): boolean {
    const { memory, vcpu, patience, unit } = this;
    let head = first;
    let places = (my - head) | 0;
    if (places < 0) return false;
    patience.start(places * unit);
    do {
      const now = Atomics.load(memory, HEAD);
      if (now === my) return true;
      if (now !== head) {
        places = (my - now) | 0;
        if (places > 0) {
          head = now;
          patience.start(places * unit);
        }
      }
      vcpu.relax(1);
    } while (patience.left());
    return false;
  }
}

export const pts: LockKind = {
  name: 'pts',
  words: 3,
  create(memory, vcpu, options) {
    checkMemory(this, memory, vcpu);
    return new PreemptableTicketLock(memory, vcpu, options);
  },
};
