/**
 * mkdir -p: goes up until a directory can be made, then down again. Resolves to the first
 * directory made, as much of the path as it is written, or undefined when all were there.
 */
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

/** The type bits of what is at `path`, or the negative errno. */
function typeOf(kernel: Kernel, path: string): Promise<number> {
  return new Promise((resolve) =>
    stat(
      kernel,
      path,
      false,
      (k, id) => k.desk.slots.readUInt16LE(id * SLOT_SIZE + SLOT_RESULT + STATX.mode) & S_IFMT,
      resolve,
      (error) => resolve((error as NodeJS.ErrnoException).errno ?? -ERRNO.EIO),
    ),
  );
}

/** Failures that say it all; after any other, Node looks at what is there. */
const FINAL: ReadonlySet<number> = new Set([
  -ERRNO.EACCES,
  -ERRNO.ENOSPC,
  -ERRNO.ENOTDIR,
  -ERRNO.EPERM,
]);

async function makeAll(kernel: Kernel, path: string, mode: number): Promise<string | undefined> {
  const wanted = [path];
  /** Parents known to exist: ENOENT below one of them is final (/proc says so). */
  const there = new Set<string>();
  let first: string | undefined;
  while (wanted.length > 0) {
    const next = wanted[wanted.length - 1];
    // Not path.dirname: this, slashes and all, is what Node reports as made.
    const parent = next.slice(0, Math.max(0, next.lastIndexOf('/')));
    const errno = await make(kernel, next, mode);
    if (errno === 0) {
      first ??= next;
    } else if (errno === -ERRNO.ENOENT && parent !== '' && !there.has(parent)) {
      wanted.push(parent);
      continue;
    } else {
      const failed = errno === -ERRNO.ENOENT || FINAL.has(errno);
      const reason = failed ? errno : await obstacle(kernel, next, errno, wanted.length > 1);
      if (reason !== 0) throw systemError(reason, 'mkdir', next);
    }
    there.add(next);
    wanted.pop();
  }
  return first;
}

/** mkdir failed with `errno`: 0 if there is a directory all the same, else what Node reports. */
async function obstacle(
  kernel: Kernel,
  path: string,
  errno: number,
  inMiddle: boolean,
): Promise<number> {
  const type = await typeOf(kernel, path);
  if (type === S_IFDIR) return 0;
  // In the middle of the path, what exists and is no directory is reported as such.
  if (errno === -ERRNO.EEXIST && inMiddle) return -ERRNO.ENOTDIR;
  return type < 0 ? type : -ERRNO.EEXIST;
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
