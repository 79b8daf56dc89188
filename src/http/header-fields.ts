/**
 * Header lines, byte by byte: of a head, or the trailers after a chunked body. Notes what says where
 * the message ends and what becomes of the connection, and refuses what is contradictory.
 *
 *   fields.begin(i);                    // the first line of a head is about to be read
 *   i = fields.read(bytes, i, end);     // up to the empty line, the end, or state.error
 *   fields.beginTrailers(i);            // the same again, with what the head said still in force
 *
 * The states are an enum for the reason given in request-line.ts.
 */
import { TOKEN, VALUE } from './characters.ts';
import type { ParserState } from './parser-state.ts';
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

enum At {
  HeadersStart,
  FieldStart,
  Field,
  ValueStart,
  EmptyLf,
  Value,
  ValueLf,
  AfterValue,
  HeadersLf,
  Done,
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
const COLON = 0x3a;

export class HeaderFields {
  /** Where in the bytes the first line is. */
  start = 0;
  /** As announced; 0 when chunked. */
  contentLength = 0;

  readonly #state: ParserState;
  #at = At.HeadersStart;
  #flags = 0;
  /** The header being read, one of special-headers.ts. */
  #header = GENERAL;
  #valueIsEmpty = false;
  #inTrailers = false;

  constructor(state: ParserState) {
    this.#state = state;
  }

  begin(at: number): void {
    this.#at = At.HeadersStart;
    this.#flags = 0;
    this.contentLength = 0;
    this.start = at;
    this.#inTrailers = false;
  }

  beginTrailers(at: number): void {
    this.#at = At.FieldStart;
    this.start = at;
    this.#inTrailers = true;
  }

  get done(): boolean {
    return this.#at === At.Done;
  }

