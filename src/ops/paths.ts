/**
 * The operations on one or two paths that answer with nothing but success: each is one entry.
 *
 *   unlink(kernel, path, resolve, fail)
 *
 * libuv's names (second argument of `one` and `two`) are what an error's `syscall` says.
 */

import { AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW } from '../abi/structs.ts';
import type { SyscallName } from '../abi/syscalls.ts';
import type { Kernel } from '../kernel/kernel.ts';
import {
  Call,
  type Fail,
  noValue,
  number,
  type Path,
  pathFits,
  putCwd,
  putPath,
  type Resolve,
} from './call.ts';

/** Fills the integer arguments behind the path. */
type Fill = (kernel: Kernel, id: number) => void;

function one(
  kernel: Kernel,
  name: SyscallName,
  syscall: string,
  path: Path,
  argc: number,
  fill: Fill | null,
  resolve: Resolve<undefined>,
  fail: Fail | undefined,
): void {
  const id = kernel.pages.claim();
  if (id === -1)
    return kernel.whenRoom(() => one(kernel, name, syscall, path, argc, fill, resolve, fail));
  kernel.pages.call(id, number(name), argc, 0);
  putCwd(kernel, id, 0);
  putPath(kernel, id, 1, path);
  if (fill !== null) fill(kernel, id);
  kernel.post(id, new Call(syscall, path, undefined, noValue, resolve, fail));
}

/** access(path, mode): with the real user id, as access(2). */
export function access(
  kernel: Kernel,
  path: Path,
  mode: number,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  const fill: Fill = (k, id) => k.pages.setInt(id, 2, mode);
  one(kernel, 'faccessat', 'access', path, 3, fill, resolve, fail);
}

export function mkdir(
  kernel: Kernel,
  path: Path,
  mode: number,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  const fill: Fill = (k, id) => k.pages.setInt(id, 2, mode);
  one(kernel, 'mkdirat', 'mkdir', path, 3, fill, resolve, fail);
}

const unlinkFlags: Fill = (kernel, id) => kernel.pages.setInt(id, 2, 0);
const rmdirFlags: Fill = (kernel, id) => kernel.pages.setInt(id, 2, AT_REMOVEDIR);

export function unlink(kernel: Kernel, path: Path, resolve: Resolve<undefined>, fail?: Fail): void {
  one(kernel, 'unlinkat', 'unlink', path, 3, unlinkFlags, resolve, fail);
}

export function rmdir(kernel: Kernel, path: Path, resolve: Resolve<undefined>, fail?: Fail): void {
  one(kernel, 'unlinkat', 'rmdir', path, 3, rmdirFlags, resolve, fail);
}

export function chmod(
  kernel: Kernel,
  path: Path,
  mode: number,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  const fill: Fill = (k, id) => k.pages.setInt(id, 2, mode);
  one(kernel, 'fchmodat', 'chmod', path, 3, fill, resolve, fail);
}

/** chown, or lchown with `nofollow`. */
export function chown(
  kernel: Kernel,
  path: Path,
  uid: number,
  gid: number,
  nofollow: boolean,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  const fill: Fill = (k, id) => {
    k.pages.setInt(id, 2, uid);
    k.pages.setInt(id, 3, gid);
    k.pages.setInt(id, 4, nofollow ? AT_SYMLINK_NOFOLLOW : 0);
  };
  one(kernel, 'fchownat', nofollow ? 'lchown' : 'chown', path, 5, fill, resolve, fail);
}

/** Where the second of two paths lies in a slot. */
const SECOND = 544;

/** Whether two paths fit one slot. */
export function bothFit(first: Path, second: Path): boolean {
  return pathFits(first, SECOND) && pathFits(second, 1088 - SECOND);
}

function two(
  kernel: Kernel,
  name: SyscallName,
  syscall: string,
  first: Path,
  second: Path,
  resolve: Resolve<undefined>,
  fail: Fail | undefined,
): void {
  const id = kernel.pages.claim();
  if (id === -1)
    return kernel.whenRoom(() => two(kernel, name, syscall, first, second, resolve, fail));
  const pages = kernel.pages;
  pages.call(id, number(name), 5, 0);
  if (name === 'symlinkat') {
    putPath(kernel, id, 0, first); // the link's text: relative to the link, not to us
    putCwd(kernel, id, 1);
    putPath(kernel, id, 2, second, SECOND);
  } else {
    putCwd(kernel, id, 0);
    putPath(kernel, id, 1, first);
    putCwd(kernel, id, 2);
    putPath(kernel, id, 3, second, SECOND);
    pages.setInt(id, 4, 0);
  }
  kernel.post(id, new Call(syscall, first, second, noValue, resolve, fail));
}

export function rename(
  kernel: Kernel,
  from: Path,
  to: Path,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  two(kernel, 'renameat2', 'rename', from, to, resolve, fail);
}

export function link(
  kernel: Kernel,
  from: Path,
  to: Path,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  two(kernel, 'linkat', 'link', from, to, resolve, fail);
}

export function symlink(
  kernel: Kernel,
  target: Path,
  path: Path,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  two(kernel, 'symlinkat', 'symlink', target, path, resolve, fail);
}
