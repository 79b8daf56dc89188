/**
 * FileHandles are Node's own, always: a program may transfer them, wait for their 'close', let
 * them be collected. What is ours is how they are opened, and what their methods do.
 *
 * Node exports neither the class nor its native half, so the first FileHandle that Node makes in
 * this thread shows them (`learn`); until then everything passes through.
 *
 *   fsp.open ── first time ──► Node's open ──► learn(handle): class, native class, symbols
 *            ── later ──────► our open: descriptor ──► new FileHandle(new Native(fd))
 */
import type { FileHandle } from 'node:fs/promises';
import type { Kernel } from '../kernel/kernel.ts';
import type { Fail, Resolve } from '../ops/call.ts';
import { close } from '../ops/descriptor.ts';
import { read, vector, write } from '../ops/transfer.ts';
import { threadKernel } from './environment-kernel.ts';
import { type AnyFunction, disguise } from './forms.ts';
import * as starts from './starts.ts';
import { acceptSpan, acceptVector } from './transfers.ts';

interface NativeHandle {
  fd: number;
  close(): Promise<void>;
  releaseFD(): void;
}
type NativeClass = new (fd: number) => NativeHandle;
type HandleClass = new (native: NativeHandle) => FileHandle;
type Internal = FileHandle & { [symbol: symbol]: () => void };

interface Learned {
  readonly Handle: HandleClass;
  readonly Native: NativeClass;
  /** Symbols of the reference count: an operation in flight postpones close(). */
  readonly ref: symbol;
  readonly unref: symbol;
  readonly fdGetter: unknown;
  readonly releases: boolean;
}

let learned: Learned | null = null;
let accelerateMethods = false;

function symbolNamed(object: object, name: string): symbol | undefined {
  return Object.getOwnPropertySymbols(object).find((symbol) => symbol.description === name);
}

/** Looks at a FileHandle that Node made. Anything unfamiliar about it: nothing is learned. */
export function learn(handle: FileHandle): void {
  if (learned !== null) return;
  const prototype = Object.getPrototypeOf(handle) as object;
  const kHandle = symbolNamed(handle, 'kHandle');
  const ref = symbolNamed(prototype, 'kRef');
  const unref = symbolNamed(prototype, 'kUnref');
  const fdGetter = Object.getOwnPropertyDescriptor(prototype, 'fd')?.get;
  if (kHandle === undefined || ref === undefined || unref === undefined || !fdGetter) return;
  const native = (handle as unknown as Record<symbol, NativeHandle>)[kHandle];
  const Native = native?.constructor as NativeClass | undefined;
  if (Native === undefined || native.fd !== handle.fd) return;
  learned = {
    Handle: handle.constructor as HandleClass,
    Native,
    ref,
    unref,
    fdGetter,
    releases: typeof native.releaseFD === 'function',
  };
  if (accelerateMethods) patchMethods(prototype as Record<string, AnyFunction>);
}

/** From the next FileHandle on (or at once), methods of the class are accelerated. */
export function installHandleMethods(): void {
  accelerateMethods = true;
  if (learned !== null) patchMethods(learned.Handle.prototype as Record<string, AnyFunction>);
}

/** Node's tests, and perhaps programs, put a getter of their own on the class and expect the
 *  functions that take a path to go through it. */
export function handlesAreOriginal(): boolean {
  // Before the first FileHandle, only --expose-internals leads to the class.
  if (learned === null) return !process.execArgv.includes('--expose-internals');
  const { get } = Object.getOwnPropertyDescriptor(learned.Handle.prototype, 'fd') ?? {};
  return get === learned.fdGetter;
}

/** A FileHandle over a descriptor of ours, or null while the class is unknown. */
export function canMakeHandles(): boolean {
  return learned?.releases === true;
}

export function makeHandle(fd: number): FileHandle {
  const { Handle, Native } = learned as Learned;
  const native = new Native(fd);
  native.close = closeNative;
  return new Handle(native);
}

/** FileHandle.prototype.close ends here: Node's half forgets the descriptor, we close it. */
function closeNative(this: NativeHandle): Promise<void> {
  const kernel = threadKernel() as Kernel;
  const { fd } = this;
  this.releaseFD();
  return new Promise((resolve) => close(kernel, fd, resolve as Resolve<undefined>));
}

/** The FileHandle behind `value` if its descriptor is open, else null: Node says what is wrong. */
export function openDescriptor(value: unknown): number {
  if (learned === null || !(value instanceof learned.Handle)) return -1;
  return (value as FileHandle).fd;
}

type Begin = (
  kernel: Kernel,
  fd: number,
  args: readonly unknown[],
  resolve: Resolve<unknown>,
  fail: Fail | undefined,
) => boolean;

