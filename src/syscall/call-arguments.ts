/**
 * From the values a program passes to the words of an entry: checks every argument against the
 * call's signature, copies buffers into memory Linux may touch while JavaScript runs, and back.
 *
 *   const bytes = checkArguments(call, given, arena);   // throws; `bytes` of the arena are needed
 *   const memory = fillEntry(kernel, id, call, given, block);
 *   memory?.bringBack(result);                          // the result is there: copies out
 *   memory?.release();                                  // gives block and slices back
 *
 * A number never becomes an address here: where Linux expects one, only memory is accepted, and
 * only as much as Linux was told to use.
 */
import { NUMBER_NOP } from '../abi/entry.ts';
import {
  type Param,
  type ParamKind,
  refusalOf,
  type Signature,
  signatureOf,
} from '../abi/pointers.ts';
import { type SyscallName, syscallName, syscallNumber } from '../abi/syscalls.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { type Arena, ArenaSlice, checkSlice, pinSlice, unpinSlice } from '../memory/arena.ts';

/** Memory for Linux to use: copied in and out, or (a slice) used where it is. */
export type Memory = Uint8Array | ArenaSlice;

/** What an argument of a system call can be; see `SyscallKernel.post`. */
export type SyscallArgument =
  | number
  | bigint
  | string
  | null
  | Memory
  | readonly Memory[]
  | UnsafeInteger;

/** An integer for an argument that Linux may take for an address; see `unsafeInteger`. */
export class UnsafeInteger {
  readonly value: bigint;

  /** @internal */
  constructor(value: number | bigint) {
    if (typeof value === 'number' && !Number.isSafeInteger(value))
      throw new TypeError(`trapless: ${value} is not an integer; pass a bigint beyond 2^53`);
    this.value = BigInt(value);
  }
}

/** A call that can be posted. */
export interface PostableCall {
  readonly name: string;
  readonly number: number;
  readonly signature: Signature;
}

/** Numbers up to here, positive or negative, are no valid addresses: Linux maps nothing there. */
const HARMLESS_MAX = 4095;
/** What Linux could write behind a buffer whose size it knows and we do not: the most that an
 *  ioctl's number can say (14 bits). */
const UNKNOWN_BYTES = 16 * 1024;
/** UIO_MAXIOV in linux/uio.h. */
const BUFFERS_MAX = 1024;
const IOVEC_BYTES = 16;
/** Copies start in cache lines of their own. */
const ALIGN = 64;

const NO_BYTES = new Uint8Array(0);

const EITHER: Param = {
  kind: '?',
  bytes: 0,
  sizeArg: -1,
  operator: '',
  operand: 0,
  optional: true,
};
/** Of a call we know nothing about. */
const UNKNOWN: Signature = { params: new Array(6).fill(EITHER), required: 0 };
const NOTHING: Signature = { params: [], required: 0 };

const calls = new Map<string | number, PostableCall>();

/** The call of this name or number; throws for what is unknown or refused. */
export function callOf(nameOrNumber: SyscallName | 'nop' | number): PostableCall {
  let call = calls.get(nameOrNumber);
  if (call === undefined) {
    call = find(nameOrNumber);
    calls.set(nameOrNumber, call);
  }
  return call;
}

function find(nameOrNumber: SyscallName | 'nop' | number): PostableCall {
  if (nameOrNumber === 'nop' || nameOrNumber === NUMBER_NOP)
    return { name: 'nop', number: NUMBER_NOP, signature: NOTHING };
  if (typeof nameOrNumber !== 'number' && typeof nameOrNumber !== 'string')
    throw new TypeError('trapless: a system call is given by its name or its number');
  const number = typeof nameOrNumber === 'number' ? nameOrNumber : syscallNumber(nameOrNumber);
  if (!Number.isInteger(number) || number < 0 || number > NUMBER_NOP)
    throw new RangeError(`trapless: there is no system call number ${nameOrNumber}`);
  const name = syscallName(number);
  const refusal = refusalOf(name);
  if (refusal !== undefined) throw new TypeError(`trapless: ${name} cannot be posted: ${refusal}`);
  return { name, number, signature: signatureOf(number) ?? UNKNOWN };
}

/** Checks what was given for a call. Returns the bytes of arena that copies of it take; throws a
 *  TypeError or RangeError that says what to pass instead. */
