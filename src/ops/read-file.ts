/**
 * readFile of a path: one chain for a file of up to 64 KiB,
 *
 *   openat ─► pread 64 KiB ─► pread 4 KiB behind it ─► close, if that read 0
 *
 * where the second read proves the end (a short read alone does not: a page may just not be
 * cached). A longer file, or one that is no regular file and has more to say, goes on from there
 * with the descriptor still open. When such files have taken every descriptor, whoever found none
 * comes again after them (kernel/open-files.ts).
 */
import { FLAG, SLOT_SIZE } from '../abi/entry.ts';
import { ERRNO } from '../abi/errno.ts';
import { S_IFCHR, S_IFIFO, S_IFMT, S_IFSOCK, STATX } from '../abi/structs.ts';
import type { Completion, Kernel } from '../kernel/kernel.ts';
import { FILE_BLOCK } from '../memory/pool.ts';
import { SLOT_RESULT } from '../page/pages.ts';
import { type Fail, number, type Path, pathText, type Resolve, settleError } from './call.ts';
import { claimChain, fillClose, following, putBlock } from './chain.ts';
import { close } from './descriptor.ts';
import { asReadFileError, readFileError, systemError } from './error.ts';
import { fillOpen, open, ownDescriptor } from './open.ts';
import { fstat } from './stat.ts';
import { readOpened } from './transfer.ts';

const FIRST = 64 * 1024;
const SECOND = FILE_BLOCK - FIRST;
/** What one later read asks for: still short enough to be tried on the spot. */
const CHUNK = 256 * 1024;
/** Node's limit (ERR_FS_FILE_TOO_LARGE). */
const FILE_MAX = 2 ** 31 - 1;

export type FileData = Buffer | string;

class ReadFile implements Completion {
  readonly #path: Path;
  readonly #flags: number;
  readonly #block: number;
  readonly #encoding: BufferEncoding | undefined;
  readonly #resolve: Resolve<FileData>;
  readonly #fail: Fail | undefined;

  constructor(
    path: Path,
    flags: number,
    block: number,
    encoding: BufferEncoding | undefined,
    resolve: Resolve<FileData>,
    fail: Fail | undefined,
  ) {
    this.#path = path;
    this.#flags = flags;
    this.#block = block;
    this.#encoding = encoding;
    this.#resolve = resolve;
    this.#fail = fail;
  }

