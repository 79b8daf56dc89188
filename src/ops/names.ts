/**
 * Operations that answer with a name: readlink and mkdtemp.
 */

import { ERRNO } from '../abi/errno.ts';
import type { Kernel } from '../kernel/kernel.ts';
import {
  Call,
  type Fail,
  number,
  type Path,
  pathText,
  putCwd,
  putPath,
  type Resolve,
} from './call.ts';
import { systemError } from './error.ts';
import { mkdir } from './paths.ts';

const LINK_MAX = 4096;

/** The text of a symbolic link, as bytes of their own. */
export function readlink(kernel: Kernel, path: Path, resolve: Resolve<Buffer>, fail?: Fail): void {
  const again = () => readlink(kernel, path, resolve, fail);
  const { pages, pool } = kernel;
  if (!pages.room(1)) return kernel.whenRoom(again);
  const block = pool.take(LINK_MAX);
  if (block === -1) return kernel.whenRoom(again);
  const id = pages.claim();
  pages.call(id, number('readlinkat'), 4, 0);
  putCwd(kernel, id, 0);
  putPath(kernel, id, 1, path);
  pages.setAddress(id, 2, pool.addressLow + block, pool.addressHigh);
  pages.setInt(id, 3, LINK_MAX);
  const decode = (_k: Kernel, _id: number, length: number) =>
    Buffer.from(pool.bytes.subarray(block, block + length));
  const call = new Call(
    'readlink',
    path,
    undefined,
    decode,
    (value: Buffer | PromiseLike<Buffer>) => {
      pool.give(block);
      resolve(value);
    },
    fail === undefined
      ? undefined
      : (error) => {
          pool.give(block);
          fail(error);
        },
  );
  kernel.post(id, call);
}

const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';
/** As mkdtemp(3) of glibc: many names taken means that something else is wrong. */
const ATTEMPTS = 100;

function sixLetters(): string {
  let letters = '';
  for (let i = 0; i < 6; i++) letters += LETTERS[Math.floor(Math.random() * LETTERS.length)];
  return letters;
}

/** `prefix` and six letters, as what `prefix` is: text or bytes. */
function temporaryName(prefix: Path): Path {
  const letters = sixLetters();
  if (typeof prefix === 'string') return prefix + letters;
  return Buffer.concat([prefix, Buffer.from(letters)]);
}

/** Makes a directory of mode 0700 whose name is `prefix` and six letters; resolves to the name. */
export function mkdtemp(
  kernel: Kernel,
  prefix: Path,
  resolve: Resolve<Path>,
  fail: Fail,
  attempts = ATTEMPTS,
): void {
  const path = temporaryName(prefix);
  mkdir(
    kernel,
    path,
    0o700,
    () => resolve(path),
    (error) => {
      const { errno } = error as NodeJS.ErrnoException;
      if (errno === -ERRNO.EEXIST && attempts > 1)
        return mkdtemp(kernel, prefix, resolve, fail, attempts - 1);
      fail(systemError(errno ?? -ERRNO.EIO, 'mkdtemp', pathText(path)));
    },
  );
}
