/**
 * node:fs on syscall pages, in the whole shape of node:fs, as an object of its own:
 *
 *   import fs from 'trapless/fs'
 *
 * register() puts doors to these functions onto node:fs itself (doors.ts).
 *
 * What is not accelerated is Node's. Streams are Node's too: they call the exports (or
 * `options.fs`), which are ours.
 */
import nodeFs from 'node:fs';
import { threadKernel } from './environment-kernel.ts';
import {
  canMakeHandles,
  handlesAreOriginal,
  installHandleMethods,
  learn,
  makeHandle,
} from './file-handle.ts';
import { type AnyFunction, callbackForm, disguise, promiseForm } from './forms.ts';
import { shared } from './shared.ts';
import * as starts from './starts.ts';
import { readForm, readvForm, writeForm, writevForm } from './transfers.ts';

type Functions = Record<string, AnyFunction>;

/** Callback functions: the start, and how many arguments may stand before the callback. */
const CALLBACKS: Readonly<Record<string, [start: starts.Start, most: number]>> = {
  access: [starts.access, 2],
  appendFile: [starts.appendFile, 3],
  chmod: [starts.chmod, 2],
  chown: [starts.chown, 3],
  close: [starts.close, 1],
  fchmod: [starts.fchmod, 2],
  fchown: [starts.fchown, 3],
  fdatasync: [starts.fdatasync, 1],
  fstat: [starts.fstat, 2],
  fsync: [starts.fsync, 1],
  ftruncate: [starts.ftruncate, 2],
  futimes: [starts.futimes, 3],
  lchown: [starts.lchown, 3],
  link: [starts.link, 2],
  lstat: [starts.lstat, 2],
  lutimes: [starts.lutimes, 3],
  mkdir: [starts.mkdir, 2],
  mkdtemp: [starts.mkdtemp, 2],
  open: [starts.open, 3],
  readFile: [starts.readFile, 2],
  readdir: [starts.readdir, 2],
  readlink: [starts.readlink, 2],
  rename: [starts.rename, 2],
  rmdir: [starts.rmdir, 2],
  stat: [starts.stat, 2],
  statfs: [starts.statfs, 2],
  symlink: [starts.symlink, 3],
  truncate: [starts.truncate, 2],
  unlink: [starts.unlink, 1],
  utimes: [starts.utimes, 3],
  writeFile: [starts.writeFile, 3],
};

/** Promise functions that have the same name and arguments, without the callback. */
const PROMISES = [
  'access',
  'appendFile',
  'chmod',
  'chown',
  'lchown',
  'link',
  'lstat',
  'lutimes',
  'mkdir',
  'mkdtemp',
  'readFile',
  'readdir',
  'readlink',
  'rename',
  'rmdir',
  'stat',
  'statfs',
  'symlink',
  'truncate',
  'unlink',
  'utimes',
  'writeFile',
] as const;

/** Those that Node does through a FileHandle, visibly (see handlesAreOriginal). */
const THROUGH_HANDLE: ReadonlySet<string> = new Set([
  'appendFile',
  'readFile',
  'truncate',
  'writeFile',
]);

/** Node's functions as they were before there were doors in their place. */
const { originals } = shared();
const original = { ...nodeFs, ...originals.fs } as unknown as Functions;
const originalPromises = { ...nodeFs.promises, ...originals.promises } as unknown as Functions;

function unlessReplaced(start: starts.Start): starts.Start {
  return (kernel, args, resolve, fail) =>
    handlesAreOriginal() && start(kernel, args, resolve, fail);
}

/** fsp.open: a FileHandle of Node's around a descriptor of ours. */
function openForm(open: AnyFunction): AnyFunction {
  return disguise(async function (this: unknown, ...args: unknown[]) {
    const kernel = args.length <= 3 && canMakeHandles() ? threadKernel() : null;
    if (kernel !== null) {
      let started = false;
      const opened = new Promise<number>((resolve) => {
        started = starts.open(kernel, args, resolve);
      });
      if (started) return makeHandle(await opened);
    }
    const handle = await open.apply(this, args);
    learn(handle);
    return handle;
  }, open);
}

function accelerated(): Functions {
  const functions: Functions = {};
  for (const [name, [start, most]] of Object.entries(CALLBACKS))
    if (original[name]) functions[name] = callbackForm(original[name], start, most);
  functions.read = readForm(original.read);
  functions.write = writeForm(original.write);
  functions.readv = readvForm(original.readv);
  functions.writev = writevForm(original.writev);
  return functions;
}

function acceleratedPromises(): Functions {
  const functions: Functions = {};
  for (const name of PROMISES) {
    const [start, most] = CALLBACKS[name];
    if (!originalPromises[name]) continue;
    const begin = THROUGH_HANDLE.has(name) ? unlessReplaced(start) : start;
    functions[name] = promiseForm(originalPromises[name], begin, most);
  }
  functions.open = openForm(originalPromises.open);
  return functions;
}

/** Streams of trapless/fs use trapless/fs: Node's streams take the functions from options.fs. */
function streamForm(create: AnyFunction, ours: Functions): AnyFunction {
  return disguise((path: unknown, options?: unknown) => {
    const given = typeof options === 'string' ? { encoding: options } : options;
    const { fd } = (given ?? {}) as { fd?: unknown };
    // With a FileHandle, Node's streams use its methods and refuse options.fs.
    if (typeof fd === 'object' && fd !== null) return create(path, options);
    return create(path, { fs: ours, ...(given as object | undefined) });
  }, create);
}

let ours: typeof nodeFs | undefined;

/** node:fs with its asynchronous functions on syscall pages. Made at the first call. */
export function traplessFs(): typeof nodeFs {
  if (ours !== undefined) return ours;
  starts.rememberReaddir();
  const functions: Functions = { ...original, ...accelerated() };
  functions.createReadStream = streamForm(original.createReadStream, functions);
  functions.createWriteStream = streamForm(original.createWriteStream, functions);
  const promises = { ...originalPromises, ...acceleratedPromises() };
  Object.defineProperty(functions, 'promises', {
    configurable: true,
    enumerable: true,
    get: () => promises,
  });
  installHandleMethods();
  ours = functions as unknown as typeof nodeFs;
  return ours;
}
