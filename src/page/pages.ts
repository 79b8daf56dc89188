/**
 * Syscall pages: claim an entry, fill it, post it, take its result, free it (FlexSC 3.2).
 *
 *   const id = pages.claim();                   // -1: none free, see Kernel.whenRoom
 *   pages.call(id, number, 3, 0);
 *   pages.setNumber(id, 0, fd); …
 *   kernel.post(id, completion);                // submitted; ours no longer
 *   …                                           // completion.done(kernel, id)
 *   const result = pages.result(id);            // -errno when it failed
 *   pages.free(id);                             // never touch it again
 *
 *                claim+fill            syscall thread         harvest
 *      free ───────────────► submitted ───────► busy ───────► done ───► free
 *        ▲                        │               │             ▲
 *        │                        └── abandon ────┴─► abandoned ┘
 *        └─────────────────────────────── (freed once done) ◄───┘
 *
 * All of it is plain loads and stores: pages belong to one JS thread (FlexSC 4.2), and an entry
 * is handed over by the scheduler, in one go with everything else posted.
 */
import {
  CONTROL,
  callWord,
  ENTRIES_PER_PAGE,
  ENTRY_WORDS,
  FLAG,
  NO_LINK,
  SLOT_SIZE,
  STATUS,
  WORD,
} from '../abi/entry.ts';
import { exchangeIf, load } from '../memory/barrier.ts';
import type { Desk } from '../memory/desk.ts';

const TWO_32 = 4294967296;
/** FLAG.link in word 1. */
const LINK = FLAG.link << 24;
/** Entries taken from one page before the next page's turn: a page is drained by one core at a
 *  time (FlexSC 3.6), so a batch must lie on several for several cores to share it. */
const STRIPE = 16;
/** Bytes of a slot that hold a path; the rest is for the result. */
export const SLOT_PATH_MAX = 768;
export const SLOT_RESULT = 768;

export class SyscallPages {
  readonly desk: Desk;
  readonly #entries: Int32Array;
  readonly #links: Uint16Array;
  /** Free entries, last freed on top: it is still in the cache. */
  readonly #free: Uint16Array;
  #freeTop = 0;
  #pages = 0;

  constructor(desk: Desk, pages: number) {
    this.desk = desk;
    this.#entries = desk.entries;
    this.#links = desk.links;
    this.#free = new Uint16Array(desk.pagesMax * ENTRIES_PER_PAGE);
    this.#map(pages);
  }

  /** Pages in use. */
  get pages(): number {
    return this.#pages;
  }

  /** Entries that could be claimed without mapping another page. */
  get entriesFree(): number {
    return this.#freeTop;
  }

  /** Entries claimed and not freed. */
  get entriesInUse(): number {
    return this.#pages * ENTRIES_PER_PAGE - this.#freeTop;
  }