export function checkArguments(
  call: PostableCall,
  given: readonly SyscallArgument[],
  arena: Arena,
): number {
  const { params, required } = call.signature;
  if (given.length > params.length || given.length < required)
    throw new TypeError(
      `trapless: ${call.name} takes ${countOf(required, params.length)}, not ${given.length}`,
    );
  let bytes = 0;
  for (let i = 0; i < given.length; i++) {
    const value = given[i];
    const param = params[i];
    if (param.kind === 'i') checkInteger(call, i, value);
    else if (value !== null) bytes += checkPointer(call, given, i, arena);
    else if (param.kind === 's' || param.kind === 'v' || param.kind === 'V')
      throw wrong(call, i, 'cannot be null');
  }
  return bytes;
}

function countOf(required: number, most: number): string {
  if (most === 0) return 'no arguments';
  return required === most
    ? `${most} argument${most === 1 ? '' : 's'}`
    : `${required} to ${most} arguments`;
}

function wrong(call: PostableCall, index: number, what: string): TypeError {
  return new TypeError(`trapless: argument ${index + 1} of ${call.name} ${what}`);
}

function checkInteger(call: PostableCall, index: number, value: SyscallArgument): void {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return;
    throw wrong(call, index, `is not an integer: ${value}; pass a bigint beyond 2^53`);
  }
  if (typeof value === 'bigint') {
    if (value >= -(2n ** 63n) && value < 2n ** 64n) return;
    throw wrong(call, index, `does not fit 64 bits: ${value}`);
  }
  if (value instanceof UnsafeInteger) return;
  throw wrong(call, index, `is an integer: pass a number or a bigint, not ${kindOf(value)}`);
}

/** Bytes of arena for an argument that is not null and no plain integer. */
function checkPointer(
  call: PostableCall,
  given: readonly SyscallArgument[],
  index: number,
  arena: Arena,
): number {
  const value = given[index];
  const param = call.signature.params[index];
  switch (param.kind) {
    case '0':
      throw wrong(call, index, 'must be null: trapless does not support it');
    case '?':
      if (typeof value === 'number' || typeof value === 'bigint') {
        checkHarmless(call, index, value);
        return 0;
      }
      if (value instanceof UnsafeInteger) return 0;
      if (typeof value === 'string') return checkString(call, index, value, arena);
      if (Array.isArray(value)) break;
      return checkMemory(call, index, value, arena, param) + UNKNOWN_BYTES;
    case 's':
    case 'z':
      return checkString(call, index, value, arena);
    case 'v':
    case 'V':
      return checkList(call, given, index, arena);
    case 'm':
      if (value instanceof ArenaSlice) break;
      throw wrong(
        call,
        index,
        `is watched by Linux: pass a slice of kernel.arena, not ${kindOf(value)}`,
      );
  }
  const room = checkMemory(call, index, value, arena, param);
  const needed = neededBytes(call, given, index);
  const has = (value as Memory).length;
  if (needed >= 0 && needed <= has) return room;
  const source = param.sizeArg === -1 ? 'it needs' : `argument ${param.sizeArg + 1} says`;
  throw new RangeError(
    `trapless: argument ${index + 1} of ${call.name} has ${has} bytes, but ${source} ${needed}`,
  );
}

function checkHarmless(call: PostableCall, index: number, value: number | bigint): void {
  checkInteger(call, index, value);
  if (value >= -HARMLESS_MAX && value <= HARMLESS_MAX) return;
  throw wrong(
    call,
    index,
    `may be an address: pass memory, or unsafeInteger(${value}) if you know that it is none`,
  );
}

function checkMemory(
  call: PostableCall,
  index: number,
  value: unknown,
  arena: Arena,
  param: Param,
): number {
  if (value instanceof ArenaSlice) {
    checkSlice(value, arena);
    return 0;
  }
  if (value instanceof Uint8Array) return aligned(value.length);
  const text =
    typeof value === 'number' || typeof value === 'bigint'
      ? `${kindOf(value)}: it would become an address`
      : ArrayBuffer.isView(value)
        ? `${kindOf(value)}: wrap it, new Uint8Array(it.buffer, it.byteOffset, it.byteLength)`
        : kindOf(value);
  const what = param.kind === '?' ? 'may be memory' : 'is memory';
  throw wrong(call, index, `${what}: pass a Buffer, a slice of kernel.arena or null, not ${text}`);
}

