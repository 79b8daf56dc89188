/**
 * Addresses of the simulated machine. The desk and the pool lie where no real memory is, so that
 * an address that escapes to Linux is a fault at once; a caller's buffer has an address only
 * during the batch on the spot that may use it.
 *
 *   space.map(bytes)                  the address its first byte has from now on
 *   space.bytes(address, length)      the memory there, or EFAULT
 *   space.unmap(address)
 */
import { ERRNO } from '../../abi/errno.ts';
import { Errno } from './errno.ts';

interface Region {
  readonly start: number;
  readonly bytes: Buffer;
}

/** Set in the low half: what treats a half as a signed number is found out. */
const FIRST = 0x12_f000_0000;
const SPACING = 0x1_0000_0000;

export class AddressSpace {
  readonly #regions: Region[] = [];
  #next = FIRST;

  map(bytes: Buffer): number {
    const start = this.#next;
    this.#next += SPACING;
    this.#regions.push({ start, bytes });
    return start;
  }

  /** Forgets a region; its address is not used again. */
  unmap(address: number): void {
    const at = this.#regions.findIndex((region) => region.start === address);
    if (at === -1) throw new Error(`sim: nothing is mapped at 0x${address.toString(16)}`);
    this.#regions.splice(at, 1);
  }

  bytes(address: number, length: number): Buffer {
    for (const { start, bytes } of this.#regions) {
      const offset = address - start;
      if (offset >= 0 && offset + length <= bytes.length)
        return bytes.subarray(offset, offset + length);
    }
    throw new Errno(ERRNO.EFAULT);
  }

  /** The bytes up to a NUL, without it. */
  string(address: number): Buffer {
    for (const { start, bytes } of this.#regions) {
      const offset = address - start;
      if (offset < 0 || offset >= bytes.length) continue;
      const end = bytes.indexOf(0, offset);
      if (end !== -1) return bytes.subarray(offset, end);
    }
    throw new Errno(ERRNO.EFAULT);
  }
}
