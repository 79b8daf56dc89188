/**
 * The same bytes through Node's own request parser (llhttp, as node:http's server sets it up) and
 * through ours: what each makes of them, in one form that can be compared.
 *
 *   assertSame(ours(pieces, options), nodes(pieces, options));
 */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { METHODS } from '../../src/http/methods.ts';
import { FAILED, PAUSED, RequestParser, UPGRADED } from '../../src/http/request-parser.ts';

export interface Message {
  method: string;
  url: string;
  version: string;
  headers: string[];
  upgrade: boolean;
  keepAlive: boolean;
  body: string;
  trailers: string[];
  complete: boolean;
}

export interface Outcome {
  messages: Message[];
  /** llhttp's code and reason; of the end of the connection, if nothing was wrong before. */
  error: string | null;
  /** What was left to another protocol; null if nothing was upgraded. */
  rest: string | null;
}

export interface OracleOptions {
  readonly maxHeaderSize?: number;
  /** Whether upgrades are taken; CONNECT always is. */
  readonly upgrades?: boolean;
}

const MAX_HEADER_SIZE = 16384;

/**
 * The error where Node is no oracle: after an upgrade that nobody took it drops the rest of the
 * piece, and overlooks errors for a while. We take what follows for what it is, requests.
 */
export const VAGUE = 'an upgrade was not taken';

interface NodeParser {
  initialize(type: number, resource: object, maxHeaderSize: number, lenient: number): void;
  execute(bytes: Buffer): number | (Error & { code: string; reason: string });
  finish(): undefined | (Error & { code: string; reason: string });
  [callback: number]: (...args: never[]) => unknown;
}
interface NodeParserClass {
  new (): NodeParser;
  REQUEST: number;
  kOnHeaders: number;
  kOnHeadersComplete: number;
  kOnBody: number;
  kOnMessageComplete: number;
}
const { HTTPParser } = createRequire(import.meta.url)('_http_common') as {
  HTTPParser: NodeParserClass;
};
/** The oracle is llhttp 9.3: others accept a little more or less. */
export const oracleVersion = process.versions.llhttp;
export const oracleFits = oracleVersion?.startsWith('9.3.') ?? false;

function message(partial: Partial<Message>): Message {
  const blank = { method: '', url: '', version: '', headers: [], body: '', trailers: [] };
  return { ...blank, upgrade: false, keepAlive: false, complete: false, ...partial };
}

/** What Node makes of the pieces. */
export function nodes(pieces: readonly Buffer[], options: OracleOptions = {}): Outcome {
  const messages: Message[] = [];
  let lines: string[] = [];
  let url = '';
  let upgraded = false;
  let vagueFrom = -1;
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.REQUEST, {}, options.maxHeaderSize ?? MAX_HEADER_SIZE, 0);
  parser[HTTPParser.kOnHeaders] = (more: string[], urlPart: string) => {
    lines.push(...more);
    url += urlPart;
  };
  parser[HTTPParser.kOnHeadersComplete] = (
    major: number,
    minor: number,
    headers: string[] | undefined,
    method: number,
    wholeUrl: string | undefined,
    _status: number,
    _statusMessage: string,
    upgrade: boolean,
    keepAlive: boolean,
  ) => {
    const name = METHODS[method];
    messages.push(
      message({
        method: name,
        url: wholeUrl ?? url,
        version: `${major}.${minor}`,
        headers: headers ?? lines,
        upgrade,
        keepAlive,
      }),
    );
    lines = [];
    url = '';
    upgraded = upgrade && (name === 'CONNECT' || options.upgrades === true);
    if (upgrade && !upgraded && vagueFrom === -1) vagueFrom = messages.length - 1;
    return upgraded ? 2 : 0;
  };
  parser[HTTPParser.kOnBody] = (bytes: Buffer) => {
    messages.at(-1)!.body += bytes.toString('latin1');
  };
  parser[HTTPParser.kOnMessageComplete] = () => {
    const last = messages.at(-1)!;
    last.complete = true;
    last.trailers = lines;
    lines = [];
    url = '';
  };
  for (const [index, piece] of pieces.entries()) {
    let bytes = piece;
    for (;;) {
      const result = parser.execute(bytes);
      if (vagueFrom !== -1)
        return { messages: messages.slice(0, vagueFrom), error: VAGUE, rest: null };
      if (typeof result !== 'number')
        return { messages, error: `${result.code}: ${result.reason}`, rest: null };
      const left = bytes.subarray(result);
      if (upgraded) {
        const rest = Buffer.concat([left, ...pieces.slice(index + 1)]);
        return { messages, error: null, rest: rest.toString('latin1') };
      }
      if (left.length === 0) break;
      bytes = left;
    }
  }
  const end = parser.finish();
  return { messages, error: end === undefined ? null : `${end.code}: ${end.reason}`, rest: null };
}

/** Equal, as far as Node is an oracle. */
export function assertSame(our: Outcome, node: Outcome): void {
  if (node.error === VAGUE)
    our = { messages: our.messages.slice(0, node.messages.length), error: VAGUE, rest: null };
  // A word that is both wrong and too long may be called either.
  const errors = [our.error, node.error];
  const tooLong = errors.some((error) => error?.startsWith('HPE_HEADER_OVERFLOW'));
  if (tooLong && !errors.includes(null)) node = { ...node, error: our.error };
  assert.deepEqual(our, node);
}

/** What we make of them. */
export function ours(pieces: readonly Buffer[], options: OracleOptions = {}): Outcome {
  const messages: Message[] = [];
  const parser = new RequestParser(
    {
      onHead(it) {
        messages.push(
          message({
            method: it.method,
            url: it.url,
            version: `${it.versionMajor}.${it.versionMinor}`,
            headers: it.rawHeaders(),
            upgrade: it.upgrade,
            keepAlive: it.keepAlive,
          }),
        );
        return it.upgrade && (it.method === 'CONNECT' || options.upgrades === true);
      },
      onBody(bytes, start, end) {
        messages.at(-1)!.body += bytes.toString('latin1', start, end);
      },
      onEnd(it) {
        const last = messages.at(-1)!;
        last.complete = true;
        last.trailers = it.trailers();
      },
    },
    { maxHeaderSize: options.maxHeaderSize ?? MAX_HEADER_SIZE },
  );
  for (const [index, piece] of pieces.entries()) {
    // As a transport gives them: elsewhere in a larger buffer, which is used again afterwards.
    const lent = Buffer.alloc(piece.length + 2, 0x5a).subarray(1, piece.length + 1);
    lent.set(piece);
    const progress = parser.feed(lent);
    if (progress === UPGRADED) {
      const rest = Buffer.concat([parser.rest(), ...pieces.slice(index + 1)]);
      return { messages, error: null, rest: rest.toString('latin1') };
    }
    lent.fill(0x5a);
    if (progress === FAILED)
      return { messages, error: `${parser.error!.code}: ${parser.error!.reason}`, rest: null };
    if (progress === PAUSED) throw new Error('nobody paused it');
  }
  const end = parser.finish();
  return { messages, error: end === null ? null : `${end.code}: ${end.reason}`, rest: null };
}
