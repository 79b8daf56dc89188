/**
 * readdir: one chain for a directory whose records fit 64 KiB (about 1,500 entries),
 *
 *   openat ─► getdents64 64 KiB ─► pack ─► getdents64 4 KiB ─► close, if that gave nothing
 *
 * and a loop on the open descriptor for a longer one. `pack` (native/pack.h) sorts the names by
 * their bytes, as libuv does, on the thread that read them; here one text is decoded.
 */
import { FLAG, NUMBER_PACK } from '../abi/entry.ts';
import { ERRNO } from '../abi/errno.ts';
import { O_DIRECTORY, O_RDONLY } from '../abi/structs.ts';
import type { Completion, Kernel } from '../kernel/kernel.ts';
import { FILE_BLOCK } from '../memory/pool.ts';
import { type Fail, number, type Path, pathText, type Resolve, settleError } from './call.ts';
import { claimChain, fillClose, following, putBlock } from './chain.ts';
import { close } from './descriptor.ts';
import { systemError } from './error.ts';
import { fillOpen } from './open.ts';

const FIRST = 64 * 1024;
const SECOND = FILE_BLOCK - FIRST;

/** struct tl_listing: count, text size, whether all of it is ASCII. */
const HEAD = { count: 0, textSize: 4, ascii: 8, size: 12 } as const;

/** A directory's names, in byte order, and the DT_ types in the same order. */
export interface Listing {
  readonly names: (string | Buffer)[];
  readonly types: Uint8Array;
}

/** What `readdir` wants of the names. */
export type NameEncoding = 'utf8' | 'buffer';

/** Buffer's undocumented fast decoder: toString('latin1', …) without its checks. */
type Latin1Buffer = Buffer & { latin1Slice(start: number, end: number): string };

/** The text of a packed listing in which every byte is a character, and its types. */
interface Packed {
  readonly text: string;
  readonly types: Uint8Array;
  readonly ascii: boolean;
}

const NOTHING: Packed = { text: '', types: new Uint8Array(0), ascii: true };

/** getdents64 of a directory that was removed meanwhile: it has come to its end (readdir(3)). */
const REMOVED = -ERRNO.ENOENT;

function takePacked(bytes: Buffer, at: number): Packed {
  const count = bytes.readUInt32LE(at + HEAD.count);
  const start = at + HEAD.size + count;
  const end = start + bytes.readUInt32LE(at + HEAD.textSize);
  return {
    text: (bytes as Latin1Buffer).latin1Slice(start, end),
    types: new Uint8Array(bytes.subarray(at + HEAD.size, start)), // a copy
    ascii: bytes.readUInt32LE(at + HEAD.ascii) !== 0,
  };
}

/** Several packed parts as one, in byte order again. */
function merge(parts: readonly Packed[]): Packed {
  if (parts.length === 1) return parts[0];
  const named = parts.flatMap(({ text, types }) =>
    types.length === 0 ? [] : text.split('\0').map((name, i) => ({ name, type: types[i] })),
  );
  named.sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    text: named.map(({ name }) => name).join('\0'),
    types: Uint8Array.from(named, ({ type }) => type),
    ascii: parts.every(({ ascii }) => ascii),
  };
}

function listingOf({ text, types, ascii }: Packed, encoding: NameEncoding): Listing {
  if (types.length === 0) return { names: [], types };
  if (encoding === 'buffer')
    return { names: text.split('\0').map((name) => Buffer.from(name, 'latin1')), types };
  const decoded = ascii ? text : Buffer.from(text, 'latin1').toString('utf8');
  return { names: decoded.split('\0'), types };
}

/** Fills `id` with getdents64 into a block, and the entry behind it with the packing. */
function fillRead(kernel: Kernel, id: number, block: number, length: number, more: number): void {
  const { pages } = kernel;
  pages.call(id, number('getdents64'), 3, FLAG.link | FLAG.headFd);
  putBlock(kernel, id, block, length);
  const packing = following(kernel, id);
  pages.call(packing, NUMBER_PACK, 4, FLAG.after | more);
  const { addressLow, addressHigh } = kernel.pool;
  pages.setAddress(packing, 0, addressLow + block, addressHigh);
  pages.setInt(packing, 3, 0); // plus what getdents64 returned
}

class ReadDirectory implements Completion {
  readonly mayBlock = true;
  readonly #path: Path;
  readonly #block: number;
  readonly #encoding: NameEncoding;
  readonly #resolve: Resolve<Listing>;
  readonly #fail: Fail | undefined;

  constructor(
    path: Path,
    block: number,
    encoding: NameEncoding,
    resolve: Resolve<Listing>,
    fail: Fail | undefined,
  ) {
    this.#path = path;
    this.#block = block;
    this.#encoding = encoding;
    this.#resolve = resolve;
    this.#fail = fail;
  }

