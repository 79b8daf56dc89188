/**
 * How many files operations may keep open at a time. Node has four threads, and so four files open
 * for all calls that open, work and close; a program may start thousands of such calls with few
 * descriptors to spare.
 *
 *   if (kernel.openFiles.full) return kernel.openFiles.later(again);
 *   kernel.openFiles.enter();       …open, work, close…       kernel.openFiles.leave();
 *
 * Only for what may keep a file open for long: chains that are answered on the spot do not count.
 */

/** Enough for any disk, and few beside the 1,024 descriptors that a program often has. */
const AT_ONCE = 64;

export class OpenFiles {
  #held = 0;
  #waiting: (() => void)[] = [];
  /** How many of #waiting have been called. */
  #called = 0;

  get any(): boolean {
    return this.#held > 0;
  }

  get full(): boolean {
    return this.#held >= AT_ONCE;
  }

  /** Calls `again` when somebody has left; it must look anew. Whoever holds keeps the loop alive. */
  later(again: () => void): void {
    this.#waiting.push(again);
  }

  enter(): void {
    this.#held++;
  }

  /** Whoever is called and does not enter (it failed, or waits for something else) leaves his turn to
   *  the next: with nobody in, nobody would call them. */
  leave(): void {
    this.#held--;
    while (!this.full && this.#called < this.#waiting.length) this.#waiting[this.#called++]();
    if (this.#called < this.#waiting.length || this.#called === 0) return;
    this.#waiting = [];
    this.#called = 0;
  }
}
