/**
 * A web server for a web-standard handler.
 *
 *   const server = serve({ port: 3000, fetch: (request) => new Response('hello') });
 *   server.url                 'http://localhost:3000/'
 *   await server.stop();       no new connections; resolves when the last answer is out
 *
 * The handler gets a Request and returns a Response or a promise of one; bodies stream both ways.
 * `new Response(…)` is expensive in Node, so it is replaced by a light one that looks the same
 * (globals.ts; `globals: false` leaves it alone, then use the Response that trapless/http exports).
 */
import { STATUS_CODES } from 'node:http';
import {
  listenTransport,
  type Transport,
  type TransportHandler,
  type TransportListener,
} from '../transport.ts';
import { installGlobals } from './globals.ts';
import type { LightRequest } from './light-request.ts';
import { LightResponse } from './light-response.ts';
import { WebConnection, type WebServer } from './web-connection.ts';

type Answer = Response | Promise<Response>;

export interface ServeOptions {
  /** 0: any that is free. Default: $PORT, or 3000. */
  readonly port?: number;
  /** An IP address, or localhost. Default: every address of this machine. */
  readonly hostname?: string;
  /** A Unix socket instead. */
  readonly unix?: string;
  /** Several processes may listen on the port, and Linux spreads connections over them. */
  readonly reusePort?: boolean;
  readonly fetch: (request: Request, server: Server) => Answer;
  /** What to answer when `fetch` throws. Default: 500, and the error on standard error. */
  readonly error?: (error: unknown, request: Request) => Answer;
  /** Characters of a request's line and headers. Default 16384; beyond it is answered with 431. */
  readonly maxHeaderSize?: number;
  /** Bytes of a request's body. Default 128 MiB; beyond it is answered with 413. */
  readonly maxRequestBodySize?: number;
  /** Seconds a connection may wait for its next request. Default 5; 0: for ever. */
  readonly idleTimeout?: number;
  /** Seconds for a request's head. Default 60; 0: for ever. */
  readonly headersTimeout?: number;
  /** Seconds for a request's body. Default 300; 0: for ever. An answer takes as long as it takes. */
  readonly requestTimeout?: number;
  /** Whether globalThis.Response becomes the light one, and what belongs to it. Default true. */
  readonly globals?: boolean;
}

const TICK_MS = 1000;

export class Server implements WebServer, TransportHandler {
  readonly maxHeaderSize: number;
  readonly maxBodySize: number;
  readonly limits: { readonly idle: number; readonly head: number; readonly request: number };
  now = 0;
  stopping = false;

  readonly #options: ServeOptions;
  readonly #listener: TransportListener;
  readonly #connections = new Set<WebConnection>();
  #ticking: NodeJS.Timeout | null = null;
  #stopped: (() => void) | null = null;
  #listening = true;
  #port = 0;

  /** Use serve(). */
  constructor(options: ServeOptions) {
    this.#options = options;
    this.maxHeaderSize = options.maxHeaderSize ?? 16384;
    this.maxBodySize = options.maxRequestBodySize ?? 128 * 1024 * 1024;
    const { idleTimeout = 5, headersTimeout = 60, requestTimeout = 300 } = options;
    this.limits = { idle: idleTimeout, head: headersTimeout, request: requestTimeout };
    this.#listener = listenTransport(whereToListen(options), (transport) =>
      this.#accept(transport),
    );
    this.#port = this.#listener.address?.port ?? 0;
  }

  get port(): number {
    // By node:net it is not known at once; when it is closed, not any more.
    if (this.#port === 0) this.#port = this.#listener.address?.port ?? 0;
    return this.#port;
  }

  get hostname(): string {
    return this.#options.hostname ?? 'localhost';
  }

  get origin(): string {
    const host = this.hostname.includes(':') ? `[${this.hostname}]` : this.hostname;
    return `http://${host}:${this.port}`;
  }

  get url(): string {
    return new URL(this.origin).href;
  }

  /** Listening; by our own sockets it is at once, and what cannot is thrown by serve(). */
  get ready(): Promise<void> {
    return this.#listener.ready;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Ends listening and idle connections, and the others after their answers, or at once. */
  stop(closeActive = false): Promise<void> {
    this.stopping = true;
    const stopped = new Promise<void>((resolve) => {
      const before = this.#stopped;
      this.#stopped = () => {
        before?.();
        resolve();
      };
    });
    if (this.#listening) this.#listener.close(() => this.#closed());
    for (const connection of this.#connections) {
      if (closeActive) connection.destroy();
      else connection.finishUp();
    }
    if (!this.#listening) this.#tellIfStopped();
    return stopped;
  }

  ref(): void {
    this.#listener.ref();
  }

  unref(): void {
    this.#listener.unref();
  }

  #closed(): void {
    this.#listening = false;
    this.#tellIfStopped();
  }

  #tellIfStopped(): void {
    if (this.#listening || this.#connections.size > 0) return;
    const stopped = this.#stopped;
    this.#stopped = null;
    stopped?.();
  }

  /* --- For connections ------------------------------------------------------------------------ */

  answer(request: LightRequest): unknown {
    return this.#options.fetch(request as unknown as Request, this);
  }

  failed(error: unknown, request: LightRequest): unknown {
    if (this.#options.error !== undefined)
      return this.#options.error(error, request as unknown as Request);
    console.error(error);
    return new LightResponse(STATUS_CODES[500], { status: 500 });
  }

  gone(connection: WebConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0 && this.#ticking !== null) {
      clearInterval(this.#ticking);
      this.#ticking = null;
    }
    if (this.stopping) this.#tellIfStopped();
  }

  #accept(transport: Transport): void {
    const connection = new WebConnection(this, transport);
    transport.data = connection;
    transport.handler = this;
    this.#connections.add(connection);
    this.#ticking ??= setInterval(() => this.#tick(), TICK_MS).unref();
  }

  #tick(): void {
    this.now += TICK_MS / 1000;
    for (const connection of this.#connections) {
      if (connection.deadline !== 0 && connection.deadline < this.now) connection.expired();
    }
  }

  onBytes(transport: Transport, bytes: Buffer, start: number, end: number): void {
    (transport.data as WebConnection).received(bytes, start, end);
  }

  onEnd(transport: Transport): void {
    (transport.data as WebConnection).ended();
  }

  onDrain(transport: Transport): void {
    (transport.data as WebConnection).drained();
  }

  onClose(transport: Transport): void {
    (transport.data as WebConnection).closed();
  }
}

/** Throws what cannot listen (EADDRINUSE, EACCES…). */
export function serve(options: ServeOptions): Server {
  if (typeof options?.fetch !== 'function')
    throw new TypeError('serve: options.fetch must be a function (request) => Response');
  if (options.globals !== false) installGlobals();
  return new Server(options);
}

function whereToListen({ port, hostname, unix, reusePort }: ServeOptions) {
  if (unix !== undefined) return { path: unix };
  const { PORT } = process.env;
  const host = hostname === 'localhost' ? '127.0.0.1' : hostname;
  if (host !== undefined && !/^[\d.]+$|:/.test(host))
    throw new TypeError(`serve: hostname must be an IP address or localhost, not '${host}'`);
  return { port: port ?? (PORT ? Number(PORT) : 3000), host, reusePort };
}
