/**
 * Is createServer what node:http's is? The same program on both, the same bytes to both: what they
 * answer must be equal, and so must what the program saw. A failure means that a program could
 * notice.
 */
import assert from 'node:assert/strict';
import nodeHttp, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import * as http from '../../../src/http.ts';
import { exchange, RawClient } from '../../support/raw-http.ts';

type Program = (request: IncomingMessage, response: ServerResponse, seen: unknown[]) => void;

interface Trial {
  readonly program: Program;
  /** All of one connection. */
  readonly text: string;
  readonly options?: nodeHttp.ServerOptions;
  readonly setup?: (server: nodeHttp.Server, seen: unknown[]) => void;
}

async function outcome(
  createServer: typeof nodeHttp.createServer,
  { program, text, options = {}, setup }: Trial,
) {
  const seen: unknown[] = [];
  const server = createServer(options, (request, response) => program(request, response, seen));
  setup?.(server, seen);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const answer = await exchange((server.address() as AddressInfo).port, text);
  await new Promise((resolve) => server.close(resolve));
  return { answer: answer.replace(/\r\nDate: [^\r]*/g, '\r\nDate: now'), seen };
}

const get = (path = '/', headers = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`;
const post = (headers: string, body: string) =>
  `POST / HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`;
const last = get('/last', 'Connection: close\r\n');
const hello: Program = (_request, response) => void response.end('hello');

const trials: Record<string, Trial> = {
  'a string': { program: hello, text: last },
  'requests in a row': {
    program(request, response) {
      const late = request.url === '/1' ? 20 : 0;
      setTimeout(() => response.end(`<${request.url}>`), late);
    },
    text: get('/1') + get('/2') + get('/3') + last,
  },
  'HTTP/1.0': { program: hello, text: 'GET / HTTP/1.0\r\n\r\n' },
  'HTTP/1.0, kept': {
    program: hello,
    text: `GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n`,
  },
  'HTTP/0.9': { program: hello, text: 'GET /\r\n\r\n' },
  'a body sent back, large': {
    program(request, response) {
      response.setHeader('Content-Length', request.headers['content-length'] ?? 0);
      request.pipe(response);
    },
    text: post('Content-Length: 700000\r\n', 'x'.repeat(700_000)) + last,
  },
  'a file in many writes': {
    program(_request, response) {
      let left = 300;
      const more = () => {
        while (left-- > 0) if (!response.write(`${left}`.repeat(500))) return;
        response.end();
      };
      response.on('drain', more);
      more();
    },
    text: last,
  },
  'destroyed in the turn of a write': {
    program(_request, response) {
      response.write('hello');
      response.destroy();
    },
    text: last,
  },
  'its socket destroyed in the turn of writes': {
    program(_request, response) {
      response.setHeader('Content-Length', 100);
      for (let i = 0; i < 5; i++) response.write('hello');
      response.socket?.destroy();
    },
    text: last,
  },
  'destroyed in the turn of a large write': {
    program(_request, response) {
      response.write('hello');
      response.write('x'.repeat(20_000));
      response.destroy();
    },
    text: last,
  },
  'destroyed in the turn of a second write, and after others': {
    program(_request, response) {
      response.write('hello');
      setImmediate(() => {
        response.write('two');
        response.destroy();
      });
    },
    text: last,
  },
  'destroyed after the turn of a write, and after end()': {
    program(request, response) {
      response.end('hello');
      if (request.url === '/last') response.destroy();
    },
    text: get('/1') + last,
  },
  'destroyed with the head alone': {
    program(_request, response) {
      response.flushHeaders();
      response.destroy();
    },
    text: last,
  },
  'writes and what they say': {
    program(_request, response, seen) {
      seen.push(response.writableLength, response.write('abc'), response.writableLength);
      seen.push(response.write('x'.repeat(100_000)), response.writableNeedDrain);
      response.once('drain', () => response.end(() => seen.push('ended')));
    },
    text: last,
  },
  HEAD: { program: hello, text: last.replace('GET', 'HEAD') },
  'the request': {
    program(request, response, seen) {
      const { method, url, httpVersion, headers, rawHeaders, headersDistinct } = request;
      seen.push(method, url, httpVersion, headers, rawHeaders, headersDistinct);
      response.end();
    },
    text:
      get('/a?b', 'X-A: 1\r\nx-a: 2\r\nCookie: a\r\nCookie: b\r\nAge: 1\r\nAge: 2\r\nE:\r\n') +
      last,
  },
  'bodies and trailers': {
    program(request, response, seen) {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        seen.push(body, request.complete, request.trailers, request.rawTrailers);
        response.end(body);
      });
    },
    text:
      post('Content-Length: 3\r\n', 'abc') +
      post('Transfer-Encoding: chunked\r\n', '2\r\nde\r\n1;x=y\r\nf\r\n0\r\nT: u\r\n\r\n') +
      last,
  },
  'a body nobody reads': { program: hello, text: post('Content-Length: 3\r\n', 'abc') + last },
  'writes and chunks': {
    program(_request, response) {
      response.setHeader('X-A', ['1', '2']);
      response.write('ab');
      response.write(Buffer.from('cd'));
      response.addTrailers({ T: 'u' });
      response.end('\u20ac');
    },
    text: get() + last,
  },
  writeHead: {
    program(_request, response) {
      response.setHeader('a', 'b');
      response.writeHead(201, 'Made', { 'Content-Type': 'x/y', A: 'c' });
      response.end(Buffer.from('hello'));
    },
    text: get() + last,
  },
  'no content': {
    program: (_request, response) => void response.writeHead(204).end(),
    text: get() + last,
  },
  'early hints and continue': {
    program(request, response) {
      response.writeEarlyHints({ link: '</a>; rel=preload' });
      request.on('end', () => response.end('done')).resume();
    },
    text: post('Expect: 100-continue\r\nContent-Length: 3\r\n', 'abc') + last,
  },
  'an unknown expectation': { program: hello, text: get('/', 'Expect: tea\r\n') + last },
  checkContinue: {
    program: hello,
    text: post('Expect: 100-continue\r\nContent-Length: 3\r\n', ''),
    setup: (server) =>
      server.on('checkContinue', (_request, response) => response.writeHead(403).end('no')),
  },
  'no host': { program: hello, text: 'GET / HTTP/1.1\r\n\r\n' },
  'not more than two requests': {
    program: hello,
    text: get() + get() + get(),
    setup: (server, seen) => {
      server.maxRequestsPerSocket = 2;
      server.on('dropRequest', () => seen.push('dropped'));
    },
  },
  'few headers': {
    program(request, response, seen) {
      seen.push(request.rawHeaders);
      response.end();
    },
    text: last,
    setup: (server) => {
      server.maxHeadersCount = 1;
    },
  },
  'a thousand headers and one': {
    program(request, response, seen) {
      seen.push(request.rawHeaders.length, Object.keys(request.headers).length);
      response.end();
    },
    text: get('/', Array.from({ length: 1000 }, (_, i) => `x${i}: y\r\n`).join('')) + last,
  },
  'few trailers': {
    program(request, response, seen) {
      request.resume().on('end', () => {
        seen.push(request.rawTrailers);
        response.end();
      });
    },
    text: `${post('Transfer-Encoding: chunked\r\n', '0\r\na: b\r\nc: d\r\ne: f\r\n\r\n')}${last}`,
    setup: (server, seen) => {
      server.maxHeadersCount = 2;
      server.on('clientError', (error, socket) => {
        const { code, bytesParsed } = error as Error & Record<string, unknown>;
        seen.push(code, bytesParsed);
        socket.end();
      });
    },
  },
  'values that are relaxed': {
    program: hello,
    text: get('/', 'A: b\x01c\r\n') + last,
    options: { httpValidation: 'relaxed' } as nodeHttp.ServerOptions,
  },
  'empty requests that are no streams': {
    program(request, response, seen) {
      seen.push(request.destroyed, request.readableEnded);
      response.end();
    },
    text: last,
    options: { optimizeEmptyRequests: true } as nodeHttp.ServerOptions,
  },
  'an upgrade that the program refuses': {
    program: hello,
    text: get('/', 'Connection: upgrade\r\nUpgrade: x\r\n'),
    options: { shouldUpgradeCallback: () => false } as nodeHttp.ServerOptions,
    setup: (server) => server.on('upgrade', (_request, socket) => void socket.end('taken')),
  },
  'answers that wait when the connection is closed': {
    program(request, response, seen) {
      response.on('close', () => seen.push(`${request.url} closed`));
      if (request.url === '/2') request.socket.destroy();
    },
    text: get('/1') + get('/2'),
  },
  'too large': {
    program: hello,
    text: get(`/${'x'.repeat(200)}`),
    options: { maxHeaderSize: 100 },
  },
  clientError: {
    program: hello,
    text: 'GET / HTTP/1.1\r\nA(: b\r\n\r\n',
    setup: (server, seen) =>
      server.on('clientError', (error, socket) => {
        const { code, bytesParsed, rawPacket, message } = error as Error & Record<string, unknown>;
        seen.push(code, bytesParsed, String(rawPacket), message);
        socket.end('HTTP/1.1 400 Oh no\r\n\r\n');
      }),
  },
  smuggling: {
    program: hello,
    text: post('Content-Length: 3\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  },
  'a bad chunk': {
    program: (request) => void request.resume(),
    text: post('Transfer-Encoding: chunked\r\n', '2\r\nabc'),
  },
  'an upgrade': {
    program: hello,
    text: `${get('/', 'Connection: upgrade\r\nUpgrade: echo\r\n')}first`,
    setup: (server, seen) =>
      server.on('upgrade', (request, socket, head) => {
        seen.push(request.url, String(head), request.headers.upgrade);
        socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n');
        socket.end(`<${head}>`);
      }),
  },
  'an upgrade nobody takes': {
    program: hello,
    text: get('/', 'Connection: upgrade\r\nUpgrade: x\r\n'),
  },
  CONNECT: {
    program: hello,
    text: 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n',
    setup: (server) => server.on('connect', (_request, socket) => void socket.end('tunnel')),
  },
  'CONNECT nobody takes': { program: hello, text: 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n' },
};
async function listening(server: nodeHttp.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

export function serverTests(): void {
  for (const [name, trial] of Object.entries(trials)) {
    test(`as node:http: ${name}`, async () => {
      const setup: Trial['setup'] = (server, seen) => {
        server.keepAliveTimeout = 50;
        trial.setup?.(server, seen);
      };
      const [ours, nodes] = await Promise.all([
        outcome(http.createServer as typeof nodeHttp.createServer, { ...trial, setup }),
        outcome(nodeHttp.createServer, { ...trial, setup }),
      ]);
      assert.deepEqual(ours, nodes);
    });
  }

  test('a slow head and a slow body are answered with 408', async () => {
    const limits = { headersTimeout: 100, requestTimeout: 200, connectionsCheckingInterval: 20 };
    const server = http.createServer(limits, (request) => void request.resume());
    const port = await listening(server);
    const answers = await Promise.all([
      exchange(port, 'GET / HT'),
      exchange(port, post('Content-Length: 3\r\n', 'a')),
      exchange(port, ''),
    ]);
    for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 408 /);
    server.close();
  });

  test('closing: idle connections at once, busy ones after their answer, all of them if told', async () => {
    let response: ServerResponse | undefined;
    const server = http.createServer((request, it) => {
      if (request.url === '/idle') it.end('idle');
      else response = it;
    });
    const port = await listening(server);
    const [idle, busy, stuck] = await Promise.all([1, 2, 3].map(() => RawClient.connect(port)));
    idle.write(get('/idle'));
    await idle.until('idle');
    stuck.write('GET / HT');
    busy.write(get('/busy'));
    while (response === undefined) await new Promise((resolve) => setImmediate(resolve));
    const closed = new Promise((resolve) => server.close(resolve));
    await idle.end();
    assert.equal(busy.closed, false);
    response.end('busy');
    await busy.until('busy');
    server.closeAllConnections();
    await Promise.all([busy.end(), stuck.end(), closed]);
  });

  test('a client that goes away aborts its request', async () => {
    const aborted = new Promise<Error & { code?: string }>((resolve) => {
      const server = http.createServer((request) => {
        request.on('error', (error) => {
          server.close();
          resolve(error);
        });
      });
      void listening(server).then(async (port) => {
        const client = await RawClient.connect(port);
        client.write(post('Content-Length: 3\r\n', 'a'));
        setTimeout(() => client.socket.resetAndDestroy(), 50);
      });
    });
    assert.equal((await aborted).code, 'ECONNRESET');
  });

  test('a listener that throws: the program hears of it, and the connection ends', async () => {
    const thrown: unknown[] = [];
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (error) => thrown.push(error.message));
    try {
      const server = http.createServer((request, response) => {
        setImmediate(() => response.end('rescued'));
        if (request.url === '/throw') throw new Error('thrown');
      });
      const port = await listening(server);
      const client = await RawClient.connect(port);
      client.write(get('/throw'));
      await client.until('rescued');
      client.write(get('/next'));
      await client.end();
      assert.match(await exchange(port, last), /rescued/);
      assert.deepEqual(thrown, ['thrown']);
      server.close();
    } finally {
      process.removeAllListeners('uncaughtException');
      for (const listener of listeners) process.on('uncaughtException', listener);
    }
  });

  test("Server is Node's, with new, without, and inherited from", () => {
    const { Server } = http as unknown as { Server: typeof nodeHttp.Server };
    const without = (Server as unknown as () => nodeHttp.Server)();
    assert.ok(without instanceof Server && without instanceof nodeHttp.Server);
    class Own extends Server {}
    assert.ok(new Own() instanceof Own);
    assert.throws(() => new Server({ maxHeaderSize: 'x' as never }), {
      code: 'ERR_INVALID_ARG_TYPE',
    });
  });
}
