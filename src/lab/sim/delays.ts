/**
 * What nobody foresees: a processor stands still for a while. What was going on takes longer, and if
 * the slice ends meanwhile that shows afterwards. Nobody knows: share_info says that the vCPU runs.
 * Delays come at any time, as often and as long as `costs` says (`delaysNs`, `delayEveryNs`), and at
 * the ends of slices (`endDelaysNs`).
 *
 *   if (delays.dueNs(pcpu) <= nowNs) { const lengthNs = delays.begin(pcpu, sliceEndNs); … }
 */
import type { Chance } from './chance.ts';
import type { Costs } from './costs.ts';
import { NEVER } from './machine-state.ts';

export class Delays {
  readonly #costs: Costs;
  readonly #chance: Chance;
  /** Per processor: when it next stands still, from when on it does so until its slice ends, and
   *  until when it does. */
  readonly #nextNs: Float64Array;
  readonly #hangNs: Float64Array;
  readonly #untilNs: Float64Array;

  constructor(pcpus: number, costs: Costs, chance: Chance) {
    this.#costs = costs;
    this.#chance = chance;
    this.#nextNs = new Float64Array(pcpus).map(() => chance.until(costs.delayEveryNs));
    this.#hangNs = new Float64Array(pcpus).fill(NEVER);
    this.#untilNs = new Float64Array(pcpus);
  }

  dueNs(pcpu: number): number {
    return Math.min(this.#nextNs[pcpu], this.#hangNs[pcpu]);
  }

  /** From when on it gets on again. */
  untilNs(pcpu: number): number {
    return this.#untilNs[pcpu];
  }

  /** The one that is due: how long it is. */
  begin(pcpu: number, sliceEndNs: number): number {
    let lengthNs: number;
    let atNs = this.#nextNs[pcpu];
    if (this.#hangNs[pcpu] <= atNs) {
      atNs = this.#hangNs[pcpu];
      lengthNs = Math.max(0, sliceEndNs - atNs);
      this.#hangNs[pcpu] = NEVER;
    } else {
      lengthNs = this.#chance.oneOf(this.#costs.delaysNs);
      this.#nextNs[pcpu] = atNs + lengthNs + this.#chance.until(this.#costs.delayEveryNs);
    }
    this.#untilNs[pcpu] = atNs + lengthNs;
    return lengthNs;
  }

  /** A slice begins. */
  sliceBegins(pcpu: number, inNs: number, sliceNs: number): void {
    const { endDelaysNs, delayEveryNs } = this.#costs;
    const hangNs = endDelaysNs.length === 0 ? 0 : this.#chance.oneOf(endDelaysNs);
    this.#hangNs[pcpu] = hangNs > 0 ? Math.max(inNs, inNs + sliceNs - hangNs) : NEVER;
    // What stood still was the processor, and that has passed while it was empty.
    if (this.#nextNs[pcpu] < inNs) this.#nextNs[pcpu] = inNs + this.#chance.until(delayEveryNs);
  }
}
