/**
 * Provided buffers: Linux takes them from the ring, in order, as data arrives, so that a receive
 * needs no memory of its own while it stands.
 *
 *   const offset = ring.offsetOf(buffer);   // of a completion: where in the arena the data is
 *   ring.give(buffer);                      // may be overwritten after the next publish()
 *   ring.publish();
 *
 * struct io_uring_buf_ring: entries of 16 bytes (address, length, number); the tail is in the
 * first entry's spare field. The page is part of the arena and outlives the queue.
 */
import { publishHalf } from '../../memory/barrier.ts';
import { BUFFER_BYTES, BUFFERS, BUFFERS_AT } from './layout.ts';

const ENTRY_WORDS = 4;
/** u16 index of the tail. */
const SHARED_TAIL = 7;
const MASK = BUFFERS - 1;

export class BufferRing {
  readonly #words: Int32Array;
  readonly #halves: Uint16Array;
  readonly #low: number;
  readonly #high: number;
  #localTail = 0;
  #published = 0;

  constructor(arena: ArrayBuffer, low: number, high: number) {
    this.#words = new Int32Array(arena, 0, BUFFERS * ENTRY_WORDS);
    this.#halves = new Uint16Array(arena, 0, BUFFERS * ENTRY_WORDS * 2);
    this.#low = low;
    this.#high = high;
    for (let i = 0; i < BUFFERS; i++) this.give(i);
    this.publish();
  }

  offsetOf(buffer: number): number {
    return BUFFERS_AT + buffer * BUFFER_BYTES;
  }

  /** Back into the ring. Linux does not see it before publish(): the data stays till then. */
  give(buffer: number): void {
    const at = (this.#localTail & MASK) * ENTRY_WORDS;
    this.#words[at] = this.#low + this.offsetOf(buffer);
    this.#words[at + 1] = this.#high;
    this.#words[at + 2] = BUFFER_BYTES;
    this.#halves[(at + 3) * 2] = buffer;
    this.#localTail = (this.#localTail + 1) & 0xffff;
  }

  publish(): void {
    if (this.#localTail === this.#published) return;
    // Pairs with Linux's acquire of the tail: the entries are complete, and we have done with
    // what was in the buffers.
    publishHalf(this.#halves, SHARED_TAIL, this.#localTail);
    this.#published = this.#localTail;
  }
}
