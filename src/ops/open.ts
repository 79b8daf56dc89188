/**
 * open: openat(2), always O_CLOEXEC as libuv has it.
 */
import { O_CLOEXEC } from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
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

/** Fills entry `id` with openat(cwd, path, flags, mode). */
export function fillOpen(
  kernel: Kernel,
  id: number,
  path: Path,
  flags: number,
  mode: number,
  entryFlags: number,
): void {
  const pages = kernel.pages;
  pages.call(id, number('openat'), 4, entryFlags);
  putCwd(kernel, id, 0);
  putPath(kernel, id, 1, path);
  pages.setInt(id, 2, flags | O_CLOEXEC);
  pages.setInt(id, 3, mode);
}

/** A descriptor that is closed with this thread, unless it is closed before. */
export const ownDescriptor: Decode<number> = (kernel, _id, fd) => {
  kernel.own.add(fd);
  return fd;
};

/** Resolves to what `decode` makes of the descriptor. */
export function open<T>(
  kernel: Kernel,
  path: Path,
  flags: number,
  mode: number,
  decode: Decode<T>,
  resolve: Resolve<T>,
  fail?: Fail,
): void {
  const id = kernel.pages.claim();
  if (id === -1)
    return kernel.whenRoom(() => open(kernel, path, flags, mode, decode, resolve, fail));
  fillOpen(kernel, id, path, flags, mode, 0);
  kernel.post(id, new Call('open', path, undefined, decode, resolve, fail));
}
