/**
 * The system calls of the simulated machine, by number: arguments from the entry, memory through
 * the address space, results as Linux returns them (-errno when it fails).
 *
 *   const machine = new SimMachine(fs, openFilesMax, faults);
 *   machine.call(number, args)          runs it, faults and all
 *   machine.calls                       how many were made
 *
 * One table entry per call; what is missing answers ENOSYS, as an old Linux would.
 */
import { NUMBER_NOP, NUMBER_PACK } from '../../abi/entry.ts';
import { ERRNO } from '../../abi/errno.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  DIRENT64,
  DT_DIR,
  DT_LNK,
  DT_REG,
  IOVEC,
  O_ACCMODE,
  O_APPEND,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
  SIZEOF_IOVEC,
  SIZEOF_STATFS,
  SIZEOF_STATX,
  SIZEOF_TIMESPEC,
  STATFS,
  STATX,
  STATX_MASK,
  TIMESPEC,
} from '../../abi/structs.ts';
import { type SyscallName, syscallName, syscallNumber } from '../../abi/syscalls.ts';
import { AddressSpace } from './address-space.ts';
import { Errno, resultOf } from './errno.ts';
import type { Faults } from './faults.ts';
import type { SimFileSystem } from './file-system.ts';
import { type Directory, type File, type Inode, sizeOf } from './inode.ts';
import { type OpenFile, OpenFiles } from './open-files.ts';
import { HEAD_SIZE, packListing } from './pack.ts';

/** Six arguments: integers sign-extended, addresses as they are. */
export type Args = readonly number[];
type Handler = (args: Args) => number;

const SECOND = 1_000_000_000n;
const TYPE_OF: Readonly<Record<Inode['type'], number>> = {
  file: DT_REG,
  directory: DT_DIR,
  link: DT_LNK,
};

/** What a call is called in plans and logs of faults. */
export function callName(number: number): string {
  if (number === NUMBER_NOP) return 'nop';
  return number === NUMBER_PACK ? 'pack' : syscallName(number);
}

export class SimMachine {
  readonly space = new AddressSpace();
  readonly fs: SimFileSystem;
  readonly files: OpenFiles;
  readonly faults: Faults;
  calls = 0;
  readonly #handlers = new Map<number, Handler>();

