/**
 * Which arguments the accelerated functions take themselves; options are in accept-options.ts.
 * Anything else (a wrong type, a rare form) is undefined here, and the call goes to Node's own
 * function with the same arguments: validation, messages and order of checks are Node's.
 */
import { fileURLToPath, URL } from 'node:url';
import {
  O_APPEND,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TRUNC,
  O_WRONLY,
} from '../abi/structs.ts';
import { type Path, pathFits } from '../ops/call.ts';
import { SLOT_PATH_MAX } from '../page/pages.ts';

/** A path that fits a slot, with `room` bytes to spare. */
export function acceptPath(value: unknown, room = 0): Path | undefined {
  const most = SLOT_PATH_MAX - room;
  if (typeof value === 'string')
    return pathFits(value, most) && !value.includes('\0') ? value : undefined;
  if (value instanceof Uint8Array)
    return pathFits(value, most) && !value.includes(0) ? value : undefined;
  if (value instanceof URL && value.protocol === 'file:') return urlPath(value, room);
  return undefined;
}

function urlPath(url: URL, room: number): Path | undefined {
  try {
    return acceptPath(fileURLToPath(url), room);
  } catch {
    return undefined;
  }
}

const FLAGS: Readonly<Record<string, number>> = {
  r: O_RDONLY,
  rs: O_RDONLY | O_SYNC,
  sr: O_RDONLY | O_SYNC,
  'r+': O_RDWR,
  'rs+': O_RDWR | O_SYNC,
  'sr+': O_RDWR | O_SYNC,
  w: O_TRUNC | O_CREAT | O_WRONLY,
  wx: O_TRUNC | O_CREAT | O_WRONLY | O_EXCL,
  xw: O_TRUNC | O_CREAT | O_WRONLY | O_EXCL,
  'w+': O_TRUNC | O_CREAT | O_RDWR,
  'wx+': O_TRUNC | O_CREAT | O_RDWR | O_EXCL,
  'xw+': O_TRUNC | O_CREAT | O_RDWR | O_EXCL,
  a: O_APPEND | O_CREAT | O_WRONLY,
  ax: O_APPEND | O_CREAT | O_WRONLY | O_EXCL,
  xa: O_APPEND | O_CREAT | O_WRONLY | O_EXCL,
  as: O_APPEND | O_CREAT | O_WRONLY | O_SYNC,
  sa: O_APPEND | O_CREAT | O_WRONLY | O_SYNC,
  'a+': O_APPEND | O_CREAT | O_RDWR,
  'ax+': O_APPEND | O_CREAT | O_RDWR | O_EXCL,
  'xa+': O_APPEND | O_CREAT | O_RDWR | O_EXCL,
  'as+': O_APPEND | O_CREAT | O_RDWR | O_SYNC,
  'sa+': O_APPEND | O_CREAT | O_RDWR | O_SYNC,
};

/** open(2) flags; undefined and null mean reading. */
export function acceptFlags(value: unknown): number | undefined {
  if (value === undefined || value === null) return O_RDONLY;
  if (typeof value === 'string') return Object.hasOwn(FLAGS, value) ? FLAGS[value] : undefined;
  return typeof value === 'number' && (value | 0) === value ? value : undefined;
}

/** A file mode; undefined and null mean `otherwise`. */
export function acceptMode(value: unknown, otherwise: number): number | undefined {
  if (value === undefined || value === null) return otherwise;
  return acceptInteger(value, 0, 0o7777);
}

export function acceptInteger(value: unknown, min: number, max: number): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
    ? value + 0 // -0 is 0
    : undefined;
}

export function acceptDescriptor(value: unknown): number | undefined {
  return acceptInteger(value, 0, 2147483647);
}

/** uid or gid: -1 leaves it. */
export function acceptOwner(value: unknown): number | undefined {
  return acceptInteger(value, -1, 2 ** 32 - 1);
}

/** Seconds since 1970 of a Date or a number; negative numbers mean something else to Node. */
export function acceptTime(value: unknown): number | undefined {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value;
  if (value instanceof Date) {
    const time = value.getTime() / 1000;
    return Number.isNaN(time) ? undefined : time;
  }
  return undefined;
}

/** The bytes of a caller's buffer, from `offset`. */
export function bytesOf(view: ArrayBufferView, offset: number, length: number): Uint8Array {
  if (view instanceof Uint8Array && offset === 0 && length === view.byteLength) return view;
  return new Uint8Array(view.buffer, view.byteOffset + offset, length);
}
