/**
 * node:net on standing receives and gathered sends: sockets and servers are Node's own, with the
 * hot half of their handles replaced (stream.ts).
 *
 *   traplessNet().createServer(…)      what trapless/net hands out
 *   listenForm, connectForm            put under node:net itself (register)
 *
 * Servers accept as Node does, and in batches beside it (backlog.ts); each connection's handle is
 * adopted before its socket is made.
 * Servers of http, https, http2 and tls are left alone: they take handles natively.
 */
import cluster from 'node:cluster';
import nodeNet from 'node:net';
import { type AnyFunction, disguise } from '../disguise.ts';
import { refusal } from '../refusal.ts';
import { streamOf } from './adopted.ts';
import { Backlog } from './backlog.ts';
import { watchPipes } from './file-pipe.ts';
import {
  hasOwnBuffer,
  type InnerServer,
  type InnerSocket,
  isStreamHandle,
  type StreamHandle,
} from './internals.ts';
import { adopt } from './stream.ts';

/** Methods that only servers of other protocols have. */
const OTHER_PROTOCOLS = ['setSecureContext', 'closeIdleConnections', 'updateSettings'];

/** On a server of another protocol that wants its connections adopted all the same. */
export const TAKES_BYTES = Symbol('trapless takes bytes');

function speaksBytes(server: object): boolean {
  if (TAKES_BYTES in server) return true;
  return !OTHER_PROTOCOLS.some((name) => name in server);
}

/** Accepted, and told to nobody: Linux would have reset it when the listening socket was closed. */
function refuse(client: StreamHandle): void {
  if (client.reset?.() !== 0) client.close();
}

/** After listening has begun: the connections that come are adopted. */
function adoptConnections(server: InnerServer): void {
  const handle = server._handle;
  const onconnection = handle?.onconnection;
  if (!handle || typeof onconnection !== 'function' || !speaksBytes(server)) return;
  const backlog = cluster.isWorker ? null : new Backlog(handle);
  handle.onconnection = function (error, client) {
    if (isStreamHandle(client)) {
      if (backlog?.accepted() === false) return refuse(client);
      watchPipes();
      adopt(client, true);
    }
    return onconnection.call(this, error, client);
  };
}

/** Server.prototype._listen2: every way of listening ends there. */
export function listenForm(original: AnyFunction): AnyFunction {
  return disguise(function (this: InnerServer, ...args: unknown[]) {
    const result = original.apply(this, args);
    adoptConnections(this);
    return result;
  }, original);
}

/** Socket.prototype.connect: the handle is there, and connecting is Node's. */
export function connectForm(original: AnyFunction): AnyFunction {
  return disguise(function (this: InnerSocket, ...args: unknown[]) {
    const result = original.apply(this, args);
    const handle = this._handle;
    if (streamOf(handle) === undefined && isStreamHandle(handle) && !hasOwnBuffer(this)) {
      watchPipes();
      adopt(handle, false);
    }
    return result;
  }, original);
}

function override(prototype: object, name: string, value: unknown): void {
  Object.defineProperty(prototype, name, { value, writable: true, configurable: true });
}

let ours: typeof nodeNet | undefined;

/** node:net with sockets of ours. Without a kernel it is Node's own. */
export function traplessNet(): typeof nodeNet {
  if (ours !== undefined || refusal()) return ours ?? nodeNet;
  const { Socket, Server } = nodeNet;
  const OurSocket = subclass(Socket);
  override(OurSocket.prototype, 'connect', connectForm(Socket.prototype.connect));
  const OurServer = subclass(Server);
  const { _listen2 } = Server.prototype as unknown as InnerServer;
  override(OurServer.prototype, '_listen2', listenForm(_listen2));
  const createServer = (...args: unknown[]) => new OurServer(...args);
  const connect = (...args: unknown[]) => connectTo(OurSocket, args);
  ours = {
    ...nodeNet,
    Socket: OurSocket as unknown as typeof Socket,
    Stream: OurSocket,
    Server: OurServer as unknown as typeof Server,
    createServer: disguise(createServer, nodeNet.createServer),
    connect: disguise(connect, nodeNet.connect),
    createConnection: disguise(connect, nodeNet.connect),
  } as unknown as typeof nodeNet;
  return ours;
}

/** Callable without `new`, as Node's own. */
function subclass(base: unknown): AnyFunction & (new (...args: unknown[]) => object) {
  const Base = base as new (...args: unknown[]) => object;
  function Ours(this: unknown, ...args: unknown[]): object {
    return Reflect.construct(Base, args, new.target ?? Ours);
  }
  Object.setPrototypeOf(Ours, Base);
  Ours.prototype = Object.create(Base.prototype as object, {
    constructor: { value: Ours, writable: true, configurable: true },
  });
  Object.defineProperty(Ours, 'name', { value: Base.name });
  return Ours as unknown as AnyFunction & (new (...args: unknown[]) => object);
}

/** net.connect(…): its arguments are normalized by Node. */
function connectTo(Socket: new (...args: unknown[]) => object, args: readonly unknown[]): unknown {
  const { _normalizeArgs } = nodeNet as unknown as { _normalizeArgs(args: unknown): unknown[] };
  const normalized = _normalizeArgs(args);
  const options = normalized[0] as { timeout?: number };
  const socket = new Socket(options) as InnerSocket;
  if (options.timeout) socket.setTimeout(options.timeout);
  return (socket.connect as AnyFunction).call(socket, normalized);
}
