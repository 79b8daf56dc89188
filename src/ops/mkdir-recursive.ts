/**
 * mkdir -p: goes up until a directory can be made, then down again. Resolves to the first
 * directory made, absolute as Node has it, or undefined when all were there.
 */
import { resolve as absolute, dirname } from 'node:path';
import { SLOT_SIZE } from '../abi/entry.ts';
import { ERRNO } from '../abi/errno.ts';
import { S_IFDIR, S_IFMT, STATX } from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { SLOT_RESULT } from '../page/pages.ts';
import { type Fail, type Resolve, settleError } from './call.ts';
import { systemError } from './error.ts';
import { mkdir } from './paths.ts';
import { stat } from './stat.ts';

/** 0, or the negative errno. */
function make(kernel: Kernel, path: string, mode: number): Promise<number> {
  return new Promise((resolve) =>
    mkdir(
      kernel,
      path,
      mode,
      () => resolve(0),
      (error) => resolve((error as NodeJS.ErrnoException).errno ?? -ERRNO.EIO),
    ),
  );
}

function isDirectory(kernel: Kernel, path: string): Promise<boolean> {
  return new Promise((resolve) =>
    stat(
      kernel,
      path,
      false,
      (k, id) =>
        (k.desk.slots.readUInt16LE(id * SLOT_SIZE + SLOT_RESULT + STATX.mode) & S_IFMT) === S_IFDIR,
      resolve,
      () => resolve(false),
    ),
  );
}

async function makeAll(kernel: Kernel, path: string, mode: number): Promise<string | undefined> {
  const wanted = [path];
  /** Parents known to exist: ENOENT below one of them is final (/proc says so). */
  const there = new Set<string>();
  let first: string | undefined;
  while (wanted.length > 0) {
    const next = wanted[wanted.length - 1];
    const errno = await make(kernel, next, mode);
    if (errno === 0) {
      first ??= next;
      there.add(next);
      wanted.pop();
    } else if (errno === -ERRNO.ENOENT && dirname(next) !== next && !there.has(dirname(next))) {
      wanted.push(dirname(next));
    } else if (errno === -ERRNO.EEXIST && (await isDirectory(kernel, next))) {
      there.add(next);
      wanted.pop();
    } else {
      // In the middle of the path, what exists and is no directory is reported as such.
      const inMiddle = errno === -ERRNO.EEXIST && wanted.length > 1;
      throw systemError(inMiddle ? -ERRNO.ENOTDIR : errno, 'mkdir', path);
    }
  }
  return first === undefined ? undefined : absolute(first);
}

export function mkdirRecursive(
  kernel: Kernel,
  path: string,
  mode: number,
  resolve: Resolve<string | undefined>,
  fail?: Fail,
): void {
  makeAll(kernel, path, mode).then(resolve, (error: Error) => settleError(error, resolve, fail));
}
