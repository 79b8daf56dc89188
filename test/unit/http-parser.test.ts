/**
 * The request parser, case by case: what is refused and why, what a message consists of, pausing,
 * upgrades, limits. Each case also goes through Node's own parser (test/property does so at random).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FAILED, MORE, PAUSED, RequestParser, UPGRADED } from '../../src/http/request-parser.ts';
import { assertSame, nodes, oracleFits, ours } from '../support/http-oracle.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');
const bytewise = (text: string) => [...text].map(bytes);

/** Both parsers, in one piece and byte by byte; the outcome is returned. */
function read(text: string, options: Parameters<typeof ours>[1] = {}) {
  const outcome = ours([bytes(text)], options);
  assert.deepEqual(ours(bytewise(text), options), outcome, 'byte by byte');
  if (oracleFits) assertSame(outcome, nodes([bytes(text)], options));
  return outcome;
}

const post = (headers: string, body = '') => `POST / HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`;
const chunked = (body: string) => post('Transfer-Encoding: chunked\r\n', body);

const refused: [what: string, text: string, code: string][] = [
  [
    'two lengths',
    post('Content-Length: 3\r\nContent-Length: 3\r\n', 'abc'),
    'UNEXPECTED_CONTENT_LENGTH',
  ],
  ['two lengths in one', post('Content-Length: 3, 3\r\n', 'abc'), 'INVALID_CONTENT_LENGTH'],
  ['a signed length', post('Content-Length: +3\r\n', 'abc'), 'INVALID_CONTENT_LENGTH'],
  ['an empty length', post('Content-Length:\r\n'), 'INVALID_CONTENT_LENGTH'],
  ['a length beyond 64 bits', post(`Content-Length: ${2n ** 64n}\r\n`), 'INVALID_CONTENT_LENGTH'],
  [
    'chunked after a length',
    post('Content-Length: 3\r\nTransfer-Encoding: chunked\r\n'),
    'INVALID_TRANSFER_ENCODING',
  ],
  [
    'a length after chunked',
    post('Transfer-Encoding: chunked\r\nContent-Length: 3\r\n'),
    'INVALID_CONTENT_LENGTH',
  ],
  ['chunked twice', post('Transfer-Encoding: chunked, chunked\r\n'), 'INVALID_TRANSFER_ENCODING'],
  ['chunked not last', post('Transfer-Encoding: chunked, gzip\r\n'), 'INVALID_TRANSFER_ENCODING'],
  [
    'chunked in two headers',
    post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n'),
    'INVALID_TRANSFER_ENCODING',
  ],
  ['no chunked at all', post('Transfer-Encoding: gzip\r\n'), 'INVALID_TRANSFER_ENCODING'],
  [
    'chunked with a tab after it',
    post('Transfer-Encoding: chunked\t\r\n'),
    'INVALID_TRANSFER_ENCODING',
  ],
  ['a blank before the colon', post('Content-Length : 3\r\n', 'abc'), 'INVALID_HEADER_TOKEN'],
  ['a folded line', post('A: b\r\n c\r\n'), 'INVALID_HEADER_TOKEN'],
  ['a bare LF after a value', post('A: b\n'), 'CR_EXPECTED'],
  ['a bare CR in a value', post('A: b\rc\r\n'), 'LF_EXPECTED'],
  ['a NUL in a value', post('A: \0\r\n'), 'INVALID_HEADER_TOKEN'],
  ['a bare LF after the head', 'GET / HTTP/1.1\r\nHost: x\r\n\n', 'INVALID_HEADER_TOKEN'],
  ['a bare LF after the request line', 'GET / HTTP/1.1\nHost: x\r\n\r\n', 'INVALID_VERSION'],
  ['a blank before the first header', 'GET / HTTP/1.1\r\n Host: x\r\n\r\n', 'UNEXPECTED_SPACE'],
  ['a chunk size that is no number', chunked('x\r\n'), 'INVALID_CHUNK_SIZE'],
  ['a chunk size with 0x', chunked('0x3\r\nabc\r\n'), 'INVALID_CHUNK_SIZE'],
  ['a chunk size with a blank', chunked('3 \r\nabc\r\n'), 'INVALID_CHUNK_SIZE'],
  ['a chunk size beyond 64 bits', chunked('10000000000000000\r\n'), 'INVALID_CHUNK_SIZE'],
  ['a chunk size with a bare LF', chunked('3\nabc\r\n'), 'CR_EXPECTED'],
  ['a chunk longer than it says', chunked('3\r\nabcd\r\n'), 'STRICT'],
  ['a chunk with a bare LF after it', chunked('3\r\nabc\n'), 'CR_EXPECTED'],
  ['a bare LF in an extension', chunked('3;a\nb\r\nabc\r\n'), 'CR_EXPECTED'],
  ['a length in the trailers', chunked('0\r\nContent-Length: 3\r\n\r\n'), 'INVALID_CONTENT_LENGTH'],
  ['extensions without end', chunked(`3;${'a'.repeat(16385)}`), 'CHUNK_EXTENSIONS_OVERFLOW'],
  ['data after close', `${post('Connection: close\r\n')}GET`, 'CLOSED_CONNECTION'],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'PAUSED_H2_UPGRADE'],
  ['TLS', '\x16\x03\x01\x02', 'INVALID_METHOD'],
  ['lower case', 'get / HTTP/1.1\r\n', 'INVALID_METHOD'],
  ['the end within a head', 'GET / HTTP/1.1\r\nHo', 'INVALID_EOF_STATE'],
  ['the end within a body', post('Content-Length: 3\r\n', 'ab'), 'INVALID_EOF_STATE'],
];
for (const [what, text, code] of refused)
  test(`refused: ${what}`, () => {
    assert.equal(read(text).error?.split(':')[0], `HPE_${code}`);
  });

