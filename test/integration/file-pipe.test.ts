/**
 * A file piped into a socket or a response: does everything a program can see happen as on plain
 * Node, when Linux takes the bytes from the page cache itself (src/node/net/file-pipe.ts)? A failure
 * means wrong bytes, events in another order, or a transfer that cannot be left in the middle.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../src/native/addon.ts';
import { execute, scratch, underImport } from '../support/execute.ts';

const addon = join(packageRoot(), 'native', 'build', 'Release', 'trapless.node');

const PROGRAM = `
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const { AsyncLocalStorage } = require('node:async_hooks');
const { pipeline, PassThrough } = require('node:stream');
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');
const MIB = 1 << 20;
const bytes = Buffer.alloc(8 * MIB);
for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
const path = __dirname + '/file';
fs.writeFileSync(path, bytes);

/* Direct sends, and what is to become of them. Plain Node has none. */
let sends = 0;
let fault = null;
if (process.env.ADDON) {
  const addon = require(process.env.ADDON);
  const { sendFile } = addon;
  addon.sendFile = (...args) => {
    sends++;
    return fault?.() ?? sendFile(...args);
  };
}

const log = (...what) => console.log(...what);
function hear(name, emitter, events) {
  for (const event of events.split(' '))
    emitter.on(event, (it) => log(name, event, it instanceof Error ? it.code : ''));
}
const hearStream = (stream) => hear('stream', stream, 'open ready end close error');
const hearResponse = (response) => hear('response', response, 'pipe unpipe finish close error');
const turn = () => new Promise((resolve) => setImmediate(resolve));
async function until(condition) {
  while (!condition()) await turn();
}
/** Until nothing more comes of it. Turns, because a process that was stopped finds its timer due
 *  before it has looked at its sockets. */
async function still(count) {
  let last = count();
  for (let alike = 0; alike < 4; alike++) {
    await sleep(20);
    for (let i = 0; i < 20; i++) await turn();
    if (last !== count()) alike = -1;
    last = count();
  }
}

/** What one connection is sent for a request, as it comes. */
class Client {
  parts = [];
  length = 0;
  closed = false;
  constructor(server) {
    const address = server.address();
    this.socket = net.connect(typeof address === 'string' ? address : address.port);
    this.socket.on('error', () => {}).on('close', () => (this.closed = true));
    this.socket.on('data', (data) => {
      this.parts.push(data);
      this.length += data.length;
    });
  }
  ask(method = 'GET', more = '') {
    this.socket.write(method + ' / HTTP/1.1\\r\\nHost: x\\r\\n' + more + '\\r\\n');
  }
  /** Without the head. */
  take() {
    const all = Buffer.concat(this.parts);
    this.parts = [];
    this.length = 0;
    return all.subarray(all.indexOf('\\r\\n\\r\\n') + 4);
  }
}

