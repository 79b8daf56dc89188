/**
 * Sockets of trapless/net under random scripts, handed over to Node's own handle at any moment:
 * does a byte get lost, or doubled, on the way from our requests to libuv's?
 */
import type net from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { streamOf } from '../../src/node/net/adopted.ts';
import type { InnerSocket } from '../../src/node/net/internals.ts';
import { traplessNet } from '../../src/node/net/net.ts';
import { handOver } from '../../src/node/net/stream.ts';
import { holds } from './property.ts';
import { client } from './sockets.ts';
import { type End, play, Receiver, script } from './stream-script.ts';

function end(socket: net.Socket, stream: number): End {
  const received = new Receiver(stream);
  socket.on('data', (bytes) => received.take(bytes));
  socket.on('end', () => {
    received.ended = true;
  });
  return {
    received,
    write: (bytes) => void socket.write(bytes),
    end: () => void socket.end(),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    special: () => handOver((socket as InnerSocket)._handle),
  };
}

export function netProperty(tier: 'ring' | 'crew', file: string): void {
  test(`handing over loses nothing [${tier}]`, { timeout: 60_000 }, async (t) => {
    process.env.TRAPLESS_RING = tier === 'ring' ? '1' : '0';
    let accepted: ((end: End) => void) | undefined;
    let adopted = 0;
    const server = traplessNet().createServer({ allowHalfOpen: true }, (socket) => {
      if (streamOf((socket as InnerSocket)._handle) !== undefined) adopted++;
      accepted!(end(socket, 2));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    const property = fc.asyncProperty(script, async (steps) => {
      const ours = new Promise<End>((resolve) => {
        accepted = resolve;
      });
      const peer = end(await client(port, { allowHalfOpen: true }), 1);
      await play(steps, await ours, peer);
    });
    await holds('handing over', 60, property, fileURLToPath(file));
    server.close();
    t.diagnostic(`${adopted} sockets were ours`);
  });
}
