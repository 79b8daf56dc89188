/**
 * An open directory, read part by part in Linux's own order: what opendir needs.
 *
 *   openDirectory(kernel, path, resolve, fail)          the descriptor
 *   readEntries(kernel, fd, resolve, fail)              the next entries; null: no more
 *   readEntriesNow(kernel, fd)                          the same, for a synchronous caller
 */
import { ERRNO } from '../abi/errno.ts';
import { DIRENT64, O_DIRECTORY, O_RDONLY } from '../abi/structs.ts';
import type { Completion, Kernel } from '../kernel/kernel.ts';
import { FILE_BLOCK } from '../memory/pool.ts';
import { Call, type Fail, number, type Path, type Resolve, settleError } from './call.ts';
import { putBlock } from './chain.ts';
import { systemError } from './error.ts';
import { fillOpen, ownDescriptor } from './open.ts';

/** Names as Linux has them, and their DT_ types. */
export interface Entries {
  readonly names: Buffer[];
  readonly types: number[];
}

export function openDirectory(
  kernel: Kernel,
  path: Path,
  resolve: Resolve<number>,
  fail?: Fail,
): void {
  const id = kernel.pages.claim();
  if (id === -1) return kernel.whenRoom(() => openDirectory(kernel, path, resolve, fail));
  fillOpen(kernel, id, path, O_RDONLY | O_DIRECTORY, 0, 0);
  kernel.post(id, new Call('opendir', path, undefined, ownDescriptor, resolve, fail));
}

/** "." and ".." are not listed. */
function isDots(name: Buffer): boolean {
  return name[0] === 46 && (name.length === 1 || (name.length === 2 && name[1] === 46));
}

function parse(records: Buffer): Entries {
  const names: Buffer[] = [];
  const types: number[] = [];
  for (let at = 0; at < records.length; at += records.readUInt16LE(at + DIRENT64.reclen)) {
    const start = at + DIRENT64.name;
    const name = records.subarray(start, records.indexOf(0, start));
    if (isDots(name)) continue;
    names.push(name);
    types.push(records[at + DIRENT64.type]);
  }
  return { names, types };
}

class ReadEntries implements Completion {
  readonly mayBlock = true;
  readonly #block: number;
  readonly #resolve: Resolve<Entries | null>;
  readonly #fail: Fail | undefined;
  #taken = false;

  constructor(block: number, resolve: Resolve<Entries | null>, fail: Fail | undefined) {
    this.#block = block;
    this.#resolve = resolve;
    this.#fail = fail;
  }

  /** The entries, once; null at the end. */
  take(kernel: Kernel, id: number): Entries | null {
    this.#taken = true;
    const bytes = kernel.pages.result(id);
    // As readdir(3): a directory that was removed meanwhile has come to its end.
    if (bytes === 0 || bytes === -ERRNO.ENOENT) return null;
    if (bytes < 0) throw systemError(bytes, 'scandir');
    return parse(Buffer.from(kernel.pool.bytes.subarray(this.#block, this.#block + bytes)));
  }

  done(kernel: Kernel, id: number): void {
    if (this.#taken) return this.#release(kernel, id);
    let entries: Entries | null;
    try {
      entries = this.take(kernel, id);
    } catch (error) {
      this.#release(kernel, id);
      settleError(error as Error, this.#resolve, this.#fail);
      return;
    }
    this.#release(kernel, id);
    this.#resolve(entries);
  }

  #release(kernel: Kernel, id: number): void {
    kernel.pool.give(this.#block);
    kernel.pages.free(id);
  }
}

/** Posts a getdents64; the entry and its block, or null when there is no room. */
function post(
  kernel: Kernel,
  fd: number,
  resolve: Resolve<Entries | null>,
  fail: Fail | undefined,
): { id: number; completion: ReadEntries } | null {
  const { pages, pool } = kernel;
  const block = pages.room(1) ? pool.take(FILE_BLOCK) : -1;
  if (block === -1) return null;
  const id = pages.claim();
  pages.call(id, number('getdents64'), 3, 0);
  pages.setInt(id, 0, fd);
  putBlock(kernel, id, block, FILE_BLOCK);
  const completion = new ReadEntries(block, resolve, fail);
  kernel.post(id, completion);
  return { id, completion };
}

export function readEntries(
  kernel: Kernel,
  fd: number,
  resolve: Resolve<Entries | null>,
  fail?: Fail,
): void {
  if (post(kernel, fd, resolve, fail) === null)
    kernel.whenRoom(() => readEntries(kernel, fd, resolve, fail));
}

/** How long one look for the answer may take while other calls block, milliseconds. */
const LOOK_MS = 5;

/** Nothing else is delivered meanwhile. */
export function readEntriesNow(kernel: Kernel, fd: number): Entries | null {
  const posted = post(kernel, fd, () => {}, undefined);
  if (posted === null) throw systemError(-ERRNO.EAGAIN, 'scandir');
  while (!kernel.pages.isDone(posted.id)) kernel.settle(LOOK_MS);
  return posted.completion.take(kernel, posted.id);
}
