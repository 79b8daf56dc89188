/**
 * Sockets of a kernel in this process, on io_uring and on readiness; the peer is node:net.
 *
 *   onBothQueues('…', async (kernel, t) => { … });
 *
 * Nothing may be left when the body is done: no slot, no block.
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { Kernel } from '../../src/kernel/kernel.ts';
import { socketsOf } from '../../src/kernel/sockets/sockets.ts';

type Body = (kernel: Kernel, t: TestContext) => Promise<void>;

export function onBothQueues(title: string, body: Body): void {
  for (const ring of [true, false])
    test(`${title} [${ring ? 'ring' : 'ready'}]`, { timeout: 60_000 }, async (t) => {
      const kernel = Kernel.register({ ring });
      try {
        if (ring && kernel.ring === null) return t.skip('Linux refuses a ring here');
        const sockets = socketsOf(kernel);
        assert.equal(sockets.nonBlocking, !ring);
        await body(kernel, t);
        await until(() => sockets.open === 0);
        assert.equal(sockets.blocks.taken, 0);
      } finally {
        kernel.close();
      }
    });
}

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
export const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));

/** The test's own time limit ends it otherwise. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(1);
}

/** A plain client, connected. */
export async function client(port: number, options: object = {}): Promise<net.Socket> {
  const socket = net.connect({ port, host: '127.0.0.1', ...options });
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

/** Bytes that tell whose they are, and where in the stream. */
export function patternOf(stream: number, from: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = byteOf(stream, from + i);
  return bytes;
}

export function byteOf(stream: number, at: number): number {
  return (stream * 37 + at * 7 + (at >> 8) * 11) & 0xff;
}
