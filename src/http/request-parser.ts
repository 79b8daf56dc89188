/**
 * HTTP/1.1 requests out of bytes, cut anywhere. What is accepted, refused and with which error is
 * llhttp's in its strict mode, which is what node:http uses; it is the oracle of the tests.
 *
 *   const parser = new RequestParser(sink, { maxHeaderSize: 16384 });
 *   parser.feed(bytes, start, end)
 *                         // MORE: feed what comes next
 *                         // PAUSED: a sink called pause(); resume() goes on where it stopped
 *                         // UPGRADED: parser.rest() is the first of another protocol
 *                         // FAILED: parser.error says what is wrong with the request
 *   parser.finish();      // the peer has ended: null, or the error if that was in mid-request
 *
 *            ┌────────────────────────── next request ──────────────────────────┐
 *            ▼                                                                  │
 *   Start ─► Method … HeadersLf ─► onHead ─┬─────────────── no body ─► onEnd ───┤ keep-alive
 *                                          ├─► Identity ─► onBody … ─► onEnd ───┤
 *                                          ├─► ChunkSize … ─► onBody … ─┐       │
 *                                          │      └─ trailers ◄─────────┘ onEnd ┤
 *                                          └─► UPGRADED                         └─► Closed
 *
 * A head is kept together (copied once if it comes in pieces), since its text is cut out of it when
 * it is complete; a body never is. Bytes given to a sink are good for the call only.
 */
import { BodyReader } from './body-reader.ts';
import { HeaderFields } from './header-fields.ts';
import { headerPairs, headerValues } from './header-lines.ts';
import { CONNECT, METHODS } from './methods.ts';
import type { ParseError } from './parse-error.ts';
import { ParserState } from './parser-state.ts';
import { RequestLine } from './request-line.ts';

export interface RequestSink {
  /** The head is complete: method, url, headers. True if what follows is another protocol. */
  onHead(parser: RequestParser): boolean;
  onBody(bytes: Buffer, start: number, end: number): void;
  /** The message is complete; its trailers, if any, are in `parser.trailers()`. */
  onEnd(parser: RequestParser): void;
}

export interface ParserOptions {
  /** Characters of url, names and values of one head, or of one message's trailers. */
  readonly maxHeaderSize: number;
  /** Header lines of the same; more are refused. Default: as many as that allows. */
  readonly maxHeaderLines?: number;
}

export const MORE = 0;
export const PAUSED = 1;
export const UPGRADED = 2;
export const FAILED = 3;
export type Progress = typeof MORE | typeof PAUSED | typeof UPGRADED | typeof FAILED;

/**
 * Blanks and separators count to no limit of llhttp's. What is kept of a head must have one all the
 * same: every character counted can have four others around it; beyond that are only blanks.
 */
const heldBytesMax = (maxHeaderSize: number) => 5 * maxHeaderSize + 4096;

enum Part {
  Line,
  Fields,
  Body,
  Trailers,
  Closed,
}

const CR = 0x0d;
const LF = 0x0a;

export class RequestParser {
  /** Of the request whose head came last. */
  method = '';
  url = '';
  /** Its head as text; the header lines begin at `headersAt` (see header-lines.ts). */
  head = '';
  headersAt = 0;
  /** Whether it asks for another protocol, by Upgrade or CONNECT. */
  upgrade = false;

  readonly #sink: RequestSink;
  readonly #maxHeaderSize: number;
  readonly #state: ParserState;
  readonly #line: RequestLine;
  readonly #fields: HeaderFields;
  readonly #body: BodyReader;

  #part = Part.Line;
  #inMessage = false;
  #trailerText = '';

  /** The beginning of a head that is not complete, or what came after pause(). */
  #held: Buffer | null = null;
  #heldEnd = 0;
  #paused = false;
  #stopped = false;
  /** After UPGRADED: what comes after the request. Good as long as what was fed. */
  #rest: Buffer | null = null;

