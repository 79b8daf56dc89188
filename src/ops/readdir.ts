/**
 * readdir: one chain for a directory whose records fit 64 KiB (about 1,500 entries),
 *
 *   openat ─► getdents64 64 KiB ─► getdents64 4 KiB ─► close, if that gave nothing
 *
 * and a loop on the open descriptor for a longer one. Names come in the byte order that libuv
 * sorts them to.
 */
import { FLAG } from '../abi/entry.ts';
import { DIRENT64, O_DIRECTORY, O_RDONLY } from '../abi/structs.ts';
import type { Completion, Kernel } from '../kernel/kernel.ts';
import { FILE_BLOCK } from '../memory/pool.ts';
import { Call, type Fail, number, type Path, pathText, type Resolve, settleError } from './call.ts';
import { claimChain, fillClose, following, putBlock } from './chain.ts';
import { close } from './descriptor.ts';
import { systemError } from './error.ts';
import { fillOpen } from './open.ts';

const FIRST = 64 * 1024;
const SECOND = FILE_BLOCK - FIRST;

/** A directory's records: names as bytes or text, and the DT_ types in the same order. */
export interface Listing {
  names: (string | Buffer)[];
  types: Uint8Array;
}

/** Buffer's undocumented fast decoder: toString('latin1', …) without its checks. */
type Latin1Buffer = Buffer & { latin1Slice(start: number, end: number): string };

/** What `readdir` wants of the names. */
export type NameEncoding = 'utf8' | 'buffer';

/** Collects records as Linux writes them, and sorts them once at the end. */
class Records {
  readonly #encoding: NameEncoding;
  /** Names as latin1 text: one character per byte, so that text order is byte order. */
  readonly #names: string[] = [];
  readonly #types: number[] = [];
  #ascii = true;

  constructor(encoding: NameEncoding) {
    this.#encoding = encoding;
  }

  add(bytes: Buffer, start: number, length: number): void {
    const end = start + length;
    for (let at = start; at < end; ) {
      const recordLength = bytes[at + DIRENT64.reclen] | (bytes[at + DIRENT64.reclen + 1] << 8);
      this.#addOne(bytes, at);
      at += recordLength;
    }
  }

