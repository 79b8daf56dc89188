/**
 * The methods of a request, and a trie to recognise them one byte at a time: a byte that cannot
 * belong to any method is refused when it comes, however the request is cut.
 *
 *   let node = 0;
 *   node = methodStep(node, byte);      // 0: no method goes on like this
 *   METHOD_OF_NODE[node]                // index into METHODS, or -1: not a whole method yet
 */

/** In llhttp's order. Those of RTSP come last: they are no methods of HTTP. */
export const METHODS = (
  'DELETE GET HEAD POST PUT CONNECT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH ' +
  'UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE ' +
  'UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK SOURCE PRI DESCRIBE ANNOUNCE SETUP PLAY PAUSE ' +
  'TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD FLUSH QUERY'
).split(' ');

const indexOf = (name: string) => METHODS.indexOf(name);

export const GET = indexOf('GET');
export const HEAD = indexOf('HEAD');
export const POST = indexOf('POST');
export const CONNECT = indexOf('CONNECT');
export const PRI = indexOf('PRI');
const SOURCE = indexOf('SOURCE');

const RTSP_ONLY = [indexOf('DESCRIBE'), indexOf('FLUSH')];
const RTSP_TOO = ['OPTIONS', 'GET', 'POST'].map(indexOf);

export function isHttpMethod(method: number): boolean {
  return method < RTSP_ONLY[0] || method > RTSP_ONLY[1];
}
export function isRtspMethod(method: number): boolean {
  return !isHttpMethod(method) || RTSP_TOO.includes(method);
}
export function isIceMethod(method: number): boolean {
  return method === SOURCE;
}

/** A to Z, - and _, and one place for every other byte. */
const LETTERS = 29;
const LETTER_OF_BYTE = new Uint8Array(256).fill(LETTERS - 1);
for (let letter = 0; letter < 26; letter++) LETTER_OF_BYTE[0x41 + letter] = letter;
LETTER_OF_BYTE[0x2d] = 26;
LETTER_OF_BYTE[0x5f] = 27;

const steps: number[] = new Array(LETTERS).fill(0);
const methodOfNode: number[] = [-1];
for (const [method, name] of METHODS.entries()) {
  let node = 0;
  for (const character of name) {
    const at = node * LETTERS + LETTER_OF_BYTE[character.charCodeAt(0)];
    if (steps[at] === 0) {
      steps[at] = methodOfNode.length;
      methodOfNode.push(-1);
      steps.push(...new Array(LETTERS).fill(0));
    }
    node = steps[at];
  }
  methodOfNode[node] = method;
}
const STEPS = Int16Array.from(steps);

export const METHOD_OF_NODE = Int8Array.from(methodOfNode);

export function methodStep(node: number, byte: number): number {
  return STEPS[node * LETTERS + LETTER_OF_BYTE[byte]];
}