test('a chunked body and its trailers', () => {
  const { messages, error } = read(chunked('3;a="b"\r\nabc\r\n1\r\nd\r\n0\r\nT: u v \r\n\r\n'));
  assert.equal(error, null);
  assert.equal(messages[0].body, 'abcd');
  assert.deepEqual(messages[0].trailers, ['T', 'u v']);
});

test('requests in a row', () => {
  const text = `GET /1 HTTP/1.1\r\nA:\r\n\r\n\r\n${post('Content-Length: 3\r\n', 'abc')}GET /3\r\n\r\n`;
  const { messages } = read(text);
  assert.deepEqual(
    messages.map(({ url, version, body, keepAlive }) => [url, version, body, keepAlive]),
    [
      ['/1', '1.1', '', true],
      ['/', '1.1', 'abc', true],
      ['/3', '0.9', '', false],
    ],
  );
});

test('an upgrade that is taken leaves the rest alone, one that is not is a request', () => {
  const text = `${post('Upgrade: ws\r\nConnection: upgrade\r\n')}GET /2 HTTP/1.1\r\n\r\n`;
  assert.equal(read(text, { upgrades: true }).rest, 'GET /2 HTTP/1.1\r\n\r\n');
  assert.equal(read(text).messages.length, 2);
  assert.equal(read('CONNECT h:1 HTTP/1.1\r\n\r\n\x01').rest, '\x01');
});

test('the limit counts the url, names and values', () => {
  const text = 'GET /345 HTTP/1.1\r\nA:   34   \r\n\r\n';
  assert.equal(read(text, { maxHeaderSize: 11 }).error, null);
  assert.match(read(text, { maxHeaderSize: 10 }).error ?? '', /OVERFLOW/);
});

function parserOf(onEnd: (parser: RequestParser) => void, maxHeaderSize = 100) {
  return new RequestParser({ onHead: () => false, onBody() {}, onEnd }, { maxHeaderSize });
}

test('blanks have a limit too, though they count to none of the header', () => {
  const parser = parserOf(() => {});
  assert.equal(parser.feed(bytes('GET / HTTP/1.1\r\nA:')), MORE);
  let progress: number = MORE;
  let fed = 0;
  for (; progress === MORE && fed < 100; fed++) progress = parser.feed(Buffer.alloc(1000, ' '));
  assert.equal(progress, FAILED);
  assert.equal(parser.error?.code, 'HPE_HEADER_OVERFLOW');
  assert.ok(fed < 10, `${fed} kB were kept`);
});

test('pause: what came already is kept, and read after resume', () => {
  const urls: string[] = [];
  const parser = parserOf((it) => {
    urls.push(it.url);
    it.pause();
  });
  assert.equal(
    parser.feed(bytes('GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HT')),
    PAUSED,
  );
  assert.deepEqual(urls, ['/1']);
  assert.equal(parser.resume(), PAUSED);
  assert.deepEqual(urls, ['/1', '/2']);
  assert.equal(parser.feed(bytes('TP/1.1\r\n')), PAUSED);
  assert.equal(parser.resume(), MORE);
  assert.equal(parser.feed(bytes('\r\n')), PAUSED);
  assert.deepEqual(urls, ['/1', '/2', '/3']);
  assert.equal(parser.resume(), MORE);
});

test('stop: nothing more is called, whatever is left', () => {
  let ended = 0;
  const parser = parserOf((it) => {
    ended++;
    it.stop();
  });
  assert.equal(parser.feed(bytes('GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n')), MORE);
  assert.equal(parser.feed(bytes('rubbish')), MORE);
  assert.equal(ended, 1);
});

test('an error tells how far it got, and is the same ever after', () => {
  const parser = parserOf(() => {});
  parser.feed(bytes('GET / HT'));
  const piece = bytes('TP/1.1\r\nA(: b\r\n\r\n');
  assert.equal(parser.feed(piece), FAILED);
  assert.equal(parser.error?.bytesParsed, piece.indexOf('('));
  assert.equal(parser.error?.rawPacket?.toString(), piece.toString());
  assert.equal(parser.error?.message, 'Parse Error: Invalid header token');
  assert.equal(parser.feed(piece), FAILED);
});

test('after an upgrade there is a rest, even if it is empty', () => {
  const parser = parserOf(() => {});
  assert.equal(parser.feed(bytes('CONNECT h:1 HTTP/1.1\r\n\r\n')), UPGRADED);
  assert.equal(parser.rest().length, 0);
});
