/**
 * The first line of a request: `GET /path HTTP/1.1`, byte by byte, with the blank lines that may
 * come before it.
 *
 *   line.begin();
 *   i = line.read(bytes, i, end);     // up to the headers, the end, or state.error
 *
 * The states are an enum, unlike elsewhere here: esbuild puts its numbers in the code, where a
 * constant would be loaded for every case of the switch.
 */
import { ALPHA, AUTHORITY, URL_PART } from './characters.ts';
import {
  CONNECT,
  GET,
  isHttpMethod,
  isIceMethod,
  isRtspMethod,
  METHOD_OF_NODE,
  methodStep,
  PRI,
} from './methods.ts';
import type { ParserState } from './parser-state.ts';

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
  Done,
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

export class RequestLine {
  /** Index into METHODS. */
  method = 0;
  versionMajor = 0;
  versionMinor = 0;
  /** Where in the bytes the line and its url are. */
  start = 0;
  urlStart = 0;
  urlEnd = 0;

  readonly #state: ParserState;
  #at = At.Start;
  #methodNode = 0;
  /** How much of a literal has matched, and which. */
  #matched = 0;
  #protocol = HTTP;
  /** The byte before was an @. */
  #afterAt = false;

  constructor(state: ParserState) {
    this.#state = state;
  }

  begin(): void {
    this.#at = At.Start;
    this.#methodNode = 0;
    this.#afterAt = false;
  }

  /** Not even a byte of it has come. */
  get untouched(): boolean {
    return this.#at === At.Start;
  }

  get done(): boolean {
    return this.#at === At.Done;
  }

  /** The bytes before `by` are dropped. */
  shift(by: number): void {
    this.urlStart -= by;
    this.urlEnd -= by;
    this.start = 0;
  }