function checkString(
  call: PostableCall,
  index: number,
  value: SyscallArgument,
  arena: Arena,
): number {
  if (typeof value === 'string') {
    if (value.includes('\0')) throw wrong(call, index, 'has a NUL in it, where it would end');
    return aligned(Buffer.byteLength(value) + 1);
  }
  if (!(value instanceof Uint8Array) && !(value instanceof ArenaSlice))
    throw wrong(call, index, `is a string: pass one, not ${kindOf(value)}`);
  const bytes = value instanceof ArenaSlice ? value.bytes : value;
  if (!bytes.includes(0))
    throw wrong(call, index, 'has no NUL at its end: pass a string, or add one');
  return checkMemory(call, index, value, arena, EITHER);
}

function checkList(
  call: PostableCall,
  given: readonly SyscallArgument[],
  index: number,
  arena: Arena,
): number {
  const list: unknown = given[index];
  const { sizeArg } = call.signature.params[index];
  if (!Array.isArray(list))
    throw wrong(call, index, `is a list: pass an array of buffers, not ${kindOf(list)}`);
  const count = Number(given[sizeArg]);
  if (list.length !== count || count > BUFFERS_MAX)
    throw new RangeError(
      `trapless: argument ${index + 1} of ${call.name} has ${list.length} buffers, but argument ${sizeArg + 1} says ${count} (at most ${BUFFERS_MAX})`,
    );
  let bytes = aligned(count * IOVEC_BYTES);
  for (const one of list) bytes += checkMemory(call, index, one, arena, EITHER);
  return bytes;
}

/** Bytes of memory that a call uses at one argument, as far as that is known. */
function neededBytes(call: PostableCall, given: readonly SyscallArgument[], index: number): number {
  const { bytes, sizeArg, operator, operand } = call.signature.params[index];
  if (sizeArg === -1) return bytes;
  const says = given[sizeArg];
  if (operator === '{') return int32In(call, sizeArg, says);
  checkInteger(call, sizeArg, says);
  const value = Number(says instanceof UnsafeInteger ? says.value : says);
  if (operator === '*') return value * operand;
  if (operator === '+') return value + operand;
  return operator === '/' ? Math.ceil(value / 64) * 8 : value;
}

/** A length that Linux reads from memory and replaces there. */
function int32In(call: PostableCall, index: number, value: SyscallArgument): number {
  const bytes = value instanceof ArenaSlice ? value.bytes : value;
  if (!(bytes instanceof Uint8Array) || bytes.length < 4)
    throw wrong(call, index, 'holds the length of the argument before it: pass 4 bytes');
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getInt32(0, true);
}

function aligned(bytes: number): number {
  return Math.ceil(Math.max(bytes, 1) / ALIGN) * ALIGN;
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'object') return `a ${value.constructor?.name || 'object'}`;
  return typeof value === 'number' || typeof value === 'bigint'
    ? `the number ${value}`
    : `a ${typeof value}`;
}

/* --- The entry -------------------------------------------------------------------------------- */

/** Writes a checked call into the entry `id`, its copies into a block of the arena (as many bytes
 *  as checkArguments said, null for none). Returns what holds the memory for the time of the
 *  call, or null when nothing but integers was passed. */
export function fillEntry(
  kernel: Kernel,
  id: number,
  call: PostableCall,
  given: readonly SyscallArgument[],
  block: Block | null,
): CallMemory | null {
  const { pages } = kernel;
  pages.call(id, call.number, given.length, 0);
  let memory: CallMemory | null = null;
  for (let i = 0; i < given.length; i++) {
    const value = given[i];
    if (typeof value === 'number') {
      pages.setNumber(id, i, value);
    } else if (typeof value === 'bigint') {
      pages.setBigInt(id, i, value);
    } else if (value === null) {
      pages.setInt(id, i, 0);
    } else if (value instanceof UnsafeInteger) {
      pages.setBigInt(id, i, value.value);
    } else {
      memory ??= new CallMemory(kernel, block);
      const { kind, sizeArg } = call.signature.params[i];
      const at = memory.put(value, kind, sizeArg === -1 ? -1 : neededBytes(call, given, i));
      pages.setAddress(id, i, kernel.pool.addressLow + at, kernel.pool.addressHigh);
    }
  }
  return memory;
}

/** A part of the arena that one call has. */
export interface Block {
  readonly arena: Arena;
  readonly offset: number;
  readonly order: number;
}

