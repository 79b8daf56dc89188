/**
 * One server of the benchmarks `http`, `net` and `dns`, in whatever runtime runs this. It is told
 * what to be by its only argument, as JSON:
 *   api      serve, node:http, express, Bun.serve, Deno.serve, node:net, trapless/net, node:dgram,
 *            Bun.udpSocket
 *   case     hello, short, json, static, echo, idle-…; others are for the client alone
 *   file     what is served by json and static
 *   trapless the URL of trapless/http or trapless/net, where the api is one of these
 *   fs       the URL of the module that reads files; else each runtime's own way
 * Prints {"port"} and serves on 127.0.0.1 until it is killed. At SIGUSR2 it collects garbage, if it
 * was started so that it can.
 */
import { dirname } from 'node:path';

const plan = JSON.parse(process.argv[2]);
const { readFile } = await import(plan.fs ?? 'node:fs/promises');
const host = '127.0.0.1';
/** Connections that are kept idle must not time out: seconds. */
const keptFor = plan.case.startsWith('idle') ? 250 : null;

process.on('SIGUSR2', () => {
  // To V8, gc(true) would mean the young generation alone.
  if (globalThis.gc) globalThis.gc();
  else globalThis.Bun?.gc(true);
});

function listens(port) {
  console.log(JSON.stringify({ port }));
}

/** What a request is answered with: the text, and its type. */
const text = 'text/plain;charset=UTF-8';
const hello = () => 'hello';
const answers = {
  hello,
  short: hello,
  'idle-memory': hello,
  'idle-busy': hello,
  static: () => readBytes(plan.file),
  json: async () => JSON.stringify({ read: await readText(plan.file) }),
};

/** As each runtime's documentation reads a file for a response. */
const { Bun, Deno } = globalThis;
const readBytes = Bun ? (path) => Bun.file(path) : Deno ? Deno.readFile : readFile;
const readText = Bun
  ? (path) => Bun.file(path).text()
  : Deno
    ? Deno.readTextFile
    : (path) => readFile(path, 'utf8');

/** The same handler for every web-standard server. */
function fetch() {
  if (answers[plan.case] === hello) return new Response('hello');
  return respond();
}
async function respond() {
  const type = plan.case === 'json' ? 'application/json' : text;
  return new Response(await answers[plan.case](), { headers: { 'content-type': type } });
}

const servers = {
  async serve() {
    const { serve } = await import(plan.trapless);
    const patience = keptFor === null ? {} : { idleTimeout: keptFor };
    const server = serve({ port: 0, hostname: host, fetch, ...patience });
    await server.ready;
    listens(server.port);
  },
  'Bun.serve'() {
    const patience = keptFor === null ? {} : { idleTimeout: keptFor };
    listens(Bun.serve({ port: 0, hostname: host, fetch, ...patience }).port);
  },
  'Deno.serve'() {
    Deno.serve({ port: 0, hostname: host, onListen: ({ port }) => listens(port) }, fetch);
  },
  async 'node:http'() {
    const http = await import('node:http');
    const type = plan.case === 'json' ? 'application/json' : text;
    const server = http.createServer((_request, response) => {
      response.setHeader('content-type', type);
      const answer = answers[plan.case]();
      if (typeof answer === 'string') response.end(answer);
      else answer.then((body) => response.end(body));
    });
    if (keptFor !== null) server.keepAliveTimeout = keptFor * 1000;
    server.listen(0, host, () => listens(server.address().port));
  },
  async express() {
    const { default: express } = await import('express');
    const app = express();
    if (plan.case === 'static') app.use(express.static(dirname(plan.file)));
    else app.get('/', (_request, response) => response.send('hello'));
    const server = app.listen(0, host, () => listens(server.address().port));
  },
  async 'node:net'() {
    serveBytes(await import('node:net'));
  },
  async 'trapless/net'() {
    serveBytes((await import(plan.trapless)).default);
  },
  /** The question, and one A record that points back at its name (RFC 1035 4.1.4). */
  async 'node:dgram'() {
    const dgram = await import('node:dgram');
    const socket = dgram.createSocket('udp4');
    socket.on('message', (question, { port, address }) =>
      socket.send(answerTo(question), port, address),
    );
    socket.bind(0, host, () => listens(socket.address().port));
  },
  async 'Bun.udpSocket'() {
    const socket = await Bun.udpSocket({
      hostname: host,
      port: 0,
      socket: {
        data(it, question, port, address) {
          try {
            it.send(answerTo(question), port, address);
          } catch {
            // It throws what befell an earlier datagram, whose client has gone.
          }
        },
        error() {}, // so told, too
      },
    });
    listens(socket.port);
  },
};

/** What comes is sent back. */
function serveBytes(net) {
  const server = net.createServer({ noDelay: true }, (socket) => {
    if (plan.case === 'echo') socket.pipe(socket);
    else socket.on('data', (bytes) => socket.write(bytes));
    socket.on('error', () => {});
  });
  server.listen(0, host, () => listens(server.address().port));
}

const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
function answerTo(question) {
  const answer = Buffer.allocUnsafe(question.length + record.length);
  answer.set(question);
  answer.set(record, question.length);
  answer[2] = 0x81;
  answer[3] = 0x80;
  answer[7] = 1;
  return answer;
}

await servers[plan.api]();
