/**
 * The random numbers of a run, all of one seed.
 *
 *   const chance = new Chance(seed, 'exponential');
 *   chance.uniform(); chance.drawn(meanNs); chance.oneOf(lengths)
 */
import { Prng } from '../../kernel/sim/prng.ts';
import type { Distribution } from './options.ts';

/** Random times are cut at so many means, so that a csd that covers all of them exists. */
const TAIL_MEANS = 4;

export class Chance {
  readonly #random: Prng;
  readonly #distribution: Distribution;

  constructor(seed: number, distribution: Distribution) {
    this.#random = new Prng(seed);
    this.#distribution = distribution;
  }

  /** At least 0, less than 1. */
  uniform(): number {
    return this.#random.next() / 4294967296;
  }

  oneOf(values: readonly number[]): number {
    return values[Math.floor(this.uniform() * values.length)];
  }

  /** Until the next of what comes independently of each other, so far apart in the mean. */
  until(meanNs: number): number {
    return meanNs === Number.POSITIVE_INFINITY ? meanNs : -meanNs * Math.log(1 - this.uniform());
  }

  /** A time with about this mean, after the distribution. */
  drawn(meanNs: number): number {
    switch (this.#distribution) {
      case 'fixed':
        return meanNs;
      case 'uniform':
        return meanNs * (0.5 + this.uniform());
      default:
        return Math.min(TAIL_MEANS * meanNs, -meanNs * Math.log(1 - this.uniform()));
    }
  }
}
