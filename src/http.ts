/**
 * `trapless/http`: HTTP servers on exception-less sockets. A bundle of its own (servers.ts)
 * beside the runtime, whose kernel it shares.
 *
 *   import { serve } from 'trapless/http';
 *   serve({ port: 3000, fetch: (request) => new Response('hello') });
 */
export { LightResponse as Response } from './http/web/light-response.ts';
export { type ServeOptions, Server, serve } from './http/web/serve.ts';
