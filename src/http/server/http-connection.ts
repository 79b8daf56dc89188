/**
 * One connection of a node:http server, on our parser: what connectionListener in Node's
 * _http_server.js is there. Requests, responses and the socket are Node's objects, or what the
 * server's options put in their place.
 *
 *   new HttpConnection(server, socket, connections, messages, maxHeaderSize);      on 'connection'
 *
 * Responses go out in the order of their requests: the first owns the socket, the others wait in
 * `outgoing` and keep what is written to them.
 */
import type http from 'node:http';
import { streamOf } from '../../node/net/adopted.ts';
import { FAILED, RequestParser, type RequestSink, UPGRADED } from '../request-parser.ts';
import { channels } from './channels.ts';
import type { Connections, TrackedConnection } from './connections.ts';
import {
  type InnerRequest,
  type InnerResponse,
  type InnerSocket,
  passUniqueHeaders,
  takeNeedDrain,
} from './internals.ts';
import { isHeard, lighten, unlighten } from './light-socket.ts';
import type { Messages } from './messages.ts';
import { DESTROYS_WAITING, DRAINS_WHEN_EMPTY, REFUSES_MANY_LINES } from './versions.ts';

/** Node lets a kept connection live a second longer than it says. */
const KEEP_ALIVE_BUFFER_MS = 1000;
const HEADER_PAIRS_MAX = 2000;
const CONTINUE = /(?:^|\W)100-continue(?:$|\W)/i;