  constructor(fs: SimFileSystem, openFilesMax: number, faults: Faults) {
    this.fs = fs;
    this.files = new OpenFiles(fs, openFilesMax);
    this.faults = faults;
    for (const [name, handler] of Object.entries(this.#table()))
      this.#handlers.set(syscallNumber(name as SyscallName), handler.bind(this));
    this.#handlers.set(NUMBER_NOP, () => 0);
    this.#handlers.set(NUMBER_PACK, ([address, , , length]) =>
      packListing(this.space.bytes(address, length === 0 ? HEAD_SIZE : length), length),
    );
  }

  call(number: number, args: Args): number {
    this.calls++;
    const handler = this.#handlers.get(number);
    if (handler === undefined) return -ERRNO.ENOSYS;
    const name = callName(number);
    const injected = this.faults.errnoFor(name);
    if (injected === 0) return resultOf(() => handler(args));
    // Linux has taken the descriptor away before close(2) can fail.
    if (name === 'close') resultOf(() => handler(args));
    return -injected;
  }

  #table(): Partial<Record<SyscallName, Handler>> {
    return {
      openat: this.#openat,
      close: ([fd]) => {
        this.files.close(fd);
        return 0;
      },
      read: ([fd, address, length]) => this.#transfer(fd, this.#one(address, length), -1, false),
      pread64: ([fd, address, length, at]) =>
        this.#transfer(fd, this.#one(address, length), this.#position(at), false),
      write: ([fd, address, length]) => this.#transfer(fd, this.#one(address, length), -1, true),
      pwrite64: ([fd, address, length, at]) =>
        this.#transfer(fd, this.#one(address, length), this.#position(at), true),
      readv: ([fd, address, count]) => this.#transfer(fd, this.#many(address, count), -1, false),
      preadv: ([fd, address, count, at]) =>
        this.#transfer(fd, this.#many(address, count), this.#position(at), false),
      writev: ([fd, address, count]) => this.#transfer(fd, this.#many(address, count), -1, true),
      pwritev: ([fd, address, count, at]) =>
        this.#transfer(fd, this.#many(address, count), this.#position(at), true),
      lseek: this.#lseek,
      statx: this.#statx,
      statfs: ([path, buffer]) => {
        this.fs.resolve(this.#path(path), true);
        return this.#fillStatfs(this.space.bytes(buffer, SIZEOF_STATFS));
      },
      getdents64: this.#getdents64,
      ftruncate: this.#ftruncate,
      fsync: ([fd]) => (this.files.get(fd) ? 0 : 0),
      fdatasync: ([fd]) => (this.files.get(fd) ? 0 : 0),
      mkdirat: ([dirfd, path, mode]) => {
        this.fs.mkdir(this.#pathAt(dirfd, path), mode);
        return 0;
      },
      unlinkat: ([dirfd, path, flags]) => {
        if (flags & AT_REMOVEDIR) this.fs.rmdir(this.#pathAt(dirfd, path));
        else this.files.release(this.fs.unlink(this.#pathAt(dirfd, path)));
        return 0;
      },
      renameat2: ([fromDir, from, toDir, to]) => {
        const replaced = this.fs.rename(this.#pathAt(fromDir, from), this.#pathAt(toDir, to));
        this.files.release(replaced);
        return 0;
      },
      linkat: ([fromDir, from, toDir, to]) => {
        this.fs.link(this.#pathAt(fromDir, from), this.#pathAt(toDir, to));
        return 0;
      },
      symlinkat: ([target, dirfd, path]) => {
        this.fs.symlink(this.#path(target), this.#pathAt(dirfd, path));
        return 0;
      },
      readlinkat: ([dirfd, path, address, size]) => {
        const target = Buffer.from(this.fs.readlink(this.#pathAt(dirfd, path)), 'latin1');
        return target.copy(this.space.bytes(address, size));
      },
      faccessat: ([dirfd, path, mode]) => {
        this.fs.access(this.#pathAt(dirfd, path), mode);
        return 0;
      },
      fchmodat: ([dirfd, path, mode]) => {
        this.fs.chmod(this.fs.resolve(this.#pathAt(dirfd, path), true), mode);
        return 0;
      },
      fchmod: ([fd, mode]) => {
        this.fs.chmod(this.#inodeOf(fd), mode);
        return 0;
      },
      fchownat: ([dirfd, path, uid, gid, flags]) => {
        const follow = (flags & AT_SYMLINK_NOFOLLOW) === 0;
        this.fs.chown(this.fs.resolve(this.#pathAt(dirfd, path), follow), uid | 0, gid | 0);
        return 0;
      },
      fchown: ([fd, uid, gid]) => {
        this.fs.chown(this.#inodeOf(fd), uid | 0, gid | 0);
        return 0;
      },
      utimensat: this.#utimensat,
      getpid: () => 1,
      getppid: () => 0,
    };
  }

  /* --- Arguments --------------------------------------------------------------------------- */

  #path(address: number): string {
    return this.space.string(address).toString('latin1');
  }

  #pathAt(dirfd: number, address: number): string {
    const path = this.#path(address);
    // Everything else our operations pass is an absolute path, or relative to the root.
    if (dirfd !== AT_FDCWD && !path.startsWith('/')) throw new Errno(ERRNO.ENOTDIR);
    return path;
  }

  #position(at: number): number {
    if (at < 0) throw new Errno(ERRNO.EINVAL);
    return at;
  }

  #one(address: number, length: number): Buffer[] {
    return length === 0 ? [] : [this.space.bytes(address, length)];
  }

  #many(address: number, count: number): Buffer[] {
    const list = this.space.bytes(address, count * SIZEOF_IOVEC);
    return Array.from({ length: count }, (_, i) => {
      const at = i * SIZEOF_IOVEC;
      const base = Number(list.readBigUInt64LE(at + IOVEC.base));
      return this.space.bytes(base, Number(list.readBigUInt64LE(at + IOVEC.len)));
    });
  }

  #inodeOf(fd: number): Inode {
    const file = this.files.get(fd);
    if (file.flags & O_PATH) throw new Errno(ERRNO.EBADF);
    return file.inode;
  }

  /* --- Descriptors ------------------------------------------------------------------------- */

  #openat([dirfd, path, flags, mode]: Args): number {
    const name = this.#pathAt(dirfd, path);
    const fd = this.files.reserve();
    this.files.open(fd, this.fs.open(name, flags, mode), flags);
    return fd;
  }

  #lseek([fd, offset, whence]: Args): number {
    const file = this.files.get(fd);
    const from = whence === 0 ? 0 : whence === 1 ? file.position : sizeOf(file.inode);
    if (whence > 2 || from + offset < 0) throw new Errno(ERRNO.EINVAL);
    file.position = from + offset;
    return file.position;
  }

  #transferFile(file: OpenFile, writing: boolean): File {
    const forbidden = writing ? O_RDONLY : O_WRONLY;
    if ((file.flags & O_ACCMODE) === forbidden || file.flags & O_PATH) throw new Errno(ERRNO.EBADF);
    if (file.inode.type === 'file') return file.inode;
    throw new Errno(writing ? ERRNO.EBADF : ERRNO.EISDIR);
  }

  /** Reads or writes; `at` -1 means the file's own position. */
  #transfer(fd: number, parts: readonly Buffer[], at: number, writing: boolean): number {
    const file = this.files.get(fd);
    const inode = this.#transferFile(file, writing);
    const appending = writing && (file.flags & O_APPEND) !== 0;
    const from = appending ? inode.size : at === -1 ? file.position : at;
    const asked = parts.reduce((sum, part) => sum + part.length, 0);
    // What there is to transfer, less where a fault cuts it short.
    const there = writing ? asked : Math.min(asked, Math.max(0, inode.size - from));
    const limit = this.faults.shorten(writing ? 'write' : 'read', there);
    let done = 0;
    for (const part of parts) {
      if (done === limit) break;
      const piece = part.subarray(0, Math.min(part.length, limit - done));
      const n = writing
        ? this.#writeMore(inode, from + done, piece, done)
        : this.fs.read(inode, from + done, piece);
      done += n;
      if (n < piece.length) break;
    }
    if (at === -1) file.position = from + done;
    return done;
  }

  /** A full disk is an error for the first byte only: after some, the call was short. */
  #writeMore(inode: File, at: number, piece: Buffer, before: number): number {
    const n = resultOf(() => this.fs.write(inode, at, piece));
    if (n < 0 && before === 0) throw new Errno(-n);
    return Math.max(0, n);
  }

  #ftruncate([fd, length]: Args): number {
    const file = this.files.get(fd);
    if ((file.flags & O_ACCMODE) === O_RDONLY || file.inode.type !== 'file')
      throw new Errno(ERRNO.EINVAL);
    this.fs.truncate(file.inode, length);
    return 0;
  }

  #getdents64([fd, address, size]: Args): number {
    const file = this.files.get(fd);
    if (file.inode.type !== 'directory') throw new Errno(ERRNO.ENOTDIR);
    if (file.inode.nlink === 0) throw new Errno(ERRNO.ENOENT);
    file.listing ??= this.#listing(file.inode);
    const bytes = this.space.bytes(address, size);
    let at = 0;
    while (file.listing.length > 0) {
      const [name, inode] = file.listing[0];
      const length = (DIRENT64.name + name.length + 1 + 7) & ~7;
      if (at + length > size) break;
      bytes.fill(0, at, at + length);
      bytes.writeBigUInt64LE(BigInt(inode.ino), at + DIRENT64.ino);
      bytes.writeUInt16LE(length, at + DIRENT64.reclen);
      bytes[at + DIRENT64.type] = TYPE_OF[inode.type];
      bytes.write(name, at + DIRENT64.name, 'latin1');
      at += length;
      file.listing.shift();
      if (this.faults.endsListing()) return at;
    }
    if (at === 0 && file.listing.length > 0) throw new Errno(ERRNO.EINVAL);
    return at;
  }

  #listing(dir: Directory): [string, Inode][] {
    return [['.', dir], ['..', dir.parent], ...dir.entries];
  }

  /* --- Metadata ---------------------------------------------------------------------------- */

  #statx([dirfd, path, flags, , buffer]: Args): number {
    const name = this.#path(path);
    if (name === '' && !(flags & AT_EMPTY_PATH)) throw new Errno(ERRNO.ENOENT);
    const inode =
      name === ''
        ? this.files.get(dirfd).inode
        : this.fs.resolve(this.#pathAt(dirfd, path), (flags & AT_SYMLINK_NOFOLLOW) === 0);
    const out = this.space.bytes(buffer, SIZEOF_STATX);
    out.fill(0);
    out.writeUInt32LE(STATX_MASK, STATX.mask);
    out.writeUInt32LE(4096, STATX.blksize);
    out.writeUInt32LE(inode.nlink, STATX.nlink);
    out.writeUInt32LE(inode.uid >>> 0, STATX.uid);
    out.writeUInt32LE(inode.gid >>> 0, STATX.gid);
    out.writeUInt16LE(inode.mode, STATX.mode);
    out.writeBigUInt64LE(BigInt(inode.ino), STATX.ino);
    out.writeBigUInt64LE(BigInt(sizeOf(inode)), STATX.size);
    out.writeBigUInt64LE(BigInt(Math.ceil(sizeOf(inode) / 512)), STATX.blocks);
    const time = (ns: bigint, sec: number, nsec: number) => {
      const rest = BigInt.asUintN(64, ((ns % SECOND) + SECOND) % SECOND);
      out.writeBigInt64LE((ns - rest) / SECOND, sec);
      out.writeUInt32LE(Number(rest), nsec);
    };
    time(inode.atime, STATX.atime_sec, STATX.atime_nsec);
    time(inode.btime, STATX.btime_sec, STATX.btime_nsec);
    time(inode.ctime, STATX.ctime_sec, STATX.ctime_nsec);
    time(inode.mtime, STATX.mtime_sec, STATX.mtime_nsec);
    out.writeUInt32LE(0xfe, STATX.dev_major);
    out.writeUInt32LE(1, STATX.dev_minor);
    return 0;
  }

  #fillStatfs(out: Buffer): number {
    const total = this.fs.options.capacity ?? 2 ** 40;
    out.fill(0);
    out.writeBigInt64LE(0x7472_6170n, STATFS.type);
    out.writeBigInt64LE(4096n, STATFS.bsize);
    out.writeBigUInt64LE(BigInt(Math.floor(total / 4096)), STATFS.blocks);
    out.writeBigUInt64LE(BigInt(Math.floor((total - this.fs.used) / 4096)), STATFS.bfree);
    out.writeBigUInt64LE(BigInt(Math.floor((total - this.fs.used) / 4096)), STATFS.bavail);
    return 0;
  }

  #utimensat([dirfd, path, times, flags]: Args): number {
    const inode =
      path === 0
        ? this.#inodeOf(dirfd)
        : this.fs.resolve(this.#pathAt(dirfd, path), (flags & AT_SYMLINK_NOFOLLOW) === 0);
    const given = this.space.bytes(times, SIZEOF_TIMESPEC * 2);
    const time = (at: number) =>
      given.readBigInt64LE(at + TIMESPEC.sec) * SECOND + given.readBigInt64LE(at + TIMESPEC.nsec);
    this.fs.setTimes(inode, time(0), time(SIZEOF_TIMESPEC));
    return 0;
  }
}
