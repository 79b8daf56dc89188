/**
 * The arena: memory with a known address behind the pool's blocks, in one mapping with them, for
 * the system calls that authors of systems code post themselves (trapless/syscall).
 *
 *   const slice = arena.alloc(4096);     // throws when the arena is full
 *   slice.bytes.writeUInt32LE(1, 0);     // a Buffer: the very bytes Linux reads and writes
 *   slice.free();                        // takes effect when its last call is done
 *
 * Sizes are rounded up to powers of two; each size has a stack of free blocks, last freed first
 * out, so that a quiet program keeps using the same warm ones. Halves are joined again only when
 * nothing large enough is left.
 */
import { POOL_BYTES, type Pool } from './pool.ts';

/** Where the arena begins in the pool's mapping: at a page, as direct I/O wants it. */
export const ARENA_START = Math.ceil(POOL_BYTES / 4096) * 4096;

/** Smallest block: cache lines shared by two calls would be contended between cores. */
const ORDER_MIN = 8;

/** Bytes of a block, as a power of two, that hold `bytes`. */
export function orderOf(bytes: number): number {
  return Math.max(ORDER_MIN, 32 - Math.clz32(Math.max(bytes, 1) - 1));
}

/** Free memory between two offsets of a mapping, handed out in powers of two. */
export class BlockAllocator {
  readonly #free: number[][] = Array.from({ length: 32 }, () => []);
  readonly #start: number;
  /** Bytes handed out and not given back. */
  taken = 0;

  /** `size` is a multiple of the smallest block; blocks are aligned relative to `start`. */
  constructor(start: number, size: number) {
    this.#start = start;
    let at = 0;
    for (let order = 31; order >= ORDER_MIN; order--) {
      if (!((size >>> order) & 1)) continue;
      this.#free[order].push(start + at);
      at += 2 ** order;
    }
  }

  /** The offset of a free block of 2^order bytes, or -1. */
  take(order: number): number {
    let offset = this.#split(order);
    if (offset === -1) {
      this.#join();
      offset = this.#split(order);
    }
    if (offset !== -1) this.taken += 2 ** order;
    return offset;
  }

  give(offset: number, order: number): void {
    this.#free[order].push(offset);
    this.taken -= 2 ** order;
  }

  #split(order: number): number {
    let from = order;
    while (from < 32 && this.#free[from].length === 0) from++;
    if (from === 32) return -1;
    const offset = this.#free[from].pop()!;
    while (from > order) {
      from--;
      this.#free[from].push(offset + 2 ** from);
    }
    return offset;
  }

  /** Puts free halves together, small ones first, so that they can join on. */
  #join(): void {
    for (let order = ORDER_MIN; order < 31; order++) {
      const size = 2 ** order;
      const free = new Set(this.#free[order]);
      for (const offset of free) {
        const buddy = this.#start + ((offset - this.#start) ^ size);
        if (!free.has(buddy)) continue;
        free.delete(offset);
        free.delete(buddy);
        this.#free[order + 1].push(Math.min(offset, buddy));
      }
      this.#free[order] = [...free];
    }
  }
}

let make: (arena: Arena, offset: number, order: number, bytes: Buffer) => ArenaSlice;
let check: (slice: ArenaSlice, arena: Arena) => void;
let pin: (slice: ArenaSlice) => number;
let unpin: (slice: ArenaSlice) => void;

/**
 * Memory that Linux and the program share without copying, from `kernel.arena.alloc()`.
 *
 * Pass it to `post()` where a pointer belongs. It stays where it is while a call uses it:
 * `free()` in mid-call takes effect when the call is done.
 */
export class ArenaSlice {
  /**
   * The memory. Not to be used after `free()`: another call may have it by then. Its
   * `buffer` is the whole arena; `byteOffset` is the slice's place in it.
   */
  readonly bytes: Buffer;
  readonly #arena: Arena;
  readonly #offset: number;
  readonly #order: number;
  #pins = 0;
  #freed = false;

  static {
    make = (arena, offset, order, bytes) => new ArenaSlice(arena, offset, order, bytes);
    check = (slice, arena) => slice.#check(arena);
    pin = (slice) => {
      slice.#pins++;
      return slice.#offset;
    };
    unpin = (slice) => slice.#unpin();
  }

  private constructor(arena: Arena, offset: number, order: number, bytes: Buffer) {
    this.#arena = arena;
    this.#offset = offset;
    this.#order = order;
    this.bytes = bytes;
  }

  /** Length in bytes, as asked for. */
  get length(): number {
    return this.bytes.length;
  }

  /** Whether it was given back; then no call takes it any more. */
  get freed(): boolean {
    return this.#freed;
  }

  /** Gives the memory back: at once, or when the last call that uses it is done. Only once. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    if (this.#pins === 0) this.#arena.give(this.#offset, this.#order);
  }

  /** `free()`, for `using slice = kernel.arena.alloc(…)`. */
  [Symbol.dispose](): void {
    this.free();
  }

  #check(arena: Arena): void {
    if (this.#freed) throw new TypeError('trapless: this slice was freed; alloc() another');
    if (arena !== this.#arena)
      throw new TypeError(
        "trapless: this slice is of another kernel's arena; pass slice.bytes, which is copied",
      );
  }

  #unpin(): void {
    if (--this.#pins === 0 && this.#freed) this.#arena.give(this.#offset, this.#order);
  }
}

/** Throws when a slice cannot be used in a call on this arena's kernel. */
export const checkSlice = (slice: ArenaSlice, arena: Arena): void => check(slice, arena);
/** Holds a slice in place for one call; its offset in the pool. */
export const pinSlice = (slice: ArenaSlice): number => pin(slice);
/** The call is done. */
export const unpinSlice = (slice: ArenaSlice): void => unpin(slice);

/** The part of a kernel's pool that lies behind its blocks. */
export class Arena {
  /** Bytes in all. */
  readonly size: number;
  readonly #pool: Pool;
  readonly #blocks: BlockAllocator;
  readonly #onRoom: () => void;

  /** @internal `onRoom` is called when memory was given back. */
  constructor(pool: Pool, onRoom: () => void) {
    this.#pool = pool;
    this.#onRoom = onRoom;
    this.size = pool.bytes.length - ARENA_START;
    this.#blocks = new BlockAllocator(ARENA_START, this.size);
  }

  /** Bytes in use, by slices and by the copies of buffers in flight; rounded as they are. */
  get used(): number {
    return this.#blocks.taken;
  }

  /**
   * Memory of at least `bytes` bytes, cleared. Throws a RangeError when there is none left:
   * free slices, or `register({ arenaBytes })`.
   */
  alloc(bytes: number): ArenaSlice {
    if (!Number.isInteger(bytes) || bytes < 1 || bytes > this.size)
      throw new RangeError(
        `trapless: a slice has 1 to ${this.size} bytes, not ${bytes}; the limit is register({ arenaBytes })`,
      );
    const order = orderOf(bytes);
    const offset = this.take(order);
    if (offset === -1)
      throw new RangeError(
        `trapless: the arena is full (${this.used} of ${this.size} bytes in use); free() slices or raise register({ arenaBytes })`,
      );
    const view = this.#pool.bytes.subarray(offset, offset + bytes);
    view.fill(0);
    return make(this, offset, order, view);
  }

  /** @internal A block of 2^order bytes for a call of its own, or -1. */
  take(order: number): number {
    return this.#blocks.take(order);
  }

  /** @internal */
  give(offset: number, order: number): void {
    this.#blocks.give(offset, order);
    this.#onRoom();
  }
}
