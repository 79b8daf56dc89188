/** Many connections at once, to an unmodified node:net server that is busy with the first one. */
import { fork } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { descriptors, report, sleep, until } from './harness.mjs';

const MANY = 300;
const listening = (server, port = 0) =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server.address().port));
  });

function block(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** How each of `count` connections ended: what it received, or the error. */
function clients(port, count, onConnect = () => {}) {
  return Array.from({ length: count }, (_, i) => {
    const socket = net.connect(port, '127.0.0.1', () => onConnect(i, socket));
    let text = '';
    let failed = '';
    socket.on('data', (data) => {
      text += data;
    });
    socket.on('error', ({ code }) => {
      failed = code;
    });
    return new Promise((resolve) => socket.on('close', () => resolve(failed || text)));
  });
}

function tally(results) {
  const counts = {};
  for (const one of results) counts[one] = (counts[one] ?? 0) + 1;
  return counts;
}

/** Each gets its own answer, and they come in the order in which they connected. */
async function whileBusy() {
  const ports = [];
  const server = net.createServer((socket) => {
    ports.push(socket.remotePort);
    if (ports.length === 1) block(50);
    socket.on('data', (data) => socket.end(`${data}!`));
  });
  const port = await listening(server);
  const order = [];
  const ends = clients(port, MANY, (i, socket) => {
    order.push(socket.localPort);
    socket.write(`${i}`);
  });
  const answers = await Promise.all(ends);
  await new Promise((resolve) => server.close(resolve));
  return {
    right: answers.filter((answer, i) => answer === `${i}!`).length,
    inOrder: ports.every((one, i) => one === order[i]),
  };
}

/** The third closes the server: the others are reset, and the port is free at once. */
async function closedMeanwhile() {
  let seen = 0;
  let closed = false;
  const server = net.createServer((socket) => {
    seen++;
    if (seen === 1) block(50);
    if (seen === 3) server.close(() => (closed = true));
    socket.end('seen');
  });
  const port = await listening(server);
  const ends = await Promise.all(clients(port, 100));
  await until(() => closed);
  const again = net.createServer();
  await listening(again, port);
  again.close();
  return { seen, ends: tally(ends) };
}

/** No descriptor left: who connects then is turned away or waits; later ones are served again. */
async function noDescriptors() {
  const server = net.createServer((socket) => socket.end('served'));
  const port = await listening(server);
  const before = await Promise.all(clients(port, 5));
  const child = fork(import.meta.filename ?? new URL(import.meta.url).pathname, ['client', port]);
  await new Promise((resolve) => child.once('message', resolve));
  const taken = [];
  try {
    for (;;) taken.push(fs.openSync('/dev/null'));
  } catch {}
  child.send('go');
  await new Promise((resolve) => child.once('message', resolve));
  const ended = new Promise((resolve) => child.once('message', resolve));
  await sleep(100);
  for (const fd of taken) fs.closeSync(fd);
  await ended;
  const after = await Promise.all(clients(port, 5));
  await new Promise((resolve) => server.close(resolve));
  return { before: tally(before), after: tally(after) };
}

/** Terminated while connections wait for it. */
async function terminated() {
  const worker = new Worker(new URL(import.meta.url));
  const port = await new Promise((resolve) => worker.once('message', resolve));
  const busy = new Promise((resolve) => worker.once('message', resolve));
  const ends = clients(port, 100);
  await busy;
  await worker.terminate();
  const results = await Promise.all(ends);
  return results.length;
}

if (!isMainThread) {
  let seen = 0;
  const server = net.createServer((socket) => {
    seen++;
    if (seen === 2) {
      parentPort.postMessage('busy');
      block(30_000);
    }
    socket.write('kept');
  });
  parentPort.postMessage(await listening(server));
} else if (process.argv[2] === 'client') {
  process.send('ready');
  process.once('message', async () => {
    const ends = clients(Number(process.argv[3]), 20);
    process.send('begun');
    await Promise.all(ends);
    process.send('ended');
  });
} else {
  await report(async () => {
    await whileBusy(); // what is made at first use stays
    const before = descriptors();
    const seen = {
      busy: await whileBusy(),
      closed: await closedMeanwhile(),
      none: await noDescriptors(),
      terminated: await terminated(),
    };
    for (let tries = 0; descriptors() > before && tries < 500; tries++) await sleep(5);
    return { ...seen, left: descriptors() - before };
  });
}
