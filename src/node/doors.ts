/**
 * Doors: functions on node:fs and fs.promises in the place of those that are accelerated. The
 * first call through any of them loads the runtime (dist/trapless.cjs), which has the real ones;
 * a program that makes none never pays for it.
 *
 *   installDoors();
 *
 * A door stays for good: fs.stat is the same function before the first call and after it.
 */
import { syncBuiltinESMExports } from 'node:module';
import { builtin } from './builtin.ts';
import { runtime } from './bundles.ts';
import { type AnyFunction, disguise } from './disguise.ts';
import { shared } from './shared.ts';

/** What the runtime accelerates: of node:fs, in callback form, … */
export const CALLBACK_NAMES =
  'access appendFile chmod chown close fchmod fchown fdatasync fstat fsync ftruncate futimes ' +
  'lchown link lstat lutimes mkdir mkdtemp open read readFile readdir readlink readv rename ' +
  'rmdir stat statfs symlink truncate unlink utimes write writeFile writev';
/** … and of fs.promises. FileHandle's methods are seen to when the first one is opened. */
export const PROMISE_NAMES =
  'access appendFile chmod chown lchown link lstat lutimes mkdir mkdtemp open readFile readdir ' +
  'readlink rename rmdir stat statfs symlink truncate unlink utimes writeFile';

type Functions = Record<string, AnyFunction>;

export function installDoors(): void {
  const { originals } = shared();
  const nodeFs = builtin('node:fs');
  put(nodeFs as unknown as Functions, CALLBACK_NAMES, originals.fs, () => runtime().fs());
  put(
    nodeFs.promises as unknown as Functions,
    PROMISE_NAMES,
    originals.promises,
    () => runtime().fs().promises,
  );
  syncBuiltinESMExports();
  // Node's own tests replace its internals before the first call: be there before them.
  if (process.execArgv.includes('--expose-internals')) runtime().fs();
}

/** Node 20 reads ES modules by `fs.promises.readFile(url)`: loading one is no use of trapless. */
function ofNode(path: unknown): boolean {
  if (!(path instanceof URL)) return false;
  const caller = new Error().stack?.split('\n')[3];
  return caller?.includes('node:internal/modules/') === true;
}

function put(target: Functions, names: string, originals: Functions, inside: () => unknown): void {
  for (const name of names.split(' ')) {
    const original = target[name];
    if (typeof original !== 'function') continue;
    originals[name] = original;
    target[name] = door(original, () => (inside() as Functions)[name]);
  }
}

function door(original: AnyFunction, open: () => AnyFunction): AnyFunction {
  let inside: AnyFunction | undefined;
  return disguise(function (this: unknown) {
    if (inside === undefined) {
      if (ofNode(arguments[0])) return original.apply(this, arguments as unknown as unknown[]);
      inside = open();
    }
    // biome-ignore lint/complexity/noArguments: the count matters to Node, and copies cost
    return inside.apply(this, arguments as unknown as unknown[]);
  }, original);
}
