/**
 * The methods of FileHandle on syscall pages. The class stays Node's; functions on its prototype
 * are replaced as soon as it is known (handle-class.ts).
 *
 *   accelerateHandles();
 *
 * close() is not among them: it is Node's, and ends in a close of ours.
 */
import type { FileHandle } from 'node:fs/promises';
import type { Kernel } from '../kernel/kernel.ts';
import type { Resolve } from '../ops/call.ts';
import { read, vector, write } from '../ops/transfer.ts';
import { type AnyFunction, disguise } from './disguise.ts';
import { threadKernel } from './environment-kernel.ts';
import {
  type HandleFacts,
  handlesAreOriginal,
  openDescriptor,
  whenLearned,
} from './handle-class.ts';
import { shared } from './shared.ts';
import * as descriptors from './starts/descriptors.ts';
import { appendFile, readFile, writeFile } from './starts/files.ts';
import type { Arguments, Settle, Start } from './starts/start.ts';
import { fstat } from './starts/stats.ts';
import { acceptSpan, acceptVector } from './transfers.ts';

/** As a Start, with the handle and its descriptor. */
type Begin = (
  kernel: Kernel,
  handle: Handle,
  fd: number,
  args: Arguments,
  resolve: Settle,
) => boolean;
type Handle = FileHandle & { [symbol: symbol]: () => void };

/** Counts the operation while it is in flight, as Node's own methods do. */
function method(original: AnyFunction, facts: HandleFacts, most: number, begin: Begin) {
  return disguise(function (this: Handle, ...args: unknown[]) {
    const fd = openDescriptor(this);
    const kernel = fd >= 0 && args.length <= most ? threadKernel() : null;
    if (kernel === null) return original.apply(this, args);
    let started = false;
    const promise = new Promise<unknown>((resolve) => {
      const settle = (value: unknown) => {
        this[facts.unref]();
        resolve(value);
      };
      started = begin(kernel, this, fd, args, settle);
    });
    if (!started) return original.apply(this, args);
    this[facts.ref]();
    return promise;
  }, original);
}

/** A start with the descriptor as its first argument. */
function ofDescriptor(start: Start): Begin {
  return (kernel, _handle, fd, args, resolve) => start(kernel, [fd, ...args], resolve);
}

/** A start with the handle itself as its first argument. */
function ofHandle(start: Start): Begin {
  return (kernel, handle, _fd, args, resolve) =>
    handlesAreOriginal() && start(kernel, [handle, ...args], resolve);
}

const METHODS: Readonly<Record<string, readonly [most: number, begin: Begin]>> = {
  stat: [1, ofDescriptor(fstat)],
  sync: [0, ofDescriptor(descriptors.fsync)],
  datasync: [0, ofDescriptor(descriptors.fdatasync)],
  truncate: [1, ofDescriptor(descriptors.ftruncate)],
  chmod: [1, ofDescriptor(descriptors.fchmod)],
  chown: [2, ofDescriptor(descriptors.fchown)],
  utimes: [2, ofDescriptor(descriptors.futimes)],
  readFile: [1, ofHandle(readFile)],
  writeFile: [2, ofHandle(writeFile)],
  appendFile: [2, ofHandle(appendFile)],
  read: [4, readHandle],
  write: [4, writeHandle],
  readv: [2, vectorHandle(true)],
  writev: [2, vectorHandle(false)],
};

export function accelerateHandles(): void {
  whenLearned((prototype, facts) => {
    for (const [name, [most, begin]] of Object.entries(METHODS)) {
      const descriptor = Object.getOwnPropertyDescriptor(prototype, name);
      if (typeof descriptor?.value !== 'function') continue;
      const value = method(descriptor.value, facts, most, begin);
      Object.defineProperty(prototype, name, { ...descriptor, value });
      if (name === 'read') shared().reads.add(value);
    }
  });
}

/* --- Transfers: the result is an object without a prototype ----------------------------------- */

/** As Node's, a literal with `__proto__: null`; made this way round V8 keeps it a fast object, for
 *  half the time. */
function bare<T extends object>(result: T): T {
  return Object.setPrototypeOf(result, null);
}

/** A promise of Node's checks positions, or takes odd ones for the file's own: those are Node's. */
function ordinaryPosition(position: unknown): boolean {
  return position === undefined || position === null || Number.isSafeInteger(position);
}

function readHandle(
  kernel: Kernel,
  _handle: Handle,
  fd: number,
  args: Arguments,
  resolve: Resolve<unknown>,
): boolean {
  const [buffer] = args;
  let [, offset, length, position] = args;
  if (args.length === 2 && typeof offset === 'object' && offset !== null)
    ({ offset, length, position } = offset as Record<string, unknown>);
  if (!ordinaryPosition(position)) return false;
  const span = acceptSpan(buffer, offset, length, position);
  if (span === undefined) return false;
  read(kernel, fd, span.bytes, span.position, (bytesRead) =>
    resolve(typeof bytesRead === 'number' ? bare({ bytesRead, buffer }) : bytesRead),
  );
  return true;
}

function writeHandle(
  kernel: Kernel,
  _handle: Handle,
  fd: number,
  args: Arguments,
  resolve: Resolve<unknown>,
): boolean {
  const [buffer] = args;
  let [, offset, length, position] = args;
  if (!ArrayBuffer.isView(buffer)) return false;
  if (typeof offset === 'object' && offset !== null)
    ({ offset, length, position } = offset as Record<string, unknown>);
  // Unlike read, whatever is no number means "the rest" and "the file's own position".
  const count = typeof length === 'number' ? length : undefined;
  const span = acceptSpan(buffer, offset, count, typeof position === 'number' ? position : null);
  if (span === undefined) return false;
  write(kernel, fd, span.bytes, span.position, (bytesWritten) =>
    resolve(typeof bytesWritten === 'number' ? bare({ bytesWritten, buffer }) : bytesWritten),
  );
  return true;
}

function vectorHandle(reading: boolean): Begin {
  return (kernel, _handle, fd, args, resolve) => {
    const [buffers, position] = args;
    const views = acceptVector(buffers);
    const where = typeof position === 'number' ? position : -1;
    if (views === undefined || !Number.isSafeInteger(where) || where < -1) return false;
    vector(kernel, reading, fd, views, where, (bytes) => {
      if (typeof bytes !== 'number') resolve(bytes);
      else if (reading) resolve(bare({ bytesRead: bytes, buffers }));
      else resolve(bare({ bytesWritten: bytes, buffers }));
    });
    return true;
  };
}