const closeWith = (status: string) =>
  Buffer.from(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`, 'latin1');
const ANSWERS: Readonly<Record<string, Buffer>> = {
  HPE_HEADER_OVERFLOW: closeWith('431 Request Header Fields Too Large'),
  HPE_CHUNK_EXTENSIONS_OVERFLOW: closeWith('413 Payload Too Large'),
};
const BAD_REQUEST = closeWith('400 Bad Request');

/** What of http.Server is not in its types. */
export interface HttpServer extends http.Server {
  httpAllowHalfOpen: boolean;
  requireHostHeader: boolean;
  joinDuplicateHeaders?: boolean;
  rejectNonStandardBodyWrites: boolean;
  maxHeaderSize?: number;
  insecureHTTPParser?: boolean;
  /** The rest is not in every Node. */
  keepAliveTimeoutBuffer?: number;
  httpValidation?: 'strict' | 'relaxed' | 'insecure';
  shouldUpgradeCallback?(request: http.IncomingMessage): boolean;
}

export class HttpConnection implements RequestSink, TrackedConnection {
  readonly socket: InnerSocket;
  messageStart = performance.now();
  headersComplete = false;
  /** The request whose message is coming in; Node's parser has it, too. */
  incoming: InnerRequest | null = null;

  readonly #server: HttpServer;
  readonly #connections: Connections<HttpConnection>;
  readonly #messages: Messages;
  readonly #parser: RequestParser;
  readonly #headerPairsMax: number;
  /** Requests not answered yet, and responses that wait for their turn. */
  readonly #unanswered: InnerRequest[] = [];
  readonly #outgoing: InnerResponse[] = [];
  /** Bytes kept by responses that wait. */
  #waitingBytes = 0;
  #requests = 0;
  #keepAliveTimer = false;
  #done = false;
  /**
   * A listener threw in mid-request. Its response may still be sent by somebody, but what comes
   * next on the connection cannot be understood any more.
   */
  #threw = false;
  /** The bytes are lent for the call: a body has to be copied. */
  #lent = false;

  constructor(
    server: HttpServer,
    socket: InnerSocket,
    connections: Connections<HttpConnection>,
    messages: Messages,
    maxHeaderSize: number,
  ) {
    this.#server = server;
    this.socket = socket;
    this.#connections = connections;
    this.#messages = messages;
    const { maxHeadersCount } = server;
    this.#headerPairsMax =
      typeof maxHeadersCount === 'number' ? maxHeadersCount << 1 : HEADER_PAIRS_MAX;
    const refuses = REFUSES_MANY_LINES && this.#headerPairsMax > 0;
    const maxHeaderLines = refuses ? this.#headerPairsMax >> 1 : undefined;
    this.#parser = new RequestParser(this, { maxHeaderSize, maxHeaderLines });
    connections.add(this);
    this.#attach();
  }

  #attach(): void {
    const { socket } = this;
    socket.server = this.#server;
    socket.parser = this;
    if (this.#server.timeout && typeof socket.setTimeout === 'function')
      socket.setTimeout(this.#server.timeout);
    socket.on('timeout', this.#onTimeout);
    socket.on('data', this.#onData);
    socket.on('error', onSocketError);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onClose);
    socket.on('drain', this.#onDrain);
    socket.on('resume', onSocketResume);
    socket.on('pause', onSocketPause);
    socket.setEncoding = refuseEncoding;
    socket._paused = false;
    const stream = lighten(socket);
    if (stream !== undefined) stream.consumer = this.#onLent;
  }

  /** The socket becomes somebody else's. */
  #detach(): void {
    const { socket } = this;
    unlighten(socket);
    socket.removeListener('timeout', this.#onTimeout);
    socket.removeListener('data', this.#onData);
    socket.removeListener('error', onSocketError);
    socket.removeListener('end', this.#onEnd);
    socket.removeListener('close', this.#onClose);
    socket.removeListener('drain', this.#onDrain);
    socket.removeListener('resume', onSocketResume);
    socket.removeListener('pause', onSocketPause);
    this.#finish();
  }

  /** Node's parsers have these, and some look at `socket.parser`. */
  free(): void {}
  close(): void {}

  #finish(): void {
    if (!this.#done) this.free();
    const stream = streamOf(this.socket._handle as never);
    if (stream !== undefined) stream.consumer = null;
    this.#done = true;
    this.#parser.stop();
    this.#connections.delete(this);
    this.socket.parser = null;
  }

  /* --- From the socket ------------------------------------------------------------------------ */

  #onData = (bytes: Buffer): void => this.#feed(bytes, 0, bytes.length);

  /** Bytes that never were the socket's (light-socket.ts). */
  #onLent = (bytes: Buffer, start: number, end: number): void => {
    if (isHeard(this.socket, this.#onData)) return this.#giveBack(bytes, start, end);
    this.socket._unrefTimer();
    this.#lent = true;
    try {
      this.#feed(bytes, start, end);
    } finally {
      this.#lent = false;
    }
  };

  /** From here on what arrives is the socket's, and ours as one of those that listen to it. */
  #giveBack(bytes: Buffer, start: number, end: number): void {
    const stream = streamOf(this.socket._handle as never)!;
    stream.consumer = null;
    stream.push(Buffer.from(bytes.subarray(start, end)));
  }

  #feed(bytes: Buffer, start: number, end: number): void {
    if (this.#done) return;
    if (this.#threw) {
      this.socket.destroy();
      return;
    }
    this.#threw = true;
    const progress = this.#parser.feed(bytes, start, end);
    this.#threw = false;
    if (progress === FAILED) onSocketError.call(this.socket, this.#parser.error!);
    else if (progress === UPGRADED) this.#upgrade();
    else if (this.messageStart === 0 && this.#parser.inMessage) this.#messageBegins();
  }

  #messageBegins(): void {
    this.messageStart = performance.now();
    this.headersComplete = false;
  }

  #onEnd = (): void => {
    const { socket } = this;
    const error = this.#parser.finish();
    if (error !== null) onSocketError.call(socket, error);
    else if (!this.#server.httpAllowHalfOpen) socket.end();
    else if (this.#outgoing.length > 0) this.#outgoing.at(-1)!._last = true;
    else if (socket._httpMessage) socket._httpMessage._last = true;
    else socket.end();
  };

  #onClose = (): void => {
    this.#finish();
    for (const request of this.#unanswered.splice(0)) {
      request.destroy(abortedError());
    }
    if (!DESTROYS_WAITING) return;
    for (const response of this.#outgoing.splice(0)) response.destroy(abortedError());
  };

  #onTimeout = (): void => {
    const { socket } = this;
    const request = this.incoming;
    const byRequest = request && !request.complete && request.emit('timeout', socket);
    const byResponse = socket._httpMessage?.emit('timeout', socket);
    const byServer = this.#server.emit('timeout', socket);
    if (!byRequest && !byResponse && !byServer) socket.destroy();
  };

  #onDrain = (): void => {
    const { socket } = this;
    const full = this.#waitingBytes > socket.writableHighWaterMark;
    if (socket._paused && !full) {
      socket._paused = false;
      socket.resume();
    }
    const response = socket._httpMessage;
    if (!response || response.finished) return;
    if (DRAINS_WHEN_EMPTY && response.writableLength > 0) return;
    if (takeNeedDrain(response)) response.emit('drain');
  };

  #onPendingData = (bytes: number): void => {
    this.#waitingBytes += bytes;
    this.#onDrain();
  };

  /* --- From the parser ------------------------------------------------------------------------ */

  onHead(parser: RequestParser): boolean {
    const server = this.#server;
    const { socket } = this;
    const request = this.#messages.request(socket);
    this.incoming = request;
    this.headersComplete = true;
    request.httpVersionMajor = parser.versionMajor;
    request.httpVersionMinor = parser.versionMinor;
    request.httpVersion = versionText(parser.versionMajor, parser.versionMinor);
    request.joinDuplicateHeaders = server.joinDuplicateHeaders ?? false;
    request.url = parser.url;
    request.method = parser.method;
    const lines = parser.rawHeaders();
    const most = this.#headerPairsMax;
    const count = most > 0 ? Math.min(most, lines.length) : lines.length;
    request._addHeaderLines(lines, count);
    request.upgrade = parser.upgrade;
    return this.#begin(request, parser.keepAlive);
  }

  onBody(bytes: Buffer, start: number, end: number): void {
    const request = this.incoming;
    if (this.messageStart === 0) this.#messageBegins();
    if (request === null || request._dumped) return;
    // It flows: reading has begun, even if the whole of it comes before the stream's next tick.
    if (request.readableFlowing && !request._consuming) {
      request._consuming = true;
      request._readableState.readingMore = false;
    }
    const piece = bytes.subarray(start, end);
    if (!request.push(this.#lent ? Buffer.from(piece) : piece)) this.socket.pause();
  }

  onEnd(parser: RequestParser): void {
    const request = this.incoming;
    this.messageStart = 0;
    if (request !== null) {
      request.complete = true;
      const trailers = parser.trailers();
      if (trailers.length > 0) request._addHeaderLines(trailers, trailers.length);
      request.push(null);
    }
    const { socket } = this;
    if (!socket._paused && socket.readable) socket.resume();
  }

  /** The request is known: makes its response, and tells the server. True: it is an upgrade. */
  #begin(request: InnerRequest, keepAlive: boolean): boolean {
    const server = this.#server;
    const { socket } = this;
    this.#resetTimeout();
    if (request.upgrade) {
      request.upgrade = request.method === 'CONNECT' || takesUpgrade(server, request);
      if (request.upgrade) return true;
    }
    this.#unanswered.push(request);
    // A flood of requests of which nobody reads the answers is not read either.
    if (!socket._paused) {
      const full = this.#waitingBytes >= socket.writableHighWaterMark;
      if (socket._writableState?.needDrain || full) {
        socket._paused = true;
        socket.pause();
      }
    }
    const response = this.#messages.response(request, {
      highWaterMark: socket.writableHighWaterMark,
      rejectNonStandardBodyWrites: server.rejectNonStandardBodyWrites,
    });
    response._keepAliveTimeout = server.keepAliveTimeout;
    response._maxRequestsPerSocket = server.maxRequestsPerSocket;
    response._onPendingData = this.#onPendingData;
    response.shouldKeepAlive = keepAlive;
    passUniqueHeaders(server, response);
    if (channels.requestStart.hasSubscribers)
      channels.requestStart.publish({ request, response, socket, server });
    if (socket._httpMessage) this.#outgoing.push(response);
    else response.assignSocket(socket);
    response.on('finish', () => this.#answered(request, response));
    this.#tell(request, response);
    return false;
  }

  #tell(request: InnerRequest, response: InnerResponse): void {
    const server = this.#server;
    if (request.httpVersionMajor !== 1 || request.httpVersionMinor !== 1) {
      server.emit('request', request, response);
      return;
    }
    if (server.requireHostHeader && !this.#parser.hasHost) {
      response.writeHead(400, ['Connection', 'close']);
      response.end();
      return;
    }
    const most = server.maxRequestsPerSocket;
    if (typeof most === 'number' && most > 0) {
      this.#requests++;
      response.maxRequestsOnConnectionReached = most <= this.#requests;
      if (most < this.#requests) {
        server.emit('dropRequest', request, this.socket);
        response.writeHead(503);
        response.end();
        return;
      }
    }
    if (this.#parser.hasExpect) this.#tellExpecting(request, response);
    else server.emit('request', request, response);
  }

  #tellExpecting(request: InnerRequest, response: InnerResponse): void {
    const server = this.#server;
    if (CONTINUE.test(request.headers.expect ?? '')) {
      response._expect_continue = true;
      if (server.listenerCount('checkContinue') > 0) {
        server.emit('checkContinue', request, response);
      } else {
        response.writeContinue();
        server.emit('request', request, response);
      }
    } else if (server.listenerCount('checkExpectation') > 0) {
      server.emit('checkExpectation', request, response);
    } else {
      response.writeHead(417);
      response.end();
    }
  }

  /** After a CONNECT or a taken Upgrade: the socket is the listener's. */
  #upgrade(): void {
    const server = this.#server;
    const { socket } = this;
    const request = this.incoming!;
    const rest = this.#lent ? Buffer.from(this.#parser.rest()) : this.#parser.rest();
    this.#detach();
    const event = request.method === 'CONNECT' ? 'connect' : 'upgrade';
    if (server.listenerCount(event) === 0) {
      socket.destroy();
      return;
    }
    (socket as unknown as { readableFlowing: boolean | null }).readableFlowing = null;
    server.emit(event, request, socket, rest);
  }

  /* --- Answering ------------------------------------------------------------------------------ */

  #answered(request: InnerRequest, response: InnerResponse): void {
    const { socket } = this;
    const server = this.#server;
    if (channels.responseFinish.hasSubscribers)
      channels.responseFinish.publish({ request, response, socket, server });
    this.#unanswered.shift();
    this.#messages.answered(response);
    response.detachSocket(socket);
    this.#letGo(request);
    // Only this listener, of 'finish': nobody looks.
    if (response._eventsCount === 1) response._closed = response.destroyed = true;
    else process.nextTick(emitClose, response);
    if (response._last) {
      if (typeof socket.destroySoon === 'function') socket.destroySoon();
      else (socket as InnerSocket).end();
    } else if (this.#outgoing.length === 0) {
      if (server.keepAliveTimeout && typeof socket.setTimeout === 'function') {
        const more = server.keepAliveTimeoutBuffer ?? KEEP_ALIVE_BUFFER_MS;
        socket.setTimeout(server.keepAliveTimeout + more);
        this.#keepAliveTimer = true;
      }
    } else {
      this.#outgoing.shift()!.assignSocket(socket);
    }
  }

  /** If the program never looked at the body, it is taken off the wire. */
  #letGo(request: InnerRequest): void {
    const state = request._readableState;
    const untouched = !request._consuming && !state.resumeScheduled;
    if (untouched && request._eventsCount === 0 && request.complete && state.length === 0) {
      // Nobody would hear it end and close: it is as if it had.
      request._dumped = true;
      state.endEmitted = state.destroyed = state.closed = state.closeEmitted = true;
      if (this.incoming === request) this.incoming = null;
      return;
    }
    if (untouched) request._dump();
    this.#forget(request);
  }

  /** Lets go of a request that has been read, so that it can be collected. */
  #forget(request: InnerRequest): void {
    if (this.incoming !== request) return;
    if (request.readableEnded) this.incoming = null;
    else request.on('end', () => this.#forget(request));
  }

  #resetTimeout(): void {
    if (!this.#keepAliveTimer) return;
    this.socket.setTimeout(this.#server.timeout || 0);
    this.#keepAliveTimer = false;
  }
}

/** Newer Nodes let the program decide; their default is the same. */
function takesUpgrade(server: HttpServer, request: InnerRequest): boolean {
  if (server.shouldUpgradeCallback !== undefined) return !!server.shouldUpgradeCallback(request);
  return server.listenerCount('upgrade') > 0;
}

function abortedError(): Error {
  return Object.assign(new Error('aborted'), { code: 'ECONNRESET' });
}

function versionText(major: number, minor: number): string {
  return major === 1 && minor === 1 ? '1.1' : `${major}.${minor}`;
}

function emitClose(response: InnerResponse): void {
  if (response._closed) return;
  response.destroyed = true;
  response._closed = true;
  response.emit('close');
}

function refuseEncoding(): never {
  const message = 'Changing the socket encoding is not allowed per RFC7230 Section 3.';
  throw Object.assign(new Error(message), { code: 'ERR_HTTP_SOCKET_ENCODING' });
}

const noop = () => {};

/** A socket's error, or a request's. */
function onSocketError(this: InnerSocket, error: NodeJS.ErrnoException): void {
  this.removeListener('error', onSocketError);
  // Further ones are not interesting.
  if (this.listenerCount('error') === 0) this.on('error', noop);
  if (this.server.emit('clientError', error, this)) return;
  // Nothing of a response must have been sent that this would be taken for a part of.
  if (this.writable && !this._httpMessage?._headerSent)
    this.write(ANSWERS[error.code ?? ''] ?? BAD_REQUEST);
  this.destroy(error);
}

function onSocketResume(this: InnerSocket): void {
  // 'resume' comes late: it may have been paused since.
  if (this._paused) {
    this.pause();
    return;
  }
  if (this._handle && !this._handle.reading) {
    this._handle.reading = true;
    this._handle.readStart();
  }
}

function onSocketPause(this: InnerSocket): void {
  if (!this._handle?.reading) return;
  this._handle.reading = false;
  this._handle.readStop();
}
