/**
 * Who has which cache line of a lock's memory, and what an access costs: nothing but the access
 * where the processor has the line; otherwise its transfer, and transfers of one line come one
 * after the other.
 *
 *   const ns = lines.touch(word, pcpu, { writes: true, atomic: false }, nowNs);
 */
import type { Costs } from './costs.ts';

const WORDS_PER_LINE = 16;

export class CacheLines {
  readonly #costs: Costs;
  readonly #pcpus: number;
  /** Per line: its version, who alone may write it, until when it is on its way. */
  readonly #version: Float64Array;
  readonly #owner: Int32Array;
  readonly #busyNs: Float64Array;
  /** Per line and processor: the version it has. */
  readonly #cached: Float64Array;

  constructor(words: number, pcpus: number, costs: Costs) {
    const lines = Math.ceil(words / WORDS_PER_LINE);
    this.#costs = costs;
    this.#pcpus = pcpus;
    this.#version = new Float64Array(lines).fill(1);
    this.#owner = new Int32Array(lines).fill(-1);
    this.#busyNs = new Float64Array(lines);
    this.#cached = new Float64Array(lines * pcpus);
  }

  touch(word: number, pcpu: number, writes: boolean, atomic: boolean, nowNs: number): number {
    const line = Math.floor(word / WORDS_PER_LINE);
    const at = line * this.#pcpus + pcpu;
    const { localNs, atomicNs, transferNs } = this.#costs;
    const hit = this.#cached[at] === this.#version[line];
    let ns = atomic ? atomicNs : localNs;
    if (!hit || (writes && this.#owner[line] !== pcpu)) {
      const startNs = Math.max(nowNs, this.#busyNs[line]);
      this.#busyNs[line] = startNs + transferNs;
      ns = startNs - nowNs + transferNs + (atomic ? atomicNs : 0);
    }
    if (writes) {
      this.#version[line]++;
      this.#owner[line] = pcpu;
    } else if (this.#owner[line] !== pcpu) this.#owner[line] = -1;
    this.#cached[at] = this.#version[line];
    return ns;
  }
}
