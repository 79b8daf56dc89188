/**
 * The one lock that V8 has around all futexes of a process: Atomics.wait and notify hold it while
 * they work. Its owner may be preempted with it, and then every thread of every VM that wants to
 * sleep or to wake somebody stands in the kernel, on its processor, until that one is back.
 *
 *   const doneNs = engineLock.take(vcpu, { nowNs, callNs, later: (doneNs) => … });   // NEVER: later
 *   engineLock.off(vcpu, nowNs);      // preempted; who sleeps or ends has let go of it
 *   engineLock.back(vcpu, inNs);      // there again: those who waited learn when they are done
 */
import { NEVER, type Vcpu } from './machine-state.ts';

interface Call {
  readonly nowNs: number;
  readonly callNs: number;
  /** If the lock's owner is off: called when it is back. */
  readonly later: (doneNs: number) => void;
}

export class EngineLock {
  #owner: Vcpu | null = null;
  #freeNs = 0;
  /** Of the owner's call, while it is off. */
  #leftNs = 0;
  /** Who came meanwhile, in order. */
  #waiting: [Vcpu, Call][] = [];

  take(vcpu: Vcpu, call: Call): number {
    if (this.#freeNs === NEVER) {
      this.#waiting.push([vcpu, call]);
      return NEVER;
    }
    this.#owner = vcpu;
    this.#freeNs = Math.max(call.nowNs, this.#freeNs) + call.callNs;
    return this.#freeNs;
  }

  off(vcpu: Vcpu, nowNs: number): void {
    if (vcpu !== this.#owner || this.#freeNs === NEVER || this.#freeNs <= nowNs) return;
    this.#leftNs = this.#freeNs - nowNs;
    this.#freeNs = NEVER;
  }

  back(vcpu: Vcpu, inNs: number): void {
    if (vcpu !== this.#owner || this.#freeNs !== NEVER) return;
    this.#freeNs = inNs + this.#leftNs;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const [waiter, call] of waiting) call.later(this.take(waiter, { ...call, nowNs: inNs }));
  }
}
