/**
 * stat, lstat, fstat: statx(2) into the entry's slot.
 */
import { SLOT_SIZE } from '../abi/entry.ts';
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, S_IFMT, STATX, STATX_MASK } from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { SLOT_RESULT } from '../page/pages.ts';
import {
  Call,
  type Decode,
  type Fail,
  number,
  type Path,
  putCwd,
  putPath,
  type Resolve,
} from './call.ts';

/** Int32 index of a statx field in the entry's slot. */
function at(id: number, offset: number): number {
  return (id * SLOT_SIZE + SLOT_RESULT + offset) >> 2;
}

function unsigned64(words: Int32Array, index: number): number {
  return (words[index + 1] >>> 0) * 4294967296 + (words[index] >>> 0);
}

function bigint64(words: Int32Array, index: number): bigint {
  return (BigInt(words[index + 1]) << 32n) | BigInt(words[index] >>> 0);
}

/** makedev(3) of glibc, which is what stat(2) reports. */
function makeDevice(major: number, minor: number): number {
  const low = ((major & 0xfff) << 8) | (minor & 0xff) | ((minor & 0xfff00) << 12);
  const high = Math.floor(minor / 0x100000) + (major & 0xfffff000);
  return high * 4294967296 + (low >>> 0);
}

/** Of a {seconds i64, nanoseconds u32}. */
function seconds(words: Int32Array, index: number): number {
  return words[index + 1] * 4294967296 + (words[index] >>> 0);
}

function nanoseconds(words: Int32Array, index: number): bigint {
  return bigint64(words, index) * 1_000_000_000n + BigInt(words[index + 2] >>> 0);
}

/** What fs.Stats is made of, in the order of its fields; times are seconds and nanoseconds. */
export type MakeStats<T> = (
  dev: number,
  mode: number,
  nlink: number,
  uid: number,
  gid: number,
  rdev: number,
  blksize: number,
  ino: number,
  size: number,
  blocks: number,
  atimeSeconds: number,
  atimeNs: number,
  mtimeSeconds: number,
  mtimeNs: number,
  ctimeSeconds: number,
  ctimeNs: number,
  birthtimeSeconds: number,
  birthtimeNs: number,
) => T;

export function decodeStats<T>(make: MakeStats<T>): Decode<T> {
  return (kernel, id) => {
    const words = kernel.desk.slotWords;
    const s = at(id, 0);
    return make(
      makeDevice(words[s + (STATX.dev_major >> 2)] >>> 0, words[s + (STATX.dev_minor >> 2)] >>> 0),
      words[s + (STATX.mode >> 2)] & 0xffff,
      words[s + (STATX.nlink >> 2)] >>> 0,
      words[s + (STATX.uid >> 2)] >>> 0,
      words[s + (STATX.gid >> 2)] >>> 0,
      makeDevice(
        words[s + (STATX.rdev_major >> 2)] >>> 0,
        words[s + (STATX.rdev_minor >> 2)] >>> 0,
      ),
      words[s + (STATX.blksize >> 2)] >>> 0,
      unsigned64(words, s + (STATX.ino >> 2)),
      unsigned64(words, s + (STATX.size >> 2)),
      unsigned64(words, s + (STATX.blocks >> 2)),
      seconds(words, s + (STATX.atime_sec >> 2)),
      words[s + (STATX.atime_nsec >> 2)] >>> 0,
      seconds(words, s + (STATX.mtime_sec >> 2)),
      words[s + (STATX.mtime_nsec >> 2)] >>> 0,
      seconds(words, s + (STATX.ctime_sec >> 2)),
      words[s + (STATX.ctime_nsec >> 2)] >>> 0,
      seconds(words, s + (STATX.btime_sec >> 2)),
      words[s + (STATX.btime_nsec >> 2)] >>> 0,
    );
  };
}

/** The same for fs.BigIntStats; times in nanoseconds. */
export function decodeBigIntStats<T>(make: (...fields: bigint[]) => T): Decode<T> {
  return (kernel, id) => {
    const words = kernel.desk.slotWords;
    const s = at(id, 0);
    const u32 = (offset: number) => BigInt(words[s + (offset >> 2)] >>> 0);
    const u64 = (offset: number) => BigInt.asUintN(64, bigint64(words, s + (offset >> 2)));
    const time = (offset: number) => nanoseconds(words, s + (offset >> 2));
    const device = (major: number, minor: number) =>
      BigInt(makeDevice(words[s + (major >> 2)] >>> 0, words[s + (minor >> 2)] >>> 0));
    return make(
      device(STATX.dev_major, STATX.dev_minor),
      u32(STATX.mode) & 0xffffn,
      u32(STATX.nlink),
      u32(STATX.uid),
      u32(STATX.gid),
      device(STATX.rdev_major, STATX.rdev_minor),
      u32(STATX.blksize),
      u64(STATX.ino),
      u64(STATX.size),
      u64(STATX.blocks),
      time(STATX.atime_sec),
      time(STATX.mtime_sec),
      time(STATX.ctime_sec),
      time(STATX.btime_sec),
    );
  };
}

/** Only the type, as a DT_ value: those are the type bits of the mode. */
export const decodeType: Decode<number> = (kernel, id) =>
  (kernel.desk.slotWords[at(id, STATX.mode)] & S_IFMT) >> 12;

function post<T>(kernel: Kernel, id: number, flags: number, call: Call<T>): void {
  const pages = kernel.pages;
  pages.call(id, number('statx'), 5, 0);
  pages.setInt(id, 2, flags);
  pages.setInt(id, 3, STATX_MASK);
  pages.setSlot(id, 4, SLOT_RESULT);
  kernel.post(id, call);
}

/** stat(path), or lstat with `nofollow`. */
export function stat<T>(
  kernel: Kernel,
  path: Path,
  nofollow: boolean,
  decode: Decode<T>,
  resolve: Resolve<T>,
  fail?: Fail,
): void {
  const id = kernel.pages.claim();
  if (id === -1) return kernel.whenRoom(() => stat(kernel, path, nofollow, decode, resolve, fail));
  putCwd(kernel, id, 0);
  putPath(kernel, id, 1, path);
  const name = nofollow ? 'lstat' : 'stat';
  const call = new Call(name, path, undefined, decode, resolve, fail);
  post(kernel, id, nofollow ? AT_SYMLINK_NOFOLLOW : 0, call);
}

/** fstat(fd). */
export function fstat<T>(
  kernel: Kernel,
  fd: number,
  decode: Decode<T>,
  resolve: Resolve<T>,
  fail?: Fail,
): void {
  const id = kernel.pages.claim();
  if (id === -1) return kernel.whenRoom(() => fstat(kernel, fd, decode, resolve, fail));
  kernel.pages.setInt(id, 0, fd);
  putPath(kernel, id, 1, '');
  const call = new Call('fstat', undefined, undefined, decode, resolve, fail);
  post(kernel, id, AT_EMPTY_PATH, call);
}
