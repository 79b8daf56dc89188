/**
 * Header lines as the parser leaves them: `Name: value\r\n` again and again, valid, unfolded, one
 * character a byte. Cut up only when somebody wants to know.
 *
 *   headerPairs(text, from)              // ['Host', 'x', 'Accept', 'text/html']: rawHeaders
 *   headerValues(text, from, 'host')     // 'x', null or ['x', 'y']; the name in lower case
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

/** All values of that name, which is in lower case; null if there is none, a string if one. */
export function headerValues(text: string, from: number, name: string): string | string[] | null {
  let found: string | string[] | null = null;
  let at = from;
  for (;;) {
    const end = text.indexOf('\r\n', at);
    if (end <= at) return found;
    const colon = at + name.length;
    if (text.charCodeAt(colon) === COLON && text.slice(at, colon).toLowerCase() === name) {
      const value = valueIn(text, colon + 1, end);
      if (found === null) found = value;
      else if (typeof found === 'string') found = [found, value];
      else found.push(value);
    }
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
