/**
 * What a step of a lock algorithm does to its VM's memory, and what that costs: the machine's half
 * of `Steps` that is about memory. The machine says whose step it is and looks at the cost.
 */
import type { Vcpu, Vm } from './machine-state.ts';

export abstract class MemorySteps {
  /** Of the step being run: who does it, when it began, and what it has cost so far. */
  protected vcpu!: Vcpu;
  protected vm!: Vm;
  protected stepNs = 0;
  protected costNs = 0;

  /** Whoever spins on it learns of it. */
  protected abstract written(word: number): void;

  #touch(word: number, writes: boolean, atomic: boolean): void {
    const { lines } = this.vm;
    this.costNs += lines.touch(word, this.vcpu.pcpu, writes, atomic, this.stepNs);
  }

  load(word: number): number {
    this.#touch(word, false, false);
    return this.vm.memory[word];
  }

  store(word: number, value: number): void {
    this.#touch(word, true, false);
    this.vm.memory[word] = value;
    this.written(word);
  }

  #update(word: number, value: number): number {
    const { memory } = this.vm;
    const old = memory[word];
    this.#touch(word, true, true);
    memory[word] = value;
    if (memory[word] !== old) this.written(word);
    return old;
  }

  add(word: number, delta: number): number {
    return this.#update(word, this.vm.memory[word] + delta);
  }

  exchange(word: number, value: number): number {
    return this.#update(word, value);
  }

  compareExchange(word: number, expected: number, value: number): number {
    const old = this.vm.memory[word];
    return this.#update(word, old === (expected | 0) ? value : old);
  }

  exchangePart(word: number, mask: number, value: number): number {
    const old = this.vm.memory[word];
    return this.#update(word, (old & ~mask) | value) & mask;
  }

  compareExchangePart(word: number, mask: number, expected: number, value: number): number {
    const old = this.vm.memory[word];
    const part = old & mask;
    this.#update(word, part === (expected | 0) ? (old & ~mask) | value : old);
    return part;
  }

  or(word: number, bits: number): number {
    return this.#update(word, this.vm.memory[word] | bits);
  }

  and(word: number, bits: number): number {
    return this.#update(word, this.vm.memory[word] & bits);
  }
}
