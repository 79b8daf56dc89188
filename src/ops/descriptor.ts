/**
 * The operations on an open file that answer with nothing but success: each is one entry.
 */
import type { SyscallName } from '../abi/syscalls.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { Call, type Fail, noValue, number, type Resolve } from './call.ts';

function one(
  kernel: Kernel,
  name: SyscallName,
  syscall: string,
  fd: number,
  second: number,
  third: number,
  resolve: Resolve<undefined>,
  fail: Fail | undefined,
): void {
  const id = kernel.pages.claim();
  if (id === -1)
    return kernel.whenRoom(() => one(kernel, name, syscall, fd, second, third, resolve, fail));
  const pages = kernel.pages;
  // A close that says submitted says of what: see own-descriptors.ts.
  pages.setInt(id, 0, fd);
  pages.call(id, number(name), 3, 0);
  pages.setNumber(id, 1, second);
  pages.setNumber(id, 2, third);
  kernel.post(id, new Call(syscall, undefined, undefined, noValue, resolve, fail));
  if (name === 'close') kernel.own.remove(fd);
}

/** The scheduler holds it back while the descriptor has calls in flight. */
export function close(kernel: Kernel, fd: number, resolve: Resolve<undefined>, fail?: Fail): void {
  one(kernel, 'close', 'close', fd, 0, 0, resolve, fail);
}

const F_GETFD = 1;

/** Resolves when every call on the descriptor that was posted before is done: as a close would. */
export function quiet(kernel: Kernel, fd: number, resolve: Resolve<undefined>, fail?: Fail): void {
  one(kernel, 'fcntl', 'close', fd, F_GETFD, 0, resolve, fail);
}

/** Closes what the program never got to see: nobody could do anything about a failure. */
export function closeQuietly(kernel: Kernel, fd: number): Promise<void> {
  return new Promise((resolve) =>
    close(
      kernel,
      fd,
      () => resolve(),
      () => resolve(),
    ),
  );
}

export function fsync(kernel: Kernel, fd: number, resolve: Resolve<undefined>, fail?: Fail): void {
  one(kernel, 'fsync', 'fsync', fd, 0, 0, resolve, fail);
}

export function fdatasync(
  kernel: Kernel,
  fd: number,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  one(kernel, 'fdatasync', 'fdatasync', fd, 0, 0, resolve, fail);
}

export function ftruncate(
  kernel: Kernel,
  fd: number,
  length: number,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  one(kernel, 'ftruncate', 'ftruncate', fd, length, 0, resolve, fail);
}

export function fchmod(
  kernel: Kernel,
  fd: number,
  mode: number,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  one(kernel, 'fchmod', 'fchmod', fd, mode, 0, resolve, fail);
}

export function fchown(
  kernel: Kernel,
  fd: number,
  uid: number,
  gid: number,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  one(kernel, 'fchown', 'fchown', fd, uid, gid, resolve, fail);
}