/** Memory of one call in flight: copies to bring back, slices to hold in place. */
export class CallMemory {
  readonly #kernel: Kernel;
  readonly #block: Block | null;
  /** Where the next copy goes, in the pool. */
  #next: number;
  #copies: Copy[] | null = null;
  #slices: ArenaSlice[] | null = null;

  constructor(kernel: Kernel, block: Block | null) {
    this.#kernel = kernel;
    this.#block = block;
    this.#next = block?.offset ?? 0;
  }

  /** Puts an argument's memory in place: its offset in the pool. `needed`: of a size that another
   *  argument says, only so much; -1: all. */
  put(
    value: Exclude<SyscallArgument, number | bigint | null | UnsafeInteger>,
    kind: ParamKind,
    needed: number,
  ): number {
    if (value instanceof ArenaSlice) return this.#pin(value);
    const { bytes } = this.#kernel.pool;
    if (typeof value === 'string') {
      const length = Buffer.byteLength(value);
      const at = this.#room(length + 1);
      bytes.write(value, at, 'utf8');
      bytes[at + length] = 0;
      return at;
    }
    if (value instanceof Uint8Array)
      return this.#copy(value, kind, kind === 'w' || kind === 'r' || kind === 'p' ? needed : -1);
    return this.#list(value as readonly Memory[], kind);
  }

  /** struct iovec, as many as there are buffers. */
  #list(list: readonly Memory[], kind: ParamKind): number {
    const { pool } = this.#kernel;
    const at = this.#room(list.length * IOVEC_BYTES);
    const words = new DataView(
      pool.bytes.buffer,
      pool.bytes.byteOffset + at,
      list.length * IOVEC_BYTES,
    );
    for (const [i, one] of list.entries()) {
      const base = one instanceof ArenaSlice ? this.#pin(one) : this.#copy(one, kind, -1);
      // The result counts a slice's bytes too; there is nothing to bring back.
      if (one instanceof ArenaSlice)
        this.#note({ view: NO_BYTES, at: base, length: one.length, kind });
      words.setInt32(i * IOVEC_BYTES, pool.addressLow + base, true);
      words.setInt32(i * IOVEC_BYTES + 4, pool.addressHigh, true);
      words.setInt32(i * IOVEC_BYTES + 8, one.length, true);
      words.setInt32(i * IOVEC_BYTES + 12, 0, true);
    }
    return at;
  }

  #pin(slice: ArenaSlice): number {
    this.#slices ??= [];
    this.#slices.push(slice);
    return pinSlice(slice);
  }

  #copy(view: Uint8Array, kind: ParamKind, needed: number): number {
    const length = needed === -1 ? view.length : needed;
    const at = this.#room(kind === '?' ? view.length + UNKNOWN_BYTES : view.length);
    // What a 'w' is not filled with is not brought back.
    if (kind !== 'w')
      this.#kernel.pool.bytes.set(length === view.length ? view : view.subarray(0, length), at);
    if (kind !== 'r' && kind !== 's' && kind !== 'z' && kind !== 'v')
      this.#note({ view, at, length, kind });
    return at;
  }

  #note(copy: Copy): void {
    this.#copies ??= [];
    this.#copies.push(copy);
  }

  #room(bytes: number): number {
    const at = this.#next;
    this.#next += aligned(bytes);
    return at;
  }

  /** The call is done: brings back what Linux wrote. */
  bringBack(result: number): void {
    if (this.#copies === null) return;
    const { bytes } = this.#kernel.pool;
    let left = result;
    for (const { view, at, length, kind } of this.#copies) {
      let count = length;
      if (kind === 'w' || kind === 'V') {
        count = Math.max(0, Math.min(length, left));
        left -= count;
      }
      // A view whose buffer was detached meanwhile has no bytes any more; a shorter one, fewer.
      count = Math.min(count, view.length);
      if (count > 0) view.set(bytes.subarray(at, at + count));
    }
  }

  /** Lets go of the slices and gives the block back. */
  release(): void {
    if (this.#slices !== null) for (const slice of this.#slices) unpinSlice(slice);
    if (this.#block !== null) this.#block.arena.give(this.#block.offset, this.#block.order);
  }
}

interface Copy {
  readonly view: Uint8Array;
  /** Where its bytes are, in the pool. */
  readonly at: number;
  readonly length: number;
  readonly kind: ParamKind;
}
