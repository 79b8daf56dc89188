/**
 * Spin loops, each a function of its own with nothing after the loop.
 *
 * V8 compiles a loop while it runs (on-stack replacement), after a wait of milliseconds, say. What
 * stands behind the loop in the same function has not been run then, is compiled as "never happens",
 * and the code is thrown away there. It is kept for the next time it spins, though: in a lock that
 * would be some ten microseconds lost between the lock and its critical section, at every wait.
 */
import type { Vcpu } from '../share-info/vcpu.ts';

export function spinUntil(memory: Int32Array, word: number, value: number, vcpu: Vcpu): void {
  do vcpu.relax(1);
  while (Atomics.load(memory, word) !== value);
}

export function spinWhile(memory: Int32Array, word: number, value: number, vcpu: Vcpu): void {
  do vcpu.relax(1);
  while (Atomics.load(memory, word) === value);
}
