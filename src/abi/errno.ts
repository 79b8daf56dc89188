/**
 * Names and messages of error numbers, exactly as Node's own errors carry them.
 *
 *   errnoName(2)      'ENOENT'                      (an error's `code`)
 *   errnoMessage(2)   'no such file or directory'   (the middle of its `message`)
 *   errnoName(124)    'Unknown system error -124'   (libuv does not know it; the message is the same)
 *   ERRNO.EAGAIN      11, the same on x86_64 and arm64
 *
 * Numbers may be positive (errno) or negative (a system call's result, Node's `err.errno`). Node's map is
 * fetched at the first error, not at load.
 */
import { getSystemErrorMap } from 'node:util';

/** The error numbers that trapless itself acts on. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EPIPE: 32,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ETIME: 62,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOBUFS: 105,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  EALREADY: 114,
  ECANCELED: 125,
} as const;

let known: Map<number, [string, string]> | undefined;

function lookup(errno: number): [string, string] | undefined {
  known ??= getSystemErrorMap();
  return known.get(-Math.abs(errno));
}

/** The `code` of an error with this errno. */
export function errnoName(errno: number): string {
  return lookup(errno)?.[0] ?? unknown(errno);
}

/** The description of an error with this errno: `ENOENT: <this>, open '/x'`. */
export function errnoMessage(errno: number): string {
  return lookup(errno)?.[1] ?? unknown(errno);
}

/** As libuv's uv_err_name_r and uv_strerror_r write it; both code and message. */
function unknown(errno: number): string {
  return `Unknown system error ${-Math.abs(errno)}`;
}
