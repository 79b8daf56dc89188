/**
 * writeFile and appendFile of a path: one chain for up to 68 KiB,
 *
 *   openat ─► write ─► close, if the write was whole or failed
 *
 * A short write (a disk nearly full) leaves the file open: the rest is tried again from there,
 * and fails with the error that Node would report. Few at a time (kernel/open-files.ts): to open a
 * file for writing may wait for whoever writes to it.
 */
import { FLAG } from '../abi/entry.ts';
import { ERRNO } from '../abi/errno.ts';
import type { Completion, Kernel } from '../kernel/kernel.ts';
import { FILE_BLOCK } from '../memory/pool.ts';
import { type Fail, number, type Path, pathText, type Resolve, settleError } from './call.ts';
import { claimChain, fillClose, following, putBlock } from './chain.ts';
import { close, closeQuietly } from './descriptor.ts';
import { systemError } from './error.ts';
import { fillOpen, open, ownDescriptor } from './open.ts';
import { writeAll } from './write-all.ts';

class WriteFile implements Completion {
  readonly mayBlock = true;
  readonly #path: Path;
  readonly #block: number;
  readonly #length: number;
  readonly #resolve: Resolve<undefined>;
  readonly #fail: Fail | undefined;

  constructor(
    path: Path,
    block: number,
    length: number,
    resolve: Resolve<undefined>,
    fail: Fail | undefined,
  ) {
    this.#path = path;
    this.#block = block;
    this.#length = length;
    this.#resolve = resolve;
    this.#fail = fail;
  }

  done(kernel: Kernel, head: number): void {
    const { pages, pool } = kernel;
    const fd = pages.result(head);
    const writing = following(kernel, head);
    const written = pages.result(writing);
    const closed = pages.result(following(kernel, writing));
    pages.free(head);
    if (fd >= 0 && written >= 0 && written < this.#length) {
      const from = this.#block + written;
      const rest = Buffer.from(pool.bytes.subarray(from, this.#block + this.#length));
      pool.give(this.#block);
      kernel.own.add(fd);
      const { resolve, fail } = this.#settlement();
      leaving(kernel, writeAndClose(kernel, fd, rest, rest.length)).then(resolve, fail);
      return;
    }
    pool.give(this.#block);
    kernel.openFiles.leave();
    if (fd >= 0 && written >= 0 && closed >= 0) {
      this.#resolve(undefined);
      return;
    }
    const error =
      fd < 0
        ? systemError(fd, 'open', pathText(this.#path))
        : systemError(written < 0 ? written : closed, written < 0 ? 'write' : 'close');
    settleError(error, this.#resolve, this.#fail);
  }

  #settlement() {
    const resolve = this.#resolve;
    return { resolve, fail: (error: Error) => settleError(error, resolve, this.#fail) };
  }
}

/** The same, and when it is settled another file may be opened. */
function leaving<T>(kernel: Kernel, work: Promise<T>): Promise<T> {
  return work.finally(() => kernel.openFiles.leave());
}

/** Writes everything and closes the file, whatever happens. */
async function writeAndClose(
  kernel: Kernel,
  fd: number,
  data: Uint8Array,
  length: number,
): Promise<undefined> {
  try {
    await writeAll(kernel, fd, data, undefined, length);
  } catch (error) {
    await closeQuietly(kernel, fd);
    throw error;
  }
  // Closing may be what finds the disk full.
  return new Promise((resolve) => close(kernel, fd, resolve));
}

async function writeLong(
  kernel: Kernel,
  path: Path,
  data: Uint8Array,
  flags: number,
  mode: number,
): Promise<undefined> {
  const { byteLength } = data;
  const fd = await new Promise<number>((resolve) =>
    open(kernel, path, flags, mode, ownDescriptor, resolve),
  );
  return writeAndClose(kernel, fd, data, byteLength);
}

/** `data` is copied at once when it fits a block; longer data must not change meanwhile. */
export function writeFile(
  kernel: Kernel,
  path: Path,
  data: Uint8Array,
  flags: number,
  mode: number,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  const length = data.byteLength;
  const again = () => {
    if (data.byteLength === length) writeFile(kernel, path, data, flags, mode, resolve, fail);
    else settleError(systemError(-ERRNO.EFAULT, 'write'), resolve, fail); // transferred away
  };
  const { openFiles, pages, pool } = kernel;
  if (openFiles.full) return openFiles.later(again);
  if (length > FILE_BLOCK || length === 0) {
    openFiles.enter();
    leaving(kernel, writeLong(kernel, path, data, flags, mode)).then(resolve, (error: Error) =>
      settleError(error, resolve, fail),
    );
    return;
  }
  if (!pages.room(3)) return kernel.whenRoom(again);
  const block = pool.take(length);
  if (block === -1) return kernel.whenRoom(again);
  pool.bytes.set(data, block);
  const head = claimChain(kernel, 3);
  fillOpen(kernel, head, path, flags, mode, FLAG.link);
  const writing = following(kernel, head);
  pages.call(writing, number('write'), 3, FLAG.link | FLAG.headFd);
  putBlock(kernel, writing, block, length);
  fillClose(kernel, following(kernel, writing), FLAG.ifFull);
  openFiles.enter();
  kernel.post(head, new WriteFile(path, block, length, resolve, fail));
}
