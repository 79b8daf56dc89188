/**
 * What trapless uses of the inside of node:net. Everything is looked for; where something is not
 * as expected, the socket stays Node's own.
 */
import type { Server, Socket } from 'node:net';

/** A TCP or Pipe handle: libuv's socket. */
export interface StreamHandle {
  readonly fd: number;
  reading?: boolean;
  onread: (...args: unknown[]) => unknown;
  onconnection?: (this: unknown, error: number, client?: StreamHandle) => unknown;
  readonly isStreamBase: boolean;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly writeQueueSize: number;
  readStart(): number;
  readStop(): number;
  shutdown(request: ShutdownRequest): number;
  close(callback?: () => void): void;
  reset?(callback?: () => void): number;
  ref(): void;
  unref(): void;
  hasRef(): boolean;
}

export interface ShutdownRequest {
  oncomplete(status: number): void;
}

export type WriteCallback = (error?: Error | null) => void;

/** net.Socket, with what its own methods use of it. */
export interface InnerSocket extends Socket {
  _handle: StreamHandle | null;
  _pendingData: unknown;
  _pendingEncoding: string;
  _unrefTimer(): void;
  _writeGeneric(writev: boolean, data: unknown, encoding: string, callback: WriteCallback): void;
  readonly _readableState: { readonly endEmitted: boolean };
}

export interface InnerServer extends Server {
  _handle: StreamHandle | null;
  _listen2(...args: unknown[]): unknown;
}

function symbolNamed(object: object, description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(object).find((one) => one.description === description);
}

/** The option `onread`: data goes where the program says, without a copy. */
export function hasOwnBuffer(socket: InnerSocket): boolean {
  const symbol = symbolNamed(socket, 'kBuffer');
  return symbol !== undefined && (socket as unknown as Record<symbol, unknown>)[symbol] !== null;
}

let ownerSymbol: symbol | undefined;
let lastWriteSymbol: symbol | null | undefined;

/** The socket or server that a handle belongs to. */
export function ownerOf(handle: StreamHandle): InnerSocket | undefined {
  ownerSymbol ??= symbolNamed(handle, 'owner_symbol');
  if (ownerSymbol === undefined) return undefined;
  return (handle as unknown as Record<symbol, InnerSocket | null>)[ownerSymbol] ?? undefined;
}

/** What the socket's timeout looks at: how much was waiting to be written. */
export function noteWaiting(socket: InnerSocket, bytes: number): void {
  if (lastWriteSymbol === undefined)
    lastWriteSymbol = symbolNamed(socket, 'lastWriteQueueSize') ?? null;
  if (lastWriteSymbol !== null)
    (socket as unknown as Record<symbol, number>)[lastWriteSymbol] = bytes;
}

const METHODS = ['readStart', 'readStop', 'shutdown', 'close', 'ref', 'unref', 'hasRef'] as const;

/** Whether this is one of the handles that we know. */
export function isStreamHandle(handle: unknown): handle is StreamHandle {
  const known = handle as StreamHandle | null;
  if (known === null || typeof known !== 'object') return false;
  const name = known.constructor?.name;
  return (
    (name === 'TCP' || name === 'Pipe') &&
    known.isStreamBase === true &&
    METHODS.every((method) => typeof known[method] === 'function')
  );
}
