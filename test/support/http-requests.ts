/**
 * Requests to try a parser with: right ones, nearly right ones and nonsense, as fast-check
 * arbitraries. Much of it is what request smuggling is made of.
 */
import fc from 'fast-check';

const token = fc.constantFrom(
  'Host',
  'host',
  'Accept',
  'X-Long-Name-Of-Some-Header',
  'Connection',
  'connection',
  'Proxy-Connection',
  'Content-Length',
  'content-length',
  'Transfer-Encoding',
  'TRANSFER-ENCODING',
  'Upgrade',
  'Expect',
  'Content-Lengt',
  'Content-Length2',
  'Transfer-Encodin',
  'Trailer',
  'a',
  '',
  'bad name',
  'bad(name',
  'Content-Length ',
  'Host\t',
  '\x80',
);

const value = fc.constantFrom(
  'x',
  '',
  ' ',
  'close',
  'Close ',
  'close\t',
  'keep-alive',
  'Keep-Alive, Upgrade',
  'upgrade',
  ' , close',
  'close, foo',
  'closed',
  'foo close',
  'upgrade,close',
  'keep-alive ,close',
  '0',
  '3',
  '5',
  '05',
  '+5',
  '-1',
  '5 ',
  '5\t',
  '5, 5',
  '5 5',
  '0x5',
  '1e1',
  '18446744073709551615',
  '18446744073709551616',
  '00000000000000000000005',
  '99999999999999999999',
  'chunked',
  'Chunked',
  'chunked ',
  'chunked\t',
  ' chunked',
  'chunked,',
  'chunked, chunked',
  'gzip, chunked',
  'gzip,\tchunked',
  'gzip ,chunked',
  ', chunked',
  'chunked, gzip',
  'chunke',
  'chunkedd',
  'xchunked',
  'chunked;q=1',
  'identity',
  'gzip',
  '"chunked"',
  '100-continue',
  'websocket',
  'text/html,\ttext/plain',
  'caf\xe9 \xff\x80',
  'a\x7fb',
  'a\x00b',
  'a\x0bb',
  'a\rb',
  'a\nb',
  'x'.repeat(40),
);

const lineEnd = fc.oneof(
  { weight: 30, arbitrary: fc.constant('\r\n') },
  fc.constantFrom('\n', '\r', '\r\r\n', '\n\r', '', '\r\n ', '\r\n\t', ' \r\n', '\t\r\n'),
);
const colon = fc.oneof(
  { weight: 15, arbitrary: fc.constant(': ') },
  fc.constantFrom(':', ':  ', ':\t', ' : ', ' ', '::', ':\r\n '),
);

const header = fc.tuple(token, colon, value, lineEnd).map((parts) => parts.join(''));

const method = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom('GET', 'POST', 'PUT') },
  fc.constantFrom('HEAD', 'CONNECT', 'OPTIONS', 'PRI', 'SOURCE', 'DESCRIBE', 'FLUSH', 'QUERY'),
  fc.constantFrom('GET_PARAMETER', 'M-SEARCH', 'UNLINK', 'UNLOCK', 'PURGE', 'PROPPATCH'),
  fc.constantFrom('get', 'GETT', 'GE', 'GET_', 'XYZ', '', ' GET', 'G\x80T', '\r\nGET', '\nPOST'),
);
const target = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom('/', '/index.html?a=b&c=%20', '*') },
  fc.constantFrom('http://user:p@host:80/x?y#z', 'http://a@@b/', 'http://a@b@c/', 'http:/x', 'x'),
  fc.constantFrom(
    'host:443',
    '[::1]:80',
    'h?x',
    '/a b',
    '/\x80',
    '/\t',
    '/\x0c',
    '/#a#?b',
    '',
    '?x',
  ),
  fc.constantFrom('/{}|\\^`"<>', '/??#', 'http', 'http:', 'http:// ', 'h\ttp://x', '1http://x'),
);
const version = fc.oneof(
  { weight: 15, arbitrary: fc.constant(' HTTP/1.1') },
  { weight: 3, arbitrary: fc.constant(' HTTP/1.0') },
  fc.constantFrom('', ' ', ' HTTP/2.0', ' HTTP/0.9', ' HTTP/1.2', ' HTTP/9.9', ' HTTP/1.', ' HTTP'),
  fc.constantFrom('  HTTP/1.1', ' http/1.1', ' RTSP/1.0', ' ICE/1.0', ' HTTP/1.1 ', ' HTTP/11.1'),
  fc.constantFrom(' HTTP/2.0\r\n\r\nSM', ' HTTPS/1.1', ' HTTP/1.1\t', '\tHTTP/1.1'),
);

