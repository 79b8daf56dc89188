/**
 * Which file descriptors have calls in flight. A descriptor's number is reused by the next open:
 * a close must not overtake a read of the same number that the crew or the ring has not begun,
 * or the read would hit the wrong file.
 */
import { NO_LINK, NUMBER_NOP } from '../abi/entry.ts';
import { type SyscallName, syscallNumber } from '../abi/syscalls.ts';
import type { SyscallPages } from '../page/pages.ts';

/** Calls whose first argument is a descriptor that must stay what it is. */
const ON_DESCRIPTOR: readonly SyscallName[] = [
  'read',
  'write',
  'readv',
  'writev',
  'pread64',
  'pwrite64',
  'preadv',
  'pwritev',
  'fsync',
  'fdatasync',
  'ftruncate',
  'fstat',
  'fchmod',
  'fchown',
  'getdents64',
  'copy_file_range',
];

export class BusyDescriptors {
  readonly #pages: SyscallPages;
  readonly #counted = new Uint8Array(NUMBER_NOP + 1);
  readonly #inFlight = new Map<number, number>();
  readonly #held = new Map<number, number[]>();

  constructor(pages: SyscallPages) {
    this.#pages = pages;
    for (const name of ON_DESCRIPTOR) this.#counted[syscallNumber(name)] = 1;
  }

  /** Whether any call on a descriptor is in flight. */
  get any(): boolean {
    return this.#inFlight.size > 0;
  }

  /** Whether the first argument of this call is a descriptor. */
  watches(number: number): boolean {
    return this.#counted[number] !== 0;
  }

  /** The descriptor an entry works on, or -1. Chains open their own. */
  #descriptor(id: number): number {
    const pages = this.#pages;
    if (this.#counted[pages.number(id)] === 0 || pages.next(id) !== NO_LINK) return -1;
    return pages.argInt(id, 0);
  }

  /** An entry goes to the crew or the ring. */
  began(id: number): void {
    const fd = this.#descriptor(id);
    if (fd !== -1) this.#inFlight.set(fd, (this.#inFlight.get(fd) ?? 0) + 1);
  }

  /** It is done: closes that waited for it, or null. */
  ended(id: number): number[] | null {
    if (this.#inFlight.size === 0) return null;
    const fd = this.#descriptor(id);
    if (fd === -1) return null;
    const left = (this.#inFlight.get(fd) ?? 1) - 1;
    if (left > 0) {
      this.#inFlight.set(fd, left);
      return null;
    }
    this.#inFlight.delete(fd);
    const held = this.#held.get(fd) ?? null;
    this.#held.delete(fd);
    return held;
  }

  /** Whether the close at `id` must wait; then `ended` returns it later. */
  holdClose(id: number): boolean {
    if (this.#inFlight.size === 0) return false;
    const fd = this.#pages.argInt(id, 0);
    if (!this.#inFlight.has(fd)) return false;
    const held = this.#held.get(fd);
    if (held) held.push(id);
    else this.#held.set(fd, [id]);
    return true;
  }
}
