/**
 * Where Node's own HTTP server differs from version to version: what this one's does.
 */
import { createRequire } from 'node:module';

const major = Number.parseInt(process.versions.node, 10);

/** 'drain' of a response comes only when nothing of it waits any more. */
export const DRAINS_WHEN_EMPTY = major >= 24;
/** When the connection closes, responses that wait for their turn are destroyed. */
export const DESTROYS_WAITING = major >= 24;

interface Parser {
  maxHeaderPairs: number;
  initialize(type: number, resource: object, maxHeaderSize: number, lenient: number): void;
  execute(bytes: Buffer): unknown;
  [callback: number]: () => void;
}
interface ParserClass {
  new (): Parser;
  readonly REQUEST: number;
  readonly kOnHeadersComplete: number;
}

/**
 * A head of more lines than `maxHeadersCount` is refused; else they are cut off. That came with
 * fixes of several versions, so the parser itself is asked.
 */
export const REFUSES_MANY_LINES = major >= 22 && refusesManyLines();

function refusesManyLines(): boolean {
  try {
    const { HTTPParser } = createRequire(process.execPath)('_http_common') as {
      HTTPParser: ParserClass;
    };
    const parser = new HTTPParser();
    parser.initialize(HTTPParser.REQUEST, {}, 0, 0);
    parser.maxHeaderPairs = 2;
    parser[HTTPParser.kOnHeadersComplete] = () => {};
    return parser.execute(Buffer.from('GET / HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n')) instanceof Error;
  } catch {
    return false;
  }
}
