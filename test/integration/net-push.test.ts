/**
 * Is a socket's readable state what it is on plain Node, whatever a listener does about the data it
 * gets? A failure means that a stream would wait for more, or ask for more, where Node's does not
 * (src/node/net/push.ts leaves out the tick in which Node finds out).
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { execute, scratch, underImport } from '../support/execute.ts';

const PROGRAM = `
const net = require('node:net');
const { setTimeout: sleep } = require('node:timers/promises');
const FIELDS = ['flowing', 'reading', 'needReadable', 'length', 'ended', 'sync'];
const stateOf = ({ _readableState: state, _handle }) =>
  JSON.stringify([FIELDS.map((it) => state[it]), _handle?.reading]);
const listeners = {
  nothing() {},
  pauses(socket) { socket.pause(); },
  pausesInTick(socket) { process.nextTick(() => socket.pause()); },
  'resumes at once'(socket) { socket.pause(); socket.resume(); },
  'turns to readable'(socket) {
    socket.removeAllListeners('data');
    socket.on('readable', () => console.log('readable', String(socket.read())));
  },
  'puts back'(socket, data) { if (data.length > 3) socket.unshift(data.subarray(3)); },
  throws() { throw new Error('on purpose'); },
  'sets an encoding'(socket) { socket.setEncoding('latin1'); },
  'wants no more'(socket) { socket.destroy(); },
  'stops the handle'(socket) { socket._handle.readStop(); socket._handle.reading = false; socket.read(0); },
};
process.on('uncaughtException', ({ message }) => console.log('uncaught', message));
/** Or for as long as it would take, if it is not to be. */
async function until(condition) {
  for (let tries = 0; tries < 300 && !condition(); tries++) await sleep(1);
  await sleep(2);
}
async function run(name, options) {
  const served = Promise.withResolvers?.() ?? {};
  served.promise ??= new Promise((resolve) => (served.resolve = resolve));
  const server = net.createServer(options, served.resolve).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.on('listening', resolve));
  const client = net.connect(server.address().port, '127.0.0.1').on('error', () => {});
  const socket = await served.promise;
  let first = true;
  socket.on('error', (error) => console.log('error', error.code));
  for (const event of ['end', 'close']) socket.on(event, () => console.log(event, stateOf(socket)));
  for (const event of ['pause', 'resume']) socket.on(event, () => console.log(event));
  socket.on('data', (data) => {
    console.log('data', String(data), stateOf(socket));
    process.nextTick(() => process.nextTick(() => console.log('ticks', stateOf(socket))));
    if (first) {
      first = false;
      listeners[name](socket, data);
    }
  });
  let sent = 0;
  for (const text of ['one more', 'two', 'three']) {
    client.write(text);
    sent += text.length;
    await until(() => socket.bytesRead === sent || socket.destroyed);
    console.log('later', stateOf(socket));
    if (text === 'two' && socket.isPaused()) socket.resume();
  }
  client.end();
  await until(() => socket.readableEnded || socket.destroyed);
  console.log('ended', stateOf(socket));
  socket.destroy();
  server.close();
  await sleep(5);
}
(async () => {
  for (const name of Object.keys(listeners))
    for (const highWaterMark of [16384, 4]) {
      console.log('--', name, highWaterMark);
      await run(name, { highWaterMark });
    }
  class Own extends net.Socket { _read(n) { this.reads = (this.reads ?? 0) + 1; super._read(n); } }
  const server = net.createServer((it) => it.on('data', (data) => it.write(data)));
  server.listen(0, '127.0.0.1', async () => {
    const socket = new Own().connect(server.address().port, '127.0.0.1').on('data', () => {});
    for (let i = 1; i <= 3; i++) { socket.write('x'); await until(() => socket.bytesRead === i); }
    console.log('own reads', socket.reads);
    // What its timeout looks at, to tell a write that gets on from one that does not.
    const deaf = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
    await new Promise((resolve) => deaf.on('listening', resolve));
    const full = net.connect(deaf.address().port, '127.0.0.1');
    for (let i = 0; i < 200; i++) full.write(Buffer.alloc(40_000));
    await until(() => full.bytesWritten > 0 && full.writableLength > 0);
    const waiting = Object.getOwnPropertySymbols(full).find((it) => it.description === 'lastWriteQueueSize');
    console.log('waits', full[waiting] > 0, full.writableLength > 0);
    process.exit();
  });
})();
`;

test('what a listener does: the state afterwards is as on plain Node', async () => {
  const app = join(scratch('app.cjs', PROGRAM), 'app.cjs');
  const plain = await execute([app]);
  assert.match(plain.stdout, /own reads \d\nwaits true true/);
  for (const ring of ['', '0']) {
    const ours = await execute(underImport(app), { env: { TRAPLESS_RING: ring } });
    assert.equal(ours.stdout, plain.stdout);
    assert.equal(ours.stderr, plain.stderr);
  }
});
