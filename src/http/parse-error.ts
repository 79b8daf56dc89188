/**
 * What is wrong with a request: llhttp's code and reason, which node:http hands to 'clientError'.
 */

export type ParseErrorCode =
  | 'HPE_CHUNK_EXTENSIONS_OVERFLOW'
  | 'HPE_CLOSED_CONNECTION'
  | 'HPE_CR_EXPECTED'
  | 'HPE_HEADER_OVERFLOW'
  | 'HPE_INVALID_CHUNK_SIZE'
  | 'HPE_INVALID_CONSTANT'
  | 'HPE_INVALID_CONTENT_LENGTH'
  | 'HPE_INVALID_EOF_STATE'
  | 'HPE_INVALID_HEADER_TOKEN'
  | 'HPE_INVALID_METHOD'
  | 'HPE_INVALID_TRANSFER_ENCODING'
  | 'HPE_INVALID_URL'
  | 'HPE_INVALID_VERSION'
  | 'HPE_LF_EXPECTED'
  | 'HPE_PAUSED_H2_UPGRADE'
  | 'HPE_STRICT'
  | 'HPE_UNEXPECTED_CONTENT_LENGTH'
  | 'HPE_UNEXPECTED_SPACE';

export class ParseError extends Error {
  readonly code: ParseErrorCode;
  readonly reason: string;
  /** Bytes of the last piece that were taken before the mistake. */
  bytesParsed = 0;
  /** The piece it was found in. */
  rawPacket: Uint8Array | undefined;

  constructor(code: ParseErrorCode, reason: string) {
    super(`Parse Error: ${reason}`);
    this.code = code;
    this.reason = reason;
  }

  /** What a server answers before it closes the connection. */
  get status(): number {
    if (this.code === 'HPE_HEADER_OVERFLOW') return 431;
    if (this.code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') return 413;
    return 400;
  }
}