/** Counts the operation while it is in flight, as Node's own methods do. */
function method(original: AnyFunction, most: number, begin: Begin): AnyFunction {
  return disguise(function (this: Internal, ...args: unknown[]) {
    const fd = openDescriptor(this);
    const kernel = fd >= 0 && args.length <= most ? threadKernel() : null;
    if (kernel === null) return original.apply(this, args);
    const { ref, unref } = learned as Learned;
    let started = false;
    const promise = new Promise<unknown>((resolve) => {
      const settle = (value: unknown) => {
        this[unref]();
        resolve(value);
      };
      started = begin(kernel, fd, args, settle, undefined);
    });
    if (!started) return original.apply(this, args);
    this[ref]();
    return promise;
  }, original);
}

/** A start of starts.ts with the descriptor as its first argument. */
function ofDescriptor(start: starts.Start): Begin {
  return (kernel, fd, args, resolve, fail) => start(kernel, [fd, ...args], resolve, fail);
}

/** FileHandle.stat and the like: undefined results stay undefined. */
const METHODS: Readonly<Record<string, [most: number, begin: Begin]>> = {
  stat: [1, ofDescriptor(starts.fstat)],
  sync: [0, ofDescriptor(starts.fsync)],
  datasync: [0, ofDescriptor(starts.fdatasync)],
  truncate: [1, ofDescriptor(starts.ftruncate)],
  chmod: [1, ofDescriptor(starts.fchmod)],
  chown: [2, ofDescriptor(starts.fchown)],
  utimes: [2, ofDescriptor(starts.futimes)],
  read: [4, readHandle],
  write: [4, writeHandle],
  readv: [2, (k, fd, args, resolve) => vectorHandle(k, true, fd, args, resolve)],
  writev: [2, (k, fd, args, resolve) => vectorHandle(k, false, fd, args, resolve)],
};

function patchMethods(prototype: Record<string, AnyFunction>): void {
  for (const [name, [most, begin]] of Object.entries(METHODS)) {
    const descriptor = Object.getOwnPropertyDescriptor(prototype, name);
    if (typeof descriptor?.value !== 'function') continue;
    Object.defineProperty(prototype, name, {
      ...descriptor,
      value: method(descriptor.value, most, begin),
    });
  }
}

/** The promise forms: any position that is no safe integer means the file's own. */
function handlePosition(position: unknown): number {
  return Number.isSafeInteger(position) && (position as number) >= 0 ? (position as number) : -1;
}

function readHandle(
  kernel: Kernel,
  fd: number,
  args: readonly unknown[],
  resolve: Resolve<unknown>,
): boolean {
  const [buffer] = args;
  let [, offset, length, position] = args;
  if (args.length === 2 && typeof offset === 'object' && offset !== null)
    ({ offset, length, position } = offset as Record<string, unknown>);
  const span = acceptSpan(buffer, offset, length, handlePosition(position));
  if (span === undefined) return false;
  read(kernel, fd, span.bytes, span.position, (bytesRead) =>
    resolve(typeof bytesRead === 'number' ? { __proto__: null, bytesRead, buffer } : bytesRead),
  );
  return true;
}

function writeHandle(
  kernel: Kernel,
  fd: number,
  args: readonly unknown[],
  resolve: Resolve<unknown>,
): boolean {
  const [buffer] = args;
  let [, offset, length, position] = args;
  if (!ArrayBuffer.isView(buffer)) return false;
  if (typeof offset === 'object' && offset !== null)
    ({ offset, length, position } = offset as Record<string, unknown>);
  const count = typeof length === 'number' ? length : undefined;
  const span = acceptSpan(buffer, offset, count, handlePosition(position));
  if (span === undefined) return false;
  write(kernel, fd, span.bytes, span.position, (bytesWritten) =>
    resolve(
      typeof bytesWritten === 'number' ? { __proto__: null, bytesWritten, buffer } : bytesWritten,
    ),
  );
  return true;
}

function vectorHandle(
  kernel: Kernel,
  reading: boolean,
  fd: number,
  args: readonly unknown[],
  resolve: Resolve<unknown>,
): boolean {
  const [buffers, position] = args;
  const views = acceptVector(buffers);
  if (views === undefined) return false;
  const where = typeof position === 'number' ? handlePosition(position) : -1;
  vector(kernel, reading, fd, views, where, (bytes) => {
    if (typeof bytes !== 'number') resolve(bytes);
    else if (reading) resolve({ __proto__: null, bytesRead: bytes, buffers });
    else resolve({ __proto__: null, bytesWritten: bytes, buffers });
  });
  return true;
}
