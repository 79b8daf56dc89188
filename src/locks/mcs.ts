/**
 * mcs: the queue lock of Mellor-Crummey and Scott (TOCS 1991; the paper's reference 24).
 *
 *   lock    node.next = none; node.locked = 1; previous = xchg(tail, me)
 *           if previous: previous.next = me; while node.locked: PAUSE
 *   unlock  if !node.next: if cas(tail, me, none) return; while !node.next: PAUSE
 *           node.next.locked = 0
 *
 * First come, first served like ticket, but every waiter spins on a line of its own: a hand-over
 * moves one line to one waiter. One line of 16 words for the tail and one for every vCPU's node; a
 * vCPU is in the queue of one lock object's memory once, so the node is part of it. Under
 * preemption it loses as ticket does, and worse: the next one is the only one who can go on.
 */
import type { Vcpu } from '../share-info/vcpu.ts';
import { checkMemory, type Lock, type LockKind, type LockStats } from './lock.ts';
import { Psp } from './psp.ts';
import { spinUntil, spinWhile } from './spin.ts';

/** Words in a cache line. */
const LINE = 16;
/** The vCPU that came last, + 1; 0: nobody. */
const TAIL = 0;
/** In a node: the vCPU that comes after, + 1. */
const NEXT = 0;
const LOCKED = 1;

export class McsLock implements Lock {
  readonly stats: LockStats;
  private readonly memory: Int32Array;
  private readonly vcpu: Vcpu;
  private readonly psp: Psp;
  private readonly me: number;
  private readonly node: number;

  constructor(memory: Int32Array, vcpu: Vcpu) {
    this.memory = memory;
    this.vcpu = vcpu;
    this.psp = new Psp(vcpu);
    this.stats = this.psp.stats;
    this.me = vcpu.id - vcpu.first + 1;
    this.node = this.me * LINE;
  }

  lock(): void {
    const { memory, node } = this;
    this.psp.ticket();
    // Nobody looks at the node before the exchange publishes it.
    memory[node + NEXT] = 0;
    memory[node + LOCKED] = 1;
    const previous = Atomics.exchange(memory, TAIL, this.me);
    if (previous !== 0) this.wait(previous);
    this.psp.acquired();
  }

  tryLock(): boolean {
    const { memory, node } = this;
    memory[node + NEXT] = 0;
    if (Atomics.compareExchange(memory, TAIL, 0, this.me) !== 0) return false;
    this.psp.acquiredAtOnce();
    return true;
  }

  unlock(): void {
    const { memory, me, node } = this;
    this.psp.released();
    let next = Atomics.load(memory, node + NEXT);
    if (next === 0) {
      if (Atomics.compareExchange(memory, TAIL, me, 0) === me) return;
      // Somebody is between the exchange and the store of our next.
      spinWhile(memory, node + NEXT, 0, this.vcpu);
      next = Atomics.load(memory, node + NEXT);
    }
    Atomics.store(memory, next * LINE + LOCKED, 0);
  }

  private wait(previous: number): void {
    const { memory, node, vcpu, psp } = this;
    Atomics.store(memory, previous * LINE + NEXT, this.me);
    psp.stats.waits++;
    psp.spinBegins();
    spinUntil(memory, node + LOCKED, 0, vcpu);
    psp.spinEnds();
  }
}

export const mcs: LockKind = {
  name: 'mcs',
  words: (vcpus) => LINE * (1 + vcpus),
  create(memory, vcpu) {
    checkMemory(this, memory, vcpu);
    return new McsLock(memory, vcpu);
  },
};