  read(bytes: Buffer, from: number, end: number): number {
    let i = from;
    let at = this.#at;
    let byte: number;
    for (;;) {
      if (i === end) {
        this.#at = at;
        if (at >= At.Scheme && at <= At.Fragment) this.#state.countSoFar(end);
        return end;
      }
      byte = bytes[i];
      switch (at) {
        case At.Start:
          if (byte === CR || byte === LF) {
            i++;
            continue;
          }
          this.start = i;
          at = At.Method;
          // The method of most requests, at one look.
          if (byte === 0x47 && i + 4 <= end && isGet(bytes, i)) {
            this.method = GET;
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
            this.#state.fail('HPE_INVALID_METHOD', 'Invalid method encountered');
            return i;
          }
          if (byte !== SPACE) {
            this.#state.fail('HPE_INVALID_METHOD', 'Expected space after method');
            return i;
          }
          this.method = method;
          i++;
          at = At.UrlBlanks;
          continue;
        }
        case At.UrlBlanks:
          if (byte === SPACE) {
            i++;
            continue;
          }
          this.#state.mark = this.urlStart = i;
          at = this.method === CONNECT ? At.Authority : At.UrlStart;
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
              this.#state.fail('HPE_INVALID_URL', 'Double @ in url');
              return i;
            }
            this.#afterAt = true;
          } else {
            at = this.#endUrl(byte, i, 'Unexpected char in url server');
            if (this.#state.error !== null) return i;
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
            if (this.#state.error !== null) return i;
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
            if (this.#state.error !== null) return i;
          }
          i++;
          continue;
        case At.Fragment:
          if (URL_PART[byte] === 0 && byte !== 0x3f && byte !== 0x23) {
            at = this.#endUrl(byte, i, 'Invalid char in url fragment start');
            if (this.#state.error !== null) return i;
          }
          i++;
          continue;
        case At.SimpleRequestLf:
          if (byte !== LF) {
            this.#state.fail('HPE_INVALID_URL', 'Expected CRLF');
            return i;
          }
          i++;
          at = At.AfterSimpleRequest;
          continue;
        case At.AfterSimpleRequest:
        case At.AfterUrl:
          if (byte === TAB || byte === FORM_FEED) {
            this.#state.fail('HPE_INVALID_URL', 'Invalid characters in url');
            return i;
          }
          if (at === At.AfterSimpleRequest) {
            this.#at = At.Done;
            return i;
          }
          at = At.ProtocolBlanks;
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
            isHttpMethod(this.method) &&
            this.method !== PRI
          ) {
            this.versionMajor = 1;
            this.versionMinor = bytes[i + 7] - 0x30;
            i += 10;
            this.#at = At.Done;
            return i;
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
            this.#state.fail('HPE_INVALID_CONSTANT', 'Expected HTTP/, RTSP/ or ICE/');
            return i;
          }
          i++;
          at = At.Major;
          continue;
        case At.Major:
          if (byte < 0x30 || byte > 0x39) {
            this.#state.fail('HPE_INVALID_VERSION', 'Invalid major version');
            return i;
          }
          this.versionMajor = byte - 0x30;
          i++;
          at = At.Dot;
          continue;
        case At.Dot:
          if (byte !== 0x2e) {
            this.#state.fail('HPE_INVALID_VERSION', 'Expected dot');
            return i;
          }
          i++;
          at = At.Minor;
          continue;
        case At.Minor:
          if (byte < 0x30 || byte > 0x39) {
            this.#state.fail('HPE_INVALID_VERSION', 'Invalid minor version');
            return i;
          }
          this.versionMinor = byte - 0x30;
          if (!isVersion(this.versionMajor, this.versionMinor)) {
            this.#state.fail('HPE_INVALID_VERSION', 'Invalid HTTP version');
            return i;
          }
          i++;
          at = this.method === PRI ? At.Http2Preface : At.LineCr;
          this.#matched = 0;
          continue;
        case At.Http2Preface:
          if (byte !== PREFACE.charCodeAt(this.#matched)) {
            this.#state.fail('HPE_INVALID_VERSION', 'Expected HTTP/2 Connection Preface');
            return i;
          }
          i++;
          if (++this.#matched < PREFACE.length) continue;
          this.#state.fail('HPE_PAUSED_H2_UPGRADE', 'Pause on PRI/Upgrade');
          return i;
        case At.LineCr:
          if (byte !== CR) {
            this.#state.fail('HPE_INVALID_VERSION', 'Expected CRLF after version');
            return i;
          }
          i++;
          at = At.LineLf;
          continue;
        case At.LineLf:
          if (byte !== LF) {
            this.#state.fail('HPE_STRICT', 'Expected CRLF after version');
            return i;
          }
          i++;
          this.#at = At.Done;
          return i;
        default:
          throw new Error(`no state of a request line: ${at}`);
      }
    }
  }

  #failUrl(byte: number, reason: string): void {
    const blank =
      byte === SPACE || byte === CR || byte === LF || byte === TAB || byte === FORM_FEED;
    this.#state.fail('HPE_INVALID_URL', blank ? 'Invalid characters in url' : reason);
  }

  /** The byte after the url says what comes next. */
  #endUrl(byte: number, i: number, reason: string): At {
    if (byte !== SPACE && byte !== CR && byte !== LF) {
      const blank = byte === TAB || byte === FORM_FEED;
      this.#state.fail('HPE_INVALID_URL', blank ? 'Invalid characters in url' : reason);
      return At.Start;
    }
    if (!this.#state.count(i)) return At.Start;
    this.urlEnd = i;
    if (byte === SPACE) return At.AfterUrl;
    // HTTP/0.9: no version at all.
    this.versionMajor = 0;
    this.versionMinor = 9;
    return byte === CR ? At.SimpleRequestLf : At.AfterSimpleRequest;
  }

  #matchProtocol(byte: number): boolean {
    if (this.#matched === 0) this.#protocol = byte === 0x52 ? RTSP : byte === 0x49 ? ICE : HTTP;
    if (byte !== this.#protocol.charCodeAt(this.#matched)) {
      this.#state.fail('HPE_INVALID_CONSTANT', 'Expected HTTP/, RTSP/ or ICE/');
      return false;
    }
    this.#matched++;
    return true;
  }

  #methodFitsProtocol(): boolean {
    if (this.#protocol === HTTP) {
      if (isHttpMethod(this.method)) return true;
      this.#state.fail('HPE_INVALID_CONSTANT', 'Invalid method for HTTP/x.x request');
    } else if (this.#protocol === RTSP) {
      if (isRtspMethod(this.method)) return true;
      this.#state.fail('HPE_INVALID_CONSTANT', 'Invalid method for RTSP/x.x request');
    } else {
      if (isIceMethod(this.method)) return true;
      this.#state.fail('HPE_INVALID_CONSTANT', 'Expected SOURCE method for ICE/x.x request');
    }
    return false;
  }
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
