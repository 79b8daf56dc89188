/**
 * utimes, lutimes, futimes: utimensat(2) with two timespecs in the entry's slot.
 */
import { SLOT_SIZE } from '../abi/entry.ts';
import { AT_SYMLINK_NOFOLLOW, SIZEOF_TIMESPEC, TIMESPEC } from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { SLOT_RESULT } from '../page/pages.ts';
import {
  Call,
  type Fail,
  noValue,
  number,
  type Path,
  putCwd,
  putPath,
  type Resolve,
} from './call.ts';

/** libuv before 1.52 cuts times to whole microseconds. */
const [uvMajor, uvMinor] = process.versions.uv.split('.').map(Number);
const microseconds = uvMajor === 1 && uvMinor < 52;

/** Seconds since 1970, fractions included, rounded as libuv does. */
function putTime(kernel: Kernel, id: number, index: number, time: number): void {
  const at = id * SLOT_SIZE + SLOT_RESULT + index * SIZEOF_TIMESPEC;
  let seconds = Math.trunc(time);
  let nanoseconds = Math.trunc((time - seconds) * 1e9);
  if (microseconds) nanoseconds -= nanoseconds % 1000;
  if (nanoseconds < 0) {
    nanoseconds += 1e9;
    seconds -= 1;
  }
  const { slots } = kernel.desk;
  slots.writeBigInt64LE(BigInt(seconds), at + TIMESPEC.sec);
  slots.writeBigInt64LE(BigInt(nanoseconds), at + TIMESPEC.nsec);
}

/** `target` is a path (`syscall`: utime or lutime) or a descriptor (futime). */
export function setTimes(
  kernel: Kernel,
  target: Path | number,
  nofollow: boolean,
  atime: number,
  mtime: number,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  const { pages } = kernel;
  const id = pages.claim();
  if (id === -1)
    return kernel.whenRoom(() => setTimes(kernel, target, nofollow, atime, mtime, resolve, fail));
  pages.call(id, number('utimensat'), 4, 0);
  putTime(kernel, id, 0, atime);
  putTime(kernel, id, 1, mtime);
  pages.setSlot(id, 2, SLOT_RESULT);
  pages.setInt(id, 3, nofollow ? AT_SYMLINK_NOFOLLOW : 0);
  if (typeof target === 'number') {
    pages.setInt(id, 0, target);
    pages.setNumber(id, 1, 0); // no path: the descriptor itself
  } else {
    putCwd(kernel, id, 0);
    putPath(kernel, id, 1, target);
  }
  const syscall = typeof target === 'number' ? 'futime' : nofollow ? 'lutime' : 'utime';
  const path = typeof target === 'number' ? undefined : target;
  kernel.post(id, new Call(syscall, path, undefined, noValue, resolve, fail));
}
