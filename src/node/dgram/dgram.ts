/**
 * node:dgram on standing receives and batched sends: its sockets are Node's own, with the hot
 * half of their handle replaced (udp.ts) and a shorter send() (send.ts).
 *
 *   traplessDgram().createSocket('udp4')     what trapless/dgram hands out
 *   adoptSocket(socket, options)             one that Node has made (register)
 */
import nodeDgram, { type Socket } from 'node:dgram';
import dns from 'node:dns';
import { createRequire } from 'node:module';
import { dist } from '../bundles.ts';
import { type AnyFunction, disguise } from '../disguise.ts';
import { refusal } from '../refusal.ts';
import { isUdpHandle, stateOf } from './internals.ts';
import { sendForm } from './send.ts';
import { adopt, udpOf } from './udp.ts';

const originalLookup = dns.lookup;

/** In a worker of the cluster module sockets are the primary's, or may become so. */
function inCluster(): boolean {
  const cluster = createRequire(`${dist}/`)('node:cluster') as { isWorker: boolean };
  return cluster.isWorker;
}

/** Has a socket receive and send through us, if it is one that we know. */
export function adoptSocket(socket: Socket, options: unknown): void {
  const handle = stateOf(socket)?.handle;
  if (!isUdpHandle(handle) || udpOf(handle) !== undefined) return;
  const { type } = socket as unknown as { type: string };
  if ((type !== 'udp4' && type !== 'udp6') || inCluster()) return;
  const own = typeof options === 'object' && (options as { lookup?: unknown } | null)?.lookup;
  adopt(handle, type === 'udp4', !own && dns.lookup === originalLookup);
}

let installed = false;

/** Under a program that knows nothing of it: sockets that Node has made send the short way. */
export function shortenSend(): void {
  if (installed) return;
  installed = true;
  const { prototype } = nodeDgram.Socket;
  prototype.send = sendForm(prototype.send as AnyFunction) as typeof prototype.send;
}

let ours: typeof nodeDgram | undefined;

/** node:dgram with sockets of ours. Without a kernel it is Node's own. */
export function traplessDgram(): typeof nodeDgram {
  if (ours !== undefined || refusal()) return ours ?? nodeDgram;
  const Socket = nodeDgram.Socket as unknown as new (...args: unknown[]) => Socket;
  class OurSocket extends Socket {
    constructor(...args: unknown[]) {
      super(...args);
      adoptSocket(this, args[0]);
    }
  }
  Object.defineProperty(OurSocket, 'name', { value: 'Socket' });
  const send = sendForm(nodeDgram.Socket.prototype.send);
  Object.defineProperty(OurSocket.prototype, 'send', {
    value: send,
    writable: true,
    configurable: true,
  });
  const createSocket = (...args: unknown[]) => new OurSocket(...args);
  ours = {
    ...nodeDgram,
    Socket: OurSocket as unknown as typeof nodeDgram.Socket,
    createSocket: disguise(createSocket, nodeDgram.createSocket) as typeof nodeDgram.createSocket,
  };
  return ours;
}
