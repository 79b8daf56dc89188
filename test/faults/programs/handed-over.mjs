/** A socket becomes Node's own again (somebody takes its handle) while writes wait for a slow reader. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { report } from './harness.mjs';

const PIECE = Buffer.alloc(16 * 1024, 'x');
const PIECES = 600;

await report(async () => {
  const storage = new AsyncLocalStorage();
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const connected = once(server, 'connection');
  const reader = net.connect(server.address().port, '127.0.0.1');
  await once(reader, 'connect');
  reader.pause();
  const [socket] = await connected;
  const done = [];
  for (let i = 0; i < PIECES; i++)
    storage.run(i, () => socket.write(PIECE, () => done.push(storage.getStore() === i)));
  await sleep(50); // as much has left as Linux has room for
  const waiting = done.length < PIECES;
  const native = socket._handle.isStreamBase;
  socket.end();
  let bytes = 0;
  for await (const piece of reader) bytes += piece.length;
  server.close();
  return { waiting, native, bytes, done: done.length, stored: done.every(Boolean) };
});
