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
 *
 * The states are an enum, unlike elsewhere here: esbuild puts its numbers in the code, where a
 * constant would be loaded for every case of the switch.
 */
import { ALPHA, AUTHORITY, HEX, QUOTED, TOKEN, URL_PART, VALUE } from './characters.ts';
import { headerPairs, headerValues } from './header-lines.ts';
import {
  CONNECT,
  GET,
  isHttpMethod,
  isIceMethod,
  isRtspMethod,
  METHOD_OF_NODE,
  METHODS,
  methodStep,
  PRI,
} from './methods.ts';
import { ParseError, type ParseErrorCode } from './parse-error.ts';
import {
  CHUNKED_NOT_LAST,
  CONNECTION,
  CONTENT_LENGTH,
  connectionSays,
  contentLengthOf,
  EXPECT,
  GENERAL,
  HOST,
  headerOf,
  IS_CHUNKED,
  LENGTH_INVALID,
  LENGTH_OVERFLOW,
  SAYS_CLOSE,
  SAYS_KEEP_ALIVE,
  SAYS_UPGRADE,
  TRANSFER_ENCODING,
  transferEncodingSays,
  UPGRADE,
} from './special-headers.ts';

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
}

export const MORE = 0;
export const PAUSED = 1;
export const UPGRADED = 2;
export const FAILED = 3;
export type Progress = typeof MORE | typeof PAUSED | typeof UPGRADED | typeof FAILED;

/** Node's limit on the extensions of one chunk. */
const CHUNK_EXTENSIONS_MAX = 16384;

/**
 * Blanks and separators count to no limit of llhttp's. What is kept of a head must have one all the
 * same: every character counted can have four others around it; beyond that are only blanks.
 */
const heldBytesMax = (maxHeaderSize: number) => 5 * maxHeaderSize + 4096;

enum At {
  Start,
  Method,
  UrlBlanks,
  UrlStart,
  Scheme,
  SchemeSlash,
  SchemeSlashSlash,
  Authority,
  Path,
  Query,
  Fragment,
  SimpleRequestLf,
  AfterSimpleRequest,
  AfterUrl,
  ProtocolBlanks,
  Protocol,
  ProtocolSlash,
  Major,
  Dot,
  Minor,
  LineCr,
  LineLf,
  Http2Preface,
  HeadersStart,
  FieldStart,
  Field,
  ValueStart,
  EmptyLf,
  Value,
  ValueLf,
  AfterValue,
  HeadersLf,
  /** From here on nothing need be kept of what is behind. */
  Identity,
  ChunkSizeStart,
  ChunkSize,
  ChunkExtensions,
  ChunkExtensionName,
  ChunkExtensionValue,
  ChunkExtensionQuoted,
  ChunkExtensionEscaped,
  ChunkExtensionUnquoted,
  ChunkSizeLf,
  ChunkData,
  ChunkDataCr,
  ChunkDataLf,
  Closed,
}

enum Flag {
  KeepAlive = 1,
  Close = 2,
  ConnectionUpgrade = 4,
  Upgrade = 8,
  Chunked = 16,
  TransferEncoding = 32,
  ContentLength = 64,
  Host = 128,
  Expect = 256,
}

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
const FORM_FEED = 0x0c;
const COLON = 0x3a;
const SLASH = 0x2f;

const HTTP = 'HTTP';
const RTSP = 'RTSP';
const ICE = 'ICE';
const PREFACE = '\r\n\r\nSM\r\n\r\n';

export class RequestParser {
  /** Of the request whose head came last. */
  method = '';
  url = '';
  versionMajor = 0;
  versionMinor = 0;
  /** Its head as text; the header lines begin at `headersAt` (see header-lines.ts). */
  head = '';
  headersAt = 0;
  /** Whether it asks for another protocol, by Upgrade or CONNECT. */
  upgrade = false;
  /** Bytes of the body as announced; 0 when chunked. */
  contentLength = 0;

  error: ParseError | null = null;

  readonly #sink: RequestSink;
  readonly #maxHeaderSize: number;

