/**
 * The descriptors that end with this worker: those a program opened and has not closed, and those
 * of operations that are under way. A bit each, in the desk, where the addon finds them when the
 * environment ends (native/kernel.c). In the main thread there are none: its end is the process's.
 *
 *   own.add(fd)         from here on somebody must close it
 *   own.remove(fd)      somebody else does: a close is posted, or a FileHandle of Node's has it
 *
 *            harvested: add                posted: remove
 *   openat ──────────────────► in the set ─────────────────► close
 *   until then the addon finds it                 from then on the addon finds it
 *   by its entry, which is done                   by its entry, if it was never begun
 *
 * Adding comes before the entry is freed and removing after the close is posted: a thread that is
 * terminated in between has it in both places, and the addon closes it once.
 */
import { isMainThread } from 'node:worker_threads';
import type { Desk } from '../memory/desk.ts';

export class OwnDescriptors {
  readonly #bits: Int32Array | null;

  constructor(desk: Desk) {
    this.#bits = isMainThread ? null : desk.ownDescriptors;
  }

  add(fd: number): void {
    const bits = this.#bits;
    // Beyond the table's end a descriptor outlives its thread.
    if (bits !== null && fd >>> 5 < bits.length) bits[fd >>> 5] |= 1 << fd;
  }

  /** Whether it was there. */
  remove(fd: number): boolean {
    if (!this.has(fd)) return false;
    this.#bits![fd >>> 5] &= ~(1 << fd);
    return true;
  }

  has(fd: number): boolean {
    const bits = this.#bits;
    if ((fd | 0) !== fd) return false; // a program's argument
    return bits !== null && fd >>> 5 < bits.length && (bits[fd >>> 5] & (1 << fd)) !== 0;
  }
}
