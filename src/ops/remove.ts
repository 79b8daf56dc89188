/**
 * rm -r: a path and everything below it. All entries of a directory are removed at the same time,
 * the directory behind them. What is gone already is no error.
 *
 *   await removeTree(kernel, Buffer.from(path));
 *
 * Paths are bytes: a name need not be valid UTF-8. Fails with the first error, as Node; what else
 * is being removed at that moment goes on.
 */
import { ERRNO } from '../abi/errno.ts';
import { DT_DIR, DT_UNKNOWN } from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { type Fail, NotOurs, type Path, pathFits, type Resolve } from './call.ts';
import { rmdir, unlink } from './paths.ts';
import { type Listing, readdir } from './readdir.ts';
import { decodeType, stat } from './stat.ts';

type Operation = (kernel: Kernel, path: Path, resolve: Resolve<undefined>, fail: Fail) => void;

/** Undefined, or the error. */
function attempt(operation: Operation, kernel: Kernel, path: Buffer): Promise<Error | undefined> {
  return new Promise((resolve) => operation(kernel, path, () => resolve(undefined), resolve));
}

function errnoOf(error: Error): number {
  return -((error as NodeJS.ErrnoException).errno ?? 0);
}

/** The DT_ type of a path itself. */
export function typeOfPath(kernel: Kernel, path: Path): Promise<number> {
  return new Promise((resolve) => stat(kernel, path, true, decodeType, resolve));
}

function list(kernel: Kernel, path: Buffer): Promise<Listing> {
  return new Promise((resolve) => readdir(kernel, path, 'buffer', resolve));
}

const SLASH = Buffer.from('/');

const NOT_EMPTY: ReadonlySet<number> = new Set([ERRNO.ENOTEMPTY, ERRNO.EEXIST, ERRNO.EPERM]);

async function removeChildren(kernel: Kernel, path: Buffer, listing: Listing): Promise<void> {
  const prefix = Buffer.concat([path, SLASH]);
  await Promise.all(
    listing.names.map((name, i) =>
      removeTree(kernel, Buffer.concat([prefix, name as Buffer]), listing.types[i]),
    ),
  );
}

/** Tried as it is first, as Node does: what is mounted there, or "." itself, is left alone.
 *  `unlinking` is why it is taken for a directory. */
async function removeDirectory(kernel: Kernel, path: Buffer, unlinking?: Error): Promise<void> {
  const error = await attempt(rmdir, kernel, path);
  if (error === undefined) return;
  if (errnoOf(error) === ERRNO.ENOTDIR && unlinking !== undefined) throw unlinking;
  if (!NOT_EMPTY.has(errnoOf(error))) throw error;
  await removeChildren(kernel, path, await list(kernel, path));
  const again = await attempt(rmdir, kernel, path);
  if (again !== undefined) throw again;
}

async function removeOther(kernel: Kernel, path: Buffer): Promise<void> {
  const error = await attempt(unlink, kernel, path);
  if (error === undefined) return;
  const errno = errnoOf(error);
  // A directory after all: POSIX allows both answers.
  if (errno === ERRNO.EISDIR || errno === ERRNO.EPERM) return removeDirectory(kernel, path, error);
  throw error;
}

export async function removeTree(kernel: Kernel, path: Buffer, type = DT_UNKNOWN): Promise<void> {
  if (!pathFits(path)) throw new NotOurs(path.toString());
  try {
    const known = type === DT_UNKNOWN ? await typeOfPath(kernel, path) : type;
    await (known === DT_DIR ? removeDirectory(kernel, path) : removeOther(kernel, path));
  } catch (error) {
    if (errnoOf(error as Error) !== ERRNO.ENOENT) throw error;
  }
}
