/**
 * A file system in memory, with Linux's rules for paths and permissions: which error, and which
 * of two errors, as a program would see them on ext4 or tmpfs.
 *
 *   const fs = new SimFileSystem({ uid: 0, gid: 0, umask: 0o022 });
 *   fs.mkdir('/a', 0o777);                    // throws Errno
 *   const { inode } = fs.open('/a/f', O_CREAT | O_WRONLY, 0o666);
 *   fs.write(inode, 0, Buffer.from('hello'));
 *   fs.tree('/a')                             // everything below, for comparisons
 *
 * Directories, regular files and symbolic links; one user; no devices, no FIFOs. Files live in
 * files.ts, open descriptors in open-files.ts.
 */
import { ERRNO } from '../../abi/errno.ts';
import {
  O_ACCMODE,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_TRUNC,
  R_OK,
  W_OK,
  X_OK,
} from '../../abi/structs.ts';
import { Errno } from './errno.ts';
import {
  type Directory,
  type File,
  type Inode,
  type Link,
  modeOf,
  setPermissions,
} from './inode.ts';

export interface SimFileSystemOptions {
  /** Who asks; 0 may everything. */
  readonly uid: number;
  readonly gid: number;
  readonly umask: number;
  /** Bytes that files can hold together (holes count); default: no limit. */
  readonly capacity?: number;
}

const NAME_MAX = 255;
const PATH_MAX = 4096;
/** Links followed in one path. */
const LINKS_MAX = 40;
/** The largest file: beyond it, EFBIG. Real ones are larger; tests are not. */
const FILE_MAX = 64 * 1024 * 1024;
/** 2033: later than anything a test sets with utimes. */
const CLOCK_START = 2_000_000_000_000_000_000n;

/** The last component of a path, and the directory it is looked up in. */
interface Last {
  readonly dir: Directory;
  readonly name: string;
  /** Something ends with a slash: it must be a directory. */
  readonly slash: boolean;
}

/** Links followed so far, over all the paths that one path leads to. */
interface Budget {
  links: number;
}

const isSpecial = (name: string) => name === '.' || name === '..' || name === '/';

export class SimFileSystem {
  readonly root: Directory;
  readonly options: SimFileSystemOptions;
  /** Bytes in files. */
  used = 0;
  #inodes = 2;
  #clock = CLOCK_START;

  constructor(options: SimFileSystemOptions) {
    this.options = options;
    const root = { type: 'directory' as const, entries: new Map<string, Inode>() };
    this.root = Object.assign(root, this.#common('directory', 0o755)) as unknown as Directory;
    this.root.parent = this.root;
    this.root.nlink = 2;
  }

  /* --- Inodes ------------------------------------------------------------------------------ */

  /** A time of its own for each change. */
  now(): bigint {
    this.#clock += 1000n;
    return this.#clock;
  }

  #common(type: Inode['type'], permissions: number) {
    const now = this.now();
    return {
      ino: this.#inodes++,
      mode: modeOf(type, permissions),
      uid: this.options.uid,
      gid: this.options.gid,
      nlink: 1,
      atime: now,
      mtime: now,
      ctime: now,
      btime: now,
    };
  }

