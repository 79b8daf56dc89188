/**
 * Installs trapless under a program that knows nothing of it: `node --import trapless/register`,
 * `node --require trapless/register`, `trapless run`, or first thing in the program itself.
 *
 *   register();     // fs, fs.promises and FileHandle are accelerated from here on
 *
 * Once per thread; again is harmless. It replaces functions and nothing else: the runtime is loaded
 * at the first accelerated call (doors.ts). Where trapless cannot work it does nothing at all.
 */
import { kernelOptions } from './kernel/options.ts';
import { wrapCredentials } from './node/credentials.ts';
import { adoptArguments, descend } from './node/descendants.ts';
import { installDoors } from './node/doors.ts';
import { refusal } from './node/refusal.ts';
import { shared } from './node/shared.ts';
import { reportAtExit } from './node/stats.ts';

export interface RegisterOptions {
  /** Also under this program's workers and forked children. Default: if it was preloaded. */
  readonly descendants?: boolean;
}

export function register(options: RegisterOptions = {}): void {
  const preload = adoptArguments();
  if (refusal() || shared().registered) return;
  shared().registered = true;
  kernelOptions({}); // a mistake in TRAPLESS_… is told now, not at some later call
  wrapCredentials();
  if (options.descendants ?? preload !== null) descend(preload);
  if (process.env.TRAPLESS_STATS && process.env.TRAPLESS_STATS !== '0') reportAtExit();
  installDoors();
}
