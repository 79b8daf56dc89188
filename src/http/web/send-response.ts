/**
 * A Response as bytes on a transport: its head, and its body whole or as it comes.
 */
import { STATUS_CODES } from 'node:http';
import { httpDate } from '../date.ts';
import type { Transport } from '../transport.ts';
import type { LightResponse } from './light-response.ts';

/** What the request and its connection ask of the answer. */
export interface Exchange {
  readonly isHead: boolean;
  /** HTTP/1.0: no chunks, and keeping the connection must be said. */
  readonly isOld: boolean;
  /** Whether the connection can carry another request; cleared when it turns out that it cannot. */
  keepAlive: boolean;
}

const statusLines: string[] = [];

function statusLine(status: number, reason = STATUS_CODES[status] ?? 'Unknown'): string {
  return `HTTP/1.1 ${status} ${reason}\r\n`;
}

function usualStatusLine(status: number): string {
  statusLines[status] ??= statusLine(status);
  return statusLines[status];
}

function connectionLine(exchange: Exchange): string {
  if (!exchange.keepAlive) return 'connection: close\r\n';
  return exchange.isOld ? 'connection: keep-alive\r\n' : '';
}

const hasNoBody = (status: number) => status === 204 || status === 304;

/** The whole of it, at once. */
export function sendLight(transport: Transport, exchange: Exchange, response: LightResponse): void {
  const body = response.lightBody;
  const { status } = response;
  const isText = typeof body === 'string';
  const length = body === null ? 0 : isText ? Buffer.byteLength(body) : body.length;
  let head = `${usualStatusLine(status)}${response.headerText}date: ${httpDate()}\r\n`;
  if (!exchange.keepAlive || exchange.isOld) head += connectionLine(exchange);
  head += hasNoBody(status) ? '\r\n' : `content-length: ${length}\r\n\r\n`;
  if (length === 0 || exchange.isHead) {
    transport.write(head, 'latin1');
  } else if (isText && length === body.length) {
    // ASCII: its bytes are its characters.
    transport.write(head + body, 'latin1');
  } else {
    transport.write(head, 'latin1');
    transport.write(body!, 'utf8');
  }
}

/** A short answer of the server's own. */
export function sendStatus(transport: Transport, status: number): void {
  transport.write(
    `${usualStatusLine(status)}connection: close\r\ncontent-length: 0\r\n\r\n`,
    'latin1',
  );
}

/** Headers the server decides on itself. */
const OWN = new Set(['connection', 'keep-alive', 'transfer-encoding']);

function headOf(response: Response, exchange: Exchange, sized: boolean): string {
  let head = statusLine(response.status, response.statusText || undefined);
  let dated = false;
  for (const [name, value] of response.headers) {
    if (name === 'connection' && /\bclose\b/i.test(value)) exchange.keepAlive = false;
    if (OWN.has(name)) continue;
    if (name === 'date') dated = true;
    head += `${name}: ${value}\r\n`;
  }
  if (!dated) head += `date: ${httpDate()}\r\n`;
  if (!sized && !hasNoBody(response.status)) {
    if (response.body === null) head += 'content-length: 0\r\n';
    else if (exchange.isOld) exchange.keepAlive = false;
    else head += 'transfer-encoding: chunked\r\n';
  }
  return `${head}${connectionLine(exchange)}\r\n`;
}

/** `drained` resolves when the transport takes more, or is gone. */
export async function sendReal(
  transport: Transport,
  exchange: Exchange,
  response: Response,
  drained: () => Promise<void>,
): Promise<void> {
  const announced = response.headers.get('content-length');
  const sized = announced !== null && /^\d+$/.test(announced);
  transport.write(headOf(response, exchange, sized), 'latin1');
  const { body } = response;
  if (body === null) return;
  if (exchange.isHead || hasNoBody(response.status)) return void body.cancel().catch(() => {});
  const left = await sendBody(transport, body, drained, sized ? Number(announced) : null, exchange);
  // Fewer bytes than announced: only the end of the connection tells.
  if (left > 0) exchange.keepAlive = false;
}

async function sendBody(
  transport: Transport,
  body: ReadableStream<Uint8Array>,
  drained: () => Promise<void>,
  size: number | null,
  exchange: Exchange,
): Promise<number> {
  const chunked = size === null && !exchange.isOld;
  const reader = body.getReader();
  let left = size ?? 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (transport.closed) {
      await reader.cancel();
      return 0;
    }
    if (done) break;
    if (!(value instanceof Uint8Array)) throw new TypeError('a body consists of Uint8Arrays');
    if (value.length === 0) continue;
    if (size !== null && value.length > left) throw new RangeError('more than content-length says');
    left -= value.length;
    if (chunked) transport.write(`${value.length.toString(16)}\r\n`, 'latin1');
    let more = transport.write(value);
    if (chunked) more = transport.write('\r\n', 'latin1');
    if (!more) await drained();
  }
  if (chunked) transport.write('0\r\n\r\n', 'latin1');
  return size === null ? 0 : left;
}