const chunkSize = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom('3', '03', '0003') },
  fc.constantFrom('', ' 3', '3 ', '3\t', '+3', '0x3', '-3', 'g', '2', '4', 'FFFFFFFFFFFFFFFF'),
  fc.constantFrom('10000000000000000', '00000000000000000003', 'ffffffffffffffff3'),
);
const extension = fc.oneof(
  { weight: 10, arbitrary: fc.constant('') },
  fc.constantFrom(';a', ';a=b', ';a="b c"', ';a="\\""', ';a=b;c', ';', '; a', ';a=', ';=', ';a b'),
  fc.constantFrom(
    ';a="b',
    ';a="b"x',
    ';a="\x00"',
    ';a="\\\x00"',
    ';a\n',
    ';a=b\n',
    ';\r',
    ';a=(',
    ';"',
  ),
);
const chunk = fc
  .tuple(chunkSize, extension, lineEnd, fc.constantFrom('abc', 'abc', 'ab', '\r\n\r'), lineEnd)
  .map((parts) => parts.join(''));
const trailer = fc.oneof({ weight: 3, arbitrary: fc.constant('') }, header);
const chunkedBody = fc
  .tuple(
    fc.array(chunk, { maxLength: 3 }),
    fc.constantFrom('0', '0', '0', '00', '0;x', ''),
    lineEnd,
    trailer,
    lineEnd,
  )
  .map(([chunks, ...rest]) => chunks.join('') + rest.join(''));

const body = fc.oneof(
  { weight: 4, arbitrary: fc.constant('') },
  fc.constantFrom('abc', 'abcde', 'abc\r\n'),
  chunkedBody,
);

/** A head with a body announced as it comes, rightly or not. */
const anyRequest = fc
  .tuple(method, target, version, lineEnd, fc.array(header, { maxLength: 4 }), lineEnd, body)
  .map(([verb, url, ...[protocol, end, headers, empty, data]]) =>
    [verb, verb === '' ? '' : ' ', url, protocol, end, ...headers, empty, data].join(''),
  );

/** Mostly right, so that what comes after the head is reached. */
const framing = fc.oneof(
  fc.tuple(fc.constant('Content-Length: 3\r\n'), fc.constantFrom('abc', 'abcd')),
  fc.tuple(fc.constant('Transfer-Encoding: chunked\r\n'), chunkedBody),
  fc.tuple(fc.constant(''), fc.constant('')),
);
const goodRequest = fc
  .tuple(fc.constantFrom('GET', 'POST'), fc.array(header, { maxLength: 2 }), framing)
  .map(([verb, headers, [length, data]]) =>
    [verb, ' /p HTTP/1.1\r\nHost: x\r\n', length, ...headers, '\r\n', data].join(''),
  );

/** Text of one connection: several requests in a row, then perhaps spoiled at one place. */
const connection = fc
  .tuple(
    fc.array(fc.oneof(goodRequest, anyRequest), { minLength: 1, maxLength: 3 }),
    fc.option(fc.tuple(fc.nat(), fc.nat(255), fc.nat(2)), { freq: 2 }),
  )
  .map(([requests, spoil]) => {
    const text = requests.join('');
    if (spoil === null || text === '') return text;
    const [where, byte, dropped] = spoil;
    const at = where % text.length;
    return text.slice(0, at) + String.fromCharCode(byte) + text.slice(at + dropped);
  });

/** That text as bytes, in one piece and cut anywhere. */
export const connections = fc
  .tuple(connection, fc.array(fc.nat(), { maxLength: 6 }), fc.boolean())
  .map(([text, cuts, everywhere]) => {
    const bytes = Buffer.from(text, 'latin1');
    const places = everywhere
      ? Array.from(bytes, (_, at) => at)
      : cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b);
    const pieces = [...places, bytes.length].map((end, index) =>
      bytes.subarray(index === 0 ? 0 : places[index - 1], end),
    );
    return { whole: bytes, pieces };
  });
