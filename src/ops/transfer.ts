/**
 * read, write, readv, writev on an open file, at a position or at the file's own.
 *
 * The caller's buffer is used in place only while JavaScript stands still, in the batch on the
 * spot. When the call would block there, its data goes through a block of the pool (`bounce`),
 * so that a buffer transferred away meanwhile is never written to.
 */
import { FLAG } from '../abi/entry.ts';
import { ERRNO } from '../abi/errno.ts';
import { IOVEC, SIZEOF_IOVEC } from '../abi/structs.ts';
import type { Completion, Kernel } from '../kernel/kernel.ts';
import { BLOCK_MAX } from '../memory/pool.ts';
import { type Fail, number, type Resolve, settleError } from './call.ts';
import { systemError } from './error.ts';

/** The longest transfer these operations take: it must fit one block. */
export const TRANSFER_MAX = BLOCK_MAX;
/** "At the file's own position." */
export const CURRENT = -1;

abstract class Transfer implements Completion {
  view: Uint8Array | undefined;
  protected readonly target: Uint8Array;
  /** Of the target, as the program passed it. */
  readonly length: number;
  protected block = -1;
  /** What was to be written is gone. */
  protected lost = false;
  readonly #syscall: string;
  readonly #resolve: Resolve<number>;
  readonly #fail: Fail | undefined;

  constructor(
    syscall: string,
    target: Uint8Array,
    resolve: Resolve<number>,
    fail: Fail | undefined,
  ) {
    this.#syscall = syscall;
    this.target = target;
    this.length = target.byteLength;
    this.view = target;
    this.#resolve = resolve;
    this.#fail = fail;
  }

  /** Transferred away before it was begun: then there is nothing to work in on the spot. */
  get mayBlock(): boolean {
    return this.target.byteLength !== this.length;
  }

  bounce(kernel: Kernel, id: number): boolean {
    if (this.block !== -1) return true;
    const { pool, pages } = kernel;
    const block = pool.take(this.length);
    if (block === -1) return false;
    this.block = block;
    this.view = undefined;
    pages.setAddress(id, 1, pool.addressLow + block, pool.addressHigh);
    pages.setNumber(id, 2, this.fill(kernel, block));
    return true;
  }

