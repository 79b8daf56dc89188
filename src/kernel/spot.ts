/**
 * On the spot: a batch of entries tried in one native call, none of which may block (the hybrid
 * of FlexSC 4.1; native/spot.h).
 *
 *   spot.add(id)     …
 *   spot.run()       how many ran: spotList[0 … n); pages.isDone(id) tells which were answered
 *
 * Linux's promise not to block is not perfect (a filesystem that does I/O under a cached lookup):
 * three slow batches in a row close the spot for a second.
 */
import { CONTROL } from '../abi/entry.ts';
import type { Desk } from '../memory/desk.ts';
import type { NativeKernel } from '../native/addon.ts';

const SLOW_NS = 250_000;
const SLOW_NS_PER_ENTRY = 20_000;
/** Copying into fresh memory takes a fault per page: 0.2 ns a byte, several times that when busy. */
const SLOW_NS_PER_BYTE = 1;
const SLOW_BATCHES_MAX = 3;
const PAUSE_MS = 1000;
const NO_VIEWS: Uint8Array[] = [];
/** From here on Linux's part of a read is so much of it that another core may well do it, though
 *  the data must be copied once more: 64 KiB take 14 us here, 11 with the other core's help. */
const LONG_VIEW = 32 * 1024;

/** Whether only the thread whose buffer it is should read or write it. */
export function isShort(view: Uint8Array): boolean {
  return view.byteLength < LONG_VIEW;
}

export class Spot {
  /** Times the spot was closed for a while. */
  pauses = 0;
  /** What the loop said after the last batch: whether it has other work; null: not asked. */
  otherWork: boolean | null = null;

  readonly #native: NativeKernel;
  readonly #desk: Desk;
  #count = 0;
  #views = NO_VIEWS;
  #bytes = 0;
  #shortViews = 0;
  #slowBatches = 0;
  #closedUntil = 0;

  constructor(native: NativeKernel, desk: Desk) {
    this.#native = native;
    this.#desk = desk;
  }

  /** False while it is closed. */
  get open(): boolean {
    if (this.#closedUntil === 0) return true;
    if (performance.now() < this.#closedUntil) return false;
    this.#closedUntil = 0;
    this.#slowBatches = 0;
    return true;
  }

  /** Entries added and not run. */
  get waiting(): number {
    return this.#count;
  }

  /** Of those, the ones that another thread might as well run. */
  get offerable(): number {
    return this.#count - this.#shortViews;
  }

  /** `view`: a buffer of JavaScript's is argument 1 of `viewEntry`, for this batch only. */
  add(id: number, view: Uint8Array | undefined, viewEntry = id): void {
    this.#desk.spotList[this.#count++] = id;
    if (view === undefined) return;
    if (this.#views === NO_VIEWS) this.#views = [];
    this.#desk.directList[this.#views.length] = viewEntry;
    this.#views.push(view);
    this.#bytes += view.byteLength;
    if (isShort(view)) this.#shortViews++;
  }

  /** Forgets what was added. */
  clear(): void {
    this.#count = 0;
    this.#views = NO_VIEWS;
    this.#bytes = 0;
    this.#shortViews = 0;
  }

  /** Runs what was added; returns how many that were: spotList[0 … n) of the desk. */
  run(): number {
    const count = this.#count;
    const expectedNs = SLOW_NS + count * SLOW_NS_PER_ENTRY + this.#bytes * SLOW_NS_PER_BYTE;
    this.otherWork = this.#native.spot(count, this.#views.length, this.#views) !== 0;
    this.clear();
    this.#judge(expectedNs);
    return count;
  }

  #judge(expectedNs: number): void {
    const took = this.#desk.control[CONTROL.spotNs] >>> 0;
    if (took <= expectedNs) {
      this.#slowBatches = 0;
      return;
    }
    if (++this.#slowBatches < SLOW_BATCHES_MAX) return;
    this.#closedUntil = performance.now() + PAUSE_MS;
    this.pauses++;
  }
}
