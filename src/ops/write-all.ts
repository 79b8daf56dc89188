/**
 * Writes all of some bytes to an open file, at its position. The descriptor stays open.
 *
 *   await writeAll(kernel, fd, data);
 *   await writeAll(kernel, fd, data, () => signal.throwIfAborted());
 *
 * `check` is called before each chunk and may throw. The bytes must not change meanwhile. `length`
 * is theirs when the program passed them: a buffer transferred away since is an error, not the end.
 */
import { ERRNO } from '../abi/errno.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { systemError } from './error.ts';
import type { Check } from './read-all.ts';
import { CURRENT, write } from './transfer.ts';

/** Node's promises write so, and check for an abort in between. */
const CHUNK = 512 * 1024;

function writeOnce(kernel: Kernel, fd: number, data: Uint8Array): Promise<number> {
  return new Promise((resolve) => write(kernel, fd, data, CURRENT, resolve));
}

export async function writeAll(
  kernel: Kernel,
  fd: number,
  data: Uint8Array,
  check?: Check,
  length = data.byteLength,
): Promise<undefined> {
  for (let at = 0; at < length; ) {
    check?.();
    if (data.byteLength < length) throw systemError(-ERRNO.EFAULT, 'write');
    at += await writeOnce(kernel, fd, data.subarray(at, at + CHUNK));
  }
}
