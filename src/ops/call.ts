/**
 * What the operations share: how they wait, how they fail, how a path gets into an entry.
 *
 *   const id = kernel.pages.claim();
 *   if (id === -1) return kernel.whenRoom(() => again(…));
 *   kernel.pages.call(id, NUMBER.unlinkat, 3, 0);
 *   putPath(kernel, id, 1, path);
 *   kernel.post(id, new Call('unlink', path, undefined, noValue, resolve, fail));
 *
 * An operation fills entries and decodes results. It does not know which syscall thread runs
 * them, nor whether a callback or a promise waits: `resolve` takes the value, `fail` the error;
 * without `fail`, a promise is behind `resolve`.
 */
import { SLOT_SIZE } from '../abi/entry.ts';
import { AT_FDCWD } from '../abi/structs.ts';
import { type SyscallName, syscallNumber } from '../abi/syscalls.ts';
import type { Completion, Kernel } from '../kernel/kernel.ts';
import { SLOT_PATH_MAX } from '../page/pages.ts';
import { rejection, systemError } from './error.ts';

export type Resolve<T> = (value: T | PromiseLike<T>) => void;
export type Fail = (error: Error) => void;
/** A path as the kernel takes it: UTF-8 is made of strings, bytes are taken as they are. */
export type Path = string | Uint8Array;

/** Syscall numbers, looked up once each. */
const numbers = new Map<SyscallName, number>();
export function number(name: SyscallName): number {
  let found = numbers.get(name);
  if (found === undefined) {
    found = syscallNumber(name);
    numbers.set(name, found);
  }
  return found;
}

/** Settles with an error, either way. */
export function settleError<T>(error: Error, resolve: Resolve<T>, fail: Fail | undefined): void {
  if (fail === undefined) resolve(rejection(error));
  else fail(error);
}

/**
 * Found out too late for refusing the call (a path below the given one is too long for a slot, a
 * file too large): Node's own function must do it after all.
 */
export class NotOurs extends Error {}

export function pathText(path: Path): string {
  return typeof path === 'string' ? path : Buffer.from(path).toString();
}

/** Turns a successful result into the operation's value; runs before the entry is freed. */
export type Decode<T> = (kernel: Kernel, id: number, result: number) => T;
export const noValue: Decode<undefined> = () => undefined;
export const resultValue: Decode<number> = (_kernel, _id, result) => result;

/** One entry whose success is a value and whose failure is an error of Node's shape. */
export class Call<T> implements Completion {
  readonly syscall: string;
  readonly path: Path | undefined;
  readonly dest: Path | undefined;
  readonly decode: Decode<T>;
  readonly resolve: Resolve<T>;
  readonly fail: Fail | undefined;

  constructor(
    syscall: string,
    path: Path | undefined,
    dest: Path | undefined,
    decode: Decode<T>,
    resolve: Resolve<T>,
    fail: Fail | undefined,
  ) {
    this.syscall = syscall;
    this.path = path;
    this.dest = dest;
    this.decode = decode;
    this.resolve = resolve;
    this.fail = fail;
  }

  done(kernel: Kernel, id: number): void {
    const result = kernel.pages.result(id);
    if (result >= 0) {
      const value = this.decode(kernel, id, result);
      kernel.pages.free(id);
      this.resolve(value);
      return;
    }
    kernel.pages.free(id);
    const { path, dest } = this;
    const error = systemError(
      result,
      this.syscall,
      path === undefined ? undefined : pathText(path),
      dest === undefined ? undefined : pathText(dest),
    );
    settleError(error, this.resolve, this.fail);
  }
}

/** Whether a path (with its NUL) fits an entry's slot; a longer one is Node's business. */
export function pathFits(path: Path, max = SLOT_PATH_MAX): boolean {
  if (path.length * 3 < max) return true;
  return (typeof path === 'string' ? Buffer.byteLength(path) : path.length) < max;
}

/** Longest path whose characters are copied one by one; beyond, the native encoder is faster. */
const COPY_MAX = 96;

/** Writes a path and its NUL into the entry's slot and points argument `index` to it. */
export function putPath(kernel: Kernel, id: number, index: number, path: Path, offset = 0): void {
  const slots = kernel.desk.slots;
  const at = id * SLOT_SIZE + offset;
  if (typeof path === 'string') {
    const length = path.length;
    let i = 0;
    if (length <= COPY_MAX) {
      for (; i < length; i++) {
        const code = path.charCodeAt(i);
        if (code > 127) break;
        slots[at + i] = code;
      }
    }
    const end = i === length ? length : slots.write(path, at, 'utf8');
    slots[at + end] = 0;
  } else {
    slots.set(path, at);
    slots[at + path.length] = 0;
  }
  kernel.pages.setSlot(id, index, offset);
}

/** The directory that relative paths start from: the process' working directory. */
export function putCwd(kernel: Kernel, id: number, index: number): void {
  kernel.pages.setInt(id, index, AT_FDCWD);
}
