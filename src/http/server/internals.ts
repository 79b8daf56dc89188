/**
 * What trapless uses of the inside of node:http: a few symbols and underscored members, looked for
 * on objects of its own. `internalsFit()` says whether all of it is there; if not, servers are
 * Node's own.
 */
import http from 'node:http';
import type { Socket } from 'node:net';

export interface InnerRequest extends http.IncomingMessage {
  upgrade: boolean | null;
  joinDuplicateHeaders: boolean;
  _consuming: boolean;
  _dumped: boolean;
  _addHeaderLines(lines: string[], count: number): void;
  _dump(): void;
  readonly _eventsCount: number;
  readonly _readableState: {
    readonly resumeScheduled: boolean;
    readonly length: number;
    readingMore: boolean;
    endEmitted: boolean;
    destroyed: boolean;
    closed: boolean;
    closeEmitted: boolean;
  };
}

export interface InnerResponse extends http.ServerResponse {
  _keepAliveTimeout: number;
  _maxRequestsPerSocket: number | null;
  _onPendingData(bytes: number): void;
  _expect_continue: boolean;
  _last: boolean;
  _closed: boolean;
  readonly _eventsCount: number;
  _headerSent: boolean;
  _header: string | null;
  maxRequestsOnConnectionReached: boolean;
  [symbol: symbol]: unknown;
}

export interface InnerSocket extends Socket {
  server: http.Server;
  parser: unknown;
  _paused: boolean;
  _unrefTimer(): void;
  _httpMessage: InnerResponse | null;
  _handle: { reading: boolean; readStart(): void; readStop(): void } | null;
  readonly _writableState: { needDrain: boolean };
}

type RequestClass = new (socket: Socket) => InnerRequest;
type ResponseClass = new (request: http.IncomingMessage, options: object) => InnerResponse;

function symbolsOf(object: object): Map<string, symbol> {
  return new Map(Object.getOwnPropertySymbols(object).map((it) => [it.description ?? '', it]));
}

/** Listening is what makes its list of connections, and a timer that looks through it. */
const sampleServer = new http.Server();
sampleServer.emit('listening');
sampleServer.close();
const ofServer = symbolsOf(sampleServer);
const sample = new http.ServerResponse(
  Object.assign(new http.IncomingMessage(null as never), { method: 'GET' }),
);
const ofResponse = symbolsOf(sample);

const REQUEST_CLASS = ofServer.get('IncomingMessage');
const RESPONSE_CLASS = ofServer.get('ServerResponse');
const CONNECTIONS = ofServer.get('http.server.connections');
const UNIQUE_HEADERS = ofServer.get('kUniqueHeaders');
/** Not in every Node. */
const OPTIMIZES = ofServer.get('OptimizeEmptyRequestsOption');
const NEED_DRAIN = ofResponse.get('kNeedDrain');
export const OUT_HEADERS = ofResponse.get('kOutHeaders');

export function internalsFit(): boolean {
  return (
    REQUEST_CLASS !== undefined &&
    RESPONSE_CLASS !== undefined &&
    CONNECTIONS !== undefined &&
    UNIQUE_HEADERS !== undefined &&
    NEED_DRAIN !== undefined &&
    OUT_HEADERS !== undefined &&
    typeof (sample as unknown as InnerResponse)._onPendingData === 'function' &&
    typeof (http.IncomingMessage.prototype as InnerRequest)._addHeaderLines === 'function'
  );
}

type Keyed = Record<symbol, unknown>;

export const requestClass = (server: http.Server) =>
  (server as unknown as Keyed)[REQUEST_CLASS!] as RequestClass;
export const responseClass = (server: http.Server) =>
  (server as unknown as Keyed)[RESPONSE_CLASS!] as ResponseClass;
export const setResponseClass = (server: http.Server, to: unknown) => {
  (server as unknown as Keyed)[RESPONSE_CLASS!] = to;
};

type Listener = (socket: Socket) => void;
const [NODES_LISTENER] = sampleServer.listeners('connection') as Listener[];

/** Requests without a body are no streams there (optimizeEmptyRequests). */
export function hasOtherWays(server: http.Server): boolean {
  return OPTIMIZES !== undefined && (server as unknown as Keyed)[OPTIMIZES] === true;
}

/** What Node's own server does about a connection; undefined if that is not first any more. */
export function nodesListener(server: http.Server): Listener | undefined {
  const [first] = server.listeners('connection') as Listener[];
  return first === NODES_LISTENER ? first : undefined;
}

/** The list that Node's own methods go through: to close them, or to find who is too late. */
export const setConnections = (server: http.Server, to: object) => {
  (server as unknown as Keyed)[CONNECTIONS!] = to;
};

/** Headers of which a response has only one line, whatever it is given. */
export function passUniqueHeaders(server: http.Server, response: InnerResponse): void {
  response[UNIQUE_HEADERS!] = (server as unknown as Keyed)[UNIQUE_HEADERS!];
}

export function takeNeedDrain(response: InnerResponse): boolean {
  const needed = response[NEED_DRAIN!] === true;
  if (needed) response[NEED_DRAIN!] = false;
  return needed;
}
