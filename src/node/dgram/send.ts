/**
 * socket.send() to an address from a socket that is bound: what servers do. No look-up, no
 * request object; everything else, and every mistake, is Node's own function's.
 *
 *   send(bytes, port, address[, callback])
 *   send(bytes, offset, length, port, address[, callback])
 */
import type { Socket } from 'node:dgram';
import { errnoName } from '../../abi/errno.ts';
import { parseIpv4 } from '../../ops/socket-address.ts';
import { DATAGRAM_MAX } from '../../sockets/datagrams.ts';
import { type AnyFunction, disguise } from '../disguise.ts';
import type { Callback } from '../forms.ts';
import { BOUND, DISCONNECTED, stateOf } from './internals.ts';
import { sentTo, type Udp, udpOf } from './udp.ts';

/** Addresses by their text; -1: something else. */
const parsed = new Map<string, number>();
const PARSED_MAX = 4096;

function addressOf(text: string): number {
  let ipv4 = parsed.get(text);
  if (ipv4 === undefined) {
    ipv4 = parseIpv4(text);
    if (parsed.size >= PARSED_MAX) parsed.clear();
    parsed.set(text, ipv4);
  }
  return ipv4;
}

/** The socket's Udp, if it may send the short way. */
function readyUdp(socket: Socket): Udp | null {
  const state = stateOf(socket);
  if (state?.bindState !== BOUND || state.connectState !== DISCONNECTED) return null;
  const udp = state.handle === null ? undefined : udpOf(state.handle);
  return udp?.direct ? udp : null;
}

function isPort(port: unknown): port is number {
  return typeof port === 'number' && port > 0 && port < 65536 && Number.isInteger(port);
}

/** Node's ExceptionWithHostPort. */
function sendError(result: number, address: unknown, port: number): Error {
  const code = errnoName(result);
  const error = new Error(`send ${code} ${address}:${port}`);
  return Object.assign(error, { errno: result, code, syscall: 'send', address, port });
}

/** False: it is for Node to do. */
function sendShort(
  socket: Socket,
  bytes: unknown,
  port: unknown,
  address: unknown,
  callback: unknown,
): boolean {
  if (typeof bytes !== 'string' && !(bytes instanceof Uint8Array)) return false;
  if (bytes.length > DATAGRAM_MAX / 3 || !isPort(port)) return false;
  const ipv4 = typeof address === 'string' ? addressOf(address) : -1;
  if (ipv4 === -1 || (callback !== undefined && typeof callback !== 'function')) return false;
  const udp = readyUdp(socket);
  if (udp === null) return false;
  const sent =
    callback === undefined
      ? null
      : sentTo(callback as Callback, (result) =>
          result < 0 ? [sendError(result, address, port)] : [null, result],
        );
  udp.send(bytes, ipv4, port, sent);
  return true;
}

export function sendForm(original: AnyFunction): AnyFunction {
  return disguise(function (this: Socket, ...args: unknown[]) {
    if (args.length === 3 || args.length === 4) {
      if (sendShort(this, args[0], args[1], args[2], args[3])) return undefined;
    } else if (args.length === 5 || args.length === 6) {
      const [bytes, offset, length, port, address, callback] = args;
      if (typeof offset === 'number' && typeof length === 'number' && isPort(port)) {
        const part = partOf(bytes, offset, length);
        if (part !== null && sendShort(this, part, port, address, callback)) return undefined;
      }
    }
    return original.apply(this, args);
  }, original);
}

/** Null: Node says what is wrong with it. */
function partOf(bytes: unknown, offset: number, length: number): Uint8Array | null {
  if (!(bytes instanceof Uint8Array)) return null;
  if (!Number.isInteger(offset) || !Number.isInteger(length)) return null;
  if (offset < 0 || length < 0 || offset + length > bytes.length) return null;
  return offset === 0 && length === bytes.length ? bytes : bytes.subarray(offset, offset + length);
}