  constructor(sink: RequestSink, options: ParserOptions) {
    this.#sink = sink;
    this.#maxHeaderSize = options.maxHeaderSize;
    this.#state = new ParserState(
      options.maxHeaderSize,
      options.maxHeaderLines ?? Number.POSITIVE_INFINITY,
    );
    this.#line = new RequestLine(this.#state);
    this.#fields = new HeaderFields(this.#state);
    this.#body = new BodyReader(this.#state, (bytes, start, end) =>
      this.#sink.onBody(bytes, start, end),
    );
  }

  get error(): ParseError | null {
    return this.#state.error;
  }

  get versionMajor(): number {
    return this.#line.versionMajor;
  }

  get versionMinor(): number {
    return this.#line.versionMinor;
  }

  /** Bytes of the body as announced; 0 when chunked. */
  get contentLength(): number {
    return this.#fields.contentLength;
  }

  /** After this request the connection can carry another (RFC 9112 9.3). */
  get keepAlive(): boolean {
    if (this.versionMajor > 0 && this.versionMinor > 0) return !this.#fields.saysClose;
    return this.#fields.saysKeepAlive;
  }

  get hasHost(): boolean {
    return this.#fields.hasHost;
  }

  get hasExpect(): boolean {
    return this.#fields.hasExpect;
  }

  get chunked(): boolean {
    return this.#fields.chunked;
  }

  /** Of unknown length: it will be refused after onHead, which is when llhttp notices. */
  get hasNoLength(): boolean {
    return this.#fields.hasTransferEncoding && !this.chunked;
  }

  /** How much waits for resume(), or for the rest of a head. */
  get heldBytes(): number {
    return this.#heldEnd;
  }

  /** In mid-message: `finish` would be an error. */
  get inMessage(): boolean {
    return this.#inMessage;
  }

  /** Names and values in turn, when onEnd is called. */
  trailers(): string[] {
    return this.#trailerText === '' ? [] : headerPairs(this.#trailerText, 0);
  }

  /** Names and values in turn, as they were written. */
  rawHeaders(): string[] {
    return headerPairs(this.head, this.headersAt);
  }

  /** The value of a header, whose name is in lower case; of the first, if there are several. */
  header(name: string): string | null {
    const values = headerValues(this.head, this.headersAt, name);
    return typeof values === 'object' ? (values?.[0] ?? null) : values;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Called by a sink: stop before the next message, until resume(). */
  pause(): void {
    this.#paused = true;
  }

  resume(): Progress {
    this.#paused = false;
    if (this.#held === null || this.#heldEnd === 0) return MORE;
    const bytes = this.#held.subarray(0, this.#heldEnd);
    this.#held = null;
    this.#heldEnd = 0;
    return this.feed(bytes);
  }

  /** Called by a sink or anybody else: nothing more is wanted, whatever is left. */
  stop(): void {
    this.#stopped = true;
  }

  /** What comes after an upgrade, up to the end of the piece that was fed. */
  rest(): Buffer {
    return this.#rest ?? Buffer.alloc(0);
  }

  finish(): ParseError | null {
    if (!this.#inMessage || this.#state.error !== null) return null;
    return this.#state.fail('HPE_INVALID_EOF_STATE', 'Invalid EOF state');
  }

  feed(piece: Buffer, start = 0, end = piece.length): Progress {
    if (this.#state.error !== null) return FAILED;
    if (this.#stopped) return MORE;
    if (this.#held === null) return this.#advance(piece, start, end, start);
    const before = this.#heldEnd;
    const bytes = this.#hold(piece, start, end);
    if (this.#paused) return PAUSED;
    return this.#advance(bytes, before, this.#heldEnd, before);
  }

  /** `before`: where in the bytes the piece that came last begins. */
  #advance(bytes: Buffer, from: number, end: number, before: number): Progress {
    const at = this.#run(bytes, from, end);
    const { error } = this.#state;
    if (error !== null) {
      // llhttp takes the byte after a word before it counts the word.
      const taken = error.code === 'HPE_HEADER_OVERFLOW' && at < end ? 1 : 0;
      error.bytesParsed = Math.max(0, at + taken - before);
      error.rawPacket = Buffer.from(bytes.subarray(before, end));
      return FAILED;
    }
    if (this.#stopped) return MORE;
    if (this.#rest !== null) return UPGRADED;
    if (this.#paused) {
      this.#keep(bytes, at, end);
      return PAUSED;
    }
    const start = this.#startOfText();
    if (start === -1) {
      this.#heldEnd = 0;
      this.#held = null;
      return MORE;
    }
    if (end - start > heldBytesMax(this.#maxHeaderSize)) {
      this.#state.overflow();
      return FAILED;
    }
    this.#keep(bytes, start, end);
    this.#state.mark -= start;
    this.#fields.start -= start;
    this.#line.shift(start);
    return MORE;
  }

  /** Where the head or the trailers begin that are being read; -1: nothing need be kept. */
  #startOfText(): number {
    if (this.#part === Part.Line) return this.#line.untouched ? -1 : this.#line.start;
    if (this.#part === Part.Fields) return this.#line.start;
    return this.#part === Part.Trailers ? this.#fields.start : -1;
  }

  /** Keeps a range of the bytes, which may be those already held. */
  #keep(bytes: Buffer, from: number, end: number): void {
    const held = this.#held;
    if (held !== null && bytes.buffer === held.buffer && bytes.byteOffset === held.byteOffset) {
      held.copyWithin(0, from, end);
      this.#heldEnd = end - from;
      return;
    }
    this.#held = null;
    this.#heldEnd = 0;
    if (end > from) this.#hold(bytes, from, end);
  }

  #hold(bytes: Buffer, from: number, end: number): Buffer {
    const length = this.#heldEnd + end - from;
    let held = this.#held;
    if (held === null || held.length < length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(512, 2 * length));
      if (held !== null) larger.set(held.subarray(0, this.#heldEnd));
      held = this.#held = larger;
    }
    held.set(bytes.subarray(from, end), this.#heldEnd);
    this.#heldEnd = length;
    return held;
  }

  /** Goes as far as it can; returns where it stopped. */
  #run(bytes: Buffer, from: number, end: number): number {
    let i = from;
    while (i < end && !(this.#paused && !this.#inMessage)) {
      i = this.#runPart(bytes, i, end);
      if (this.#state.error !== null || this.#stopped || this.#rest !== null) return i;
    }
    return i;
  }

  #runPart(bytes: Buffer, from: number, end: number): number {
    let i = from;
    switch (this.#part) {
      case Part.Line: {
        i = this.#line.read(bytes, i, end);
        this.#inMessage = !this.#line.untouched;
        if (!this.#line.done || this.#state.error !== null) return i;
        this.#fields.begin(i);
        this.#part = Part.Fields;
        return i;
      }
      case Part.Fields:
        i = this.#fields.read(bytes, i, end);
        if (this.#fields.done) this.#endHead(bytes, i, end);
        return i;
      case Part.Body:
        i = this.#body.read(bytes, i, end);
        if (this.#body.done && !this.#stopped) this.#endBody(i);
        return i;
      case Part.Trailers:
        i = this.#fields.read(bytes, i, end);
        if (this.#fields.done) this.#endTrailers(bytes, i);
        return i;
      case Part.Closed:
        while (i < end && (bytes[i] === CR || bytes[i] === LF)) i++;
        if (i < end) this.#state.fail('HPE_CLOSED_CONNECTION', 'Data after `Connection: close`');
        return i;
    }
  }

  #endHead(bytes: Buffer, i: number, end: number): void {
    const { start, urlStart, urlEnd, method } = this.#line;
    const fields = this.#fields;
    this.head = latin1(bytes, start, i);
    this.headersAt = fields.start - start;
    this.url = this.head.slice(urlStart - start, urlEnd - start);
    this.method = METHODS[method];
    this.upgrade = fields.saysUpgrade || method === CONNECT;
    this.#trailerText = '';

    const taken = this.#sink.onHead(this);
    if (this.#stopped) return;
    if (taken || method === CONNECT) {
      this.#endMessage();
      this.#rest = bytes.subarray(i, end);
    } else if (fields.chunked) {
      this.#body.beginChunks();
      this.#part = Part.Body;
    } else if (fields.hasTransferEncoding) {
      const reason = 'Request has invalid `Transfer-Encoding`';
      this.#state.fail('HPE_INVALID_TRANSFER_ENCODING', reason);
    } else if (fields.contentLength > 0) {
      this.#body.begin(fields.contentLength);
      this.#part = Part.Body;
    } else {
      this.#endMessage();
    }
  }

  #endBody(i: number): void {
    if (!this.chunked) return this.#endMessage();
    this.#state.restart();
    this.#fields.beginTrailers(i);
    this.#part = Part.Trailers;
  }

  #endTrailers(bytes: Buffer, i: number): void {
    const { start } = this.#fields;
    // Without the empty line there is nothing.
    if (i - start > 2) this.#trailerText = latin1(bytes, start, i);
    this.#endMessage();
  }

  #endMessage(): void {
    this.#inMessage = false;
    this.#part = this.keepAlive ? Part.Line : Part.Closed;
    this.#line.begin();
    this.#state.restart();
    this.#sink.onEnd(this);
  }
}

/** Without the checks of toString, which cost as much as the conversion of a short head. */
function latin1(bytes: Buffer, start: number, end: number): string {
  return (bytes as unknown as { latin1Slice(start: number, end: number): string }).latin1Slice(
    start,
    end,
  );
}
