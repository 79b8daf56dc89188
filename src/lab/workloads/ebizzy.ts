/**
 * ebizzy (I-Spinlock 5.1): a web server's memory use. Threads allocate chunks of one shared heap,
 * copy data into them, search there, and free them; what counts is records searched per second.
 *
 * The allocator is first fit on a list of free blocks in address order, neighbours joined, all
 * under one lock. At the end everything is free again: the list must be the one block of the start.
 */
import { Prng } from '../../kernel/sim/prng.ts';
import type { Lock } from '../../locks/index.ts';
import { type Outcome, VoidRun, type Workload } from './workload.ts';

/** Chunks a thread holds at a time: the oldest goes when the next comes. */
const WINDOW = 8;
const CHUNK_WORDS_MIN = 32;
/** A page of 4 KiB, as ebizzy's chunks by default. */
const CHUNK_WORDS_MAX = 1024;
const END = -1;
const CIRCLE = 'the list of free blocks is a circle';

/** Of a free block: its size with the header, and the next one. Offsets in words. */
const SIZE = 0;
const NEXT = 1;
const HEADER = 2;
/** Where the list begins; the heap follows. */
const FIRST = 0;
const HEAP = 16;

export class Heap {
  readonly words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  static create(words: number): Heap {
    const heap = new Heap(new SharedArrayBuffer(4 * (HEAP + words)));
    heap.words[FIRST] = HEAP;
    heap.words[HEAP + SIZE] = words;
    heap.words[HEAP + NEXT] = END;
    return heap;
  }

  /** Where `count` words are free to use, or -1. The caller holds the lock. */
  allocate(count: number): number {
    const { words } = this;
    const wanted = count + HEADER;
    let link = FIRST;
    // More steps than there can be blocks: the list has become a circle under a broken lock.
    let stepsLeft = words.length;
    for (let block = words[FIRST]; block !== END; block = words[block + NEXT]) {
      if (--stepsLeft < 0) throw new VoidRun(CIRCLE);
      const size = words[block + SIZE];
      if (size >= wanted) {
        const rest = size - wanted;
        if (rest > HEADER) {
          const left = block + wanted;
          words[left + SIZE] = rest;
          words[left + NEXT] = words[block + NEXT];
          words[link] = left;
          words[block + SIZE] = wanted;
        } else {
          words[link] = words[block + NEXT];
        }
        return block + HEADER;
      }
      link = block + NEXT;
    }
    return -1;
  }

  /** The caller holds the lock. */
  free(address: number): void {
    const { words } = this;
    const block = address - HEADER;
    let before = END;
    let after = words[FIRST];
    let stepsLeft = words.length;
    while (after !== END && after < block) {
      if (--stepsLeft < 0) throw new VoidRun(CIRCLE);
      before = after;
      after = words[after + NEXT];
    }
    if (after !== END && block + words[block + SIZE] === after) {
      words[block + SIZE] += words[after + SIZE];
      words[block + NEXT] = words[after + NEXT];
    } else {
      words[block + NEXT] = after;
    }
    if (before !== END && before + words[before + SIZE] === block) {
      words[before + SIZE] += words[block + SIZE];
      words[before + NEXT] = words[block + NEXT];
    } else if (before !== END) {
      words[before + NEXT] = block;
    } else {
      words[FIRST] = block;
    }
  }

  /** Why the list is not what it was at the start; undefined if it is. */
  leak(): string | undefined {
    const { words } = this;
    const all = words.length - HEAP;
    let free = 0;
    let blocks = 0;
    for (let block = words[FIRST]; block !== END; block = words[block + NEXT]) {
      if (block < HEAP || block >= words.length) return `a free block lies at ${block}`;
      free += words[block + SIZE];
      if (++blocks > all) return CIRCLE;
    }
    if (free !== all) return `${free} of ${all} words are free at the end`;
    return blocks === 1 ? undefined : `${blocks} free blocks at the end, neighbours not joined`;
  }
}

export const ebizzy: Workload<void> = {
  name: 'ebizzy',
  unit: 'records',
  locks: 1,

  prepare({ vcpus }) {
    // Three times what all hold at once: first fit leaves gaps.
    const heap = Heap.create(3 * vcpus * (WINDOW + 1) * (CHUNK_WORDS_MAX + HEADER));
    return { heap: heap.words.buffer as SharedArrayBuffer };
  },

  load() {},

  work(site): Outcome {
    const { size = Number.POSITIVE_INFINITY, seed } = site.plan;
    const heap = new Heap(site.memory.heap);
    const [lock] = site.locks;
    const random = new Prng(seed + 7919 * (site.index + 1));
    // The data: numbers in ascending order, of which every chunk gets a part.
    const source = Int32Array.from({ length: 2 * CHUNK_WORDS_MAX }, (_, i) => 3 * i + site.index);
    const held: Chunk[] = [];
    let done = 0;
    for (; done < size && !site.over(); done++) {
      const length = CHUNK_WORDS_MIN + random.below(CHUNK_WORDS_MAX - CHUNK_WORDS_MIN + 1);
      const from = random.below(source.length - length);
      const at = allocate(heap, lock, length);
      heap.words.set(source.subarray(from, from + length), at);
      const key = source[from + random.below(length)];
      if (!search(heap.words, at, length, key))
        throw new VoidRun(`${key} was not found in a chunk that holds it`);
      held.push({ at, first: source[from], last: source[from + length - 1], length });
      if (held.length > WINDOW) release(heap, lock, held.shift()!);
    }
    for (const chunk of held) release(heap, lock, chunk);
    return { done };
  },

  check(_plan, memory) {
    const why = new Heap(memory.heap).leak();
    if (why !== undefined) throw new VoidRun(`the heap is broken: ${why}`);
    return undefined;
  },
};

interface Chunk {
  readonly at: number;
  readonly first: number;
  readonly last: number;
  readonly length: number;
}

function allocate(heap: Heap, lock: Lock, length: number): number {
  lock.lock();
  const at = heap.allocate(length);
  lock.unlock();
  if (at === -1) throw new VoidRun('the heap is full, though it is larger than all chunks');
  return at;
}

function release(heap: Heap, lock: Lock, chunk: Chunk): void {
  const { at, first, last, length } = chunk;
  if (heap.words[at] !== first || heap.words[at + length - 1] !== last)
    throw new VoidRun('a chunk was written by somebody else');
  lock.lock();
  heap.free(at);
  lock.unlock();
}

function search(words: Int32Array, at: number, length: number, key: number): boolean {
  let low = at;
  let high = at + length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (words[middle] === key) return true;
    if (words[middle] < key) low = middle + 1;
    else high = middle - 1;
  }
  return false;
}
