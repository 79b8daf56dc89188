/**
 * One connection of `serve`: requests are answered in the order they come, one at a time.
 *
 *            onHead (body to come) / onEnd            response out, request in
 *   waiting ────────────────────────────► answering ───────────────────────────► waiting
 *      │                                      │            not keep-alive
 *      │ idle too long, wrong bytes, FIN      │ gone       ────────────────────► closing
 *      └──────────────► closing ◄─────────────┘
 *
 * While a request is being answered the parser stands before the next one; what the connection
 * brings meanwhile is kept, and not much of it: then the transport is paused.
 */
import { FAILED, PAUSED, RequestParser, type RequestSink, UPGRADED } from '../request-parser.ts';
import type { Transport } from '../transport.ts';
import { LightRequest, type RequestOrigin } from './light-request.ts';
import { LightResponse } from './light-response.ts';
import { NativeResponse } from './natives.ts';
import { type BodySource, RequestBody } from './request-body.ts';
import { type Exchange, sendLight, sendReal, sendStatus } from './send-response.ts';

/** What connections share. */
export interface WebServer extends RequestOrigin {
  readonly maxHeaderSize: number;
  readonly maxBodySize: number;
  /** Seconds, by the server's own clock. */
  readonly now: number;
  readonly stopping: boolean;
  readonly limits: { readonly idle: number; readonly head: number; readonly request: number };
  answer(request: LightRequest): unknown;
  failed(error: unknown, request: LightRequest): unknown;
  gone(connection: WebConnection): void;
}

/** Of later requests, kept while one is answered. */
const KEPT_BYTES_MAX = 16 * 1024;
/** After an answer that ends the connection, what still comes is awaited that long (seconds). */
const LINGER = 2;

export class WebConnection implements RequestSink, BodySource, Exchange {
  isHead = false;
  isOld = false;
  keepAlive = true;
  /** When the server is to end this connection, in its seconds; 0: never. */
  deadline = 0;

  readonly #server: WebServer;
  readonly #transport: Transport;
  readonly #parser: RequestParser;
  #request: LightRequest | null = null;
  #body: RequestBody | null = null;
  /** The handler has been called and its response is not out yet. */
  #answering = false;
  #requestIn = true;
  #expectsContinue = false;
  #closing = false;
  #paused = false;
  #drained: (() => void) | null = null;
  /** What the body was failed with: no error of the handler's that comes back as a rejection. */
  #fault: unknown = null;

  constructor(server: WebServer, transport: Transport) {
    this.#server = server;
    this.#transport = transport;
    this.#parser = new RequestParser(this, { maxHeaderSize: server.maxHeaderSize });
    this.deadline = server.now + server.limits.head;
  }

  /* --- From the transport --------------------------------------------------------------------- */

