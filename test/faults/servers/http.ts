/**
 * HTTP servers under attack, `serve` and `createServer` alike: slow clients, clients that never
 * read, requests that two parties could read differently, ends at any point. Where Node has the
 * same server it is the oracle.
 */
import assert from 'node:assert/strict';
import nodeHttp from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import * as http from '../../../src/http.ts';
import { exchange, RawClient } from '../../support/raw-http.ts';
import { sleep, until } from '../../support/sockets.ts';

interface Limits {
  /** Seconds. */
  readonly head?: number;
  readonly request?: number;
  readonly headerSize?: number;
}

interface Served {
  readonly port: number;
  /** What the program saw, in order. */
  readonly urls: string[];
  stop(): Promise<unknown>;
}

/** Answers with as many bytes as the url says (`/1000`), when the body has come. */
type Start = (limits?: Limits) => Promise<Served>;

const bodyFor = (url: string): string => 'x'.repeat(Number(/\d+$/.exec(url)?.[0] ?? 2));

const startServe: Start = async ({ head, request, headerSize } = {}) => {
  const urls: string[] = [];
  const server = http.serve({
    port: 0,
    hostname: '127.0.0.1',
    headersTimeout: head,
    requestTimeout: request,
    maxHeaderSize: headerSize,
    fetch: async (it) => {
      const { pathname } = new URL(it.url);
      urls.push(pathname);
      await it.arrayBuffer();
      return new Response(bodyFor(pathname));
    },
  });
  await server.ready;
  return { port: server.port, urls, stop: () => server.stop(true) };
};

