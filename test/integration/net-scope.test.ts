/**
 * Do a socket's callbacks run in the async scope that they have on plain Node? A failure means that
 * AsyncLocalStorage or async_hooks tell something else (src/node/net/scope.ts).
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { execute, scratch, underImport } from '../support/execute.ts';

const PROGRAM = `
const net = require('node:net');
const hooks = require('node:async_hooks');
if (process.argv[2] === 'hook') hooks.createHook({ init() {} }).enable();
const storage = new hooks.AsyncLocalStorage();
/** Whether the ids are the handle's own and the one it was made in, and what is stored. */
function tell(who, handle, madeIn) {
  const id = hooks.executionAsyncId() === handle.getAsyncId();
  const trigger = hooks.triggerAsyncId() === madeIn;
  console.log(who, id, trigger, hooks.executionAsyncResource() === handle, storage.getStore());
}
const server = storage.run('made', () =>
  net.createServer((socket) => {
    const handle = socket._handle;
    const madeIn = server._handle.getAsyncId();
    storage.run('connected', () => {
      socket.on('data', () => {
        tell('data', handle, madeIn);
        storage.run('answering', () => socket.write('answer', () => console.log(storage.getStore())));
      });
      socket.on('end', () => console.log('end', storage.getStore()));
    });
  }).listen(0, '127.0.0.1', () => storage.run('client', connect)));
function connect() {
  const socket = net.connect(server.address().port, '127.0.0.1');
  const madeIn = hooks.executionAsyncId();
  const handle = socket._handle;
  socket.on('connect', () => storage.run('writing', () => socket.write('question')));
  socket.on('data', () => {
    tell('data of the client', handle, madeIn);
    server.close();
    storage.run('ending', () => socket.end());
  });
}
`;

for (const hook of ['', 'hook'])
  test(`the scope of a socket's callbacks is as on plain Node ${hook}`, async () => {
    const app = join(scratch('app.cjs', PROGRAM), 'app.cjs');
    const plain = await execute([app, hook]);
    assert.match(plain.stdout, /^data true true true/);
    assert.match(plain.stdout, /data of the client true true true client/);
    for (const ring of ['', '0']) {
      const ours = await execute([...underImport(app), hook], { env: { TRAPLESS_RING: ring } });
      assert.equal(ours.stdout, plain.stdout);
      assert.equal(ours.stderr, plain.stderr);
    }
  });
