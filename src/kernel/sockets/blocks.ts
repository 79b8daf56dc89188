/**
 * Blocks that sends go out of: data waits there, at a known address, until Linux has taken it.
 *
 *   const block = blocks.take(bytes);   // an offset into the arena, or -1: none free
 *   blocks.give(block);                 // not before its send has completed
 *   blocks.whenFree(retry);             // called once, when some were given back
 *
 * Two sizes, last in, first out: a quiet server keeps using the same few warm ones.
 */
import { LARGE_AT, LARGE_BLOCK, SEND_CLASSES, SMALL_BLOCK } from './layout.ts';

export class SendBlocks {
  readonly #free: readonly Int32Array[];
  readonly #tops: number[];
  #waiting: (() => void)[] = [];

  constructor() {
    this.#free = SEND_CLASSES.map(({ at, stride, count }) =>
      Int32Array.from({ length: count }, (_, i) => at + (count - 1 - i) * stride),
    );
    this.#tops = SEND_CLASSES.map(({ count }) => count);
  }

  /** For up to `bytes`, or as much as the largest block holds. */
  take(bytes: number): number {
    let kind = bytes <= SMALL_BLOCK ? 0 : 1;
    if (this.#tops[kind] === 0) kind = 1 - kind;
    if (this.#tops[kind] === 0) return -1;
    return this.#free[kind][--this.#tops[kind]];
  }

  give(block: number): void {
    const kind = block < LARGE_AT ? 0 : 1;
    this.#free[kind][this.#tops[kind]++] = block;
  }

  sizeOf(block: number): number {
    return block < LARGE_AT ? SMALL_BLOCK : LARGE_BLOCK;
  }

  whenFree(retry: () => void): void {
    this.#waiting.push(retry);
  }

  /** After a batch: those that found no block try again. */
  retryWaiting(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const retry of waiting) retry();
  }

  /** Blocks taken and not given back. */
  get taken(): number {
    return SEND_CLASSES.reduce((sum, { count }, kind) => sum + count - this.#tops[kind], 0);
  }
}