/** Runs one request against a handler; resolves when the client has been told everything. */
async function serve(handler, act = async () => {}, options = {}) {
  let resolve;
  const served = new Promise((it) => (resolve = it));
  const server = http.createServer((request, response) => {
    hearResponse(response);
    resolve([handler(request, response), response]);
  });
  server.listen(options.path ?? { port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const client = new Client(server);
  if (options.deaf) client.socket.pause();
  client.ask(options.method, options.more);
  const [stream, response] = await served;
  await act({ stream, response, client });
  await until(() => stream.closed || response.closed);
  await still(() => client.length + stream.bytesRead);
  const body = client.take();
  client.socket.destroy();
  server.close();
  server.closeAllConnections();
  await still(() => 0);
  return { stream, response, body };
}
function file(response, options, length = bytes.length) {
  response.setHeader('Content-Length', length);
  const stream = fs.createReadStream(path, options);
  hearStream(stream);
  return stream;
}
const piped = (options, length) => (_request, response) => {
  const stream = file(response, options, length);
  stream.pipe(response);
  return stream;
};
const isPrefix = (body) => body.equals(bytes.subarray(0, body.length));

const trials = {
  async 'a whole file'() {
    const { stream, response, body } = await serve((request, response) => {
      const { socket } = response;
      response.on('finish', () => log('written', socket.bytesWritten, response.writableLength));
      return piped()(request, response);
    });
    log(body.equals(bytes), stream.bytesRead, stream.destroyed, response.writableFinished);
  },
  async 'a Unix socket'() {
    const { body } = await serve(piped(), undefined, { path: __dirname + '/socket' });
    log(body.equals(bytes));
  },
  async 'ranges'() {
    for (const [start, end] of [[1, 7 * MIB], [3, undefined], [undefined, 5 * MIB], [5 * MIB, 5 * MIB + 9]]) {
      const expected = bytes.subarray(start ?? 0, (end ?? Infinity) + 1);
      const { stream, body } = await serve(piped({ start, end }, expected.length));
      log(body.equals(expected), stream.bytesRead, stream.pos);
    }
  },
  async 'a descriptor, from where it is'() {
    const fd = fs.openSync(path);
    fs.readSync(fd, Buffer.alloc(MIB));
    const { stream, body } = await serve(piped({ fd }, 7 * MIB));
    log(body.equals(bytes.subarray(MIB)), stream.bytesRead);
  },
  async 'a FileHandle'() {
    for (const options of [{}, { start: 1, end: 7 * MIB }, { autoClose: false }]) {
      const handle = await fs.promises.open(path);
      handle.on('close', () => log('handle close'));
      const { start = 0, end = bytes.length - 1, autoClose } = options;
      const expected = bytes.subarray(start, end + 1);
      const { stream, body } = await serve((_request, response) => {
        response.setHeader('Content-Length', expected.length);
        const stream = handle.createReadStream(options);
        hearStream(stream);
        return stream.pipe(response) && stream;
      });
      log(body.equals(expected), stream.bytesRead, stream.fd === handle.fd, handle.fd === -1);
      if (autoClose === false) log(await handle.close());
    }
  },
  async 'a FileHandle, from where it is'() {
    const handle = await fs.promises.open(path);
    await handle.read(Buffer.alloc(MIB));
    const { body } = await serve((_request, response) => {
      response.setHeader('Content-Length', 7 * MIB);
      const stream = handle.createReadStream();
      stream.pipe(response);
      return stream;
    });
    log(body.equals(bytes.subarray(MIB)));
  },
  async 'a FileHandle that is closed meanwhile'() {
    const handle = await fs.promises.open(path);
    let closed;
    const { stream, body } = await serve((_request, response) => {
      response.setHeader('Content-Length', bytes.length);
      const stream = handle.createReadStream();
      stream.pipe(response);
      return stream;
    }, async ({ stream, client }) => {
      await until(() => client.length > 0);
      await handle.close();
      log('closed', handle.fd, stream.destroyed);
      const other = fs.openSync(__filename); // perhaps the same number
      await still(() => client.length);
      fs.closeSync(other);
    });
    log(isPrefix(body));
  },
  async 'a FileHandle whose read() is replaced'() {
    const handle = await fs.promises.open(path);
    const { read } = handle;
    let reads = 0;
    handle.read = function (...args) { reads++; return read.apply(this, args); };
    const { body } = await serve((_request, response) => {
      response.setHeader('Content-Length', bytes.length);
      const stream = handle.createReadStream();
      stream.pipe(response);
      return stream;
    });
    log(body.equals(bytes), reads);
  },
  async 'a web stream'() {
    const handle = await fs.promises.open(path);
    const { body } = await serve((_request, response) => {
      response.setHeader('Content-Length', bytes.length);
      const work = async () => {
        for await (const chunk of handle.readableWebStream())
          if (!response.write(new Uint8Array(chunk))) await once(response, 'drain');
        response.end();
      };
      work();
      return { bytesRead: 0 };
    });
    log(body.equals(bytes), handle.fd);
    await handle.close();
  },
  async HEAD() {
    const { stream, body } = await serve(piped(), undefined, { method: 'HEAD' });
    log(body.length, stream.bytesRead);
  },
  async 'in chunks'() {
    const { body } = await serve((_request, response) => {
      const stream = file(response);
      response.removeHeader('Content-Length');
      stream.pipe(response);
      return stream;
    });
    log(body.length > bytes.length);
  },
  async pipeline() {
    const { body } = await serve((_request, response) => {
      const stream = file(response);
      pipeline(stream, response, (error) => log('done', error?.code));
      return stream;
    });
    log(body.equals(bytes));
  },
  async 'two files on a connection'() {
    const server = http.createServer((request, response) => {
      hearResponse(response);
      piped()(request, response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = new Client(server);
    for (let i = 0; i < 3; i++) {
      client.ask();
      if (i === 1) client.ask(); // in a row
      await until(() => client.length > bytes.length * (i === 1 ? 2 : 1));
      await still(() => client.length);
      const body = client.take();
      log(body.length, isPrefix(body.subarray(0, bytes.length)), body.subarray(-bytes.length).equals(bytes));
    }
    client.socket.destroy();
    server.close();
    await still(() => 0);
  },
  async 'a socket of net'() {
    const server = net.createServer((socket) => {
      hear('socket', socket, 'pipe unpipe finish close error end');
      socket.resume();
      const stream = fs.createReadStream(path);
      hearStream(stream);
      socket.write('before\\r\\n\\r\\n');
      stream.pipe(socket);
      stream.on('end', () => log('written', socket.bytesWritten));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = new Client(server);
    await until(() => client.closed);
    log(client.take().equals(bytes));
    server.close();
    await still(() => 0);
  },
  async 'a request of a client'() {
    const parts = [];
    const server = http.createServer((request, response) => {
      request.on('data', (data) => parts.push(data));
      request.on('end', () => finished.then(() => response.end('thanks')));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const request = http.request({ port: server.address().port, method: 'PUT' });
    const finished = once(request, 'finish');
    hear('request', request, 'pipe unpipe finish close error');
    await once(request, 'socket');
    await once(request.socket, 'connect');
    // Whether its 'close' or the request's comes first is for the thread pool to say.
    request.setHeader('Content-Length', bytes.length);
    fs.createReadStream(path).pipe(request);
    const [response] = await once(request, 'response');
    log(String(await once(response, 'data')));
    server.close();
    server.closeAllConnections();
    await still(() => 0);
    log(Buffer.concat(parts).equals(bytes));
  },
  async 'the stream is destroyed'() {
    const { stream, body } = await serve(piped(), async ({ stream }) => {
      await until(() => stream.bytesRead > MIB);
      stream.destroy();
    });
    log(isPrefix(body), stream.bytesRead === body.length || stream.bytesRead - body.length <= 65536, stream.fd);
  },
  async 'the stream fails'() {
    const { body } = await serve(piped(), async ({ stream }) => {
      await until(() => stream.bytesRead > MIB);
      stream.destroy(Object.assign(new Error('x'), { code: 'MINE' }));
    });
    log(isPrefix(body));
  },
  async 'the response is destroyed'() {
    const { stream, body } = await serve(piped(), async ({ stream, response }) => {
      await until(() => stream.bytesRead > MIB);
      response.destroy();
      await still(() => stream.bytesRead);
      log(stream.destroyed, stream.readableFlowing, stream.bytesRead < bytes.length);
      stream.destroy();
    });
    log(isPrefix(body));
  },
  async 'the response ends early'() {
    const { body } = await serve(piped(), async ({ stream, response }) => {
      await until(() => stream.bytesRead > MIB);
      response.end();
      await still(() => stream.bytesRead);
      stream.destroy();
    });
    log(isPrefix(body));
  },
  async 'the client resets'() {
    await serve(piped(), async ({ stream, response, client }) => {
      await until(() => stream.bytesRead > MIB);
      client.socket.resetAndDestroy();
      await once(response, 'close');
      await still(() => stream.bytesRead);
      log(stream.destroyed, stream.bytesRead < bytes.length);
      stream.destroy();
    }, { deaf: true });
  },
  async 'the file is cut'() {
    const { stream, body } = await serve(piped(), async ({ stream }) => {
      await until(() => stream.bytesRead > MIB);
      fs.truncateSync(path, 6 * MIB);
    }, { });
    log(isPrefix(body), body.length, stream.bytesRead);
    fs.writeFileSync(path, bytes);
  },
  async 'the file grows'() {
    const more = Buffer.alloc(MIB, 'more');
    const { stream, body } = await serve(piped(undefined, 9 * MIB), async ({ stream }) => {
      await until(() => stream.bytesRead > MIB);
      fs.appendFileSync(path, more);
    });
    log(body.equals(Buffer.concat([bytes, more])), stream.bytesRead);
    fs.writeFileSync(path, bytes);
  },
  async 'the client does not read'() {
    const { stream, body } = await serve(piped(), async ({ stream, response, client }) => {
      await until(() => response.writableNeedDrain);
      await still(() => stream.bytesRead);
      const before = sends;
      await sleep(50);
      log(sends - before, stream.bytesRead < bytes.length, response.writableNeedDrain, response.writableLength > 0);
      client.socket.resume();
    }, { deaf: true });
    log(body.equals(bytes), stream.bytesRead);
  },
  async 'somebody else listens'() {
    const parts = [];
    const { body } = await serve(piped(), async ({ stream }) => {
      await until(() => stream.bytesRead > MIB);
      stream.on('data', (data) => parts.push(data));
    });
    const seen = Buffer.concat(parts);
    log(body.equals(bytes), seen.length > 0, seen.equals(bytes.subarray(bytes.length - seen.length)));
  },
  async 'piped elsewhere'() {
    const parts = [];
    const { body } = await serve(piped(), async ({ stream, response }) => {
      await until(() => stream.bytesRead > MIB);
      stream.unpipe(response);
      stream.pipe(new PassThrough().on('data', (data) => parts.push(data)));
    });
    log(Buffer.concat([body, ...parts]).equals(bytes), body.length > 0, parts.length > 0);
  },
  async 'piped to two'() {
    const parts = [];
    const { body } = await serve(piped(), async ({ stream }) => {
      await until(() => stream.bytesRead > MIB);
      stream.pipe(new PassThrough().on('data', (data) => parts.push(data)));
    });
    const seen = Buffer.concat(parts);
    log(body.equals(bytes), seen.equals(bytes.subarray(bytes.length - seen.length)));
  },
  async 'paused and resumed'() {
    const { body } = await serve(piped(), async ({ stream }) => {
      await until(() => stream.bytesRead > MIB);
      stream.pause();
      await still(() => stream.bytesRead);
      log(stream.isPaused(), stream.bytesRead < bytes.length);
      stream.resume();
    });
    log(body.equals(bytes));
  },
  async 'read by hand'() {
    const parts = [];
    const { body } = await serve(piped(), async ({ stream, response }) => {
      await until(() => stream.bytesRead > MIB);
      stream.unpipe(response);
      for await (const part of stream) parts.push(part);
    });
    log(Buffer.concat([body, ...parts]).equals(bytes), body.length > 0);
  },
  async 'others write, too'() {
    const { body } = await serve((_request, response) => {
      const stream = file(response, undefined, bytes.length + 6);
      response.write('abc');
      stream.pipe(response, { end: false });
      stream.on('end', () => response.end('def'));
      return stream;
    });
    log(body.equals(Buffer.concat([Buffer.from('abc'), bytes, Buffer.from('def')])));
  },
  async 'a write() of the program'() {
    const { body } = await serve((_request, response) => {
      const stream = file(response);
      const { write } = response;
      response.write = function (data, ...rest) {
        return write.call(this, Buffer.from(data).map((it) => it ^ 1), ...rest);
      };
      stream.pipe(response);
      return stream;
    });
    log(body.equals(bytes.map((it) => it ^ 1)));
  },
  async 'drains are heard'() {
    let drains = 0;
    const { body } = await serve((request, response) => {
      response.on('drain', () => drains++);
      return piped()(request, response);
    });
    log(body.equals(bytes), drains);
  },
  async 'pauses are heard'() {
    let pauses = 0;
    const { body } = await serve((_request, response) => {
      const stream = file(response).on('pause', () => pauses++);
      stream.pipe(response);
      return stream;
    });
    log(body.equals(bytes), pauses > 10);
  },
  async 'an encoding'() {
    const { body } = await serve((_request, response) => {
      const stream = file(response);
      response.removeHeader('Content-Length');
      stream.setEncoding('latin1').pipe(response);
      return stream;
    });
    log(body.length > bytes.length);
  },
  async 'a file that is none'() {
    const { body } = await serve((_request, response) => {
      response.setHeader('Content-Length', 5);
      const stream = fs.createReadStream(__dirname);
      hearStream(stream);
      stream.on('error', () => { log(response.headersSent); response.statusCode = 500; response.end('error'); });
      stream.pipe(response);
      return stream;
    });
    log(String(body));
  },
  async 'strict length'() {
    const { body } = await serve((_request, response) => {
      response.strictContentLength = true;
      const stream = file(response);
      stream.pipe(response);
      return stream;
    });
    log(body.equals(bytes));
  },
  async 'asynchronous context'() {
    const storage = new AsyncLocalStorage();
    await serve((request, response) => storage.run('here', () => {
      const stream = piped()(request, response);
      for (const event of ['end', 'close']) stream.on(event, () => log(event, storage.getStore()));
      response.on('finish', () => log('finish', storage.getStore()));
      return stream;
    }));
  },
  async 'fs.read is replaced'() {
    const { read } = fs;
    let reads = 0;
    fs.read = function (...args) { reads++; return read.apply(this, args); };
    const { body } = await serve(piped());
    fs.read = read;
    log(body.equals(bytes), reads);
  },
};
const only = process.argv[2];
const faults = {
  async 'the file fails'() {
    fault = () => (sends % 3 === 0 ? -5 : undefined);
    const { body, stream } = await serve(piped());
    log(body.equals(bytes), stream.bytesRead);
  },
  async 'never room'() {
    fault = () => -11;
    const { body } = await serve(piped());
    log(body.equals(bytes));
  },
  async 'the socket fails'() {
    fault = () => (sends > 3 ? -32 : undefined);
    const { stream } = await serve((request, response) => {
      response.socket.on('error', (error) => log('socket', error.message));
      return piped()(request, response);
    });
    log(stream.destroyed);
  },
};
async function run(all) {
  for (const [name, trial] of Object.entries(all)) {
    if (only && only !== name) continue;
    log('--', name);
    sends = 0;
    await trial();
    fault = null;
    console.error(name + ': ' + (sends > 0));
  }
}
run(process.env.FAULTS ? faults : trials).then(() => process.exit());
`;

/** A worker ends while it sends; its sockets go with it. */
const WORKER = `
const { Worker, isMainThread, workerData, parentPort } = require('node:worker_threads');
const fs = require('node:fs');
const net = require('node:net');
const { once } = require('node:events');
const path = __dirname + '/large';
if (isMainThread) {
  fs.writeFileSync(path, Buffer.alloc(64 << 20));
  const isSocket = (fd) => {
    try {
      return fs.readlinkSync('/proc/self/fd/' + fd).startsWith('socket:');
    } catch {}
  };
  const open = () => fs.readdirSync('/proc/self/fd').filter(isSocket).length;
  (async () => {
    let before = 0;
    for (let round = 0; round < 6; round++) {
      const worker = new Worker(__filename);
      const [port] = await once(worker, 'message');
      const client = net.connect(port, '127.0.0.1').on('error', () => {});
      const closed = new Promise((resolve) => client.on('close', resolve));
      client.write('GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n');
      let received = 0;
      await new Promise((resolve) => {
        client.on('data', (data) => (received += data.length) > (1 << 20) && resolve());
      });
      if (round % 2) client.pause();
      await worker.terminate();
      client.destroy();
      await closed;
      // The first round has made what stays.
      if (round === 0) before = open();
    }
    console.log('left over', open() - before);
    process.exit();
  })();
} else {
  const server = require('node:http').createServer((request, response) => {
    response.setHeader('Content-Length', 64 << 20);
    fs.createReadStream(path).pipe(response);
  });
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
}
`;

/** Where the ordinary way is the only right one. */
const ORDINARY = [
  'HEAD',
  'in chunks',
  'a write() of the program',
  'drains are heard',
  'pauses are heard',
  'an encoding',
  'a file that is none',
  'strict length',
  'fs.read is replaced',
  'a FileHandle whose read() is replaced',
  'a web stream',
];

function ways(stderr: string): Record<string, boolean> {
  const lines = stderr.split('\n').filter((line) => /: (true|false)$/.test(line));
  return Object.fromEntries(
    lines.map((line) => [line.replace(/: \w+$/, ''), line.endsWith('true')]),
  );
}

const app = () => join(scratch('app.cjs', PROGRAM), 'app.cjs');
const tiers = { ring: '', crew: '0' };

/** What each case has printed, in all runs so far. */
class Seen {
  readonly all = new Map<string, Set<string>>();

  add(stdout: string): void {
    for (const part of stdout.split(/^-- /m).slice(1)) {
      const name = part.slice(0, part.indexOf('\n'));
      this.all.set(name, (this.all.get(name) ?? new Set()).add(part));
    }
  }

  /** Cases that were never seen as somebody else has seen them. */
  without(others: Seen): string[] {
    const strangers = [...this.all].filter(([name, texts]) => {
      const theirs = others.all.get(name) ?? new Set();
      return ![...texts].some((text) => theirs.has(text));
    });
    return strangers.map(([name]) => name);
  }
}

const plainly = new Seen();
const plain = execute([app()]).then(({ stdout }) => plainly.add(stdout));

/** Whether a file or a socket is done first is the machine's to say where it is busy: what differs
 *  is run again on both sides, alone. */
const TRIES = 5;
async function asOnPlainNode(env: NodeJS.ProcessEnv): Promise<string> {
  const ours = new Seen();
  const { stdout, stderr } = await execute(underImport(app()), { env });
  ours.add(stdout);
  await plain;
  assert.deepEqual([...ours.all.keys()], [...plainly.all.keys()], stderr);
  for (let tries = 0; tries < TRIES; tries++) {
    for (const name of ours.without(plainly)) {
      ours.add((await execute([...underImport(app()), name], { env })).stdout);
      plainly.add((await execute([app(), name])).stdout);
    }
  }
  for (const name of ours.without(plainly))
    assert.deepEqual([...ours.all.get(name)!].at(-1), [...plainly.all.get(name)!].at(-1), name);
  return stderr;
}

for (const [tier, ring] of Object.entries(tiers)) {
  test(`${tier}: bytes and events are as on plain Node`, async () => {
    const taken = ways(await asOnPlainNode({ TRAPLESS_RING: ring, ADDON: addon }));
    assert.ok(Object.keys(taken).length > 20);
    for (const [name, direct] of Object.entries(taken))
      assert.equal(direct, !ORDINARY.includes(name), `${name}: past JavaScript, or not`);
  });

  test(`${tier}: a worker that is terminated leaves no socket open`, async () => {
    const worker = join(scratch('worker.cjs', WORKER), 'worker.cjs');
    const { stdout, stderr } = await execute(underImport(worker), { env: { TRAPLESS_RING: ring } });
    assert.equal(stdout, 'left over 0\n', stderr);
  });

  test(`${tier}: what Linux says about a file or a socket`, async () => {
    const env = { TRAPLESS_RING: ring, ADDON: addon, FAULTS: '1' };
    const { stdout } = await execute(underImport(app()), { env });
    const [, file, room, socket] = stdout.split(/^-- .*\n/m);
    assert.match(file, /^true 8388608$/m);
    assert.match(room, /^true$/m);
    assert.match(socket, /socket write EPIPE\n(.*\n)*response close/);
  });
}