const startWith =
  (createServer: typeof nodeHttp.createServer): Start =>
  async ({ head, request, headerSize } = {}) => {
    const urls: string[] = [];
    const ms = (seconds: number | undefined) => seconds && seconds * 1000;
    const server = createServer(
      {
        headersTimeout: ms(head),
        requestTimeout: ms(request),
        maxHeaderSize: headerSize,
        connectionsCheckingInterval: 50,
      },
      (it, response) => {
        urls.push(it.url!);
        it.on('error', () => {});
        it.resume().on('end', () => response.end(bodyFor(it.url!)));
      },
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const stop = () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    return { port: (server.address() as AddressInfo).port, urls, stop };
  };

const startNode = startWith(nodeHttp.createServer);
const KINDS: Record<string, Start> = {
  serve: startServe,
  createServer: startWith(http.createServer as typeof nodeHttp.createServer),
};

const get = (path = '/', headers = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`;
const post = (headers: string, body = '') => `POST / HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`;
const chunked = (body: string) => post('Transfer-Encoding: chunked\r\n', body);
const statusesOf = (answers: string) =>
  [...answers.matchAll(/HTTP\/1\.1 (\d+)/g)].map((it) => Number(it[1]));

/** Each could hide a second request from one of two parties. */
const SMUGGLING: Record<string, string> = {
  'two lengths that differ': post('Content-Length: 3\r\nContent-Length: 30\r\n', 'abc'),
  'two lengths that agree': post('Content-Length: 3\r\nContent-Length: 3\r\n', 'abc'),
  'lengths in a list': post('Content-Length: 3, 30\r\n', 'abc'),
  'a length and chunks': post('Content-Length: 3\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  'chunks and a length': post('Transfer-Encoding: chunked\r\nContent-Length: 3\r\n', '0\r\n\r\n'),
  'an encoding nobody knows': post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'),
  'chunked, but not last': post('Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'),
  'a blank before the colon': post('Content-Length : 3\r\n', 'abc'),
  'a tab before the colon': post('Transfer-Encoding\t: chunked\r\n', '0\r\n\r\n'),
  'a folded header': post('A: b\r\n Content-Length: 3\r\n', 'abc'),
  'a bare LF after a header': 'POST / HTTP/1.1\r\nHost: x\nContent-Length: 3\r\n\r\nabc',
  'a bare CR in a header': post('A: b\rContent-Length: 3\r\n', 'abc'),
  'a bare LF before the body': 'POST / HTTP/1.1\r\nHost: x\r\n\n',
  'a NUL in a header': post('A: b\0\r\n'),
  'a signed length': post('Content-Length: +3\r\n', 'abc'),
  'a hexadecimal length': post('Content-Length: 0x3\r\n', 'abc'),
  'a length without end': post(`Content-Length: ${'9'.repeat(30)}\r\n`),
  'a bad chunk size': chunked('3g\r\nabc\r\n0\r\n\r\n'),
  'a signed chunk size': chunked('+3\r\nabc\r\n0\r\n\r\n'),
  'a chunk size with 0x': chunked('0x3\r\nabc\r\n0\r\n\r\n'),
  'a chunk size too long': chunked('00000000000000003\r\nabcd\r\n0\r\n\r\n'),
  'a chunk size that overflows': chunked('10000000000000003\r\nabc\r\n0\r\n\r\n'),
  'a chunk with a bare LF': chunked('3\nabc\r\n0\r\n\r\n'),
  'a chunk ended by LF': chunked('3\r\nabc\n0\r\n\r\n'),
  'a chunk longer than it says': chunked('3\r\nabcdef\r\n0\r\n\r\n'),
  'a bare LF in an extension': chunked('3;a\nb\r\nabc\r\n0\r\n\r\n'),
  'a bare CR after the last chunk': chunked('0\r\r\n\r\n'),
};

export function httpFaults(): void {
  const running: Served[] = [];
  after(() => Promise.all(running.map((it) => it.stop())));
  const begin = async (start: Start, limits?: Limits): Promise<Served> => {
    const served = await start(limits);
    running.push(served);
    return served;
  };

  for (const [kind, start] of Object.entries(KINDS)) {
    test(`smuggling: no request hides in another [${kind}]`, { timeout: 60_000 }, async () => {
      const [ours, nodes] = await Promise.all([begin(start), begin(startNode)]);
      for (const [what, attack] of Object.entries(SMUGGLING)) {
        const text = attack + get('/smuggled', 'Connection: close\r\n');
        const [answer, nodesAnswer] = await Promise.all([
          exchange(ours.port, text),
          exchange(nodes.port, text),
        ]);
        assert.ok(!ours.urls.includes('/smuggled'), what);
        assert.deepEqual(statusesOf(answer), [400], what);
        assert.deepEqual(statusesOf(nodesAnswer), [400], `${what}, in Node`);
      }
      assert.deepEqual(
        statusesOf(await exchange(ours.port, get('/', 'Connection: close\r\n'))),
        [200],
      );
    });

    for (const where of ['head', 'body'] as const)
      test(`slow loris: a byte of the ${where} now and then [${kind}]`, async () => {
        const limits = where === 'head' ? { head: 1, request: 30 } : { head: 1, request: 1 };
        const { port, urls } = await begin(start, limits);
        const beginning = where === 'head' ? 'GET / HTTP/1.1\r\nA: ' : chunked('ffff\r\n');
        const slow = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(port)));
        for (const one of slow) one.write(beginning);
        const dripping = setInterval(() => {
          for (const one of slow) if (!one.closed) one.write('x');
        }, 50);
        // Others are served meanwhile.
        const other = await exchange(port, get('/3', 'Connection: close\r\n'));
        assert.deepEqual(statusesOf(other), [200]);
        const answers = await Promise.all(slow.map((one) => one.end()));
        clearInterval(dripping);
        for (const answer of answers) assert.deepEqual(statusesOf(answer), [408]);
        assert.equal(urls.filter((url) => url === '/').length, where === 'head' ? 0 : 20);
      });

    test(`headers over the limit, in small pieces or without end: 431 [${kind}]`, async () => {
      const { port, urls } = await begin(start, { headerSize: 2000 });
      const pieces = await RawClient.connect(port);
      pieces.write('GET / HTTP/1.1\r\n');
      for (let i = 0; i < 100 && !pieces.closed; i++) {
        pieces.write(`Header-${i}: ${'y'.repeat(50)}\r\n`);
        await sleep(1);
      }
      assert.deepEqual(statusesOf(await pieces.end()), [431]);
      const endless = await RawClient.connect(port);
      endless.write(`GET / HTTP/1.1\r\nA: ${'y'.repeat(4 << 20)}`);
      await endless.end();
      assert.ok(endless.reset || endless.received.startsWith('HTTP/1.1 431'));
      assert.deepEqual(urls, []);
    });

    test(`a client that asks and asks and never reads [${kind}]`, { timeout: 60_000 }, async () => {
      const COUNT = 20_000;
      const { port, urls } = await begin(start);
      const one = await RawClient.connect(port);
      one.socket.pause();
      one.write(get('/4000').repeat(COUNT - 1) + get('/4000', 'Connection: close\r\n'));
      let before = -1;
      while (before !== urls.length) {
        before = urls.length;
        await sleep(200);
      }
      // What Linux keeps for both ends, and a little of ours: not all 80 MB.
      assert.ok(urls.length < COUNT / 2, `${urls.length} answers were made for nobody`);
      one.socket.removeAllListeners('data');
      let bytes = 0;
      one.socket.on('data', (text) => {
        bytes += text.length;
      });
      one.socket.resume();
      await one.end();
      assert.equal(urls.length, COUNT);
      assert.ok(bytes > COUNT * 4000);
    });

    test(`a reset in mid-response [${kind}]`, async () => {
      const { port, urls } = await begin(start);
      for (let i = 0; i < 10; i++) {
        const one = await RawClient.connect(port);
        one.write(get(`/${16 << 20}`));
        await one.until('xxxx');
        one.socket.resetAndDestroy();
        await one.end();
      }
      await until(() => urls.length === 10);
      assert.deepEqual(statusesOf(await exchange(port, get('/3', 'Connection: close\r\n'))), [200]);
    });

    test(`the client ends at every point of a request [${kind}]`, async () => {
      const [ours, nodes] = await Promise.all([begin(start), begin(startNode)]);
      const text = post('Content-Length: 5\r\n', 'hello') + get('/4');
      const heads = text.indexOf('hello');
      for (let length = 1; length <= text.length; length += length > heads ? 1 : 7) {
        const halved = async (port: number): Promise<number[]> => {
          const one = await RawClient.connect(port, { allowHalfOpen: true });
          one.socket.end(text.slice(0, length));
          return statusesOf(await one.end());
        };
        const [answer, nodesAnswer] = await Promise.all([halved(ours.port), halved(nodes.port)]);
        // `serve` says nothing to who ends in the midst of a request.
        const expected = kind === 'serve' ? nodesAnswer.filter((it) => it !== 400) : nodesAnswer;
        assert.deepEqual(answer, expected, JSON.stringify(text.slice(0, length)));
      }
    });
  }

  test('createServer: the port is taken', async () => {
    const { port } = await begin(KINDS.createServer);
    const error = await new Promise((resolve) => {
      http.createServer().on('error', resolve).listen(port, '127.0.0.1');
    });
    const { code, syscall, address, message } = error as NodeJS.ErrnoException & {
      address: string;
    };
    assert.deepEqual(
      { code, syscall, address, message },
      {
        code: 'EADDRINUSE',
        syscall: 'listen',
        address: '127.0.0.1',
        message: `listen EADDRINUSE: address already in use 127.0.0.1:${port}`,
      },
    );
  });
}
