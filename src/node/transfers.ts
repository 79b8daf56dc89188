/**
 * fs.read, fs.write, fs.readv and fs.writev with callbacks: their many argument forms, and the
 * extra arguments their callbacks get: (error, 0, buffer) and (null, bytes, buffer).
 */
import type { Kernel } from '../kernel/kernel.ts';
import { CURRENT, read, TRANSFER_MAX, vector, vectorBytes, write } from '../ops/transfer.ts';
import { acceptDescriptor, acceptInteger, bytesOf } from './accept.ts';
import { threadKernel } from './environment-kernel.ts';
import { type AnyFunction, type Callback, callBack, disguise, Request } from './forms.ts';

/** A position: null, undefined and -1 mean the file's own; undefined here: not ours. */
export function acceptPosition(value: unknown): number | bigint | undefined {
  if (value === null || value === undefined) return CURRENT;
  if (typeof value === 'number') return acceptInteger(value, -1, Number.MAX_SAFE_INTEGER);
  if (typeof value === 'bigint' && value >= -1n && value < 1n << 62n) return value;
  return undefined;
}

export interface Span {
  readonly bytes: Uint8Array;
  readonly position: number | bigint;
}

/** The bytes that (buffer, offset, length, position) mean, if they are within bounds. */
export function acceptSpan(
  buffer: unknown,
  offset: unknown,
  length: unknown,
  position: unknown,
): Span | undefined {
  if (!ArrayBuffer.isView(buffer)) return undefined;
  const size = buffer.byteLength;
  const from = offset === undefined || offset === null ? 0 : acceptInteger(offset, 0, size);
  if (from === undefined) return undefined;
  const count =
    length === undefined || length === null ? size - from : acceptInteger(length, 1, size - from);
  const where = acceptPosition(position);
  if (count === undefined || where === undefined || count === 0 || count > TRANSFER_MAX)
    return undefined;
  return { bytes: bytesOf(buffer, from, count), position: where };
}

interface SpanOptions {
  readonly buffer?: unknown;
  readonly offset?: unknown;
  readonly length?: unknown;
  readonly position?: unknown;
}

/** Of read: (buffer), (options), (buffer, options or null), (buffer, offset, length, position). */
function readSpan(args: readonly unknown[]): Span | undefined {
  const [buffer, second, length] = args;
  if (args.length === 4)
    return typeof length === 'number' ? acceptSpan(buffer, second, length, args[3]) : undefined;
  if (args.length === 2) {
    if (second === null) return acceptSpan(buffer, 0, undefined, null);
    return typeof second === 'object' ? optionsSpan(buffer, second as SpanOptions) : undefined;
  }
  if (args.length !== 1 || typeof buffer !== 'object' || buffer === null) return undefined;
  if (ArrayBuffer.isView(buffer)) return acceptSpan(buffer, 0, undefined, null);
  return optionsSpan((buffer as SpanOptions).buffer, buffer as SpanOptions);
}

function optionsSpan(buffer: unknown, options: SpanOptions): Span | undefined {
  const { offset, length, position } = options;
  return length === null ? undefined : acceptSpan(buffer, offset, length, position);
}

/** Of write: (buffer), (buffer, options), (buffer, offset), … (buffer, offset, length, position). */
function writeSpan(args: readonly unknown[]): Span | undefined {
  const [buffer, second] = args;
  if (args.length > 4) return undefined;
  if (args.length === 2 && typeof second === 'object' && second !== null)
    return optionsSpan(buffer, second as SpanOptions);
  // Unlike read, whatever is no number means "the file's own position".
  return acceptSpan(buffer, second, args[2], typeof args[3] === 'number' ? args[3] : null);
}

/** Callbacks that get the number of bytes and the buffer. */
class TransferRequest extends Request {
  readonly #buffer: unknown;

  constructor(callback: Callback, buffer: unknown) {
    super(callback);
    this.#buffer = buffer;
  }

