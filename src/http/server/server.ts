/**
 * http.createServer on our parser: Node's own Server, with what it does about a connection replaced.
 *
 *   const server = createServer((request, response) => response.end('hello'));
 *   server.listen(3000);
 *
 * Requests, responses and sockets are Node's own objects. Where its insides are not as expected,
 * or the parser is to be lenient (insecureHTTPParser), the server is Node's.
 */
import http, { type RequestListener, type ServerOptions } from 'node:http';
import type { Socket } from 'node:net';
import { Connections } from './connections.ts';
import { HttpConnection, type HttpServer } from './http-connection.ts';
import { type InnerSocket, internalsFit, setConnections } from './internals.ts';

type Options = ServerOptions | RequestListener;

/** Kept: ours may take its place in node:http. */
const NodeServer = http.Server;
type ServerClass = new (options?: Options, listener?: RequestListener) => http.Server;

/** As Node's, to be called with new, without, or on an object that inherits from it. */
export function Server(
  this: unknown,
  options?: Options,
  listener?: RequestListener,
): http.Server | undefined {
  if (!(this instanceof Server)) return new (Server as unknown as ServerClass)(options, listener);
  const server = this as unknown as HttpServer;
  (NodeServer as unknown as (...args: unknown[]) => void).call(server, options, listener);
  if (isLenient(options) || !internalsFit()) return;
  const connections = new Connections<HttpConnection>();
  setConnections(server, connections);
  const [nodes] = server.listeners('connection') as ((socket: Socket) => void)[];
  server.removeListener('connection', nodes);
  server.on('connection', (socket) => {
    const most = server.maxHeaderSize || http.maxHeaderSize;
    new HttpConnection(server, socket as InnerSocket, connections, most);
  });
}
Object.setPrototypeOf(Server, NodeServer);
Server.prototype = Object.create(NodeServer.prototype, {
  constructor: { value: Server, writable: true, configurable: true },
});

export function createServer(options?: Options, listener?: RequestListener): http.Server {
  return new (Server as unknown as ServerClass)(options, listener);
}

function isLenient(options: Options | undefined): boolean {
  const lenient = typeof options === 'object' ? options?.insecureHTTPParser : undefined;
  return lenient ?? insecureByFlag;
}
const insecureByFlag = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((flag) =>
  flag.includes('--insecure-http-parser'),
);
