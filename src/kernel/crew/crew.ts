/**
 * The crew as this thread sees it: ready bits go down, done bits come up (native/crew.h has the
 * threads themselves).
 *
 *   crew.give(id)            ready; nobody is told yet
 *   crew.wakeIfAsleep()      after a batch
 *   crew.takeBack(id)        false: a crew thread has it already
 *   crew.harvest(finished)   ids of completed chains are pushed
 */
import { CONTROL, DESC, DESC_WORDS, ENTRIES_PER_PAGE } from '../../abi/entry.ts';
import { load, setBit, takeBit, takeBits } from '../../memory/barrier.ts';
import type { Desk } from '../../memory/desk.ts';
import type { NativeKernel } from '../../native/addon.ts';
import type { SyscallPages } from '../../page/pages.ts';
import type { IdQueue } from '../id-queue.ts';

/** Where an entry's ready bit lies. */
function readyWord(id: number): number {
  return ((id / ENTRIES_PER_PAGE) | 0) * DESC_WORDS + DESC.ready + ((id >> 5) & 1);
}

export class Crew {
  /** Chains given and not harvested. */
  inFlight = 0;
  /** Times a thread had to be woken. */
  wakes = 0;

  readonly #native: NativeKernel;
  readonly #pages: SyscallPages;
  readonly #control: Int32Array;
  readonly #descs: Int32Array;
  #untold = false;

  constructor(native: NativeKernel, desk: Desk, pages: SyscallPages) {
    this.#native = native;
    this.#pages = pages;
    this.#control = desk.control;
    this.#descs = desk.descs;
  }

  give(id: number): void {
    this.inFlight++;
    setBit(this.#descs, readyWord(id), 1 << (id & 31));
    this.#untold = true;
  }

  takeBack(id: number): boolean {
    if (!takeBit(this.#descs, readyWord(id), 1 << (id & 31))) return false;
    this.inFlight--;
    return true;
  }

  /** A thread that is awake finds ready bits by itself; otherwise one is woken. The order matters:
   *  bits first, then awake (the Dekker protocol of native/crew.c). */
  wakeIfAsleep(): void {
    if (!this.#untold) return;
    this.#untold = false;
    this.#control[CONTROL.crewInFlight] = this.inFlight;
    if (load(this.#control, CONTROL.awake) !== 0) return;
    this.wakes++;
    this.#native.wake();
  }

  harvest(finished: IdQueue): void {
    const bell = load(this.#control, CONTROL.bell);
    if (bell === this.#control[CONTROL.bellSeen]) return;
    this.#control[CONTROL.bellSeen] = bell;
    const pages = this.#pages.pages;
    for (let page = 0; page < pages; page++) {
      const at = page * DESC_WORDS + DESC.done;
      this.#harvestWord(takeBits(this.#descs, at), page * ENTRIES_PER_PAGE, finished);
      this.#harvestWord(takeBits(this.#descs, at + 1), page * ENTRIES_PER_PAGE + 32, finished);
    }
    this.#control[CONTROL.crewInFlight] = this.inFlight;
  }

  #harvestWord(bits: number, first: number, finished: IdQueue): void {
    let left = bits;
    while (left !== 0) {
      finished.push(first + 31 - Math.clz32(left & -left));
      left &= left - 1;
      this.inFlight--;
    }
  }
}