  done(kernel: Kernel, head: number): void {
    const { pages, pool } = kernel;
    const fd = pages.result(head);
    const second = following(kernel, head);
    const read1 = pages.result(second);
    const read2 = pages.result(following(kernel, second));
    pages.free(head);
    const block = this.#block;
    if (fd >= 0 && read1 >= 0 && read2 === 0) {
      const encoding = this.#encoding;
      let data: FileData;
      if (encoding === undefined) {
        data = Buffer.allocUnsafeSlow(read1);
        pool.bytes.copy(data, 0, block, block + read1);
      } else {
        data = pool.bytes.toString(encoding, block, block + read1);
      }
      pool.give(block);
      rememberSize(this.#path, read1);
      this.#resolve(data);
      return;
    }
    this.#otherwise(kernel, fd, read1, read2);
  }

  /** A failure, or a file that goes on. */
  #otherwise(kernel: Kernel, fd: number, read1: number, read2: number): void {
    const { pool } = kernel;
    const block = this.#block;
    if (fd < 0 || read1 < 0 || read2 < 0) {
      pool.give(block);
      if (mayComeAgain(kernel, fd))
        return readLater(
          kernel,
          this.#path,
          this.#flags,
          this.#encoding,
          this.#resolve,
          this.#fail,
        );
      const path = pathText(this.#path);
      const error =
        fd < 0 ? systemError(fd, 'open', path) : readFileError(read1 < 0 ? read1 : read2, path);
      settleError(error, this.#resolve, this.#fail);
      return;
    }
    const begun = Buffer.allocUnsafeSlow(read1 + read2);
    pool.bytes.copy(begun, 0, block, block + read1);
    pool.bytes.copy(begun, read1, block + FIRST, block + FIRST + read2);
    pool.give(block);
    readRest(kernel, fd, begun, this.#encoding).then(this.#resolve, (error: Error) =>
      settleError(asReadFileError(error, pathText(this.#path)), this.#resolve, this.#fail),
    );
  }
}

/** The file's size by fstat, or -1 for what has no positions: pipes, sockets, terminals. */
function sizeOf(kernel: Kernel, fd: number): Promise<number> {
  return new Promise((resolve) =>
    fstat<number>(
      kernel,
      fd,
      (k, id) => {
        const at = id * SLOT_SIZE + SLOT_RESULT;
        const mode = k.desk.slots.readUInt16LE(at + STATX.mode);
        const type = mode & S_IFMT;
        if (type === S_IFIFO || type === S_IFSOCK || type === S_IFCHR) return -1;
        return Number(k.desk.slots.readBigUInt64LE(at + STATX.size));
      },
      resolve,
    ),
  );
}

function tooLarge(size: number): Error {
  const error = new RangeError(`File size (${size}) is greater than 2 GiB`);
  Object.assign(error, { code: 'ERR_FS_FILE_TOO_LARGE' });
  return error;
}

function readInto(kernel: Kernel, fd: number, target: Buffer, at: number): Promise<number> {
  return new Promise((resolve) => readOpened(kernel, fd, target, at, resolve));
}

/** Reads from where the chain stopped to the end of the file, and closes it. */
async function readRest(
  kernel: Kernel,
  fd: number,
  begun: Buffer,
  encoding: BufferEncoding | undefined,
): Promise<FileData> {
  kernel.own.add(fd);
  kernel.openFiles.enter();
  try {
    const size = await sizeOf(kernel, fd);
    if (size > FILE_MAX) throw tooLarge(size);
    const data =
      size > begun.length
        ? await readSized(kernel, fd, begun, size)
        : await readUnsized(kernel, fd, begun);
    return encoding === undefined ? data : data.toString(encoding);
  } finally {
    await new Promise<void>((resolve) =>
      close(
        kernel,
        fd,
        () => resolve(),
        () => resolve(),
      ),
    );
    kernel.openFiles.leave();
  }
}

/** Whether the file could not be opened only because others may be open, which will be closed. */
function mayComeAgain(kernel: Kernel, fd: number): boolean {
  return (
    (fd === -ERRNO.EMFILE || fd === -ERRNO.ENFILE) && (kernel.inFlight > 0 || kernel.openFiles.any)
  );
}

/** How often it is tried when others hold all descriptors: those that read need a moment each. */
const TRIES = 32;

/** Step by step, when fewer are open; what goes wrong then is the program's to know. */
function readLater(
  kernel: Kernel,
  path: Path,
  flags: number,
  encoding: BufferEncoding | undefined,
  resolve: Resolve<FileData>,
  fail: Fail | undefined,
  tries = TRIES,
): void {
  const { openFiles } = kernel;
  const again = (left: number) => readLater(kernel, path, flags, encoding, resolve, fail, left);
  if (openFiles.full) return openFiles.later(() => again(tries));
  openFiles.enter();
  const failed = (error: Error) =>
    settleError(asReadFileError(error, pathText(path)), resolve, fail);
  const opened = new Promise<number>((done) =>
    open(kernel, path, flags, 0o666, ownDescriptor, done),
  );
  opened.then(
    (fd) => {
      const read = readRest(kernel, fd, Buffer.alloc(0), encoding);
      openFiles.leave(); // readRest has entered
      return read.then(resolve, failed);
    },
    (error: NodeJS.ErrnoException) => {
      openFiles.leave();
      if (tries > 1 && mayComeAgain(kernel, error.errno!)) again(tries - 1);
      else failed(error);
    },
  );
}

/** The chain read with pread, which leaves the position at 0: positions are ours. */
async function readSized(kernel: Kernel, fd: number, begun: Buffer, size: number): Promise<Buffer> {
  const data = Buffer.allocUnsafeSlow(size);
  begun.copy(data);
  let at = begun.length;
  while (at < size) {
    const n = await readInto(kernel, fd, data.subarray(at, Math.min(size, at + CHUNK)), at);
    if (n === 0) return data.subarray(0, at);
    at += n;
  }
  return data;
}

async function readUnsized(kernel: Kernel, fd: number, begun: Buffer): Promise<Buffer> {
  const parts = [begun];
  let at = begun.length;
  for (;;) {
    const part = Buffer.allocUnsafeSlow(FIRST);
    const n = await readInto(kernel, fd, part, at);
    if (n === 0) return Buffer.concat(parts, at);
    parts.push(part.subarray(0, n));
    at += n;
    if (at > FILE_MAX) throw tooLarge(at);
  }
}

/* --- Files of a known size ------------------------------------------------------------------- */

/** Sizes of larger files read lately: such a file is read straight into its Buffer. */
const sizes = new Map<string, number>();
const SIZES_MAX = 1024;
const DIRECT_MIN = 16 * 1024;

function rememberSize(path: Path, size: number): void {
  if (typeof path !== 'string' || size < DIRECT_MIN) return;
  if (sizes.size >= SIZES_MAX) sizes.clear();
  sizes.set(path, size);
}

/** Where the read that proves the end puts what it finds: the entry's own slot. */
const PROBE = 256;

/** The chain of a file whose size we believe to know. On the spot, its first read works in the
 *  Buffer that becomes the result; where it would block, through a block of the pool. */
class ReadKnownFile implements Completion {
  view: Buffer | undefined;
  readonly viewEntry: number;
  readonly #data: Buffer;
  readonly #path: Path;
  readonly #flags: number;
  readonly #resolve: Resolve<FileData>;
  readonly #fail: Fail | undefined;
  #block = -1;

  constructor(
    path: Path,
    flags: number,
    data: Buffer,
    viewEntry: number,
    resolve: Resolve<FileData>,
    fail: Fail | undefined,
  ) {
    this.#path = path;
    this.#flags = flags;
    this.#data = data;
    this.view = data;
    this.viewEntry = viewEntry;
    this.#resolve = resolve;
    this.#fail = fail;
  }

  bounce(kernel: Kernel): boolean {
    // Read on the spot already, and only what follows would block: the data is where it belongs.
    if (this.#block !== -1 || kernel.pages.isEntryDone(this.viewEntry)) return true;
    this.#block = kernel.pool.take(this.#data.length);
    if (this.#block === -1) return false;
    this.view = undefined;
    putBlock(kernel, this.viewEntry, this.#block, this.#data.length);
    return true;
  }

  done(kernel: Kernel, head: number): void {
    const { pages, pool } = kernel;
    const data = this.#data;
    const probe = following(kernel, this.viewEntry);
    const results = [head, this.viewEntry, probe].map((id) => pages.result(id));
    const [fd, bytes, more] = results;
    const at = probe * SLOT_SIZE + SLOT_RESULT;
    const extra = more > 0 ? Buffer.from(kernel.desk.slots.subarray(at, at + more)) : undefined;
    pages.free(head);
    if (this.#block !== -1) {
      if (bytes > 0) pool.bytes.copy(data, 0, this.#block, this.#block + bytes);
      pool.give(this.#block);
    }
    if (mayComeAgain(kernel, fd)) {
      readLater(kernel, this.#path, this.#flags, undefined, this.#resolve, this.#fail);
    } else if (results.some((result) => result < 0)) {
      const path = pathText(this.#path);
      const error =
        fd < 0 ? systemError(fd, 'open', path) : readFileError(bytes < 0 ? bytes : more, path);
      settleError(error, this.#resolve, this.#fail);
    } else if (extra === undefined) {
      rememberSize(this.#path, bytes);
      this.#resolve(bytes === data.length ? data : data.subarray(0, bytes));
    } else {
      // It has grown.
      const begun = Buffer.concat([data.subarray(0, bytes), extra]);
      readRest(kernel, fd, begun, undefined).then(this.#resolve, (error: Error) =>
        settleError(asReadFileError(error, pathText(this.#path)), this.#resolve, this.#fail),
      );
    }
  }
}

function readKnownFile(
  kernel: Kernel,
  path: Path,
  flags: number,
  size: number,
  resolve: Resolve<FileData>,
  fail?: Fail,
): void {
  const head = claimChain(kernel, 4);
  if (head === -1)
    return kernel.whenRoom(() => readKnownFile(kernel, path, flags, size, resolve, fail));
  const { pages } = kernel;
  fillOpen(kernel, head, path, flags, 0o666, FLAG.link);
  const pread = number('pread64');
  const first = following(kernel, head);
  pages.call(first, pread, 4, FLAG.link | FLAG.headFd | FLAG.stream);
  pages.setNumber(first, 1, 0); // its address is taken on the spot
  pages.setInt(first, 2, size);
  pages.setInt(first, 3, 0);
  const probe = following(kernel, first);
  pages.call(probe, pread, 4, FLAG.link | FLAG.headFd | FLAG.stream | FLAG.after);
  pages.setSlot(probe, 1, SLOT_RESULT);
  pages.setInt(probe, 2, PROBE);
  pages.setInt(probe, 3, 0);
  fillClose(kernel, following(kernel, probe), FLAG.atEof);
  const data = Buffer.allocUnsafeSlow(size);
  kernel.post(head, new ReadKnownFile(path, flags, data, first, resolve, fail));
}

/* --- Any file ---------------------------------------------------------------------------------- */

/** Resolves to a Buffer of its own memory, or to text. */
export function readFile(
  kernel: Kernel,
  path: Path,
  flags: number,
  encoding: BufferEncoding | undefined,
  resolve: Resolve<FileData>,
  fail?: Fail,
): void {
  if (encoding === undefined && sizes.size > 0) {
    const size = sizes.get(path as string);
    if (size !== undefined) return readKnownFile(kernel, path, flags, size, resolve, fail);
  }
  const again = () => readFile(kernel, path, flags, encoding, resolve, fail);
  const { pages, pool } = kernel;
  if (!pages.room(4)) return kernel.whenRoom(again);
  const block = pool.take(FILE_BLOCK);
  if (block === -1) return kernel.whenRoom(again);
  const head = claimChain(kernel, 4);
  fillOpen(kernel, head, path, flags, 0o666, FLAG.link);
  const pread = number('pread64');
  const first = following(kernel, head);
  pages.call(first, pread, 4, FLAG.link | FLAG.headFd | FLAG.stream);
  putBlock(kernel, first, block, FIRST);
  pages.setInt(first, 3, 0);
  const second = following(kernel, first);
  pages.call(second, pread, 4, FLAG.link | FLAG.headFd | FLAG.stream | FLAG.after);
  putBlock(kernel, second, block + FIRST, SECOND);
  pages.setInt(second, 3, 0);
  fillClose(kernel, following(kernel, second), FLAG.atEof);
  kernel.post(head, new ReadFile(path, flags, block, encoding, resolve, fail));
}