  received(bytes: Buffer, start: number, end: number): void {
    if (this.#closing) return;
    this.#go(this.#parser.feed(bytes, start, end));
  }

  ended(): void {
    const error = this.#parser.finish();
    if (error !== null) this.#failBody(new Error('the client ended in mid-request'));
    if (error !== null && !this.#answering) return this.#close();
    if (this.#answering) this.keepAlive = false;
    else this.#close();
  }

  drained(): void {
    const drained = this.#drained;
    this.#drained = null;
    drained?.();
  }

  closed(): void {
    this.#closing = true;
    this.#parser.stop();
    const reason = new DOMException('The client is gone', 'AbortError');
    this.#failBody(reason);
    if (this.#answering) this.#request?.abort(reason);
    this.drained();
    this.#server.gone(this);
  }

  /** Too late: a request that was begun is told so. */
  expired(): void {
    if (this.#closing) return this.#transport.destroy();
    const answered = this.#headOut || (this.#request !== null && !this.#answering);
    if (this.#parser.inMessage && !answered) return this.#refuse(408);
    this.#transport.destroy();
  }

  /** The server stops: now if nothing is going on, else after the answer. */
  finishUp(): void {
    this.keepAlive = false;
    if (!this.#answering && !this.#parser.inMessage) this.#close();
  }

  destroy(): void {
    this.#transport.destroy();
  }

  /* --- From the parser ------------------------------------------------------------------------ */

  onHead(parser: RequestParser): boolean {
    this.isHead = parser.method === 'HEAD';
    this.isOld = parser.versionMajor < 1 || parser.versionMinor < 1;
    this.keepAlive = parser.keepAlive && !this.#server.stopping;
    // Of no known length: the parser fails next, and nobody need hear of it.
    if (parser.hasNoLength) return false;
    if (!this.isOld && !parser.hasHost) this.#refuse(400);
    else if (parser.method === 'CONNECT') this.#refuse(501);
    else if (parser.contentLength > this.#server.maxBodySize) this.#refuse(413);
    else if (!parser.hasExpect || this.#expects(parser)) this.#begin(parser);
    return false;
  }

  onBody(bytes: Buffer, start: number, end: number): void {
    const body = this.#body;
    if (body === null) return;
    body.push(bytes, start, end);
    if (body.received <= this.#server.maxBodySize) return;
    this.#failBody(new RangeError(`a body of more than ${this.#server.maxBodySize} bytes`));
    this.#refuse(413);
  }

  onEnd(parser: RequestParser): void {
    this.#requestIn = true;
    if (this.#closing) return;
    if (this.#body === null) this.#dispatch();
    else this.#body.finish();
    if (this.#answering) {
      parser.pause();
      this.deadline = 0; // the answer takes as long as it takes
    } else if (this.#transport.congested) {
      parser.pause();
      this.#waitForReader();
    } else this.#waits();
  }

  #expects(parser: RequestParser): boolean {
    const expected = parser.header('expect');
    if (this.isOld) return true;
    if (expected === null || !/^100-continue$/i.test(expected)) {
      this.#refuse(417);
      return false;
    }
    this.#expectsContinue = true;
    return true;
  }

  #begin(parser: RequestParser): void {
    const { method, url, head, headersAt } = parser;
    const withBody = parser.chunked || parser.contentLength > 0;
    this.#body = withBody ? new RequestBody(this) : null;
    this.#request = new LightRequest(this.#server, method, url, head, headersAt, this.#body);
    if (!withBody) return;
    this.#requestIn = false;
    this.deadline = after(this.#server, this.#server.limits.request);
    this.#dispatch();
  }

  /** Whatever the parser says: the next bytes, none, or never again. */
  #go(progress: number): void {
    if (progress === FAILED) this.#refuse(this.#parser.error!.status);
    else if (progress === PAUSED) this.#bound();
    else if (progress === UPGRADED) this.#close();
    else if (this.#parser.inMessage && this.#request === null && this.#requestIn) this.#headBegun();
  }

  #bound(): void {
    if (this.#paused || this.#parser.heldBytes < KEPT_BYTES_MAX) return;
    this.#paused = true;
    this.#transport.pause();
  }

  /** From the first byte of a head on there is so much time for it. */
  #headBegun(): void {
    this.#requestIn = false;
    this.deadline = after(this.#server, this.#server.limits.head);
  }

  /* --- Answering ------------------------------------------------------------------------------ */

  #dispatch(): void {
    const request = this.#request!;
    this.#answering = true;
    let answer: unknown;
    try {
      answer = this.#server.answer(request);
    } catch (error) {
      answer = this.#server.failed(error, request);
    }
    if (LightResponse.isOne(answer) && answer.isLight) this.#sendLight(answer);
    else void this.#settle(answer, request);
  }

  async #settle(answer: unknown, request: LightRequest): Promise<void> {
    try {
      let response = await answer;
      if (!isResponse(response)) {
        const told = new TypeError('fetch must return a Response, or a promise of one');
        response = await this.#server.failed(told, request);
      }
      await this.#send(response as Response);
    } catch (error) {
      await this.#rescue(error, request);
    }
  }

  /** The handler failed, or its answer did, perhaps half way. */
  async #rescue(error: unknown, request: LightRequest): Promise<void> {
    if (error === this.#fault) return this.#close();
    try {
      const response = await this.#server.failed(error, request);
      if (!this.#answering || this.#closing) return;
      if (this.#headOut) this.#transport.destroy();
      else await this.#send(response as Response);
    } catch {
      this.#transport.destroy();
    }
  }

  #headOut = false;

  async #send(response: Response): Promise<void> {
    if (LightResponse.isOne(response)) {
      if (response.isLight) return this.#sendLight(response);
      response = response.real();
    }
    if (this.#closing) return void response.body?.cancel().catch(() => {});
    this.#skipBody();
    this.#headOut = true;
    await sendReal(this.#transport, this, response, this.#untilDrained);
    this.#answered();
  }

  #sendLight(response: LightResponse): void {
    if (this.#closing) return;
    if (!this.#requestIn) this.#skipBody();
    sendLight(this.#transport, this, response);
    this.#answered();
  }

  /** A body that was not asked for before the answer never will be. */
  #skipBody(): void {
    if (this.#body === null || this.#requestIn) return;
    // The client still waits to be told to send it: then there is no knowing where the next begins.
    if (this.#expectsContinue) this.keepAlive = false;
    this.#body.discard();
  }

  #untilDrained = (): Promise<void> =>
    new Promise((resolve) => {
      if (this.#closing) resolve();
      else this.#drained = resolve;
    });

  #answered(): void {
    this.#answering = false;
    this.#headOut = false;
    this.#expectsContinue = false;
    if (this.#closing) return;
    if (!this.keepAlive || this.#server.stopping) return this.#close();
    if (this.#requestIn) this.#next();
  }

  #next(): void {
    if (!this.#parser.paused) return;
    if (this.#transport.congested) return this.#waitForReader();
    this.#waits();
    if (this.#paused) {
      this.#paused = false;
      this.#transport.resume();
    }
    this.#go(this.#parser.resume());
  }

  /** A client that asks and asks and does not read: its next request stands until there is room
   *  for the answer. */
  #waitForReader(): void {
    this.deadline = 0;
    this.#drained = this.#goOn;
  }

  #goOn = (): void => {
    if (!this.#closing) this.#next();
  };

  /** For the next request. */
  #waits(): void {
    this.#request = null;
    this.#body = null;
    this.deadline = after(this.#server, this.#server.limits.idle);
  }

  /* --- Of the body ---------------------------------------------------------------------------- */

  bodyWanted(): void {
    if (!this.#expectsContinue) return;
    this.#expectsContinue = false;
    this.#transport.write('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');
  }

  pauseBody(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#transport.pause();
  }

  resumeBody(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#transport.resume();
  }

  #failBody(error: Error): void {
    this.#fault = error;
    this.#body?.fail(error);
  }

  /* --- Closing -------------------------------------------------------------------------------- */

  #refuse(status: number): void {
    this.#failBody(new Error(`the request was refused with ${status}`));
    if (!this.#headOut) sendStatus(this.#transport, status);
    this.#answering = false;
    this.#close();
  }

  /** What is written goes out; then the end. What the peer still sends is not looked at. */
  #close(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#parser.stop();
    this.deadline = this.#server.now + LINGER;
    this.resumeBody();
    this.#transport.end();
  }
}

function isResponse(answer: unknown): boolean {
  return answer instanceof NativeResponse;
}

function after({ now }: WebServer, limit: number): number {
  return limit === 0 ? 0 : now + limit;
}
