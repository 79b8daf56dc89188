/**
 * A list of entry ids in order, in memory that is reused: the drain fills and empties several of
 * them thousands of times a second.
 *
 *   queue.push(id)
 *   for (let i = 0; i < queue.length; i++) queue.at(i)
 *   queue.drop(n)        forgets the first n
 */
export class IdQueue {
  /** The memory itself, for loops that pass through many: ids[0 … length). */
  readonly ids: Uint16Array;
  #length = 0;

  /** `capacity`: an entry stands in a queue at most once, so the number of entries suffices. */
  constructor(capacity: number) {
    this.ids = new Uint16Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** Returns the new length. */
  push(id: number): number {
    // A typed array would drop it without a word, and the call would never end.
    if (this.#length === this.ids.length) throw new Error('trapless: a queue of entries is full');
    this.ids[this.#length] = id;
    return ++this.#length;
  }

  /** Takes the last one. */
  pop(): number {
    return this.ids[--this.#length];
  }

  at(index: number): number {
    return this.ids[index];
  }

  drop(count: number): void {
    if (count < this.#length) this.ids.copyWithin(0, count, this.#length);
    this.#length -= count;
  }
}
