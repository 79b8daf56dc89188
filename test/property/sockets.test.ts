/**
 * The receive and send machine of a Connection, under random scripts, against a plain client. Do
 * all bytes arrive, in order? Is no block and no slot left?
 */
import type net from 'node:net';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { type Connection, listen } from '../../src/sockets/index.ts';
import { holds } from '../support/property.ts';
import { client, onBothQueues } from '../support/sockets.ts';
import { type End, play, Receiver, script } from '../support/stream-script.ts';

const file = fileURLToPath(import.meta.url);

function plainEnd(socket: net.Socket): End {
  const received = new Receiver(1);
  socket.on('data', (bytes) => received.take(bytes));
  socket.on('end', () => {
    received.ended = true;
  });
  return {
    received,
    write: (bytes) => void socket.write(bytes),
    end: () => void socket.end(),
    pause() {},
    resume() {},
    special() {},
  };
}

function ourEnd(c: Connection): End {
  const received = new Receiver(2);
  c.handler = {
    onBytes: (_, bytes, start, end) => received.take(bytes, start, end),
    onEnd() {
      received.ended = true;
    },
  };
  return {
    received,
    write: (bytes) => void c.write(bytes),
    end: () => c.end(),
    pause: () => c.pause(),
    resume: () => c.resume(),
    special: () => void c.write(''),
  };
}

onBothQueues('every byte arrives, once, in order', async (kernel) => {
  let accepted: ((end: End) => void) | undefined;
  const listener = listen(kernel, { host: '127.0.0.1' }, (c) => accepted!(ourEnd(c)));
  const { port } = listener.address!;
  const property = fc.asyncProperty(script, async (steps) => {
    const ours = new Promise<End>((resolve) => {
      accepted = resolve;
    });
    const peer = plainEnd(await client(port, { allowHalfOpen: true }));
    await play(steps, await ours, peer);
  });
  await holds('every byte arrives', 60, property, file);
  listener.close();
});
