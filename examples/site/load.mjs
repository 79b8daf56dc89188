/**
 * Load for the little site, from a process of its own: keep-alive connections in closed loops,
 * each with one request outstanding.
 *
 *   node load.mjs '{"port":8080,"connections":32,"warmSeconds":1,"seconds":3}'
 *
 * Prints `measuring` when the warm-up is over, `measured` at the end, then one line of JSON. Every
 * response is checked: its status, and that the same request always gets the same length.
 */

import { connect } from 'node:net';

const plan = { host: '127.0.0.1', connections: 32, warmSeconds: 1, seconds: 3 };
Object.assign(plan, JSON.parse(process.argv[2] ?? '{}'));

/** What is asked for, and how often in a hundred. */
const mix = [
  { share: 15, kind: 'page', request: () => get('/') },
  { share: 15, kind: 'page', request: () => get('/style.css') },
  { share: 15, kind: 'photo', request: () => get('/photos/small.jpg') },
  { share: 15, kind: 'photo', request: () => get('/photos/large.jpg') },
  { share: 15, kind: 'listing', request: () => get('/photos/') },
  { share: 15, kind: 'summary', request: () => get('/api/summary') },
  { share: 10, kind: 'upload', request: (connection) => put(`/uploads/from-${connection}`) },
];
const uploadBody = Buffer.alloc(16 * 1024, 'trapless');

function get(path) {
  return Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${plan.host}\r\n\r\n`);
}

function put(path) {
  const head = `PUT ${path} HTTP/1.1\r\nHost: ${plan.host}\r\nContent-Length: ${uploadBody.length}`;
  return Buffer.concat([Buffer.from(`${head}\r\n\r\n`), uploadBody]);
}

/** One item of the mix per percent: drawing one is an index. */
const wheel = mix.flatMap((item) => new Array(item.share).fill(item));
const lengths = new Map();
const latencies = new Map(mix.map((item) => [item.kind, []]));
let total = 0;
let measuring = false;
let stopping = false;

function fail(message) {
  console.error(`load: ${message}`);
  process.exit(1);
}

function run(connection) {
  return new Promise((resolve) => {
    const socket = connect(plan.port, plan.host);
    socket.setNoDelay(true);
    const requests = new Map(mix.map((item) => [item, item.request(connection)]));
    // The same sequence for every server, another one for each connection (MINSTD).
    let random = connection + 1;
    let item;
    let sentMs = 0;
    let head = Buffer.alloc(0);
    let missing = -1; // Bytes of the body yet to come; -1: still in the head.

    const send = () => {
      if (stopping) return socket.end();
      random = (random * 48271) % 0x7fffffff;
      item = wheel[random % wheel.length];
      sentMs = performance.now();
      socket.write(requests.get(item));
    };

    socket.on('connect', send);
    socket.on('data', (chunk) => {
      let body = chunk;
      if (missing < 0) {
        head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        missing = readHead(head.latin1Slice(0, end + 2), item);
        body = head.subarray(end + 4);
        head = Buffer.alloc(0);
      }
      missing -= body.length;
      if (missing < 0) fail(`more bytes than announced, to a ${item.kind} request`);
      if (missing > 0) return;
      missing = -1;
      total++;
      if (measuring) latencies.get(item.kind).push(performance.now() - sentMs);
      send();
    });
    socket.on('error', (error) => fail(error.message));
    socket.on('close', () => {
      if (!stopping) fail('the server closed a connection');
      resolve();
    });
  });
}

/** The length of the body, after checking the head. */
function readHead(head, item) {
  const status = Number(head.slice(9, 12));
  if (status !== 200 && status !== 201) fail(`status ${status} to a ${item.kind} request`);
  const length = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1] ?? Number.NaN);
  if (Number.isNaN(length)) fail(`no Content-Length for a ${item.kind} request`);
  // An upload's answer repeats the name it was given, which differs between connections.
  if (item.kind !== 'upload') {
    const known = lengths.get(item);
    if (known !== undefined && known !== length)
      fail(`${item.kind}: ${length}, was ${known} bytes`);
    lengths.set(item, length);
  }
  return length;
}

function percentile(sorted, share) {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const connections = Array.from({ length: plan.connections }, (_, i) => run(i));
await sleep(plan.warmSeconds);
measuring = true;
console.log('measuring');
const startMs = performance.now();
await sleep(plan.seconds);
measuring = false;
console.log('measured');
const seconds = (performance.now() - startMs) / 1000;

const all = Float64Array.from([...latencies.values()].flat()).sort();
if (all.length === 0) fail(`no response within ${plan.seconds} s`);
const byKind = {};
for (const [kind, values] of latencies) {
  const sorted = Float64Array.from(values).sort();
  byKind[kind] = { requests: sorted.length, p50Ms: percentile(sorted, 0.5) };
}
stopping = true;
await Promise.all(connections);
console.log(
  JSON.stringify({
    total,
    requests: all.length,
    perSecond: all.length / seconds,
    p50Ms: percentile(all, 0.5),
    p99Ms: percentile(all, 0.99),
    byKind,
  }),
);
