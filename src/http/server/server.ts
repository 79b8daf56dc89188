/**
 * http.createServer on our parser: Node's own Server, with what it does about a connection replaced.
 *
 *   const server = createServer((request, response) => response.end('hello'));
 *   server.listen(3000);
 *
 *   takeOver(server)      the same for a server that is there already, before it listens (register)
 *
 * Requests, responses and sockets are Node's own objects. Where its insides are not as expected,
 * or the parser is to be lenient (insecureHTTPParser), the server is Node's.
 */
import http, { type RequestListener, type ServerOptions } from 'node:http';
import type { Socket } from 'node:net';
import { plainWrites } from '../../node/net/file-pipe.ts';
import { listenForm, TAKES_BYTES } from '../../node/net/net.ts';
import { Connections } from './connections.ts';
import { HttpConnection, type HttpServer } from './http-connection.ts';
import {
  hasOtherWays,
  type InnerSocket,
  internalsFit,
  nodesListener,
  setConnections,
} from './internals.ts';
import { Messages } from './messages.ts';

type Options = ServerOptions | RequestListener;

const NodeServer = http.Server;
type ServerClass = new (options?: Options, listener?: RequestListener) => http.Server;
type Listen = Parameters<typeof listenForm>[0];
const { _listen2: listen2 } = NodeServer.prototype as unknown as { _listen2?: Listen };

// Unless somebody has put his own in its place.
const { write: responseWrite } = http.ServerResponse.prototype;
if (/\bwrite_\(/.test(Function.prototype.toString.call(responseWrite)))
  plainWrites.add(responseWrite);

/** As Node's, to be called with new, without, or on an object that inherits from it. */
export function Server(
  this: unknown,
  options?: Options,
  listener?: RequestListener,
): http.Server | undefined {
  if (!(this instanceof Server)) return new (Server as unknown as ServerClass)(options, listener);
  const server = this as unknown as HttpServer;
  (NodeServer as unknown as (...args: unknown[]) => void).call(server, options, listener);
  takeOver(server);
}
Object.setPrototypeOf(Server, NodeServer);
Server.prototype = Object.create(NodeServer.prototype, {
  constructor: { value: Server, writable: true, configurable: true },
});
if (listen2 !== undefined)
  Object.defineProperty(Server.prototype, '_listen2', {
    value: listenForm(listen2),
    writable: true,
    configurable: true,
  });

export function createServer(options?: Options, listener?: RequestListener): http.Server {
  return new (Server as unknown as ServerClass)(options, listener);
}

/** Its connections are ours from now on. False: they remain Node's. */
export function takeOver(it: http.Server): boolean {
  const server = it as HttpServer & { [TAKES_BYTES]?: boolean };
  if (TAKES_BYTES in server) return true;
  const { httpValidation = 'strict' } = server;
  const lenient = (server.insecureHTTPParser ?? insecureByFlag) || httpValidation !== 'strict';
  const nodes = nodesListener(server);
  if (lenient || nodes === undefined || hasOtherWays(server) || !internalsFit()) return false;
  const connections = new Connections<HttpConnection>();
  const messages = new Messages(server);
  setConnections(server, connections);
  server.removeListener('connection', nodes);
  server.prependListener('connection', (socket: Socket) => {
    const most = server.maxHeaderSize || http.maxHeaderSize;
    new HttpConnection(server, socket as InnerSocket, connections, messages, most);
  });
  // Its connections' handles are adopted before their sockets are made.
  Object.defineProperty(server, TAKES_BYTES, { value: true });
  return true;
}

const insecureByFlag = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((flag) =>
  flag.includes('--insecure-http-parser'),
);
