/**
 * Header lines as the parser leaves them: `Name: value\r\n` again and again, valid, unfolded, one
 * character a byte. Cut up only when somebody wants to know.
 *
 *   headerPairs(text, from)              // ['Host', 'x', 'Accept', 'text/html']: rawHeaders
 *   headerValue(text, from, 'host')      // 'x', or undefined; the name in lower case
 */

const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;

/** Names and values in turn, from `from` to the empty line or the end. */
export function headerPairs(text: string, from: number): string[] {
  const pairs: string[] = [];
  let at = from;
  for (;;) {
    const end = text.indexOf('\r\n', at);
    if (end <= at) return pairs;
    const colon = text.indexOf(':', at);
    pairs.push(text.slice(at, colon), valueIn(text, colon + 1, end));
    at = end + 2;
  }
}

/** The value of the first line with that name; names are compared without regard to case. */
export function headerValue(text: string, from: number, name: string): string | undefined {
  let at = from;
  for (;;) {
    const end = text.indexOf('\r\n', at);
    if (end <= at) return undefined;
    const colon = at + name.length;
    if (text.charCodeAt(colon) === COLON && text.slice(at, colon).toLowerCase() === name)
      return valueIn(text, colon + 1, end);
    at = end + 2;
  }
}

/** Without the blanks around it (RFC 9110 5.5). */
function valueIn(text: string, from: number, end: number): string {
  while (from < end && isBlank(text.charCodeAt(from))) from++;
  while (end > from && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(from, end);
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}
