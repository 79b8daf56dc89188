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
import { promisify } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { threadKernel } from './environment-kernel.ts';
import {
  type AnyFunction,
  type Callback,
  callbackForm,
  disguise,
  promiseForm,
  Request,
} from './forms.ts';
import { FUNCTIONS } from './functions.ts';
import { canMakeHandles, handlesAreOriginal, learn, makeHandle } from './handle-class.ts';
import { accelerateHandles } from './handle-methods.ts';
import { plain, plainPromise } from './plain.ts';
import { rememberReaddir } from './replaced.ts';
import { shared } from './shared.ts';
import { close } from './starts/descriptors.ts';
import { open } from './starts/files.ts';
import type { Start } from './starts/start.ts';
import { access } from './starts/stats.ts';
import { readForm, readvForm, writeForm, writevForm } from './transfers.ts';
import { closeSyncForm } from './unmanaged.ts';

type Functions = Record<string, AnyFunction>;

/** Those that Node does through a FileHandle, visibly (see handlesAreOriginal). */
const THROUGH_HANDLE: ReadonlySet<string> = new Set([
  'appendFile',
  'readFile',
  'truncate',
  'writeFile',
]);

function unlessReplaced(start: Start): Start {
  return (kernel, args, resolve, fail) =>
    handlesAreOriginal() && start(kernel, args, resolve, fail);
}

/** fsp.open: a FileHandle of Node's around a descriptor of ours. */
function openForm(original: AnyFunction): AnyFunction {
  return disguise(async function (this: unknown, ...args: unknown[]) {
    const kernel = args.length <= 3 && canMakeHandles() ? threadKernel() : null;
    if (kernel !== null) {
      let started = false;
      const opened = new Promise<number>((resolve) => {
        started = open(kernel, args, resolve);
      });
      if (started) return makeHandle(await opened);
    }
    const handle = await original.apply(this, args);
    learn(handle);
    return handle;
  }, original);
}

/** fs.close(fd): the callback may be left out; then a failure is thrown. */
function closeForm(original: AnyFunction): AnyFunction {
  const form = callbackForm(original, close, 1);
  const orThrow: Callback = (error) => {
    if (error) throw error;
  };
  return disguise(function (this: unknown, ...args: unknown[]) {
    if (args[1] === undefined && args.length > 0) return form.call(this, args[0], orThrow);
    return form.apply(this, args);
  }, original);
}

/** fs.exists(path, callback): calls back with nothing but a boolean. */
function existsForm(original: AnyFunction): AnyFunction {
  const exists = function (this: unknown, ...args: unknown[]): void {
    const [path, callback] = args;
    const kernel = args.length === 2 && typeof callback === 'function' ? threadKernel() : null;
    if (kernel === null) return original.apply(this, args);
    const request = new Request((error) => (callback as Callback)(!error));
    if (!access(kernel, [path], request.succeed, request.fail)) original.apply(this, args);
  };
  // The promisified one must be ours too.
  const properties = Object.getOwnPropertyDescriptors(original);
  const promisified = (properties as Record<symbol, PropertyDescriptor>)[promisify.custom];
  const ours = (path: unknown) => new Promise((resolve) => exists(path, resolve));
  const value = disguise(ours, promisified.value);
  Object.defineProperties(exists, { ...properties, [promisify.custom]: { ...promisified, value } });
  return exists;
}

function accelerated(): Functions {
  const functions: Functions = {};
  for (const [name, { start, most }] of Object.entries(FUNCTIONS))
    if (plain(name)) functions[name] = callbackForm(plain(name), start, most);
  functions.close = closeForm(plain('close'));
  if (!isMainThread) functions.closeSync = closeSyncForm(plain('closeSync'));
  functions.exists = existsForm(plain('exists'));
  functions.read = readForm(plain('read'));
  shared().reads.add(functions.read);
  functions.write = writeForm(plain('write'));
  functions.readv = readvForm(plain('readv'));
  functions.writev = writevForm(plain('writev'));
  return functions;
}

function acceleratedPromises(): Functions {
  const functions: Functions = {};
  for (const [name, { start, most, forms }] of Object.entries(FUNCTIONS)) {
    if (forms !== 'both' || !plainPromise(name)) continue;
    const begin = THROUGH_HANDLE.has(name) ? unlessReplaced(start) : start;
    functions[name] = promiseForm(plainPromise(name), begin, most);
  }
  functions.open = openForm(plainPromise('open'));
  return functions;
}

/** Streams of trapless/fs use trapless/fs: Node's streams take the functions from options.fs. */
function streamForm(create: AnyFunction, ours: Functions): AnyFunction {
  return disguise((path: unknown, options?: unknown) => {
    const given = typeof options === 'string' ? { encoding: options } : options;
    const { fd, fs } = (given ?? {}) as { fd?: unknown; fs?: unknown };
    // With a FileHandle, Node's streams use its methods and refuse options.fs.
    if ((typeof fd === 'object' && fd !== null) || fs) return create(path, options);
    if (given !== undefined && given !== null && typeof given !== 'object')
      return create(path, options);
    // Options may be frozen, or inherited themselves.
    const fsProperty = { value: ours, enumerable: true, writable: true, configurable: true };
    return create(path, Object.create(given ?? null, { fs: fsProperty }));
  }, create);
}

/** A copy of a module's properties, those that are computed included, with some of ours instead. */
function withOurs(module: object, ours: Functions): Functions {
  const properties = Object.getOwnPropertyDescriptors(module) as Record<string, PropertyDescriptor>;
  for (const [name, value] of Object.entries(ours))
    properties[name] = { value, writable: true, enumerable: true, configurable: true };
  return Object.defineProperties({}, properties) as Functions;
}

let ours: typeof nodeFs | undefined;

/** node:fs with its asynchronous functions on syscall pages. Made at the first call. */
export function traplessFs(): typeof nodeFs {
  if (ours !== undefined) return ours;
  rememberReaddir();
  const functions = withOurs(nodeFs, accelerated());
  functions.createReadStream = streamForm(plain('createReadStream'), functions);
  functions.createWriteStream = streamForm(plain('createWriteStream'), functions);
  const promises = withOurs(nodeFs.promises, acceleratedPromises());
  Object.defineProperty(functions, 'promises', {
    configurable: true,
    enumerable: true,
    get: () => promises,
  });
  accelerateHandles();
  ours = functions as unknown as typeof nodeFs;
  return ours;
}
