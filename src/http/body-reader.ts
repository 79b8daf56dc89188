/**
 * A request's body, of a known length or in chunks.
 *
 *   body.begin(length);  or  body.beginChunks();
 *   i = body.read(bytes, i, end);       // up to its end, a piece of it, the end, or state.error
 *   body.done                           // of chunks: the trailers come next
 *
 * The states are an enum for the reason given in request-line.ts.
 */
import { HEX, QUOTED, TOKEN, VALUE } from './characters.ts';
import type { ParserState } from './parser-state.ts';

export type OnBody = (bytes: Buffer, start: number, end: number) => void;

enum At {
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
  Done,
}

/** Node's limit on the extensions of one chunk. */
const CHUNK_EXTENSIONS_MAX = 16384;

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;

export class BodyReader {
  readonly #state: ParserState;
  readonly #onBody: OnBody;
  #at = At.Done;
  /** Bytes that are still to come, of the body or of the chunk. */
  #left = 0;
  /** Digits of a chunk's size after the first that is not 0. */
  #digits = 0;
  #extensionBytes = 0;

  constructor(state: ParserState, onBody: OnBody) {
    this.#state = state;
    this.#onBody = onBody;
  }

  begin(length: number): void {
    this.#left = length;
    this.#at = At.Identity;
  }

  beginChunks(): void {
    this.#at = At.ChunkSizeStart;
  }

  get done(): boolean {
    return this.#at === At.Done;
  }

  read(bytes: Buffer, from: number, end: number): number {
    let i = from;
    while (i < end) {
      const byte = bytes[i];
      switch (this.#at) {
        case At.Identity:
        case At.ChunkData: {
          const length = Math.min(this.#left, end - i);
          this.#left -= length;
          this.#onBody(bytes, i, i + length);
          i += length;
          if (this.#left > 0) return i;
          this.#at = this.#at === At.Identity ? At.Done : At.ChunkDataCr;
          // Its reader may want no more.
          return i;
        }
        case At.ChunkSizeStart:
          if (HEX[byte] === 255) {
            this.#failChunkSize();
            return i;
          }
          this.#left = HEX[byte];
          this.#digits = 0;
          this.#extensionBytes = 0;
          i++;
          this.#at = At.ChunkSize;
          continue;
        case At.ChunkSize:
          if (HEX[byte] !== 255) {
            // 64 bits: sixteen digits, without leading zeros. (Beyond 2^53 the size is rounded.)
            if (this.#left > 0 && ++this.#digits > 15) {
              this.#state.fail('HPE_INVALID_CHUNK_SIZE', 'Chunk size overflow');
              return i;
            }
            this.#left = this.#left * 16 + HEX[byte];
          } else if (byte === CR) {
            this.#at = At.ChunkSizeLf;
          } else if (byte === 0x3b) {
            this.#at = At.ChunkExtensions;
          } else if (byte === LF) {
            this.#state.fail('HPE_CR_EXPECTED', 'Missing expected CR after chunk size');
            return i;
          } else {
            this.#failChunkSize();
            return i;
          }
          i++;
          continue;
        case At.ChunkSizeLf:
          if (byte !== LF) {
            this.#state.fail('HPE_STRICT', 'Expected LF after chunk size');
            return i;
          }
          i++;
          if (this.#left > 0) {
            this.#at = At.ChunkData;
            continue;
          }
          this.#at = At.Done;
          return i;
        case At.ChunkDataCr:
          if (byte !== CR) {
            if (byte === LF)
              this.#state.fail('HPE_CR_EXPECTED', 'Missing expected CR after chunk data');
            else this.#state.fail('HPE_STRICT', 'Expected LF after chunk data');
            return i;
          }
          i++;
          this.#at = At.ChunkDataLf;
          continue;
        case At.ChunkDataLf:
          if (byte !== LF) {
            this.#state.fail('HPE_STRICT', 'Expected LF after chunk data');
            return i;
          }
          i++;
          this.#at = At.ChunkSizeStart;
          continue;
        default:
          if (!this.#chunkExtension(byte)) return i;
          i++;
      }
    }
    return i;
  }

  #failChunkSize(): void {
    this.#state.fail('HPE_INVALID_CHUNK_SIZE', 'Invalid character in chunk size');
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
          this.#state.fail('HPE_STRICT', 'Invalid quoted-pair in chunk extensions quoted value');
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
    this.#state.fail('HPE_CHUNK_EXTENSIONS_OVERFLOW', 'Chunk extensions overflow');
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
      this.#state.fail('HPE_CR_EXPECTED', `Missing expected CR after chunk extension ${cutPart}`);
    else this.#state.fail('HPE_STRICT', `Invalid character in chunk extensions ${part}`.trimEnd());
    return false;
  }
}
