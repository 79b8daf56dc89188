/**
 * Which options the accelerated functions take themselves. As in accept.ts, undefined means: let
 * Node have the call. Options are read by plain property access, each once: they may be frozen, a
 * Proxy, or inherited.
 */
import { O_RDONLY } from '../abi/structs.ts';
import type { Path } from '../ops/call.ts';
import { acceptFlags, acceptInteger, acceptMode } from './accept.ts';

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** A switch that is on, off, or left out. */
function acceptBoolean(value: unknown): boolean | undefined {
  if (value === undefined) return false;
  return typeof value === 'boolean' ? value : undefined;
}

/* --- Whole files ----------------------------------------------------------------------------- */

export interface FileOptions {
  readonly encoding: BufferEncoding | undefined;
  readonly flags: number;
  readonly mode: number;
  /** Not aborted yet. */
  readonly signal: AbortSignal | undefined;
}

/** undefined: unknown encoding. null: none asked for. */
function acceptEncoding(value: unknown): BufferEncoding | null | undefined {
  if (value === undefined || value === null) return null;
  return typeof value === 'string' && Buffer.isEncoding(value) ? value : undefined;
}

/** null: none. One that is aborted already, or no AbortSignal at all, is Node's. */
function acceptSignal(value: unknown): AbortSignal | null | undefined {
  if (value === undefined) return null;
  return value instanceof AbortSignal && !value.aborted ? value : undefined;
}

const PLAIN_READ: FileOptions = {
  encoding: undefined,
  flags: O_RDONLY,
  mode: 0o666,
  signal: undefined,
};

/** `otherwise` is the flag to open with if the options do not say. */
export function acceptFileOptions(value: unknown, otherwise: string): FileOptions | undefined {
  if (value === undefined && otherwise === 'r') return PLAIN_READ;
  if (typeof value === 'function') return undefined;
  const given = isObject(value) ? value : { encoding: value };
  const { flush, buffer, flag } = given;
  if (flag === '') return undefined; // Node's two forms do not agree on it
  if (flush !== undefined && flush !== null && flush !== false) return undefined;
  if (buffer !== undefined) return undefined;
  const signal = acceptSignal(given.signal);
  const encoding = acceptEncoding(given.encoding);
  const flags = acceptFlags(flag || otherwise);
  const mode = acceptMode(given.mode, 0o666);
  if (encoding === undefined || flags === undefined || mode === undefined) return undefined;
  if (signal === undefined) return undefined;
  return { encoding: encoding ?? undefined, flags, mode, signal: signal ?? undefined };
}

/* --- Names ----------------------------------------------------------------------------------- */

/** What names are returned as: Buffers, or text in some encoding. */
export type NameEncoding = 'buffer' | BufferEncoding;

export function acceptNameEncoding(options: unknown): NameEncoding | undefined {
  const encoding = isObject(options) ? options.encoding : options;
  if (encoding === undefined || encoding === null || encoding === 'utf8') return 'utf8';
  if (encoding === 'buffer') return 'buffer';
  return acceptEncoding(encoding) ?? undefined;
}

export function encodeName(name: Path, encoding: NameEncoding): string | Buffer {
  if (typeof name === 'string' && encoding === 'utf8') return name;
  const bytes = typeof name === 'string' ? Buffer.from(name) : (name as Buffer);
  return encoding === 'buffer' ? bytes : bytes.toString(encoding);
}

export interface ListOptions {
  readonly encoding: NameEncoding;
  readonly withFileTypes: boolean;
  readonly recursive: boolean;
}

/** Options of readdir. */
export function acceptListOptions(options: unknown): ListOptions | undefined {
  const encoding = acceptNameEncoding(options);
  const { withFileTypes, recursive } = isObject(options) ? options : {};
  const types = acceptBoolean(withFileTypes);
  const deep = acceptBoolean(recursive);
  if (encoding === undefined || types === undefined || deep === undefined) return undefined;
  return { encoding, withFileTypes: types, recursive: deep };
}

/** Options of opendir: whether they are ordinary. Dir itself reads them again. */
export function ordinaryDirOptions(options: unknown): boolean {
  if (acceptNameEncoding(options) === undefined) return false;
  if (!isObject(options)) return true;
  const { bufferSize, recursive } = options;
  const fits = bufferSize === undefined || acceptInteger(bufferSize, 1, 2 ** 32 - 1) !== undefined;
  return fits && acceptBoolean(recursive) === false;
}

/* --- Others ---------------------------------------------------------------------------------- */

/** The `bigint` option of the stat family. */
export function acceptBigInt(options: unknown): boolean | undefined {
  if (options === undefined) return false;
  if (!isObject(options)) return undefined;
  // Of later Nodes: a missing file as undefined, and a call that can be aborted.
  if (options.throwIfNoEntry !== undefined || options.signal !== undefined) return undefined;
  return options.bigint === true;
}

export interface RemoveOptions {
  readonly force: boolean;
  readonly recursive: boolean;
}

/** Options of rm. Trying again is Node's. */
export function acceptRemoveOptions(options: unknown): RemoveOptions | undefined {
  if (options === undefined) return { force: false, recursive: false };
  if (!isObject(options)) return undefined;
  const force = acceptBoolean(options.force);
  const recursive = acceptBoolean(options.recursive);
  if (force === undefined || recursive === undefined) return undefined;
  if (options.maxRetries !== undefined && options.maxRetries !== 0) return undefined;
  const { retryDelay } = options;
  if (retryDelay !== undefined && acceptInteger(retryDelay, 0, 2 ** 31 - 1) === undefined)
    return undefined;
  return { force, recursive };
}
