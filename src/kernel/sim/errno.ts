/**
 * How a simulated system call fails: `throw new Errno(ERRNO.ENOENT)`. The dispatcher (syscalls.ts)
 * turns it into the negative result that Linux would return.
 */
import { errnoName } from '../../abi/errno.ts';

export class Errno extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(errnoName(errno));
    this.errno = errno;
  }
}

/** The result of `call`, or -errno. */
export function resultOf(call: () => number): number {
  try {
    return call();
  } catch (error) {
    if (error instanceof Errno) return -error.errno;
    throw error;
  }
}