  get saysClose(): boolean {
    return (this.#flags & Flag.Close) !== 0;
  }

  get saysKeepAlive(): boolean {
    return (this.#flags & Flag.KeepAlive) !== 0;
  }

  /** Upgrade and Connection: upgrade. */
  get saysUpgrade(): boolean {
    const wanted = Flag.Upgrade | Flag.ConnectionUpgrade;
    return (this.#flags & wanted) === wanted;
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

  get hasTransferEncoding(): boolean {
    return (this.#flags & Flag.TransferEncoding) !== 0;
  }

  read(bytes: Buffer, from: number, end: number): number {
    let i = from;
    let at = this.#at;
    let byte: number;
    for (;;) {
      if (i === end) {
        this.#at = at;
        if (at === At.Value || at === At.Field) this.#state.countSoFar(end);
        return end;
      }
      byte = bytes[i];
      switch (at) {
        case At.HeadersStart:
          if (byte === SPACE) {
            this.#state.fail('HPE_UNEXPECTED_SPACE', 'Unexpected space after start line');
            return i;
          }
          at = At.FieldStart;
          continue;
        case At.FieldStart:
          if (byte === CR) {
            i++;
            at = At.HeadersLf;
          } else if (byte === LF) {
            this.#state.fail('HPE_INVALID_HEADER_TOKEN', 'Invalid header field char');
            return i;
          } else if (byte === COLON) {
            this.#state.fail('HPE_INVALID_HEADER_TOKEN', 'Invalid header token');
            return i;
          } else {
            this.#state.mark = i;
            this.#state.lines++;
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
            this.#state.fail('HPE_INVALID_HEADER_TOKEN', 'Invalid header value char');
            return i;
          } else {
            this.#state.mark = i;
            at = At.Value;
            if (this.#header !== GENERAL && !this.#beginValue()) return i;
          }
          continue;
        case At.EmptyLf:
          if (byte !== LF) {
            this.#state.fail('HPE_STRICT', 'Expected LF after CR');
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
          if (!this.#state.count(i)) return i;
          if (this.#header !== GENERAL && !this.#endValue(bytes, i, byte)) return i;
          if (byte !== CR) {
            if (byte === LF)
              this.#state.fail('HPE_CR_EXPECTED', 'Missing expected CR after header value');
            else this.#state.fail('HPE_INVALID_HEADER_TOKEN', 'Invalid header value char');
            return i;
          }
          i++;
          at = At.ValueLf;
          continue;
        case At.ValueLf:
          if (byte !== LF) {
            this.#state.fail('HPE_LF_EXPECTED', 'Missing expected LF after header value');
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
            this.#state.fail('HPE_INVALID_HEADER_TOKEN', reason);
            return i;
          }
          if (this.#valueIsEmpty && this.#header === CONTENT_LENGTH) {
            this.#state.fail('HPE_INVALID_CONTENT_LENGTH', 'Empty Content-Length');
            return i;
          }
          at = At.FieldStart;
          continue;
        case At.HeadersLf:
          if (byte !== LF) {
            this.#state.fail('HPE_STRICT', 'Expected LF after headers');
            return i;
          }
          i++;
          this.#at = At.Done;
          return i;
        default:
          throw new Error(`no state of header lines: ${at}`);
      }
    }
  }

  /** A name is whole: it must be followed by a colon, and not contradict what came before. */
  #endField(bytes: Buffer, i: number, byte: number): boolean {
    const header = headerOf(bytes, this.#state.mark, i);
    if (byte !== COLON) {
      const framing = header !== GENERAL && header < HOST;
      const reason = byte === SPACE && framing ? 'field char' : 'token';
      this.#state.fail('HPE_INVALID_HEADER_TOKEN', `Invalid header ${reason}`);
      return false;
    }
    if (!this.#state.count(i)) return false;
    this.#header = header;
    if (header === TRANSFER_ENCODING && (this.#flags & Flag.ContentLength) !== 0) {
      const reason = "Transfer-Encoding can't be present with Content-Length";
      this.#state.fail('HPE_INVALID_TRANSFER_ENCODING', reason);
      return false;
    }
    if (header === CONTENT_LENGTH && (this.#flags & Flag.TransferEncoding) !== 0) {
      const reason = "Content-Length can't be present with Transfer-Encoding";
      this.#state.fail('HPE_INVALID_CONTENT_LENGTH', reason);
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
      this.#state.fail('HPE_UNEXPECTED_CONTENT_LENGTH', 'Duplicate Content-Length');
      return false;
    }
    return true;
  }

  #endValue(bytes: Buffer, end: number, stop: number): boolean {
    if (this.#header === CONNECTION) {
      const says = connectionSays(bytes, this.#state.mark, end);
      if ((says & SAYS_CLOSE) !== 0) this.#flags |= Flag.Close;
      if ((says & SAYS_KEEP_ALIVE) !== 0) this.#flags |= Flag.KeepAlive;
      if ((says & SAYS_UPGRADE) !== 0) this.#flags |= Flag.ConnectionUpgrade;
    } else if (this.#header === TRANSFER_ENCODING) {
      const says = transferEncodingSays(bytes, this.#state.mark, end);
      if (says === CHUNKED_NOT_LAST) {
        this.#failTransferEncoding();
        return false;
      }
      if (says === IS_CHUNKED) this.#flags |= Flag.Chunked;
    } else if (this.#header === CONTENT_LENGTH) {
      const length = contentLengthOf(bytes, this.#state.mark, end, stop);
      if (length === LENGTH_OVERFLOW) {
        this.#state.fail('HPE_INVALID_CONTENT_LENGTH', 'Content-Length overflow');
        return false;
      }
      if (length === LENGTH_INVALID) {
        this.#state.fail('HPE_INVALID_CONTENT_LENGTH', 'Invalid character in Content-Length');
        return false;
      }
      this.#flags |= Flag.ContentLength;
      this.contentLength = length;
    }
    return true;
  }

  #failTransferEncoding(): void {
    this.#state.fail('HPE_INVALID_TRANSFER_ENCODING', 'Invalid `Transfer-Encoding` header value');
  }
}
