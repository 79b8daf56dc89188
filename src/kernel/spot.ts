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
const SLOW_BATCHES_MAX = 3;
const PAUSE_MS = 1000;
const NO_VIEWS: Uint8Array[] = [];

export class Spot {
  /** Times the spot was closed for a while. */
  pauses = 0;

  readonly #native: NativeKernel;
  readonly #desk: Desk;
  #count = 0;
  #views = NO_VIEWS;
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

  /** Of those, the ones that another thread could run: without a buffer of JavaScript's. */
  get offerable(): number {
    return this.#count - this.#views.length;
  }

  /** `view`: a buffer of JavaScript's is argument 1 of `viewEntry`, for this batch only. */
  add(id: number, view: Uint8Array | undefined, viewEntry = id): void {
    this.#desk.spotList[this.#count++] = id;
    if (view === undefined) return;
    if (this.#views === NO_VIEWS) this.#views = [];
    this.#desk.directList[this.#views.length] = viewEntry;
    this.#views.push(view);
  }

  /** Forgets what was added. */
  clear(): void {
    this.#count = 0;
    this.#views = NO_VIEWS;
  }

  /** Runs what was added; returns how many that were: spotList[0 … n) of the desk. */
  run(): number {
    const count = this.#count;
    this.#native.spot(count, this.#views.length, this.#views);
    this.clear();
    this.#judge(count);
    return count;
  }

  #judge(count: number): void {
    const took = this.#desk.control[CONTROL.spotNs] >>> 0;
    if (took <= SLOW_NS + count * SLOW_NS_PER_ENTRY) {
      this.#slowBatches = 0;
      return;
    }
    if (++this.#slowBatches < SLOW_BATCHES_MAX) return;
    this.#closedUntil = performance.now() + PAUSE_MS;
    this.pauses++;
  }
}