  done(kernel: Kernel, id: number): void {
    const result = kernel.pages.result(id);
    if (this.block !== -1) {
      if (result > 0) this.drain(kernel, this.block, result);
      kernel.pool.give(this.block);
    }
    kernel.pages.free(id);
    const errno = this.lost ? -ERRNO.EFAULT : result;
    if (errno >= 0) this.#resolve(result);
    else settleError(systemError(errno, this.#syscall), this.#resolve, this.#fail);
  }

  /** Caller's buffer to block, before a write. Returns the bytes to transfer. */
  protected abstract fill(kernel: Kernel, block: number): number;
  /** Block to caller's buffer, after a read. */
  protected abstract drain(kernel: Kernel, block: number, bytes: number): void;
}

class Read extends Transfer {
  protected fill(): number {
    return this.length;
  }

  protected drain(kernel: Kernel, block: number, bytes: number): void {
    // A target transferred away meanwhile has length 0 and takes nothing.
    if (this.target.byteLength >= bytes)
      kernel.pool.bytes.copy(this.target, 0, block, block + bytes);
  }
}

class Write extends Transfer {
  protected fill(kernel: Kernel, block: number): number {
    this.lost = this.target.byteLength !== this.length;
    if (this.lost) return 0;
    kernel.pool.bytes.set(this.target, block);
    return this.length;
  }

  protected drain(): void {}
}

function post(
  kernel: Kernel,
  atPosition: 'pread64' | 'pwrite64',
  atCurrent: 'read' | 'write',
  fd: number,
  position: number | bigint,
  call: Transfer,
  flags = 0,
): void {
  const pages = kernel.pages;
  const id = pages.claim();
  if (id === -1)
    return kernel.whenRoom(() => post(kernel, atPosition, atCurrent, fd, position, call, flags));
  const current = position < 0;
  pages.call(id, number(current ? atCurrent : atPosition), current ? 3 : 4, flags);
  pages.setInt(id, 0, fd);
  pages.setNumber(id, 2, call.length);
  if (typeof position === 'number') pages.setNumber(id, 3, position);
  else pages.setBigInt(id, 3, position);
  kernel.post(id, call);
}

/** Reads into `target`; resolves to the bytes read, 0 at the end of the file. */
export function read(
  kernel: Kernel,
  fd: number,
  target: Uint8Array,
  position: number | bigint,
  resolve: Resolve<number>,
  fail?: Fail,
): void {
  const call = new Read('read', target, resolve, fail);
  post(kernel, 'pread64', 'read', fd, position, call);
}

/** The same for a file that a chain opened (O_NONBLOCK, perhaps) and that may be a FIFO or a
 *  terminal: then `position` means nothing, and 0 is its end. */
export function readOpened(
  kernel: Kernel,
  fd: number,
  target: Uint8Array,
  position: number,
  resolve: Resolve<number>,
): void {
  const call = new Read('read', target, resolve, undefined);
  post(kernel, 'pread64', 'read', fd, position, call, FLAG.stream);
}

/** Writes `source`; resolves to the bytes written. */
export function write(
  kernel: Kernel,
  fd: number,
  source: Uint8Array,
  position: number | bigint,
  resolve: Resolve<number>,
  fail?: Fail,
): void {
  const call = new Write('write', source, resolve, fail);
  post(kernel, 'pwrite64', 'write', fd, position, call);
}

/* --- Vectors: one block holds the iovecs and then the data ------------------------------- */

class Vector implements Completion {
  readonly #buffers: readonly Uint8Array[];
  readonly #block: number;
  readonly #reading: boolean;
  readonly #resolve: Resolve<number>;
  readonly #fail: Fail | undefined;

  constructor(
    buffers: readonly Uint8Array[],
    block: number,
    reading: boolean,
    resolve: Resolve<number>,
    fail: Fail | undefined,
  ) {
    this.#buffers = buffers;
    this.#block = block;
    this.#reading = reading;
    this.#resolve = resolve;
    this.#fail = fail;
  }

  done(kernel: Kernel, id: number): void {
    const result = kernel.pages.result(id);
    if (this.#reading && result > 0) this.#scatter(kernel, result);
    kernel.pool.give(this.#block);
    kernel.pages.free(id);
    if (result >= 0) this.#resolve(result);
    else
      settleError(systemError(result, this.#reading ? 'read' : 'write'), this.#resolve, this.#fail);
  }

  #scatter(kernel: Kernel, bytes: number): void {
    let from = this.#block + this.#buffers.length * SIZEOF_IOVEC;
    let left = bytes;
    for (const buffer of this.#buffers) {
      const n = Math.min(left, buffer.byteLength);
      kernel.pool.bytes.copy(buffer, 0, from, from + n);
      from += n;
      left -= n;
    }
  }
}

/** Bytes of pool a vector needs. */
export function vectorBytes(buffers: readonly Uint8Array[]): number {
  return buffers.reduce((sum, buffer) => sum + buffer.byteLength + SIZEOF_IOVEC, 0);
}

function writeIovecs(kernel: Kernel, block: number, buffers: readonly Uint8Array[]): void {
  const { bytes, addressLow, addressHigh } = kernel.pool;
  let data = block + buffers.length * SIZEOF_IOVEC;
  for (let i = 0; i < buffers.length; i++) {
    const at = block + i * SIZEOF_IOVEC;
    bytes.writeInt32LE((addressLow + data) | 0, at + IOVEC.base);
    bytes.writeInt32LE(addressHigh | 0, at + IOVEC.base + 4);
    bytes.writeUInt32LE(buffers[i].byteLength, at + IOVEC.len);
    bytes.writeUInt32LE(0, at + IOVEC.len + 4);
    data += buffers[i].byteLength;
  }
}

/** readv or writev of buffers that fit one block together (see vectorBytes, TRANSFER_MAX). */
export function vector(
  kernel: Kernel,
  reading: boolean,
  fd: number,
  buffers: readonly Uint8Array[],
  position: number,
  resolve: Resolve<number>,
  fail?: Fail,
): void {
  const { pages, pool } = kernel;
  const again = () => vector(kernel, reading, fd, buffers, position, resolve, fail);
  if (!pages.room(1)) return kernel.whenRoom(again);
  const block = pool.take(vectorBytes(buffers));
  if (block === -1) return kernel.whenRoom(again);
  writeIovecs(kernel, block, buffers);
  if (!reading) {
    let at = block + buffers.length * SIZEOF_IOVEC;
    for (const buffer of buffers) {
      pool.bytes.set(buffer, at);
      at += buffer.byteLength;
    }
  }
  const id = pages.claim();
  const current = position < 0;
  if (reading) pages.call(id, number(current ? 'readv' : 'preadv'), current ? 3 : 5, 0);
  else pages.call(id, number(current ? 'writev' : 'pwritev'), current ? 3 : 5, 0);
  pages.setInt(id, 0, fd);
  pages.setAddress(id, 1, pool.addressLow + block, pool.addressHigh);
  pages.setInt(id, 2, buffers.length);
  pages.setNumber(id, 3, position);
  pages.setInt(id, 4, 0);
  kernel.post(id, new Vector(buffers, block, reading, resolve, fail));
}