  /** Puts `count` more pages to use, their entries striped across them. */
  #map(count: number): void {
    const first = this.#pages;
    const last = Math.min(first + count, this.desk.pagesMax);
    for (let stripe = ENTRIES_PER_PAGE - STRIPE; stripe >= 0; stripe -= STRIPE)
      for (let page = last - 1; page >= first; page--)
        for (let i = STRIPE - 1; i >= 0; i--)
          this.#free[this.#freeTop++] = page * ENTRIES_PER_PAGE + stripe + i;
    this.#pages = last;
    this.desk.control[CONTROL.pagesInUse] = last;
  }

  /** Makes sure that `count` entries can be claimed, mapping more pages up to the limit. */
  room(count: number): boolean {
    while (this.#freeTop < count && this.#pages < this.desk.pagesMax)
      this.#map(Math.max(1, this.#pages));
    return this.#freeTop >= count;
  }

  /** A free entry's id, or -1 when every entry of every page is taken. */
  claim(): number {
    if (this.#freeTop === 0 && !this.room(1)) return -1;
    return this.#free[--this.#freeTop];
  }

  /** Sets what is called, and marks the entry submitted. Nobody sees it before post(). */
  call(id: number, number: number, argc: number, flags: number): void {
    const at = id * ENTRY_WORDS;
    this.#entries[at] = STATUS.submitted;
    this.#entries[at + WORD.call] = callWord(number, argc, flags);
  }

  /** Joins `next` behind `id`; `id` must have FLAG.link. */
  link(id: number, next: number): void {
    this.#links[id] = next;
  }

  /** An integer argument of up to 32 bits, sign-extended as C would. */
  setInt(id: number, index: number, value: number): void {
    const at = id * ENTRY_WORDS + WORD.args + index * 2;
    this.#entries[at] = value;
    this.#entries[at + 1] = value >> 31;
  }

  /** An integer argument of up to 53 bits (an offset, a length), negative ones included. */
  setNumber(id: number, index: number, value: number): void {
    const at = id * ENTRY_WORDS + WORD.args + index * 2;
    this.#entries[at] = value;
    this.#entries[at + 1] = Math.floor(value / TWO_32);
  }

  /** A 64-bit argument. */
  setBigInt(id: number, index: number, value: bigint): void {
    const at = id * ENTRY_WORDS + WORD.args + index * 2;
    this.#entries[at] = Number(BigInt.asIntN(32, value));
    this.#entries[at + 1] = Number(BigInt.asIntN(32, value >> 32n));
  }

  /** An address: the two halves as memory/ gives them. */
  setAddress(id: number, index: number, low: number, high: number): void {
    const at = id * ENTRY_WORDS + WORD.args + index * 2;
    this.#entries[at] = low;
    this.#entries[at + 1] = high;
  }

  /** Points an argument into the entry's own slot, `offset` bytes in. */
  setSlot(id: number, index: number, offset: number): void {
    this.setAddress(id, index, this.desk.slotsLow + id * SLOT_SIZE + offset, this.desk.addressHigh);
  }

  /** Reads an argument back (never an address of a caller's buffer: those are not kept). */
  arg(id: number, index: number): bigint {
    const at = id * ENTRY_WORDS + WORD.args + index * 2;
    return (BigInt(this.#entries[at + 1]) << 32n) | BigInt(this.#entries[at] >>> 0);
  }

  /** An argument known to fit 32 bits, such as a descriptor. */
  argInt(id: number, index: number): number {
    return this.#entries[id * ENTRY_WORDS + WORD.args + index * 2];
  }

  number(id: number): number {
    return this.#entries[id * ENTRY_WORDS + WORD.call] & 0xffff;
  }

  flags(id: number): number {
    return this.#entries[id * ENTRY_WORDS + WORD.call] >>> 24;
  }

  /** The entry behind `id` in its chain, or NO_LINK. */
  next(id: number): number {
    return this.flags(id) & FLAG.link ? this.#links[id] : NO_LINK;
  }

  status(id: number): number {
    return load(this.#entries, id * ENTRY_WORDS);
  }

  /** Entries of the chain that begins at `id`. */
  length(id: number): number {
    let length = 1;
    for (let at = this.next(id); at !== NO_LINK; at = this.next(at)) length++;
    return length;
  }

  /** Whether this one entry is done, as far as this thread knows. */
  isEntryDone(id: number): boolean {
    return this.#entries[id * ENTRY_WORDS] === STATUS.done;
  }

  /** Whether the chain that begins at `id` has run to its end. */
  isDone(id: number): boolean {
    let at = id;
    while (this.#entries[at * ENTRY_WORDS] === STATUS.done) {
      if (!(this.flags(at) & FLAG.link)) return true;
      at = this.#links[at];
    }
    return false;
  }

  setStatus(id: number, status: number): void {
    this.#entries[id * ENTRY_WORDS] = status;
  }

  /** The caller gave up. False when it is too late: the entry is done. */
  abandon(id: number): boolean {
    const at = id * ENTRY_WORDS;
    const { submitted, busy, abandoned } = STATUS;
    if (exchangeIf(this.#entries, at, submitted, abandoned) === submitted) return true;
    return exchangeIf(this.#entries, at, busy, abandoned) === busy;
  }

  setResult(id: number, result: number): void {
    const at = id * ENTRY_WORDS + WORD.result;
    this.#entries[at] = result;
    this.#entries[at + 1] = result >> 31;
  }

  /** The result as a number: exact up to 53 bits, -errno when the call failed. */
  result(id: number): number {
    const at = id * ENTRY_WORDS + WORD.result;
    const low = this.#entries[at];
    const high = this.#entries[at + 1];
    // Nearly every one fits 32 bits: then it is an integer to V8, too.
    return high === low >> 31 ? low : high * TWO_32 + (low >>> 0);
  }

  /** The exact 64-bit result. */
  resultBigInt(id: number): bigint {
    const at = id * ENTRY_WORDS + WORD.result;
    return (BigInt(this.#entries[at + 1]) << 32n) | BigInt(this.#entries[at] >>> 0);
  }

  /** The result's halves: signed words, exact without a bigint. */
  resultLow(id: number): number {
    return this.#entries[id * ENTRY_WORDS + WORD.result];
  }

  resultHigh(id: number): number {
    return this.#entries[id * ENTRY_WORDS + WORD.result + 1];
  }

  /** Frees the chain that begins at `id`. */
  free(id: number): void {
    const entries = this.#entries;
    for (let at = id; at !== NO_LINK; at = this.#links[at]) {
      const call = entries[at * ENTRY_WORDS + WORD.call];
      entries[at * ENTRY_WORDS] = STATUS.free;
      this.#free[this.#freeTop++] = at;
      if ((call & LINK) === 0) return;
    }
  }
}
