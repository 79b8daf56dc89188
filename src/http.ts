/**
 * `trapless/http`: HTTP servers on exception-less sockets. A bundle of its own (servers.ts) beside
 * the runtime, whose kernel it shares.
 *
 *   import { serve } from 'trapless/http';                  // a web-standard handler, the leanest
 *   serve({ port: 3000, fetch: (request) => new Response('hello') });
 *
 *   import http from 'trapless/http';                       // in the place of node:http
 *   http.createServer((request, response) => response.end('hello')).listen(3000);
 */
export {
  Agent,
  ClientRequest,
  get,
  globalAgent,
  IncomingMessage,
  METHODS,
  maxHeaderSize,
  OutgoingMessage,
  request,
  ServerResponse,
  STATUS_CODES,
  validateHeaderName,
  validateHeaderValue,
} from 'node:http';
export { createServer, Server } from './http/server/server.ts';
export { LightResponse as Response } from './http/web/light-response.ts';
export { type ServeOptions, type Server as WebServer, serve } from './http/web/serve.ts';
