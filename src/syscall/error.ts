/**
 * What a system call that failed throws, or its promise is rejected with.
 */
import { ERRNO, errnoMessage, errnoName } from '../abi/errno.ts';

/**
 * A system call's failure, with the properties Node's own errors have:
 * `ENOENT: no such file or directory, openat '/x'`.
 */
export class SystemCallError extends Error {
  override readonly name = 'SystemCallError';
  /** The error's name, as 'ENOENT'; 'ECANCELED' for a call that was abandoned. */
  readonly code: string;
  /** The negative error number, as Node has it: -2. */
  readonly errno: number;
  /** The system call's name. */
  readonly syscall: string;
  /** The first string among its arguments, if any. */
  readonly path?: string;

  constructor(errno: number, syscall: string, path?: string) {
    const code = errnoName(errno);
    super(`${code}: ${errnoMessage(errno)}, ${syscall}${path === undefined ? '' : ` '${path}'`}`);
    this.code = code;
    this.errno = -Math.abs(errno);
    this.syscall = syscall;
    if (path !== undefined) this.path = path;
  }
}

/** The result of a call that was given up. */
export const CANCELED = -ERRNO.ECANCELED;
