/**
 * Which bytes may stand where in a request: one table of 256 flags per class, as llhttp defines
 * them (RFC 9110 5.6.2, 5.5; RFC 3986 as far as it is enforced).
 */

function table(...members: (string | readonly [from: number, to: number])[]): Uint8Array {
  const flags = new Uint8Array(256);
  for (const member of members) {
    if (typeof member === 'string')
      for (const character of member) flags[character.charCodeAt(0)] = 1;
    else flags.fill(1, member[0], member[1] + 1);
  }
  return flags;
}

const DIGITS = [0x30, 0x39] as const;
const UPPER = [0x41, 0x5a] as const;
const LOWER = [0x61, 0x7a] as const;

export const ALPHA = table(UPPER, LOWER);
/** A header's name, a chunk extension's name. */
export const TOKEN = table("!#$%&'*+-.^_`|~", DIGITS, UPPER, LOWER);
/** A header's value: tab, what prints, and everything beyond ASCII. */
export const VALUE = table('\t', [0x20, 0x7e], [0x80, 0xff]);
/** A path, query or fragment; `?` and `#` separate them. */
export const URL_PART = table('!"$%&\'()*+,-./:;<=>@[\\]^_`{|}~', DIGITS, UPPER, LOWER);
/** Between `//` and the path, with user and password; `@` is counted. */
export const AUTHORITY = table("-_.!~*'()%;:&=+$,[]", DIGITS, UPPER, LOWER);
/** Inside the quotes of a chunk extension's value. */
export const QUOTED = table('\t', [0x20, 0x21], [0x23, 0x5b], [0x5d, 0x7e], [0x80, 0xff]);

/** The value of a hexadecimal digit; 255 for any other byte. */
export const HEX = new Uint8Array(256).fill(255);
for (let digit = 0; digit < 16; digit++) {
  HEX[digit.toString(16).charCodeAt(0)] = digit;
  HEX[digit.toString(16).toUpperCase().charCodeAt(0)] = digit;
}
