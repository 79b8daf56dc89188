/**
 * The words that somebody else writes: the only file (with native/) that uses Atomics on memory
 * shared with the crew or with Linux. JavaScript's Atomics are sequentially consistent, stronger
 * than each pair below needs; each function says who is at the other end.
 */

/** Takes and clears a word of done bits. Pairs with the crew's fetch_or in native/crew.c. */
export function takeBits(words: Int32Array, index: number): number {
  return Atomics.load(words, index) === 0 ? 0 : Atomics.exchange(words, index, 0);
}

/** Hands an entry to the crew. Everything written to the entry before is visible to who takes
 *  the bit (native/crew.c, take_bit). */
export function setBit(words: Int32Array, index: number, mask: number): void {
  Atomics.or(words, index, mask);
}

/** Takes a ready bit back; false when the crew was faster. */
export function takeBit(words: Int32Array, index: number, mask: number): boolean {
  return (Atomics.and(words, index, ~mask) & mask) !== 0;
}

/** Reads a word the other side publishes (bell, awake, ring heads and tails, an entry's status):
 *  what was written before it there is visible after it here. */
export function load(words: Int32Array, index: number): number {
  return Atomics.load(words, index);
}

/** Publishes a word: everything written before it here is visible after it there. */
export function publish(words: Int32Array, index: number, value: number): void {
  Atomics.store(words, index, value);
}

/** The same for a word of 16 bits. */
export function publishHalf(words: Uint16Array, index: number, value: number): void {
  Atomics.store(words, index, value);
}

/** Changes a status only from the expected one; returns what it found. */
export function exchangeIf(
  words: Int32Array,
  index: number,
  expected: number,
  value: number,
): number {
  return Atomics.compareExchange(words, index, expected, value);
}