  #addOne(bytes: Buffer, at: number): void {
    const first = at + DIRENT64.name;
    // "." and ".." are not listed.
    if (bytes[first] === 46) {
      if (bytes[first + 1] === 0 || (bytes[first + 1] === 46 && bytes[first + 2] === 0)) return;
    }
    let end = first;
    let seen = 0;
    for (let byte = bytes[end]; byte !== 0; byte = bytes[++end]) seen |= byte;
    if (seen > 127) this.#ascii = false;
    this.#names.push((bytes as Latin1Buffer).latin1Slice(first, end));
    this.#types.push(bytes[at + DIRENT64.type]);
  }

  listing(withTypes: boolean): Listing {
    const names = this.#names;
    let types: Uint8Array = NO_TYPES;
    if (withTypes) {
      const order = names.map((_name, i) => i);
      order.sort((a, b) => (names[a] < names[b] ? -1 : 1));
      types = Uint8Array.from(order, (i) => this.#types[i]);
      const sorted = order.map((i) => names[i]);
      return { names: this.#encode(sorted), types };
    }
    names.sort();
    return { names: this.#encode(names), types };
  }

  #encode(names: string[]): (string | Buffer)[] {
    if (this.#encoding === 'buffer') return names.map((name) => Buffer.from(name, 'latin1'));
    if (this.#ascii) return names;
    return names.map((name) => Buffer.from(name, 'latin1').toString('utf8'));
  }
}

const NO_TYPES = new Uint8Array(0);

class ReadDirectory implements Completion {
  readonly #path: Path;
  readonly #block: number;
  readonly #withTypes: boolean;
  readonly #records: Records;
  readonly #resolve: Resolve<Listing>;
  readonly #fail: Fail | undefined;

  constructor(
    path: Path,
    block: number,
    encoding: NameEncoding,
    withTypes: boolean,
    resolve: Resolve<Listing>,
    fail: Fail | undefined,
  ) {
    this.#path = path;
    this.#block = block;
    this.#withTypes = withTypes;
    this.#records = new Records(encoding);
    this.#resolve = resolve;
    this.#fail = fail;
  }

  done(kernel: Kernel, head: number): void {
    const { pages, pool } = kernel;
    const fd = pages.result(head);
    const first = following(kernel, head);
    const bytes1 = pages.result(first);
    const bytes2 = pages.result(following(kernel, first));
    pages.free(head);
    const block = this.#block;
    if (bytes1 > 0) this.#records.add(pool.bytes, block, bytes1);
    if (bytes2 > 0) this.#records.add(pool.bytes, block + FIRST, bytes2);
    pool.give(block);
    const failed = [fd, bytes1, bytes2].find((result) => result < 0);
    if (failed !== undefined) {
      settleError(systemError(failed, 'scandir', pathText(this.#path)), this.#resolve, this.#fail);
    } else if (bytes2 > 0) {
      this.#rest(kernel, fd);
    } else {
      this.#resolve(this.#records.listing(this.#withTypes));
    }
  }

  #rest(kernel: Kernel, fd: number): void {
    readRest(kernel, fd, this.#records).then(
      () => this.#resolve(this.#records.listing(this.#withTypes)),
      (error: Error) => settleError(error, this.#resolve, this.#fail),
    );
  }
}

async function readRest(kernel: Kernel, fd: number, records: Records): Promise<void> {
  try {
    while (await new Promise<boolean>((resolve) => getdents(kernel, fd, records, resolve))) {}
  } finally {
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

/** One getdents64 into a block; resolves to whether there was anything. */
function getdents(kernel: Kernel, fd: number, records: Records, resolve: Resolve<boolean>): void {
  const again = () => getdents(kernel, fd, records, resolve);
  const { pages, pool } = kernel;
  if (!pages.room(1)) return kernel.whenRoom(again);
  const block = pool.take(FILE_BLOCK);
  if (block === -1) return kernel.whenRoom(again);
  const id = pages.claim();
  pages.call(id, number('getdents64'), 3, 0);
  pages.setInt(id, 0, fd);
  putBlock(kernel, id, block, FILE_BLOCK);
  const give: Resolve<boolean> = (value) => {
    pool.give(block);
    resolve(value);
  };
  const decode = (_kernel: Kernel, _id: number, bytes: number) => {
    records.add(pool.bytes, block, bytes);
    return bytes > 0;
  };
  kernel.post(id, new Call('scandir', undefined, undefined, decode, give, undefined));
}

export function readdir(
  kernel: Kernel,
  path: Path,
  encoding: NameEncoding,
  withTypes: boolean,
  resolve: Resolve<Listing>,
  fail?: Fail,
): void {
  const again = () => readdir(kernel, path, encoding, withTypes, resolve, fail);
  const { pages, pool } = kernel;
  if (!pages.room(4)) return kernel.whenRoom(again);
  const block = pool.take(FILE_BLOCK);
  if (block === -1) return kernel.whenRoom(again);
  const head = claimChain(kernel, 4);
  fillOpen(kernel, head, path, O_RDONLY | O_DIRECTORY, 0, FLAG.link);
  const first = following(kernel, head);
  pages.call(first, number('getdents64'), 3, FLAG.link | FLAG.headFd);
  putBlock(kernel, first, block, FIRST);
  const second = following(kernel, first);
  pages.call(second, number('getdents64'), 3, FLAG.link | FLAG.headFd);
  putBlock(kernel, second, block + FIRST, SECOND);
  fillClose(kernel, following(kernel, second), FLAG.atEof);
  kernel.post(head, new ReadDirectory(path, block, encoding, withTypes, resolve, fail));
}
