/**
 * Does `serve` do what a web-standard server must? Exact bytes in and out over loopback, and the
 * runtime's own fetch as a client that knows the protocol. The same on every kind of transport.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import {
  Response as LightResponse,
  type ServeOptions,
  serve,
  type WebServer,
} from '../../../src/http.ts';
import { exchange, RawClient } from '../../support/raw-http.ts';

const servers: WebServer[] = [];
async function start(
  fetch: ServeOptions['fetch'],
  options: Partial<ServeOptions> = {},
): Promise<WebServer> {
  const server = serve({ port: 0, hostname: '127.0.0.1', fetch, ...options });
  servers.push(server);
  await server.ready;
  return server;
}

const get = (path = '/', headers = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`;
const CLOSE = 'Connection: close\r\n';
const statusOf = (answer: string) => Number(answer.slice(9, 12));
const bodyOf = (answer: string) => answer.slice(answer.indexOf('\r\n\r\n') + 4);

/** Promise and resolver. */
function gate<T = void>() {
  let open!: (value: T) => void;
  const opened = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

export function serveTests(): void {
  after(() => Promise.all(servers.map((server) => server.stop(true))));

  test('a string: its type, length and date', async () => {
    const { port } = await start(() => new Response('caf\u00e9'));
    const answer = await exchange(port, get('/', CLOSE));
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(answer, /\r\ncontent-type: text\/plain;charset=UTF-8\r\n/);
    assert.match(answer, /\r\ncontent-length: 5\r\n/);
    assert.match(answer, /\r\ndate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n/);
    assert.match(answer, /\r\nconnection: close\r\n/);
    assert.equal(Buffer.from(bodyOf(answer), 'latin1').toString(), 'caf\u00e9');
  });

  test('every kind of response arrives as it was made', async () => {
    const stream = () =>
      new ReadableStream({
        async start(controller) {
          controller.enqueue(Buffer.from('a'));
          await new Promise((resolve) => setImmediate(resolve));
          controller.enqueue(Buffer.from('bc'));
          controller.close();
        },
      });
    const made: Record<string, () => Response | Promise<Response>> = {
      text: () => new Response('x', { status: 404, headers: { 'x-a': 'b' } }),
      bytes: () => new Response(new Uint8Array([1, 2, 255])),
      empty: () => new Response(null, { status: 204 }),
      nothing: () => new Response(),
      json: () => Response.json({ a: [1] }, { status: 201 }),
      redirect: () => Response.redirect('http://x/y', 302),
      stream: () => new Response(stream(), { headers: { 'content-type': 'x/y' } }),
      form: () => new Response(new URLSearchParams({ a: 'b c' })),
      cookies: () => {
        const headers = new Headers({ 'set-cookie': 'a=1' });
        headers.append('set-cookie', 'b=2');
        return new Response('x', { headers });
      },
      changed: () => {
        const response = new Response('x');
        response.headers.set('x-later', 'yes');
        return response;
      },
      cloned: () => new Response('twice').clone(),
      late: async () => {
        await new Promise((resolve) => setImmediate(resolve));
        return new Response('late');
      },
      large: () => new Response('\u20ac'.repeat(200_000)),
      reason: () => new Response('x', { status: 299, statusText: 'Fine' }),
    };
    const { url } = await start((request) => made[new URL(request.url).pathname.slice(1)]());
    for (const [name, make] of Object.entries(made)) {
      const expected = await make();
      const got = await fetch(url + name, { redirect: 'manual' });
      assert.equal(got.status, expected.status, name);
      if (name === 'reason') assert.equal(got.statusText, expected.statusText, name);
      for (const [key, value] of expected.headers) {
        if (key !== 'set-cookie') assert.equal(got.headers.get(key), value, `${name}: ${key}`);
      }
      assert.deepEqual(got.headers.getSetCookie(), expected.headers.getSetCookie(), name);
      const bytes = Buffer.from(await got.arrayBuffer());
      assert.ok(bytes.equals(Buffer.from(await expected.arrayBuffer())), name);
    }
  });

  test('the request is as it was sent', async () => {
    let seen: Request | undefined;
    const { port } = await start((request) => {
      seen = request;
      return new Response();
    });
    await exchange(
      port,
      get('/a%20b?c=d', `X-A: 1\r\nX-a:  2 \r\nCookie: a\r\nCookie: b\r\n${CLOSE}`),
    );
    assert.ok(seen instanceof Request);
    assert.equal(seen.method, 'GET');
    assert.equal(seen.url, 'http://x/a%20b?c=d');
    assert.equal(seen.headers.get('x-A'), '1, 2');
    assert.equal(seen.headers.get('cookie'), 'a; b');
    assert.equal(seen.headers.has('x-b'), false);
    assert.equal(seen.body, null);
    assert.deepEqual([...seen.headers.keys()], ['connection', 'cookie', 'host', 'x-a']);
    assert.equal(seen.clone().url, seen.url);
    assert.equal(new Request(seen).url, seen.url);
    assert.ok(new Request('http://x') instanceof Request);
  });

  test('a url is what the URL standard makes of host and target', async () => {
    const urls: string[] = [];
    const server = await start((request) => {
      urls.push(request.url);
      return new Response();
    });
    const cases: [target: string, host: string, url: string][] = [
      ['/a/../b', 'x', 'http://x/b'],
      ['/a/%2e%2E/b', 'x', 'http://x/b'],
      ['/\'"<>', 'x', "http://x/'%22%3C%3E"],
      ['/x', 'EXAMPLE.com:80', 'http://example.com/x'],
      ['/x', 'a b', `${server.origin}/x`],
      ['/x', 'evil/?', 'http://evil/?/x'],
      ['//evil', 'x', 'http://x//evil'],
      ['http://other:81/p', 'x', 'http://other:81/p'],
      ['*', 'x', 'http://x/*'],
    ];
    for (const [target, host] of cases)
      await exchange(server.port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${CLOSE}\r\n`);
    assert.deepEqual(
      urls,
      cases.map(([, , url]) => url),
    );
  });

  test('bodies are read in every way', async () => {
    const { url } = await start(async (request) => {
      const way = new URL(request.url).pathname.slice(1);
      assert.equal(request.bodyUsed, false);
      if (way === 'stream') {
        let bytes = 0;
        for await (const chunk of request.body!) bytes += chunk.length;
        return new Response(String(bytes));
      }
      if (way === 'form') return new Response(String((await request.formData()).get('a')));
      if (way === 'json') return Response.json(await request.json());
      if (way === 'bytes') return new Response(await request.arrayBuffer());
      if (way === 'twice') {
        await request.text();
        await assert.rejects(request.text(), TypeError);
      }
      return new Response(request.bodyUsed ? 'used' : await request.text());
    });
    const post = async (way: string, body: ConstructorParameters<typeof Response>[0]) =>
      (await fetch(url + way, { method: 'POST', body })).text();
    assert.equal(await post('text', 'caf\u00e9'), 'caf\u00e9');
    assert.equal(await post('text', `\ufeff${'x'.repeat(300_000)}`), 'x'.repeat(300_000));
    assert.equal(await post('json', '{"a":1}'), '{"a":1}');
    assert.equal(await post('bytes', '\0\u0001'), '\0\u0001');
    assert.equal(await post('twice', 'x'), 'used');
    assert.equal(await post('form', new URLSearchParams({ a: 'b' })), 'b');
    assert.equal(await post('stream', 'x'.repeat(1_000_000)), '1000000');
  });

  test('requests in a row are answered in their order, whole', async () => {
    const { port } = await start(async (request) => {
      const path = new URL(request.url).pathname;
      if (path === '/1') await new Promise((resolve) => setTimeout(resolve, 20));
      return new Response(`<${path} ${request.method === 'POST' ? await request.text() : ''}>`);
    });
    const posted = 'POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc';
    const chunked =
      'POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n';
    const answer = await exchange(port, get('/1') + posted + chunked + get('/4', CLOSE));
    assert.deepEqual(answer.match(/<.*?>/g), ['</1 >', '</2 abc>', '</3 de>', '</4 >']);
  });

  test('a body nobody reads does not stand in the way', async () => {
    const { port } = await start((request) => new Response(`<${request.method}>`));
    const body = 'x'.repeat(500_000);
    const posted = `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const answer = await exchange(port, posted + get('/', CLOSE));
    assert.deepEqual(answer.match(/<.*?>/g), ['<POST>', '<GET>']);
  });

  test('HEAD has the head only', async () => {
    const { port } = await start(() => new Response('hello'));
    const answer = await exchange(port, `HEAD / HTTP/1.1\r\nHost: x\r\n${CLOSE}\r\n`);
    assert.match(answer, /content-length: 5\r\n/);
    assert.equal(bodyOf(answer), '');
  });

  test('HTTP/1.0: closed after the answer, or kept if asked; no chunks', async () => {
    const { port } = await start(
      () =>
        new Response(
          new ReadableStream({
            start(controller) {
              controller.enqueue(Buffer.from('ab'));
              controller.close();
            },
          }),
        ),
    );
    const old = await exchange(port, 'GET / HTTP/1.0\r\n\r\n');
    assert.match(old, /connection: close/);
    assert.equal(bodyOf(old), 'ab');
    const hello = await start(() => new Response('hello'));
    const client = await RawClient.connect(hello.port);
    client.write('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n');
    await client.until('hello');
    assert.match(client.received, /connection: keep-alive/);
    assert.equal(client.closed, false);
    client.socket.destroy();
  });

  test('Expect: 100-continue is answered when the body is wanted', async () => {
    const { port } = await start(async (request) =>
      new URL(request.url).pathname === '/no'
        ? new Response('no', { status: 403 })
        : new Response(`<${await request.text()}>`),
    );
    const head = (path: string) =>
      `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n`;
    const client = await RawClient.connect(port);
    client.write(head('/yes'));
    await client.until('100 Continue\r\n\r\n');
    client.write('abc');
    await client.until('<abc>');
    client.socket.destroy();
    const refused = await exchange(port, head('/no'));
    assert.equal(statusOf(refused), 403);
    assert.match(refused, /connection: close/);
    const other = head('/').replace('100-continue', 'tea');
    assert.equal(statusOf(await exchange(port, other)), 417);
  });

  test('what is wrong is refused, and the handler never sees it', async () => {
    let seen = 0;
    const { port } = await start(
      () => {
        seen++;
        return new Response();
      },
      { maxHeaderSize: 1000, maxRequestBodySize: 10 },
    );
    const refused: [request: string, status: number][] = [
      ['GET / HTTP/1.1\r\n\r\n', 400],
      ['BREW / HTTP/1.1\r\n', 400],
      [get('/', 'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n'), 400],
      [get('/', 'Transfer-Encoding: gzip\r\n'), 400],
      [get('/', 'A: b\n'), 400],
      [get(`/${'x'.repeat(1000)}`), 431],
      [get('/', `A: ${'x'.repeat(1000)}\r\n`), 431],
      [get('/', 'Content-Length: 11\r\n'), 413],
      ['CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n', 501],
    ];
    for (const [request, status] of refused) {
      const answer = await exchange(port, request);
      assert.equal(statusOf(answer), status, request.slice(0, 60));
      assert.match(answer, /connection: close/);
    }
    assert.equal(seen, 0);
  });

  test('a body that turns out to be wrong or too large fails in the handler', async () => {
    const failed = gate<Error>();
    const { port } = await start(
      async (request) => {
        await request.text().catch(failed.open);
        return new Response();
      },
      { maxRequestBodySize: 10 },
    );
    const head = get('/', 'Transfer-Encoding: chunked\r\n').replace('GET', 'POST');
    assert.equal(statusOf(await exchange(port, `${head}3\r\nabcd\r\n`)), 400);
    assert.match((await failed.opened).message, /refused with 400/);
    assert.equal(statusOf(await exchange(port, `${head}b\r\nabcdefghijk\r\n`)), 413);
  });

  test('a handler that throws, rejects or returns nonsense: 500, or what `error` says', async () => {
    const bad: Record<string, () => unknown> = {
      throws: () => {
        throw new Error('thrown');
      },
      rejects: () => Promise.reject(new Error('rejected')),
      nonsense: () => 'text',
      stream: () =>
        new Response(
          new ReadableStream({
            pull() {
              throw new Error('in mid-stream');
            },
          }),
        ),
    };
    const told: string[] = [];
    const { port } = await start(
      (request) => bad[new URL(request.url).pathname.slice(1)]() as Response,
      {
        error: (error) => {
          told.push((error as Error).message);
          return new Response('sorry', { status: 503 });
        },
      },
    );
    for (const name of ['throws', 'rejects', 'nonsense'])
      assert.equal(statusOf(await exchange(port, get(`/${name}`, CLOSE))), 503);
    await exchange(port, get('/stream', CLOSE));
    assert.equal(told.length, 4);
    assert.match(told[2], /must return a Response/);
  });

  test('a client that goes away: the signal is aborted, the stream cancelled', async () => {
    const aborted = gate();
    const cancelled = gate();
    const waits = await start(async (request) => {
      await new Promise((resolve) => request.signal.addEventListener('abort', resolve));
      aborted.open();
      return new Response();
    });
    const streams = await start(
      () =>
        new Response(
          new ReadableStream({
            pull: (it) => it.enqueue(Buffer.alloc(100_000)),
            cancel: () => cancelled.open(),
          }),
        ),
    );
    for (const { port } of [waits, streams]) {
      const client = await RawClient.connect(port);
      client.write(get());
      await new Promise((resolve) => setTimeout(resolve, 50));
      client.socket.resetAndDestroy();
    }
    await Promise.all([aborted.opened, cancelled.opened]);
  });

  test('a client that never reads: memory is bounded, and it can still read later', async () => {
    let pulled = 0;
    const total = 400;
    const { port } = await start(
      () =>
        new Response(
          new ReadableStream({
            pull(controller) {
              controller.enqueue(Buffer.alloc(65_536, 'x'));
              if (++pulled === total) controller.close();
            },
          }),
        ),
    );
    const client = await RawClient.connect(port);
    client.socket.pause();
    client.write(get('/', CLOSE));
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.ok(pulled < total, `${pulled} chunks were made for nobody`);
    client.socket.resume();
    const answer = await client.end();
    assert.equal(answer.match(/x/g)!.length, total * 65_536);
  });

  test('the peer ends after its request: the answer still comes', async () => {
    const { port } = await start(async () => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      return new Response('hello');
    });
    const client = await RawClient.connect(port, { allowHalfOpen: true });
    client.socket.end(get());
    assert.equal(bodyOf(await client.end()), 'hello');
  });

  test('a connection is ended when it idles, and a slow head answered with 408', async () => {
    const limits = { idleTimeout: 1, headersTimeout: 1 };
    const { port } = await start(() => new Response('hello'), limits);
    const idle = await RawClient.connect(port);
    idle.write(get());
    await idle.until('hello');
    const slow = await RawClient.connect(port);
    slow.write('GET / HT');
    assert.equal(statusOf(await slow.end()), 408);
    assert.equal(statusOf(await idle.end()), 200);
  });

  test('an answer takes longer than a connection may idle', async () => {
    const { port } = await start(
      async ({ url }) => {
        if (url.endsWith('/slow')) await new Promise((resolve) => setTimeout(resolve, 3000));
        return new Response(url.slice(-4));
      },
      { idleTimeout: 1, requestTimeout: 1 },
    );
    const client = await RawClient.connect(port);
    client.write(get('/fast'));
    await client.until('fast');
    client.write(`${get('/slow', 'Content-Length: 3\r\n')}abc`);
    await client.until('slow');
    client.socket.destroy();
  });

  test('stop: answers what was begun, then ends', async () => {
    const begun = gate();
    const go = gate();
    const server = await start(async () => {
      begun.open();
      await go.opened;
      return new Response('hello');
    });
    const idle = await RawClient.connect(server.port);
    const busy = await RawClient.connect(server.port);
    busy.write(get());
    await begun.opened;
    const stopped = server.stop();
    await idle.end();
    await assert.rejects(RawClient.connect(server.port));
    go.open();
    assert.match(await busy.end(), /connection: close[\s\S]*hello/);
    await stopped;
    assert.equal(server.connections, 0);
  });

  test('the port is taken: EADDRINUSE, at once', async () => {
    const { port } = await start(() => new Response());
    await assert.rejects(
      start(() => new Response(), { port }),
      { code: 'EADDRINUSE', port },
    );
  });

  test('no byte of one connection appears on another', async () => {
    const { port } = await start(async (request) => {
      const text = await request.text();
      if (text.length % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
      return new Response(text);
    });
    const talk = async (id: number) => {
      const client = await RawClient.connect(port);
      for (let round = 0; round < 20; round++) {
        const body = `<${id}:${round}>`.repeat(1 + ((id * 7 + round * 131) % 2000));
        client.received = '';
        client.write(
          `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 5)}`,
        );
        client.write(body.slice(5));
        await client.until('\r\n\r\n');
        while (bodyOf(client.received).length < body.length) await client.until(body);
        assert.equal(bodyOf(client.received), body);
      }
      client.socket.destroy();
    };
    await Promise.all(Array.from({ length: 30 }, (_, id) => talk(id)));
  });

  test('a thousand connections opened and reset, at every point of a request', async () => {
    const server = await start(async (request) => new Response(await request.text()));
    const request = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello';
    for (let round = 0; round < 20; round++) {
      const clients = await Promise.all(
        Array.from({ length: 50 }, () => RawClient.connect(server.port)),
      );
      for (const [index, client] of clients.entries()) {
        client.write(request.slice(0, (index * 7 + round) % (request.length + 1)));
        if (index % 2 === 0) client.socket.resetAndDestroy();
        else setImmediate(() => client.socket.resetAndDestroy());
      }
      await Promise.all(clients.map((client) => client.end()));
    }
    assert.equal(bodyOf(await exchange(server.port, get('/', CLOSE))), '');
    while (server.connections > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  test('the light Response is a Response', async () => {
    assert.equal(globalThis.Response, LightResponse as unknown);
    const response = new Response('x', { headers: { a: 'b' } });
    assert.ok(response instanceof Response);
    assert.equal(response.headers.get('a'), 'b');
    assert.equal(response.headers.get('content-type'), 'text/plain;charset=UTF-8');
    assert.equal(await response.text(), 'x');
    assert.equal(response.bodyUsed, true);
    assert.throws(() => new Response('x', { status: 204 }), TypeError);
    assert.throws(() => new Response('x', { status: 99 }), RangeError);
    assert.throws(() => new Response('x', { headers: { 'a b': 'c' } }), TypeError);
    assert.throws(() => new Response('x', { headers: { a: 'b\r\nc: d' } }), TypeError);
    assert.equal(Response.error().type, 'error');
    assert.equal(Response.error().status, 0);
    assert.ok(Response.json({}) instanceof Response);
    const { port } = await start(() => new Response('x'));
    const fetched = await fetch(`http://127.0.0.1:${port}`);
    assert.ok(fetched instanceof Response);
    assert.equal(await fetched.text(), 'x');
  });
}
