/**
 * The descriptors of the simulated process.
 *
 *   const fd = files.open(inode, flags);      // EMFILE when all are taken
 *   files.get(fd).position
 *   files.close(fd);
 *
 * Numbers are handed out as Linux does, lowest first: a descriptor used after it was closed soon
 * is another file's.
 */
import { ERRNO } from '../../abi/errno.ts';
import { Errno } from './errno.ts';
import type { SimFileSystem } from './file-system.ts';
import type { Inode } from './inode.ts';

export interface OpenFile {
  readonly inode: Inode;
  readonly flags: number;
  position: number;
  /** What getdents64 still has to tell, since it began; null: not begun. */
  listing: [name: string, inode: Inode][] | null;
}

/** 0 to 2 are nobody's here, but taken. */
const FIRST = 3;

export class OpenFiles {
  readonly #fs: SimFileSystem;
  readonly #limit: number;
  readonly #open = new Map<number, OpenFile>();

  constructor(fs: SimFileSystem, limit: number) {
    this.#fs = fs;
    this.#limit = limit;
  }

  /** How many are open. */
  get count(): number {
    return this.#open.size;
  }

  get numbers(): number[] {
    return [...this.#open.keys()];
  }

  /** The lowest free number. */
  reserve(): number {
    for (let fd = FIRST; fd < this.#limit; fd++) if (!this.#open.has(fd)) return fd;
    throw new Errno(ERRNO.EMFILE);
  }

  open(fd: number, inode: Inode, flags: number): void {
    this.#open.set(fd, { inode, flags, position: 0, listing: null });
  }

  get(fd: number): OpenFile {
    const file = this.#open.get(fd);
    if (file === undefined) throw new Errno(ERRNO.EBADF);
    return file;
  }

  close(fd: number): void {
    const { inode } = this.get(fd);
    this.#open.delete(fd);
    this.release(inode);
  }

  /** A name or a descriptor of `inode` is gone: its bytes are free after the last one. */
  release(inode: Inode | null): void {
    if (inode === null || inode.type !== 'file' || inode.nlink > 0) return;
    for (const file of this.#open.values()) if (file.inode === inode) return;
    this.#fs.forget(inode);
  }
}
