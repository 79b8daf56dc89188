/**
 * FileHandles are Node's own, always: a program may transfer them, wait for their 'close', let
 * them be collected. What is ours is how they are opened, and what their methods do
 * (handle-methods.ts).
 *
 * Node exports neither the class nor its native half, so the first FileHandle that Node makes in
 * this thread shows them (`learn`); until then everything passes through.
 *
 *   fsp.open ── first time ──► Node's open ──► learn(handle): class, native class, symbols
 *            ── later ──────► our open: descriptor ──► new FileHandle(new Native(fd))
 */
import type { FileHandle } from 'node:fs/promises';
import type { Kernel } from '../kernel/kernel.ts';
import { close } from '../ops/descriptor.ts';
import type { AnyFunction } from './disguise.ts';
import { threadKernel } from './environment-kernel.ts';

interface NativeHandle {
  fd: number;
  close(): Promise<void>;
  releaseFD(): void;
}
type NativeClass = new (fd: number) => NativeHandle;
type HandleClass = new (native: NativeHandle) => FileHandle;

export interface HandleFacts {
  readonly Handle: HandleClass;
  readonly Native: NativeClass;
  /** Symbols of the reference count: an operation in flight postpones close(). */
  readonly ref: symbol;
  readonly unref: symbol;
  readonly fdGetter: unknown;
  readonly releases: boolean;
}

let learned: HandleFacts | null = null;
/** Called once, when the class is known. */
let onLearned: ((prototype: Record<string, AnyFunction>, facts: HandleFacts) => void) | null = null;

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
  onLearned?.(prototype as Record<string, AnyFunction>, learned);
}

/** Calls `then` as soon as the class is known. */
export function whenLearned(then: NonNullable<typeof onLearned>): void {
  onLearned = then;
  if (learned !== null) then(learned.Handle.prototype as Record<string, AnyFunction>, learned);
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
  const { Handle, Native } = learned as HandleFacts;
  // Node's half closes it from here on.
  threadKernel()?.own.remove(fd);
  const native = new Native(fd);
  native.close = closeNative;
  return new Handle(native);
}

/** FileHandle.prototype.close ends here: Node's half forgets the descriptor, we close it. */
function closeNative(this: NativeHandle): Promise<void> {
  const kernel = threadKernel() as Kernel;
  const { fd } = this;
  this.releaseFD();
  return new Promise((resolve) => close(kernel, fd, resolve as (value: unknown) => void));
}

/** The descriptor behind a FileHandle, if it is open; -1 else: Node says what is wrong. */
export function openDescriptor(value: unknown): number {
  if (learned === null || !(value instanceof learned.Handle)) return -1;
  return (value as FileHandle).fd;
}
