/**
 * The pool: blocks of memory with a known address, for data that Linux may touch while
 * JavaScript runs. A caller's own buffer never is such memory (it could be transferred away, or
 * its worker could end): the data of a call that may block passes through a block.
 *
 *   const block = pool.take(bytes);      // -1: none free, try again when one was given back
 *   pool.bytes.copy(target, 0, block, block + n)
 *   pool.give(block);                    // not before its entry is done
 *
 * Three sizes; blocks are handed out last in, first out, so that a quiet program keeps using the
 * same few warm ones. A block is 64 bytes longer than its size: blocks at equal distances would
 * otherwise all start in the same cache set.
 */
import type { NativeKernel } from '../native/addon.ts';

const SKEW = 64;

/** Bytes per block and how many. `file` holds a 64 KiB file and the read that finds its end. */
const CLASSES = [
  { size: 4096, count: 512 },
  { size: 68 * 1024, count: 128 },
  { size: 1024 * 1024, count: 8 },
] as const;

/** Largest transfer that passes through one block. */
export const BLOCK_MAX = CLASSES[2].size;
/** The block of a whole small file. */
export const FILE_BLOCK = CLASSES[1].size;

export const POOL_BYTES = CLASSES.reduce((sum, c) => sum + (c.size + SKEW) * c.count, 0);

class FreeList {
  readonly start: number;
  readonly end: number;
  readonly #offsets: Int32Array;
  #top: number;

  constructor(start: number, size: number, count: number) {
    this.start = start;
    this.end = start + (size + SKEW) * count;
    this.#offsets = new Int32Array(count);
    for (let i = 0; i < count; i++) this.#offsets[count - 1 - i] = start + i * (size + SKEW);
    this.#top = count;
  }

  take(): number {
    return this.#top === 0 ? -1 : this.#offsets[--this.#top];
  }

  give(offset: number): void {
    this.#offsets[this.#top++] = offset;
  }

  get free(): number {
    return this.#top;
  }
}

export class Pool {
  readonly bytes: Buffer;
  readonly addressLow: number;
  readonly addressHigh: number;
  readonly #lists: FreeList[] = [];
  readonly #total: number;

  constructor(native: NativeKernel) {
    this.bytes = Buffer.from(native.pool, 0, native.pool.byteLength);
    this.addressLow = Number(native.poolAddress & 0xffffffffn) | 0;
    this.addressHigh = Number(native.poolAddress >> 32n);
    let start = 0;
    for (const { size, count } of CLASSES) {
      const list = new FreeList(start, size, count);
      this.#lists.push(list);
      start = list.end;
    }
    this.#total = CLASSES.reduce((sum, c) => sum + c.count, 0);
  }

  /** The offset of a block of at least `size` bytes, or -1 when all that fit are taken. */
  take(size: number): number {
    for (let i = 0; i < CLASSES.length; i++) {
      if (size > CLASSES[i].size) continue;
      const block = this.#lists[i].take();
      if (block !== -1) return block;
    }
    return -1;
  }

  give(block: number): void {
    for (const list of this.#lists) {
      if (block >= list.end) continue;
      list.give(block);
      return;
    }
  }

  /** Blocks handed out and not given back (0 when nothing is in flight). */
  get taken(): number {
    return this.#total - this.#lists.reduce((sum, list) => sum + list.free, 0);
  }
}
