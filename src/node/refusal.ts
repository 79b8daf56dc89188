/**
 * Whether trapless can accelerate this thread at all: a cheap look at the process, nothing is
 * opened.
 *
 *   const no = refusal();
 *   if (no) console.error(no.reason);
 */
import { unsupported } from '../native/addon.ts';

export interface Tier {
  /** ring: io_uring and crew threads; crew: our threads alone; passthrough: Node as it is. */
  readonly name: 'ring' | 'crew' | 'passthrough';
  readonly reason: string;
  /** What to do for a better tier; absent where nothing can be done. */
  readonly advice?: string;
}

const PERMISSION =
  "Node's permission model is on, and it checks in functions that trapless replaces";

/** Why not; undefined: it can. */
export function refusal(): Tier | undefined {
  const no = (reason: string, advice?: string): Tier => ({ name: 'passthrough', reason, advice });
  if (process.env.TRAPLESS === '0') return no('TRAPLESS=0', 'unset TRAPLESS');
  const why = unsupported();
  if (why) return no(why);
  // No external ArrayBuffers there (V8's sandbox), and another event loop.
  if ('electron' in process.versions) return no('this is Electron; trapless needs plain Node.js');
  if ('permission' in process && process.permission !== undefined)
    return no(PERMISSION, 'run without --permission to use trapless');
  for (const argument of process.execArgv) {
    if (/^--(experimental-)?permission(-audit)?$/.test(argument))
      return no(PERMISSION, 'run without --permission to use trapless');
    // A snapshot cannot hold mapped memory.
    if (argument === '--build-snapshot') return no('a start-up snapshot is being built');
  }
  return undefined;
}
