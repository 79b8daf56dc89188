/**
 * Which arguments the accelerated functions take themselves. Anything else (a wrong type, a rare
 * form, an option they do not implement) is undefined here, and the call goes to Node's own
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

export function acceptPath(value: unknown): Path | undefined {
  if (typeof value === 'string')
    return pathFits(value) && !value.includes('\0') ? value : undefined;
  if (value instanceof Uint8Array) return pathFits(value) && !value.includes(0) ? value : undefined;
  if (value instanceof URL && value.protocol === 'file:') return urlPath(value);
  return undefined;
}

function urlPath(url: URL): Path | undefined {
  try {
    return acceptPath(fileURLToPath(url));
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

/** Options of the readers and writers of whole files, by plain property access: they may be
 *  frozen, a Proxy or inherited. */
export interface FileOptions {
  readonly encoding: BufferEncoding | undefined;
  readonly flags: number;
  readonly mode: number;
}

interface MaybeFileOptions {
  readonly encoding?: unknown;
  readonly flag?: unknown;
  readonly mode?: unknown;
  readonly signal?: unknown;
  readonly flush?: unknown;
}

/** undefined: unknown encoding. null: none asked for. */
function acceptEncoding(value: unknown): BufferEncoding | null | undefined {
  if (value === undefined || value === null) return null;
  return typeof value === 'string' && Buffer.isEncoding(value) ? value : undefined;
}

const PLAIN_READ: FileOptions = { encoding: undefined, flags: O_RDONLY, mode: 0o666 };

export function acceptFileOptions(value: unknown, flag: string): FileOptions | undefined {
  if (value === undefined && flag === 'r') return PLAIN_READ;
  const isObject = typeof value === 'object' && value !== null;
  if (!isObject && typeof value === 'function') return undefined;
  const given = (isObject ? value : { encoding: value }) as MaybeFileOptions;
  const { signal, flush } = given;
  if (signal !== undefined && signal !== null) return undefined; // Node checks it between steps
  if (flush !== undefined && flush !== null && flush !== false) return undefined;
  const encoding = acceptEncoding(given.encoding);
  const flags = acceptFlags(given.flag || flag);
  const mode = acceptMode(given.mode, 0o666);
  if (encoding === undefined || flags === undefined || mode === undefined) return undefined;
  return { encoding: encoding ?? undefined, flags, mode };
}

/** What names are returned as: 'buffer', UTF-8 text, or something rare (undefined). */
export function acceptNameEncoding(options: unknown): 'utf8' | 'buffer' | undefined {
  const encoding =
    typeof options === 'object' && options !== null
      ? (options as { encoding?: unknown }).encoding
      : options;
  if (encoding === undefined || encoding === null) return 'utf8';
  if (encoding === 'utf8' || encoding === 'utf-8') return 'utf8';
  return encoding === 'buffer' ? 'buffer' : undefined;
}

/** The `bigint` option of the stat family; undefined: let Node see to it. */
export function acceptBigInt(options: unknown): boolean | undefined {
  if (options === undefined) return false;
  if (typeof options !== 'object' || options === null) return undefined;
  return (options as { bigint?: unknown }).bigint === true;
}
