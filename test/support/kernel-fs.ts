/**
 * node:fs functions as promises, over a kernel of the test's own or over Node itself.
 *
 *   const ours = kernelFs(Kernel.register({ ring: false }), 'callback');
 *   const node = nodeFunctions('callback');
 *   await ours.readFile('/etc/hostname', 'utf8')
 *
 * What a start (src/node/starts.ts) does not take goes to Node's function, as it does in
 * trapless/fs; over the in-memory kernel there is nothing to go to, and that is an error.
 */
import fs from 'node:fs';
import type { Kernel } from '../../src/kernel/kernel.ts';
import * as starts from '../../src/node/starts.ts';
import { acceptSpan, acceptVector } from '../../src/node/transfers.ts';
import { read, vector, write } from '../../src/ops/transfer.ts';

export type AsyncFunction = (...args: unknown[]) => Promise<unknown>;
export type AsyncFs = Readonly<Record<string, AsyncFunction>>;
/** How operations settle: `fail` is called, or the promise behind `resolve` rejects. */
export type Form = 'callback' | 'promise';

const NAMES = [
  'access',
  'appendFile',
  'chmod',
  'chown',
  'close',
  'copyFile',
  'fchmod',
  'fchown',
  'fdatasync',
  'fstat',
  'fsync',
  'ftruncate',
  'futimes',
  'lchown',
  'link',
  'lstat',
  'lutimes',
  'mkdir',
  'mkdtemp',
  'open',
  'readFile',
  'readdir',
  'readlink',
  'rename',
  'rm',
  'rmdir',
  'stat',
  'statfs',
  'symlink',
  'truncate',
  'unlink',
  'utimes',
  'writeFile',
] as const;

const table = { ...starts } as unknown as Readonly<Record<string, starts.Start>>;

type AnyFs = Record<string, (...args: unknown[]) => unknown>;

/** Node's functions, as promises in either form; those without a promise form have one here. */
export function nodeFunctions(form: Form): AsyncFs {
  const callbacks = fs as unknown as AnyFs;
  const promises = fs.promises as unknown as AnyFs;
  const functions: Record<string, AsyncFunction> = {};
  for (const name of [...NAMES, 'read', 'write', 'readv', 'writev'])
    if (form === 'promise' && name !== 'open' && name in promises)
      functions[name] = promises[name] as AsyncFunction;
    else
      functions[name] = (...args) =>
        new Promise((resolve, reject) => {
          const callback = (error: Error | null, value: unknown) =>
            error ? reject(error) : resolve(value);
          callbacks[name](...args, callback);
        });
  return functions;
}

type Resolve = (value: unknown) => void;
type Fail = ((error: Error) => void) | undefined;

/** Promises of what is started with (resolve, fail). */
function settle(form: Form, start: (resolve: Resolve, fail: Fail) => void): Promise<unknown> {
  return new Promise((resolve, reject) => start(resolve, form === 'callback' ? reject : undefined));
}

export function kernelFs(kernel: Kernel, form: Form, otherwise?: AsyncFs): AsyncFs {
  const functions: Record<string, AsyncFunction> = {};
  const notOurs = (name: string, args: unknown[]) => {
    if (otherwise === undefined) throw new TypeError(`${name} does not take these arguments`);
    return otherwise[name](...args);
  };
  for (const name of NAMES)
    functions[name] = async (...args) => {
      let started = true;
      const settled = settle(form, (resolve, fail) => {
        started = table[name](kernel, args, resolve, fail);
      });
      return started ? settled : notOurs(name, args);
    };

  for (const [name, operation] of [
    ['read', read],
    ['write', write],
  ] as const)
    functions[name] = async (...args) => {
      const [fd, buffer, offset, length, position] = args;
      const span = acceptSpan(buffer, offset, length, position);
      if (span === undefined) return notOurs(name, args);
      return settle(form, (resolve, fail) =>
        operation(kernel, fd as number, span.bytes, span.position, resolve, fail),
      );
    };

  for (const [name, reading] of [
    ['readv', true],
    ['writev', false],
  ] as const)
    functions[name] = async (...args) => {
      const [fd, buffers, position] = args;
      const views = acceptVector(buffers);
      if (views === undefined) return notOurs(name, args);
      const at = typeof position === 'number' ? position : -1;
      return settle(form, (resolve, fail) =>
        vector(kernel, reading, fd as number, views, at, resolve, fail),
      );
    };
  return functions;
}
