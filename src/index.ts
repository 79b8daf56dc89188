/**
 * `trapless`: exception-less system calls (FlexSC) on a stock Linux kernel. To run an unmodified
 * program, use `trapless run` or `node --import trapless/register`; this entry point is for those
 * who program against trapless: `register` and what belongs to it, as in `trapless/syscall`, and
 * what trapless can use here.
 */
import { packageVersion } from './report/package-root.ts';

export { type Tier, tier } from './node/environment-kernel.ts';
export * from './syscall.ts';

/** The version of this package, as in its package.json. A function: loading reads no file. */
export function version(): string {
  return packageVersion();
}