  override succeed = (bytes: unknown): void => {
    callBack(this, this.callback, undefined, null, bytes, this.#buffer);
  };

  override fail = (error: Error): void => {
    callBack(this, this.callback, undefined, error, 0, this.#buffer);
  };
}

type Begin = (
  kernel: Kernel,
  fd: number,
  args: readonly unknown[],
  request: (buffer: unknown) => Request,
) => boolean;

/** name(fd, ...args, callback). */
function form(original: AnyFunction, begin: Begin): AnyFunction {
  return disguise(function (this: unknown, ...args: unknown[]) {
    const callback = args[args.length - 1];
    const fd = acceptDescriptor(args[0]);
    if (typeof callback === 'function' && fd !== undefined && args.length > 2) {
      const kernel = threadKernel();
      if (kernel !== null) {
        const request = (buffer: unknown) => new TransferRequest(callback as Callback, buffer);
        if (begin(kernel, fd, args.slice(1, -1), request)) return;
      }
    }
    return original.apply(this, args);
  }, original);
}

export function readForm(original: AnyFunction): AnyFunction {
  return form(original, (kernel, fd, args, request) => {
    const span = readSpan(args);
    if (span === undefined) return false;
    const [first] = args as [SpanOptions];
    const { succeed, fail } = request(ArrayBuffer.isView(first) ? first : first.buffer);
    read(kernel, fd, span.bytes, span.position, succeed, fail);
    return true;
  });
}

/** (string), (string, position), (string, position, encoding). */
function stringSpan(args: readonly unknown[]): Span | undefined {
  const [text, position, encoding] = args;
  if (args.length > 3) return undefined;
  if (encoding !== undefined && encoding !== null && !Buffer.isEncoding(encoding as string))
    return undefined;
  if (/^hex$/i.test(String(encoding)) && (text as string).length % 2 !== 0) return undefined;
  const where = typeof position === 'number' ? acceptPosition(position) : CURRENT;
  const bytes = Buffer.from(text as string, (encoding as BufferEncoding | null) ?? 'utf8');
  if (where === undefined || bytes.length === 0 || bytes.length > TRANSFER_MAX) return undefined;
  return { bytes, position: where };
}

export function writeForm(original: AnyFunction): AnyFunction {
  return form(original, (kernel, fd, args, request) => {
    const [data] = args;
    const span = typeof data === 'string' ? stringSpan(args) : writeSpan(args);
    if (span === undefined) return false;
    const { succeed, fail } = request(data);
    write(kernel, fd, span.bytes, span.position, succeed, fail);
    return true;
  });
}

const VECTORS_MAX = 1024; // IOV_MAX

/** Uint8Arrays over a list of views that fit one block, or undefined. */
export function acceptVector(buffers: unknown): Uint8Array[] | undefined {
  if (!Array.isArray(buffers) || buffers.length === 0 || buffers.length > VECTORS_MAX)
    return undefined;
  const views: Uint8Array[] = [];
  for (const buffer of buffers) {
    if (!ArrayBuffer.isView(buffer)) return undefined;
    views.push(bytesOf(buffer, 0, buffer.byteLength));
  }
  return vectorBytes(views) <= TRANSFER_MAX ? views : undefined;
}

function vectorForm(original: AnyFunction, reading: boolean): AnyFunction {
  return form(original, (kernel, fd, args, request) => {
    const [buffers, position] = args;
    const views = args.length <= 2 ? acceptVector(buffers) : undefined;
    if (views === undefined) return false;
    const where =
      typeof position === 'number' ? acceptInteger(position, 0, Number.MAX_SAFE_INTEGER) : CURRENT;
    if (where === undefined) return false;
    const { succeed, fail } = request(buffers);
    vector(kernel, reading, fd, views, where, succeed, fail);
    return true;
  });
}

export const readvForm = (original: AnyFunction) => vectorForm(original, true);
export const writevForm = (original: AnyFunction) => vectorForm(original, false);
