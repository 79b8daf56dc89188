/**
 * The headers that say where a request ends and what becomes of its connection: recognised by
 * name, and their values understood exactly as llhttp does, since two parties that read them
 * differently can be played against each other (request smuggling, RFC 9112 11.2).
 */

export const GENERAL = 0;
export const CONNECTION = 1;
export const CONTENT_LENGTH = 2;
export const TRANSFER_ENCODING = 3;
export const UPGRADE = 4;
/** Nothing to the framing; noted because a server answers to them. */
export const HOST = 5;
export const EXPECT = 6;

const COMMA = 0x2c;
const SPACE = 0x20;
const TAB = 0x09;
const CR = 0x0d;
const LF = 0x0a;

const latin1 = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

const NAMES: readonly (readonly [name: Uint8Array, header: number])[] = [
  [latin1('connection'), CONNECTION],
  [latin1('content-length'), CONTENT_LENGTH],
  [latin1('proxy-connection'), CONNECTION],
  [latin1('transfer-encoding'), TRANSFER_ENCODING],
  [latin1('upgrade'), UPGRADE],
  [latin1('host'), HOST],
  [latin1('expect'), EXPECT],
];
/** By length, at most one name each. */
const NAME_OF_LENGTH: (Uint8Array | null)[] = new Array(18).fill(null);
const HEADER_OF_LENGTH = new Uint8Array(18);
for (const [name, header] of NAMES) {
  NAME_OF_LENGTH[name.length] = name;
  HEADER_OF_LENGTH[name.length] = header;
}

/** Which header a name of token characters means. */
export function headerOf(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length > 17) return GENERAL;
  const name = NAME_OF_LENGTH[length];
  if (name === null || !isWord(bytes, start, end, name)) return GENERAL;
  return HEADER_OF_LENGTH[length];
}

/** In any case. Exact for letters and `-`, of which the words consist, among token characters. */
function isWord(bytes: Uint8Array, start: number, end: number, word: Uint8Array): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i++) if ((bytes[start + i] | 0x20) !== word[i]) return false;
  return true;
}

const CLOSE = latin1('close');
const KEEP_ALIVE = latin1('keep-alive');
const UPGRADE_WORD = latin1('upgrade');
const CHUNKED = latin1('chunked');

export const SAYS_CLOSE = 1;
export const SAYS_KEEP_ALIVE = 2;
export const SAYS_UPGRADE = 4;

/** What a Connection header asks for, as bits. */
export function connectionSays(bytes: Uint8Array, start: number, end: number): number {
  let says = 0;
  let at = start;
  while (at < end) {
    while (at < end && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
    let next = at;
    while (next < end && bytes[next] !== COMMA) next++;
    let last = next;
    while (last > at && bytes[last - 1] === SPACE) last--;
    if (isWord(bytes, at, last, CLOSE)) says |= SAYS_CLOSE;
    else if (isWord(bytes, at, last, KEEP_ALIVE)) says |= SAYS_KEEP_ALIVE;
    else if (isWord(bytes, at, last, UPGRADE_WORD)) says |= SAYS_UPGRADE;
    at = next + 1;
  }
  return says;
}

export const NOT_CHUNKED = 0;
export const IS_CHUNKED = 1;
export const CHUNKED_NOT_LAST = 2;

/** Whether `chunked` is the last coding named; anything after it is an error (RFC 9112 6.1). */
export function transferEncodingSays(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  for (;;) {
    let next = at;
    while (next < end && bytes[next] !== COMMA) next++;
    let last = next;
    while (last > at && bytes[last - 1] === SPACE) last--;
    const chunked = isWord(bytes, at, last, CHUNKED);
    if (next === end) return chunked ? IS_CHUNKED : NOT_CHUNKED;
    if (chunked) return CHUNKED_NOT_LAST;
    at = next + 1;
    while (at < end && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
  }
}

export const LENGTH_INVALID = -1;
export const LENGTH_OVERFLOW = -2;
const UINT64_MAX = 18446744073709551615n;

/**
 * Digits, then blanks, then `stop`, the byte after the value, must be the end of the line. Lengths
 * beyond 2^53 come out rounded: no body gets that far.
 */
export function contentLengthOf(
  bytes: Uint8Array,
  start: number,
  end: number,
  stop: number,
): number {
  let at = start;
  let value = 0;
  for (; at < end; at++) {
    const digit = bytes[at] - 0x30;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  if (value > Number.MAX_SAFE_INTEGER && isBeyondUint64(bytes, start, at)) return LENGTH_OVERFLOW;
  while (at < end && bytes[at] === SPACE) at++;
  if (at < end || (stop !== CR && stop !== LF)) return LENGTH_INVALID;
  return value;
}

function isBeyondUint64(bytes: Uint8Array, start: number, end: number): boolean {
  let digits = '';
  for (let at = start; at < end; at++) digits += String.fromCharCode(bytes[at]);
  return BigInt(digits) > UINT64_MAX;
}
