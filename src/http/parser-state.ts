/**
 * What the parts of the request parser share: the mistake, once there is one, and how much of the
 * limit on the head is used up.
 */
import { ParseError, type ParseErrorCode } from './parse-error.ts';

export class ParserState {
  error: ParseError | null = null;
  /** Where in the bytes the word being read begins. */
  mark = 0;
  /** Header lines begun, of the head or of the trailers. */
  lines = 0;

  readonly #maxHeaderSize: number;
  readonly #maxHeaderLines: number;
  /** Characters that count to it, of whole words. */
  #counted = 0;

  constructor(maxHeaderSize: number, maxHeaderLines: number) {
    this.#maxHeaderSize = maxHeaderSize;
    this.#maxHeaderLines = maxHeaderLines;
  }

  /** A head or the trailers begin. */
  restart(): void {
    this.#counted = 0;
    this.lines = 0;
  }

  fail(code: ParseErrorCode, reason: string): ParseError {
    this.error = new ParseError(code, reason);
    return this.error;
  }

  overflow(): void {
    this.fail('HPE_HEADER_OVERFLOW', 'Header overflow');
  }

  /** The word up to `end` is whole, and counts. False: that was too much. */
  count(end: number): boolean {
    this.#counted += end - this.mark;
    if (this.#counted < this.#maxHeaderSize && this.lines <= this.#maxHeaderLines) return true;
    this.overflow();
    return false;
  }

  /** The bytes end within a word: so far it must not be too long either. */
  countSoFar(end: number): void {
    const counted = this.#counted + end - this.mark;
    if (counted >= this.#maxHeaderSize || this.lines > this.#maxHeaderLines) this.overflow();
  }
}