  done(kernel: Kernel, head: number): void {
    const { pages, pool } = kernel;
    const first = following(kernel, head);
    const packing = following(kernel, first);
    const second = following(kernel, packing);
    const fd = pages.result(head);
    const failed = [head, first, packing, second].find((id) => pages.result(id) < 0);
    let errno = failed === undefined ? 0 : pages.result(failed);
    const more = failed === undefined ? pages.result(second) : 0;
    pages.free(head);
    let parts = errno === 0 || failed === second ? [takePacked(pool.bytes, this.#block)] : [];
    if (errno === REMOVED && fd >= 0) {
      errno = 0;
      if (failed === first) parts = [NOTHING];
    }
    if (errno !== 0) {
      pool.give(this.#block);
      const error = systemError(errno, 'scandir', pathText(this.#path));
      settleError(error, this.#resolve, this.#fail);
    } else if (more > 0) {
      // The records of the second read are moved to the front and packed with what follows.
      pool.bytes.copyWithin(this.#block, this.#block + FIRST, this.#block + FIRST + more);
      this.#goOn(kernel, fd, parts, more);
    } else {
      pool.give(this.#block);
      this.#resolve(listingOf(parts[0], this.#encoding));
    }
  }

  /** A long directory: packs `unpacked` bytes of records that lie in the block, reads on. */
  #goOn(kernel: Kernel, fd: number, parts: Packed[], unpacked: number): void {
    readRest(kernel, fd, this.#block, parts, unpacked)
      .then(() => listingOf(merge(parts), this.#encoding))
      .then(this.#resolve, (error: Error) => settleError(error, this.#resolve, this.#fail));
  }
}

async function readRest(
  kernel: Kernel,
  fd: number,
  block: number,
  parts: Packed[],
  unpacked: number,
): Promise<void> {
  kernel.own.add(fd);
  try {
    await new Promise<number>((resolve) => packOnly(kernel, block, unpacked, resolve));
    parts.push(takePacked(kernel.pool.bytes, block));
    while ((await new Promise<number>((resolve) => readMore(kernel, fd, block, resolve))) > 0)
      parts.push(takePacked(kernel.pool.bytes, block));
  } finally {
    kernel.pool.give(block);
    await new Promise<void>((resolve) =>
      close(
        kernel,
        fd,
        () => resolve(),
        () => resolve(),
      ),
    );
  }
}

/** Settles with the result of the chain's first entry, or the first failure in it. */
class Step implements Completion {
  readonly mayBlock = true;
  readonly #resolve: Resolve<number>;

  constructor(resolve: Resolve<number>) {
    this.#resolve = resolve;
  }

  done(kernel: Kernel, id: number): void {
    const result = kernel.pages.result(id);
    kernel.pages.free(id);
    if (result >= 0 || result === REMOVED) this.#resolve(Math.max(0, result));
    else settleError(systemError(result, 'scandir'), this.#resolve, undefined);
  }
}

function packOnly(kernel: Kernel, block: number, bytes: number, resolve: Resolve<number>): void {
  const { pages, pool } = kernel;
  const id = pages.claim();
  if (id === -1) return kernel.whenRoom(() => packOnly(kernel, block, bytes, resolve));
  pages.call(id, NUMBER_PACK, 4, 0);
  pages.setAddress(id, 0, pool.addressLow + block, pool.addressHigh);
  pages.setInt(id, 3, bytes);
  kernel.post(id, new Step(resolve));
}

/** getdents64 into the whole block, packed; resolves to its bytes, 0 at the end. */
function readMore(kernel: Kernel, fd: number, block: number, resolve: Resolve<number>): void {
  const head = claimChain(kernel, 2);
  if (head === -1) return kernel.whenRoom(() => readMore(kernel, fd, block, resolve));
  fillRead(kernel, head, block, FILE_BLOCK, 0);
  kernel.pages.call(head, number('getdents64'), 3, FLAG.link);
  kernel.pages.setInt(head, 0, fd);
  kernel.post(head, new Step(resolve));
}

export function readdir(
  kernel: Kernel,
  path: Path,
  encoding: NameEncoding,
  resolve: Resolve<Listing>,
  fail?: Fail,
): void {
  const again = () => readdir(kernel, path, encoding, resolve, fail);
  const { pages, pool } = kernel;
  if (!pages.room(5)) return kernel.whenRoom(again);
  const block = pool.take(FILE_BLOCK);
  if (block === -1) return kernel.whenRoom(again);
  const head = claimChain(kernel, 5);
  fillOpen(kernel, head, path, O_RDONLY | O_DIRECTORY, 0, FLAG.link);
  const first = following(kernel, head);
  fillRead(kernel, first, block, FIRST, FLAG.link);
  const second = following(kernel, following(kernel, first));
  pages.call(second, number('getdents64'), 3, FLAG.link | FLAG.headFd);
  putBlock(kernel, second, block + FIRST, SECOND);
  fillClose(kernel, following(kernel, second), FLAG.atEof);
  kernel.post(head, new ReadDirectory(path, block, encoding, resolve, fail));
}