  #addChild(dir: Directory, name: string, inode: Inode): void {
    dir.entries.set(name, inode);
    dir.mtime = dir.ctime = this.now();
    if (inode.type !== 'directory') return;
    dir.nlink++;
    inode.parent = dir;
  }

  #removeChild(dir: Directory, name: string, inode: Inode): void {
    dir.entries.delete(name);
    dir.mtime = dir.ctime = this.now();
    if (inode.type === 'directory') dir.nlink--;
  }

  /** A name less; a directory loses its own "." with it. */
  #dropName(inode: Inode): void {
    inode.nlink -= inode.type === 'directory' ? 2 : 1;
    inode.ctime = this.now();
  }

  /** Nobody has it open and nobody names it: its bytes are free. */
  forget(file: File): void {
    this.used -= file.size;
    file.size = 0;
  }

  /* --- Permissions ------------------------------------------------------------------------- */

  allows(inode: Inode, bits: number): boolean {
    const { uid, gid } = this.options;
    if (uid === 0)
      return !(bits & X_OK) || inode.type === 'directory' || (inode.mode & 0o111) !== 0;
    const shift = inode.uid === uid ? 6 : inode.gid === gid ? 3 : 0;
    return ((inode.mode >> shift) & 7 & bits) === bits;
  }

  #need(inode: Inode, bits: number): void {
    if (!this.allows(inode, bits)) throw new Errno(ERRNO.EACCES);
  }

  #needOwner(inode: Inode): void {
    const { uid } = this.options;
    if (uid !== 0 && inode.uid !== uid) throw new Errno(ERRNO.EPERM);
  }

  /* --- Paths ------------------------------------------------------------------------------- */

  #directory(inode: Inode): Directory {
    if (inode.type !== 'directory') throw new Errno(ERRNO.ENOTDIR);
    return inode;
  }

  /** Walks to the directory of the last component. */
  #approach(path: string, from: Directory, budget: Budget): Last {
    if (path === '') throw new Errno(ERRNO.ENOENT);
    if (path.length >= PATH_MAX) throw new Errno(ERRNO.ENAMETOOLONG);
    let dir = path.startsWith('/') ? this.root : from;
    const names = path.split('/').filter((name) => name !== '');
    const name = names.pop();
    if (name === undefined) return { dir, name: '/', slash: false };
    for (const step of names) dir = this.#directory(this.#step(dir, step, budget));
    this.#need(dir, X_OK);
    return { dir, name, slash: path.endsWith('/') };
  }

  /** What `name` is in `dir`, or null. */
  #find(dir: Directory, name: string): Inode | null {
    if (name === '.' || name === '/') return dir;
    if (name === '..') return dir.parent;
    if (name.length > NAME_MAX) throw new Errno(ERRNO.ENAMETOOLONG);
    return dir.entries.get(name) ?? null;
  }

  /** One component, links followed. */
  #step(dir: Directory, name: string, budget: Budget): Inode {
    this.#need(dir, X_OK);
    const found = this.#find(dir, name);
    if (found === null) throw new Errno(ERRNO.ENOENT);
    return found.type === 'link' ? this.#follow(dir, found, budget) : found;
  }

  #follow(dir: Directory, link: Link, budget: Budget): Inode {
    if (++budget.links > LINKS_MAX) throw new Errno(ERRNO.ELOOP);
    const last = this.#approach(link.target, dir, budget);
    const found = this.#step(last.dir, last.name, budget);
    if (last.slash) this.#directory(found);
    return found;
  }

  /** What a path leads to. */
  resolve(path: string, follow: boolean): Inode {
    const budget = { links: 0 };
    const last = this.#approach(path, this.root, budget);
    if (follow || last.slash) {
      const found = this.#step(last.dir, last.name, budget);
      return last.slash ? this.#directory(found) : found;
    }
    const found = this.#find(last.dir, last.name);
    if (found === null) throw new Errno(ERRNO.ENOENT);
    return found;
  }

  /** The place of something new. */
  #newPlace(path: string, directory: boolean): Last {
    const last = this.#approach(path, this.root, { links: 0 });
    if (isSpecial(last.name) || this.#find(last.dir, last.name) !== null)
      throw new Errno(ERRNO.EEXIST);
    if (last.slash && !directory) throw new Errno(ERRNO.ENOENT);
    return last;
  }

  #mayChange(dir: Directory): void {
    if (dir.nlink === 0) throw new Errno(ERRNO.ENOENT); // removed, but still somebody's
    this.#need(dir, W_OK | X_OK);
  }

  /* --- Calls on names ---------------------------------------------------------------------- */

  /** open(2) up to the descriptor. */
  open(path: string, flags: number, mode: number): Inode {
    const budget = { links: 0 };
    const creating = (flags & O_CREAT) !== 0;
    let last = this.#approach(path, this.root, budget);
    let slash = last.slash;
    for (;;) {
      if (creating && slash && !isSpecial(last.name)) throw new Errno(ERRNO.EISDIR);
      const found = this.#find(last.dir, last.name);
      if (found === null) {
        if (!creating) throw new Errno(ERRNO.ENOENT);
        return this.#create(last.dir, last.name, mode);
      }
      if (found.type !== 'link') {
        if (slash) this.#directory(found);
        this.#mayOpen(found, flags);
        return found;
      }
      if (creating && flags & O_EXCL) throw new Errno(ERRNO.EEXIST);
      if (flags & O_NOFOLLOW && !slash) {
        if (flags & O_PATH) return found;
        throw new Errno(ERRNO.ELOOP);
      }
      if (++budget.links > LINKS_MAX) throw new Errno(ERRNO.ELOOP);
      last = this.#approach(found.target, last.dir, budget);
      slash = slash || last.slash;
    }
  }

  #create(dir: Directory, name: string, mode: number): File {
    this.#mayChange(dir);
    const permissions = mode & 0o7777 & ~this.options.umask;
    const file: File = {
      type: 'file',
      data: Buffer.alloc(0),
      size: 0,
      ...this.#common('file', permissions),
    };
    this.#addChild(dir, name, file);
    return file;
  }

  #mayOpen(inode: Inode, flags: number): void {
    if (flags & O_CREAT) {
      if (flags & O_EXCL) throw new Errno(ERRNO.EEXIST);
      if (inode.type === 'directory') throw new Errno(ERRNO.EISDIR);
    }
    if (flags & O_DIRECTORY) this.#directory(inode);
    if (flags & O_PATH) return;
    const access = flags & O_ACCMODE;
    const writes = access !== O_RDONLY || (flags & O_TRUNC) !== 0;
    if (writes && inode.type === 'directory') throw new Errno(ERRNO.EISDIR);
    this.#need(inode, (access === 1 ? 0 : R_OK) | (writes ? W_OK : 0));
    if (flags & O_TRUNC && inode.type === 'file') this.truncate(inode, 0);
  }

  mkdir(path: string, mode: number): void {
    const { dir, name } = this.#newPlace(path, true);
    this.#mayChange(dir);
    const directory = {
      type: 'directory' as const,
      entries: new Map<string, Inode>(),
      parent: dir,
      ...this.#common('directory', mode & 0o1777 & ~this.options.umask),
    };
    directory.nlink = 2;
    this.#addChild(dir, name, directory);
  }

  symlink(target: string, path: string): void {
    if (target === '') throw new Errno(ERRNO.ENOENT);
    if (target.length >= PATH_MAX) throw new Errno(ERRNO.ENAMETOOLONG);
    const { dir, name } = this.#newPlace(path, false);
    this.#mayChange(dir);
    this.#addChild(dir, name, { type: 'link', target, ...this.#common('link', 0o777) });
  }

  link(from: string, to: string): void {
    const inode = this.resolve(from, false);
    const { dir, name } = this.#newPlace(to, false);
    this.#mayChange(dir);
    if (inode.type === 'directory') throw new Errno(ERRNO.EPERM);
    inode.nlink++;
    inode.ctime = this.now();
    this.#addChild(dir, name, inode);
  }

  unlink(path: string): Inode {
    const { dir, name, slash } = this.#approach(path, this.root, { links: 0 });
    if (isSpecial(name)) throw new Errno(ERRNO.EISDIR);
    const inode = this.#find(dir, name);
    if (inode === null) throw new Errno(ERRNO.ENOENT);
    if (slash && inode.type !== 'directory') throw new Errno(ERRNO.ENOTDIR);
    this.#mayChange(dir);
    if (inode.type === 'directory') throw new Errno(ERRNO.EISDIR);
    this.#removeChild(dir, name, inode);
    this.#dropName(inode);
    return inode;
  }

  rmdir(path: string): void {
    const { dir, name } = this.#approach(path, this.root, { links: 0 });
    if (name === '.') throw new Errno(ERRNO.EINVAL);
    if (name === '..') throw new Errno(ERRNO.ENOTEMPTY);
    if (name === '/') throw new Errno(ERRNO.EBUSY);
    const inode = this.#find(dir, name);
    if (inode === null) throw new Errno(ERRNO.ENOENT);
    this.#mayChange(dir);
    if (this.#directory(inode).entries.size > 0) throw new Errno(ERRNO.ENOTEMPTY);
    this.#removeChild(dir, name, inode);
    this.#dropName(inode);
  }

  /** Whether `upper` is `lower` or above it. */
  #contains(upper: Inode, lower: Directory): boolean {
    for (let at = lower; ; at = at.parent) {
      if (at === upper) return true;
      if (at === at.parent) return false;
    }
  }

  /** Resolves to what was replaced, if anything was. */
  rename(from: string, to: string): Inode | null {
    const old = this.#approach(from, this.root, { links: 0 });
    const next = this.#approach(to, this.root, { links: 0 });
    if (isSpecial(old.name) || isSpecial(next.name)) throw new Errno(ERRNO.EBUSY);
    const inode = this.#find(old.dir, old.name);
    if (inode === null) throw new Errno(ERRNO.ENOENT);
    const replaced = this.#find(next.dir, next.name);
    if (inode.type !== 'directory' && (old.slash || next.slash)) throw new Errno(ERRNO.ENOTDIR);
    if (this.#contains(inode, next.dir)) throw new Errno(ERRNO.EINVAL);
    if (replaced !== null && this.#contains(replaced, old.dir)) throw new Errno(ERRNO.ENOTEMPTY);
    if (inode === replaced) return null;
    this.#mayChange(old.dir);
    this.#mayChange(next.dir);
    if (replaced !== null) {
      if (inode.type === 'directory') {
        if (this.#directory(replaced).entries.size > 0) throw new Errno(ERRNO.ENOTEMPTY);
      } else if (replaced.type === 'directory') {
        throw new Errno(ERRNO.EISDIR);
      }
      this.#removeChild(next.dir, next.name, replaced);
      this.#dropName(replaced);
    }
    this.#removeChild(old.dir, old.name, inode);
    this.#addChild(next.dir, next.name, inode);
    return replaced;
  }

  readlink(path: string): string {
    const inode = this.resolve(path, false);
    if (inode.type !== 'link') throw new Errno(ERRNO.EINVAL);
    return inode.target;
  }

  access(path: string, mode: number): void {
    this.#need(this.resolve(path, true), mode);
  }

  /* --- Calls on inodes --------------------------------------------------------------------- */

  chmod(inode: Inode, permissions: number): void {
    this.#needOwner(inode);
    setPermissions(inode, permissions);
    inode.ctime = this.now();
  }

  /** -1 leaves one as it is. */
  chown(inode: Inode, uid: number, gid: number): void {
    const changes = (uid !== -1 && uid !== inode.uid) || (gid !== -1 && gid !== inode.gid);
    this.#needOwner(inode);
    if (changes && this.options.uid !== 0) throw new Errno(ERRNO.EPERM);
    if (uid !== -1) inode.uid = uid;
    if (gid !== -1) inode.gid = gid;
    inode.ctime = this.now();
  }

  setTimes(inode: Inode, atime: bigint, mtime: bigint): void {
    this.#needOwner(inode);
    inode.atime = atime;
    inode.mtime = mtime;
    inode.ctime = this.now();
  }

  /** Bytes copied into `target`; 0 at or behind the end. */
  read(file: File, position: number, target: Buffer): number {
    file.atime = this.now();
    return file.data.copy(target, 0, Math.min(position, file.size), file.size);
  }

  /** Bytes written: fewer than asked for where the space ends, ENOSPC where there is none. */
  write(file: File, position: number, source: Buffer): number {
    if (source.length === 0) return 0;
    if (position + source.length > FILE_MAX) throw new Errno(ERRNO.EFBIG);
    const { capacity } = this.options;
    let end = position + source.length;
    if (capacity !== undefined && end > file.size) {
      end = Math.min(end, file.size + capacity - this.used);
      if (end <= position) throw new Errno(ERRNO.ENOSPC);
    }
    if (end > file.size) this.#resize(file, end);
    source.copy(file.data, position, 0, end - position);
    file.mtime = file.ctime = this.now();
    return end - position;
  }

  truncate(file: File, size: number): void {
    if (size < 0) throw new Errno(ERRNO.EINVAL);
    if (size > FILE_MAX) throw new Errno(ERRNO.EFBIG);
    const { capacity } = this.options;
    if (capacity !== undefined && size - file.size > capacity - this.used)
      throw new Errno(ERRNO.ENOSPC);
    this.#resize(file, size);
    file.mtime = file.ctime = this.now();
  }

  /** New bytes are 0. */
  #resize(file: File, size: number): void {
    if (size > file.data.length) {
      const data = Buffer.alloc(Math.max(size, file.data.length * 2));
      file.data.copy(data, 0, 0, file.size);
      file.data = data;
    } else if (size < file.size) {
      file.data.fill(0, size, file.size);
    }
    this.used += size - file.size;
    file.size = size;
  }

  /* --- For tests --------------------------------------------------------------------------- */

  /** A file's bytes, looked up like any path. */
  contentOf(path: string): Buffer {
    const inode = this.resolve(path, true);
    if (inode.type !== 'file') throw new Errno(ERRNO.EISDIR);
    return Buffer.from(inode.data.subarray(0, inode.size));
  }

  /** Every path below `path` and what is there. */
  tree(path: string): Map<string, Inode> {
    const found = new Map<string, Inode>();
    const visit = (dir: Directory, prefix: string) => {
      for (const [name, inode] of dir.entries) {
        found.set(`${prefix}/${name}`, inode);
        if (inode.type === 'directory') visit(inode, `${prefix}/${name}`);
      }
    };
    visit(this.#directory(this.resolve(path, true)), path);
    return found;
  }
}
