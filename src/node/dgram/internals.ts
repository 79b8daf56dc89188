/**
 * What trapless uses of the inside of node:dgram's sockets. Everything is looked for, and where
 * something is not as expected the socket stays Node's own.
 *
 *   const state = stateOf(socket);     // undefined: not as we know it
 */
import type { Socket } from 'node:dgram';
import type { AnyFunction } from '../disguise.ts';

/** Node's UDP handle: a libuv socket, which sets up, binds and closes; see udp.ts for the rest. */
export interface UdpHandle {
  readonly fd: number;
  onmessage: (nread: number, handle: UdpHandle, bytes?: Buffer, from?: object) => void;
  lookup: AnyFunction;
  open(fd: number): number;
  recvStart(): number;
  recvStop(): number;
  send(request: SendWrap, list: readonly Uint8Array[], count: number, ...rest: unknown[]): number;
  close(callback?: () => void): void;
  ref(): void;
  unref(): void;
  hasRef(): boolean;
  getSendQueueSize(): number;
  getSendQueueCount(): number;
}

/** Of one send, when it has a callback. */
export interface SendWrap {
  oncomplete?: (status: number, sent: number) => void;
}

export const BOUND = 2;
export const DISCONNECTED = 0;

export interface DgramState {
  handle: UdpHandle | null;
  readonly bindState: number;
  readonly connectState: number;
}

let stateSymbol: symbol | undefined;

export function stateOf(socket: Socket): DgramState | undefined {
  stateSymbol ??= Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  if (stateSymbol === undefined) return undefined;
  return (socket as unknown as Record<symbol, DgramState | undefined>)[stateSymbol];
}

const METHODS = [
  'recvStart',
  'recvStop',
  'send',
  'close',
  'ref',
  'unref',
  'hasRef',
  'open',
] as const;

/** Whether this is the handle that we know. */
export function isUdpHandle(handle: unknown): handle is UdpHandle {
  const known = handle as UdpHandle | null;
  return (
    known !== null &&
    typeof known === 'object' &&
    known.constructor?.name === 'UDP' &&
    METHODS.every((name) => typeof known[name] === 'function')
  );
}
