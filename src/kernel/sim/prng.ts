/**
 * Random numbers that can be had again: everything in sim/ that is left to chance asks one of
 * these, so that a run is its seed. (Math.random and Date.now are banned here.)
 *
 *   const random = new Prng(42);
 *   random.below(6)            0 to 5
 *   random.chance(1, 64)       true once in 64
 *   random.fork()              another stream, so that one consumer does not shift another's
 */
export class Prng {
  /** sfc32's state (Chris Doty-Humphrey, PractRand): three words and a counter. */
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = Math.floor(seed / 4294967296) | 0;
    this.#c = 0x9e3779b9 | 0;
    for (let i = 0; i < 15; i++) this.next();
  }

  /** 32 bits. */
  next(): number {
    const result = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0;
    return result >>> 0;
  }

  /** An integer from 0 to `limit` - 1; `limit` is at most 2^32. */
  below(limit: number): number {
    return Math.floor((this.next() / 4294967296) * limit);
  }

  /** True `numerator` times in `denominator`. */
  chance(numerator: number, denominator: number): boolean {
    return this.below(denominator) < numerator;
  }

  /** Takes one element out of a list. */
  take<T>(list: T[]): T {
    return list.splice(this.below(list.length), 1)[0];
  }

  fork(): Prng {
    return new Prng(this.next());
  }
}