  #at = At.Start;
  #flags = 0;
  /** Where in the bytes the head or the trailers begin, and the word being read. */
  #start = 0;
  #mark = 0;
  #urlStart = 0;
  #headersStart = 0;
  #urlEnd = 0;
  /** Characters that count to maxHeaderSize, of whole words. */
  #counted = 0;
  #method = 0;
  #methodNode = 0;
  /** How much of a literal has matched, and which. */
  #matched = 0;
  #protocol = HTTP;
  /** The header being read, one of special-headers.ts. */
  #header = GENERAL;
  #valueIsEmpty = false;
  #afterAt = false;
  #inTrailers = false;
  #inMessage = false;
  #left = 0;
  #extensionBytes = 0;
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
  }

  /** After this request the connection can carry another (RFC 9112 9.3). */
  get keepAlive(): boolean {
    if (this.versionMajor > 0 && this.versionMinor > 0) return (this.#flags & Flag.Close) === 0;
    return (this.#flags & Flag.KeepAlive) !== 0;
  }

  get hasHost(): boolean {
    return (this.#flags & Flag.Host) !== 0;
  }

  get hasExpect(): boolean {
    return (this.#flags & Flag.Expect) !== 0;
  }

  get chunked(): boolean {
    return (this.#flags & Flag.Chunked) !== 0;
  }

  /** Of unknown length: it will be refused after onHead, which is when llhttp notices. */
  get hasNoLength(): boolean {
    return (this.#flags & Flag.TransferEncoding) !== 0 && !this.chunked;
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
    if (!this.#inMessage || this.error !== null) return null;
    return this.#fail('HPE_INVALID_EOF_STATE', 'Invalid EOF state');
  }

  feed(piece: Buffer, start = 0, end = piece.length): Progress {
    if (this.error !== null) return FAILED;
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
    if (this.error !== null) {
      // llhttp takes the byte after a word before it counts the word.
      const taken = this.error.code === 'HPE_HEADER_OVERFLOW' && at < end ? 1 : 0;
      this.error.bytesParsed = Math.max(0, at + taken - before);
      this.error.rawPacket = Buffer.from(bytes.subarray(before, end));
      return FAILED;
    }
    if (this.#stopped) return MORE;
    if (this.#rest !== null) return UPGRADED;
    if (this.#paused) {
      this.#keep(bytes, at, end);
      return PAUSED;
    }
    if (this.#at === At.Start || this.#at >= At.Identity) {
      this.#heldEnd = 0;
      this.#held = null;
      return MORE;
    }
    if (end - this.#start > heldBytesMax(this.#maxHeaderSize)) {
      this.#overflow();
      return FAILED;
    }
    this.#mark -= this.#start;
    this.#urlStart -= this.#start;
    this.#urlEnd -= this.#start;
    this.#headersStart -= this.#start;
    this.#keep(bytes, this.#start, end);
    this.#start = 0;
    return MORE;
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

  #fail(code: ParseErrorCode, reason: string): ParseError {
    this.error = new ParseError(code, reason);
    return this.error;
  }

  #overflow(): void {
    this.#fail('HPE_HEADER_OVERFLOW', 'Header overflow');
  }

  /** The word up to `end` is whole and counts. */
  #count(end: number): boolean {
    this.#counted += end - this.#mark;
    if (this.#counted < this.#maxHeaderSize) return true;
    this.#overflow();
    return false;
  }

  /** The bytes end within a word: so far it must not be too long either. */
  #countSoFar(end: number): void {
    if (this.#counted + end - this.#mark >= this.#maxHeaderSize) this.#overflow();
  }

  /** Goes as far as it can; returns where it stopped. */
  #run(bytes: Buffer, from: number, end: number): number {
    let i = from;
    while (i < end && !(this.#paused && this.#at === At.Start)) {
      i = this.#at < At.Identity ? this.#runHead(bytes, i, end) : this.#runBody(bytes, i, end);
      if (this.error !== null || this.#stopped || this.#rest !== null) return i;
    }
    return i;
  }

  #runHead(bytes: Buffer, from: number, end: number): number {
    let i = from;
    let at = this.#at;
    let byte: number;
    for (;;) {
      if (i === end) {
        this.#at = at;
        if (
          at === At.Value ||
          at === At.Field ||
          (at >= At.Scheme && at <= At.Fragment) // within the url
        )
          this.#countSoFar(end);
        return end;
      }
      byte = bytes[i];
      switch (at) {
        case At.Start:
          if (byte === CR || byte === LF) {
            i++;
            continue;
          }
          this.#begin(i);
          at = At.Method;
          // The method of most requests, at one look.
          if (byte === 0x47 && i + 4 <= end && isGet(bytes, i)) {
            this.#method = GET;
            i += 4;
            at = At.UrlBlanks;
          }
          continue;
        case At.Method: {
          const node = methodStep(this.#methodNode, byte);
          if (node !== 0) {
            this.#methodNode = node;
            i++;
            continue;
          }
          const method = METHOD_OF_NODE[this.#methodNode];
          if (method < 0) {
            this.#fail('HPE_INVALID_METHOD', 'Invalid method encountered');
            return i;
          }
          if (byte !== SPACE) {
            this.#fail('HPE_INVALID_METHOD', 'Expected space after method');
            return i;
          }
          this.#method = method;
          i++;
          at = At.UrlBlanks;
          continue;
        }
        case At.UrlBlanks:
          if (byte === SPACE) {
            i++;
            continue;
          }
          this.#mark = this.#urlStart = i;
          at = this.#method === CONNECT ? At.Authority : At.UrlStart;
          continue;
        case At.UrlStart:
          if (byte === SLASH || byte === 0x2a) {
            i++;
            at = At.Path;
          } else if (ALPHA[byte] === 1) {
            at = At.Scheme;
          } else {
            this.#failUrl(byte, 'Unexpected start char in url');
            return i;
          }
          continue;
        case At.Scheme:
          if (ALPHA[byte] === 1) {
            i++;
          } else if (byte === COLON) {
            i++;
            at = At.SchemeSlash;
          } else {
            this.#failUrl(byte, 'Unexpected char in url schema');
            return i;
          }
          continue;
        case At.SchemeSlash:
        case At.SchemeSlashSlash:
          if (byte !== SLASH) {
            const within = at === At.SchemeSlash ? byte : 0;
            this.#failUrl(within, 'Unexpected char in url schema');
            return i;
          }
          i++;
          at = at === At.SchemeSlash ? At.SchemeSlashSlash : At.Authority;
          this.#afterAt = false;
          continue;
        case At.Authority:
          if (AUTHORITY[byte] === 1) {
            this.#afterAt = false;
          } else if (byte === SLASH) {
            at = At.Path;
          } else if (byte === 0x3f) {
            at = At.Query;
          } else if (byte === 0x40) {
            if (this.#afterAt) {
              this.#fail('HPE_INVALID_URL', 'Double @ in url');
              return i;
            }
            this.#afterAt = true;
          } else {
            at = this.#endUrl(byte, i, 'Unexpected char in url server');
            if (this.error !== null) return i;
          }
          i++;
          continue;
        case At.Path:
          while (URL_PART[byte] === 1) {
            if (++i === end) break;
            byte = bytes[i];
          }
          if (i === end) continue;
          if (byte === 0x3f) at = At.Query;
          else if (byte === 0x23) at = At.Fragment;
          else {
            at = this.#endUrl(byte, i, 'Invalid char in url path');
            if (this.error !== null) return i;
          }
          i++;
          continue;
        case At.Query:
          while (URL_PART[byte] === 1 || byte === 0x3f) {
            if (++i === end) break;
            byte = bytes[i];
          }
          if (i === end) continue;
          if (byte === 0x23) at = At.Fragment;
          else {
            at = this.#endUrl(byte, i, 'Invalid char in url query');
            if (this.error !== null) return i;
          }
          i++;
          continue;
        case At.Fragment:
          if (URL_PART[byte] === 0 && byte !== 0x3f && byte !== 0x23) {
            at = this.#endUrl(byte, i, 'Invalid char in url fragment start');
            if (this.error !== null) return i;
          }
          i++;
          continue;
        case At.SimpleRequestLf:
          if (byte !== LF) {
            this.#fail('HPE_INVALID_URL', 'Expected CRLF');
            return i;
          }
          i++;
          at = At.AfterSimpleRequest;
          continue;
        case At.AfterSimpleRequest:
        case At.AfterUrl:
          if (byte === TAB || byte === FORM_FEED) {
            this.#fail('HPE_INVALID_URL', 'Invalid characters in url');
            return i;
          }
          at = at === At.AfterUrl ? At.ProtocolBlanks : At.HeadersStart;
          continue;
        case At.ProtocolBlanks:
          if (byte === SPACE) {
            i++;
            continue;
          }
          at = At.Protocol;
          this.#matched = 0;
          if (
            i + 10 <= end &&
            isHttp1(bytes, i) &&
            isHttpMethod(this.#method) &&
            this.#method !== PRI
          ) {
            this.versionMajor = 1;
            this.versionMinor = bytes[i + 7] - 0x30;
            i += 10;
            at = At.HeadersStart;
          }
          continue;
        case At.Protocol:
          if (!this.#matchProtocol(byte)) return i;
          i++;
          if (this.#matched < this.#protocol.length) continue;
          if (!this.#methodFitsProtocol()) return i;
          at = At.ProtocolSlash;
          continue;
        case At.ProtocolSlash:
          if (byte !== SLASH) {
            this.#fail('HPE_INVALID_CONSTANT', 'Expected HTTP/, RTSP/ or ICE/');
            return i;
          }
          i++;
          at = At.Major;
          continue;
        case At.Major:
          if (byte < 0x30 || byte > 0x39) {
            this.#fail('HPE_INVALID_VERSION', 'Invalid major version');
            return i;
          }
          this.versionMajor = byte - 0x30;
          i++;
          at = At.Dot;
          continue;
        case At.Dot:
          if (byte !== 0x2e) {
            this.#fail('HPE_INVALID_VERSION', 'Expected dot');
            return i;
          }
          i++;
          at = At.Minor;
          continue;
        case At.Minor:
          if (byte < 0x30 || byte > 0x39) {
            this.#fail('HPE_INVALID_VERSION', 'Invalid minor version');
            return i;
          }
          this.versionMinor = byte - 0x30;
          if (!isVersion(this.versionMajor, this.versionMinor)) {
            this.#fail('HPE_INVALID_VERSION', 'Invalid HTTP version');
            return i;
          }
          i++;
          at = this.#method === PRI ? At.Http2Preface : At.LineCr;
          this.#matched = 0;
          continue;
        case At.Http2Preface:
          if (byte !== PREFACE.charCodeAt(this.#matched)) {
            this.#fail('HPE_INVALID_VERSION', 'Expected HTTP/2 Connection Preface');
            return i;
          }
          i++;
          if (++this.#matched < PREFACE.length) continue;
          this.#fail('HPE_PAUSED_H2_UPGRADE', 'Pause on PRI/Upgrade');
          return i;
        case At.LineCr:
          if (byte !== CR) {
            this.#fail('HPE_INVALID_VERSION', 'Expected CRLF after version');
            return i;
          }
          i++;
          at = At.LineLf;
          continue;
        case At.LineLf:
          if (byte !== LF) {
            this.#fail('HPE_STRICT', 'Expected CRLF after version');
            return i;
          }
          i++;
          at = At.HeadersStart;
          continue;
        case At.HeadersStart:
          this.#headersStart = i;
          if (byte === SPACE) {
            this.#fail('HPE_UNEXPECTED_SPACE', 'Unexpected space after start line');
            return i;
          }
          at = At.FieldStart;
          continue;
        case At.FieldStart:
          if (byte === CR) {
            i++;
            at = At.HeadersLf;
          } else if (byte === LF) {
            this.#fail('HPE_INVALID_HEADER_TOKEN', 'Invalid header field char');
            return i;
          } else if (byte === COLON) {
            this.#fail('HPE_INVALID_HEADER_TOKEN', 'Invalid header token');
            return i;
          } else {
            this.#mark = i;
            at = At.Field;
          }
          continue;
        case At.Field:
          while (TOKEN[byte] === 1) {
            if (++i === end) break;
            byte = bytes[i];
          }
          if (i === end) continue;
          if (!this.#endField(bytes, i, byte)) return i;
          i++;
          at = At.ValueStart;
          continue;
        case At.ValueStart:
          if (byte === SPACE || byte === TAB) {
            i++;
          } else if (byte === CR) {
            i++;
            at = At.EmptyLf;
          } else if (byte === LF) {
            this.#fail('HPE_INVALID_HEADER_TOKEN', 'Invalid header value char');
            return i;
          } else {
            this.#mark = i;
            at = At.Value;
            if (this.#header !== GENERAL && !this.#beginValue()) return i;
          }
          continue;
        case At.EmptyLf:
          if (byte !== LF) {
            this.#fail('HPE_STRICT', 'Expected LF after CR');
            return i;
          }
          i++;
          this.#valueIsEmpty = true;
          at = At.AfterValue;
          continue;
        case At.Value:
          while (VALUE[byte] === 1) {
            if (++i === end) break;
            byte = bytes[i];
          }
          if (i === end) continue;
          if (!this.#count(i)) return i;
          if (this.#header !== GENERAL && !this.#endValue(bytes, i, byte)) return i;
          if (byte !== CR) {
            if (byte === LF)
              this.#fail('HPE_CR_EXPECTED', 'Missing expected CR after header value');
            else this.#fail('HPE_INVALID_HEADER_TOKEN', 'Invalid header value char');
            return i;
          }
          i++;
          at = At.ValueLf;
          continue;
        case At.ValueLf:
          if (byte !== LF) {
            this.#fail('HPE_LF_EXPECTED', 'Missing expected LF after header value');
            return i;
          }
          i++;
          this.#valueIsEmpty = false;
          at = At.AfterValue;
          continue;
        case At.AfterValue:
          // A folded line (obs-fold) is refused.
          if (byte === SPACE || byte === TAB) {
            const reason = this.#valueIsEmpty
              ? 'Invalid header value char'
              : 'Unexpected whitespace after header value';
            this.#fail('HPE_INVALID_HEADER_TOKEN', reason);
            return i;
          }
          if (this.#valueIsEmpty && this.#header === CONTENT_LENGTH) {
            this.#fail('HPE_INVALID_CONTENT_LENGTH', 'Empty Content-Length');
            return i;
          }
          at = At.FieldStart;
          continue;
        case At.HeadersLf:
          if (byte !== LF) {
            this.#fail('HPE_STRICT', 'Expected LF after headers');
            return i;
          }
          i++;
          if (this.#inTrailers) this.#endTrailers(bytes, i);
          else this.#endHead(bytes, i, end);
          return i;
        default:
          throw new Error(`no state of a head: ${at}`);
      }
    }
  }

  #begin(at: number): void {
    this.#inMessage = true;
    this.#inTrailers = false;
    this.#start = at;
    this.#flags = 0;
    this.#counted = 0;
    this.#methodNode = 0;
    this.contentLength = 0;
    this.#afterAt = false;
    this.#trailerText = '';
  }

  #failUrl(byte: number, reason: string): void {
    const blank =
      byte === SPACE || byte === CR || byte === LF || byte === TAB || byte === FORM_FEED;
    this.#fail('HPE_INVALID_URL', blank ? 'Invalid characters in url' : reason);
  }

  /** The byte after the url says what comes next. */
  #endUrl(byte: number, i: number, reason: string): At {
    if (byte !== SPACE && byte !== CR && byte !== LF) {
      const blank = byte === TAB || byte === FORM_FEED;
      this.#fail('HPE_INVALID_URL', blank ? 'Invalid characters in url' : reason);
      return At.Start;
    }
    if (!this.#count(i)) return At.Start;
    this.#urlEnd = i;
    if (byte === SPACE) return At.AfterUrl;
    // HTTP/0.9: no version at all.
    this.versionMajor = 0;
    this.versionMinor = 9;
    return byte === CR ? At.SimpleRequestLf : At.AfterSimpleRequest;
  }

  #matchProtocol(byte: number): boolean {
    if (this.#matched === 0) this.#protocol = byte === 0x52 ? RTSP : byte === 0x49 ? ICE : HTTP;
    if (byte !== this.#protocol.charCodeAt(this.#matched)) {
      this.#fail('HPE_INVALID_CONSTANT', 'Expected HTTP/, RTSP/ or ICE/');
      return false;
    }
    this.#matched++;
    return true;
  }

  #methodFitsProtocol(): boolean {
    if (this.#protocol === HTTP) {
      if (isHttpMethod(this.#method)) return true;
      this.#fail('HPE_INVALID_CONSTANT', 'Invalid method for HTTP/x.x request');
    } else if (this.#protocol === RTSP) {
      if (isRtspMethod(this.#method)) return true;
      this.#fail('HPE_INVALID_CONSTANT', 'Invalid method for RTSP/x.x request');
    } else {
      if (isIceMethod(this.#method)) return true;
      this.#fail('HPE_INVALID_CONSTANT', 'Expected SOURCE method for ICE/x.x request');
    }
    return false;
  }

  /** A name is whole: it must be followed by a colon, and not contradict what came before. */
  #endField(bytes: Buffer, i: number, byte: number): boolean {
    const header = headerOf(bytes, this.#mark, i);
    if (byte !== COLON) {
      const framing = header !== GENERAL && header < HOST;
      const reason = byte === SPACE && framing ? 'field char' : 'token';
      this.#fail('HPE_INVALID_HEADER_TOKEN', `Invalid header ${reason}`);
      return false;
    }
    if (!this.#count(i)) return false;
    this.#header = header;
    if (header === TRANSFER_ENCODING && (this.#flags & Flag.ContentLength) !== 0) {
      const reason = "Transfer-Encoding can't be present with Content-Length";
      this.#fail('HPE_INVALID_TRANSFER_ENCODING', reason);
      return false;
    }
    if (header === CONTENT_LENGTH && (this.#flags & Flag.TransferEncoding) !== 0) {
      const reason = "Content-Length can't be present with Transfer-Encoding";
      this.#fail('HPE_INVALID_CONTENT_LENGTH', reason);
      return false;
    }
    // Even without a value it is there.
    if (header === HOST && !this.#inTrailers) this.#flags |= Flag.Host;
    else if (header === EXPECT && !this.#inTrailers) this.#flags |= Flag.Expect;
    return true;
  }

  /** The first byte of the value of a header that matters. */
  #beginValue(): boolean {
    if (this.#header === UPGRADE) {
      this.#flags |= Flag.Upgrade;
    } else if (this.#header === TRANSFER_ENCODING) {
      if ((this.#flags & Flag.Chunked) !== 0) {
        this.#failTransferEncoding();
        return false;
      }
      this.#flags |= Flag.TransferEncoding;
    } else if (this.#header === CONTENT_LENGTH && (this.#flags & Flag.ContentLength) !== 0) {
      this.#fail('HPE_UNEXPECTED_CONTENT_LENGTH', 'Duplicate Content-Length');
      return false;
    }
    return true;
  }

  #endValue(bytes: Buffer, end: number, stop: number): boolean {
    if (this.#header === CONNECTION) {
      const says = connectionSays(bytes, this.#mark, end);
      if ((says & SAYS_CLOSE) !== 0) this.#flags |= Flag.Close;
      if ((says & SAYS_KEEP_ALIVE) !== 0) this.#flags |= Flag.KeepAlive;
      if ((says & SAYS_UPGRADE) !== 0) this.#flags |= Flag.ConnectionUpgrade;
    } else if (this.#header === TRANSFER_ENCODING) {
      const says = transferEncodingSays(bytes, this.#mark, end);
      if (says === CHUNKED_NOT_LAST) {
        this.#failTransferEncoding();
        return false;
      }
      if (says === IS_CHUNKED) this.#flags |= Flag.Chunked;
    } else if (this.#header === CONTENT_LENGTH) {
      const length = contentLengthOf(bytes, this.#mark, end, stop);
      if (length === LENGTH_OVERFLOW) {
        this.#fail('HPE_INVALID_CONTENT_LENGTH', 'Content-Length overflow');
        return false;
      }
      if (length === LENGTH_INVALID) {
        this.#fail('HPE_INVALID_CONTENT_LENGTH', 'Invalid character in Content-Length');
        return false;
      }
      this.#flags |= Flag.ContentLength;
      this.contentLength = length;
    }
    return true;
  }

  #failTransferEncoding(): void {
    this.#fail('HPE_INVALID_TRANSFER_ENCODING', 'Invalid `Transfer-Encoding` header value');
  }

  #endHead(bytes: Buffer, i: number, end: number): void {
    const start = this.#start;
    this.head = latin1(bytes, start, i);
    this.headersAt = this.#headersStart - start;
    this.url = this.head.slice(this.#urlStart - start, this.#urlEnd - start);
    this.method = METHODS[this.#method];
    const wanted = Flag.Upgrade | Flag.ConnectionUpgrade;
    this.upgrade = (this.#flags & wanted) === wanted || this.#method === CONNECT;

    const taken = this.#sink.onHead(this);
    if (this.#stopped) return;
    if (taken || this.#method === CONNECT) {
      this.#endMessage();
      this.#rest = bytes.subarray(i, end);
    } else if ((this.#flags & Flag.Chunked) !== 0) {
      this.#at = At.ChunkSizeStart;
    } else if ((this.#flags & Flag.TransferEncoding) !== 0) {
      const reason = 'Request has invalid `Transfer-Encoding`';
      this.#fail('HPE_INVALID_TRANSFER_ENCODING', reason);
    } else if (this.contentLength > 0) {
      this.#left = this.contentLength;
      this.#at = At.Identity;
    } else {
      this.#endMessage();
    }
  }

  #endTrailers(bytes: Buffer, i: number): void {
    // Without the empty line there is nothing.
    if (i - this.#start > 2) this.#trailerText = latin1(bytes, this.#start, i);
    this.#endMessage();
  }

  #endMessage(): void {
    this.#inMessage = false;
    this.#at = this.keepAlive ? At.Start : At.Closed;
    this.#sink.onEnd(this);
  }

  #runBody(bytes: Buffer, from: number, end: number): number {
    let i = from;
    while (i < end) {
      const byte = bytes[i];
      switch (this.#at) {
        case At.Identity:
        case At.ChunkData: {
          const length = Math.min(this.#left, end - i);
          this.#left -= length;
          this.#sink.onBody(bytes, i, i + length);
          i += length;
          if (this.#stopped) return i;
          if (this.#left > 0) return i;
          if (this.#at === At.Identity) {
            this.#endMessage();
            return i;
          }
          this.#at = At.ChunkDataCr;
          continue;
        }
        case At.ChunkSizeStart:
          if (HEX[byte] === 255) {
            this.#failChunkSize();
            return i;
          }
          this.#left = HEX[byte];
          this.#matched = 0;
          this.#extensionBytes = 0;
          i++;
          this.#at = At.ChunkSize;
          continue;
        case At.ChunkSize:
          if (HEX[byte] !== 255) {
            // 64 bits: sixteen digits, without leading zeros. (Beyond 2^53 the size is rounded.)
            if (this.#left > 0 && ++this.#matched > 15) {
              this.#fail('HPE_INVALID_CHUNK_SIZE', 'Chunk size overflow');
              return i;
            }
            this.#left = this.#left * 16 + HEX[byte];
          } else if (byte === CR) {
            this.#at = At.ChunkSizeLf;
          } else if (byte === 0x3b) {
            this.#at = At.ChunkExtensions;
          } else if (byte === LF) {
            this.#fail('HPE_CR_EXPECTED', 'Missing expected CR after chunk size');
            return i;
          } else {
            this.#failChunkSize();
            return i;
          }
          i++;
          continue;
        case At.ChunkSizeLf:
          if (byte !== LF) {
            this.#fail('HPE_STRICT', 'Expected LF after chunk size');
            return i;
          }
          i++;
          if (this.#left > 0) {
            this.#at = At.ChunkData;
            continue;
          }
          this.#inTrailers = true;
          this.#start = i;
          this.#counted = 0;
          this.#at = At.FieldStart;
          return i;
        case At.ChunkDataCr:
          if (byte !== CR) {
            if (byte === LF) this.#fail('HPE_CR_EXPECTED', 'Missing expected CR after chunk data');
            else this.#fail('HPE_STRICT', 'Expected LF after chunk data');
            return i;
          }
          i++;
          this.#at = At.ChunkDataLf;
          continue;
        case At.ChunkDataLf:
          if (byte !== LF) {
            this.#fail('HPE_STRICT', 'Expected LF after chunk data');
            return i;
          }
          i++;
          this.#at = At.ChunkSizeStart;
          continue;
        case At.Closed:
          if (byte !== CR && byte !== LF) {
            this.#fail('HPE_CLOSED_CONNECTION', 'Data after `Connection: close`');
            return i;
          }
          i++;
          continue;
        default:
          if (!this.#chunkExtension(byte)) return i;
          i++;
      }
    }
    return i;
  }

  #failChunkSize(): void {
    this.#fail('HPE_INVALID_CHUNK_SIZE', 'Invalid character in chunk size');
  }

  /** One byte of `;name=value;name="value"` after a chunk's size. Nobody wants to know them. */
  #chunkExtension(byte: number): boolean {
    switch (this.#at) {
      case At.ChunkExtensions:
        if (byte === SPACE || byte === CR) return this.#failExtension(byte, '', '');
        this.#at = At.ChunkExtensionName;
        return this.#chunkExtension(byte);
      case At.ChunkExtensionName:
        if (TOKEN[byte] === 1) return this.#countExtension();
        if (byte !== 0x3d) return this.#endExtension(byte, 'name', 'name');
        this.#at = At.ChunkExtensionValue;
        return true;
      case At.ChunkExtensionValue:
        if (TOKEN[byte] === 1) return this.#countExtension();
        if (byte !== 0x22) return this.#endExtension(byte, 'value', 'value');
        this.#at = At.ChunkExtensionQuoted;
        return this.#countExtension();
      case At.ChunkExtensionQuoted:
        if (QUOTED[byte] === 1) return this.#countExtension();
        if (byte === 0x22) this.#at = At.ChunkExtensionUnquoted;
        else if (byte === 0x5c) this.#at = At.ChunkExtensionEscaped;
        else return this.#failExtension(0, 'quoted value', '');
        return this.#countExtension();
      case At.ChunkExtensionEscaped:
        if (VALUE[byte] === 0) {
          this.#fail('HPE_STRICT', 'Invalid quoted-pair in chunk extensions quoted value');
          return false;
        }
        this.#at = At.ChunkExtensionQuoted;
        return this.#countExtension();
      case At.ChunkExtensionUnquoted:
        return this.#endExtension(byte, 'quote value', 'value');
      default:
        throw new Error(`no state of a body: ${this.#at}`);
    }
  }

  #countExtension(): boolean {
    if (++this.#extensionBytes <= CHUNK_EXTENSIONS_MAX) return true;
    this.#fail('HPE_CHUNK_EXTENSIONS_OVERFLOW', 'Chunk extensions overflow');
    return false;
  }

  #endExtension(byte: number, part: string, cutPart: string): boolean {
    if (byte === 0x3b) this.#at = At.ChunkExtensions;
    else if (byte === CR) this.#at = At.ChunkSizeLf;
    else return this.#failExtension(byte, part, cutPart);
    return true;
  }

  #failExtension(byte: number, part: string, cutPart: string): boolean {
    if (byte === LF && cutPart !== '')
      this.#fail('HPE_CR_EXPECTED', `Missing expected CR after chunk extension ${cutPart}`);
    else this.#fail('HPE_STRICT', `Invalid character in chunk extensions ${part}`.trimEnd());
    return false;
  }
}

/** Without the checks of toString, which cost as much as the conversion of a short head. */
function latin1(bytes: Buffer, start: number, end: number): string {
  return (bytes as unknown as { latin1Slice(start: number, end: number): string }).latin1Slice(
    start,
    end,
  );
}

function isGet(bytes: Buffer, at: number): boolean {
  return bytes[at + 1] === 0x45 && bytes[at + 2] === 0x54 && bytes[at + 3] === SPACE;
}

/** `HTTP/1.0\r\n` or `HTTP/1.1\r\n`. */
function isHttp1(bytes: Buffer, at: number): boolean {
  return (
    bytes[at] === 0x48 &&
    bytes[at + 1] === 0x54 &&
    bytes[at + 2] === 0x54 &&
    bytes[at + 3] === 0x50 &&
    bytes[at + 4] === SLASH &&
    bytes[at + 5] === 0x31 &&
    bytes[at + 6] === 0x2e &&
    (bytes[at + 7] === 0x31 || bytes[at + 7] === 0x30) &&
    bytes[at + 8] === CR &&
    bytes[at + 9] === LF
  );
}

function isVersion(major: number, minor: number): boolean {
  if (major === 1) return minor <= 1;
  return major === 0 ? minor === 9 : major === 2 && minor === 0;
}
