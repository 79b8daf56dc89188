/**
 * Byte streams (src/sockets/) against plain node:net at the other end. Does every byte arrive,
 * once, in order, on the right connection? Does back-pressure reach both ends? Is every descriptor
 * closed, and the port free?
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import net from 'node:net';
import { BUFFERS } from '../../src/kernel/sockets/layout.ts';
import { socketsOf } from '../../src/kernel/sockets/sockets.ts';
import { type Connection, connect, listen } from '../../src/sockets/index.ts';
import { byteOf, client, onBothQueues, patternOf, turn, until } from '../support/sockets.ts';

const echo = {
  onBytes(c: Connection, bytes: Buffer, start: number, end: number): void {
    c.write(bytes.subarray(start, end));
  },
};

onBothQueues('no byte of one connection appears on another', async (kernel) => {
  const COUNT = 150;
  const BYTES = 200_000;
  const listener = listen(kernel, { host: '127.0.0.1' }, (c) => {
    c.handler = echo;
  });
  const { port } = listener.address!;
  const one = async (stream: number): Promise<void> => {
    const socket = await client(port);
    let received = 0;
    const done = new Promise<void>((resolve, reject) => {
      socket.on('data', (bytes) => {
        for (const byte of bytes)
          if (byte !== byteOf(stream, received++))
            return reject(new Error(`stream ${stream} differs at ${received - 1}`));
        if (received === BYTES) resolve();
      });
      socket.on('error', reject);
    });
    for (let sent = 0; sent < BYTES; ) {
      const length = Math.min(1 + ((stream * 7919 + sent * 31) % 9000), BYTES - sent);
      socket.write(patternOf(stream, sent, length));
      sent += length;
      if (sent % 3 === 0) await turn();
    }
    await done;
    socket.end();
  };
  await Promise.all(Array.from({ length: COUNT }, (_, stream) => one(stream)));
  await new Promise<void>((resolve) => listener.close(resolve));
});

onBothQueues(
  'a receive that finds no buffer goes on, though nothing comes with it',
  async (kernel) => {
    const sockets = socketsOf(kernel);
    let total = 0;
    const listener = listen(kernel, { host: '127.0.0.1' }, (c) => {
      c.handler = {
        onBytes(_, _bytes, start, end) {
          // All buffers are taken by this batch: the last connection's receive fails behind it.
          if (total === 0) {
            last.write('x');
            for (let i = 0; i < 100; i++) sockets.queue.enter();
          }
          total += end - start;
        },
      };
    });
    const { port } = listener.address!;
    const clients = await Promise.all(Array.from({ length: BUFFERS + 1 }, () => client(port)));
    const last = clients[BUFFERS];
    await until(() => sockets.open === BUFFERS + 2);
    for (const socket of clients.slice(0, BUFFERS)) socket.write('x');
    for (let i = 0; i < 100; i++) sockets.queue.enter();
    await until(() => total === BUFFERS + 1);
    for (const socket of clients) socket.destroy();
    listener.close();
  },
);

onBothQueues('more data at once than there are buffers', async (kernel, t) => {
  const COUNT = 300;
  const sockets = socketsOf(kernel);
  let total = 0;
  const listener = listen(kernel, { host: '127.0.0.1' }, (c) => {
    c.handler = {
      onBytes(_, _bytes, start, end) {
        // As a callback does that sends more than the queue holds: Linux goes on meanwhile.
        if (total === 0) for (let i = 0; i < 100; i++) sockets.queue.enter();
        total += end - start;
      },
    };
  });
  const { port } = listener.address!;
  const clients = await Promise.all(Array.from({ length: COUNT }, () => client(port)));
  await until(() => sockets.open === COUNT + 1);
  for (const socket of clients) socket.end(Buffer.alloc(100_000));
  await until(() => total === COUNT * 100_000);
  t.diagnostic(`receives that found no buffer: ${sockets.starvations}`);
  if (kernel.ring !== null) assert.ok(sockets.starvations > 0);
  listener.close();
});

onBothQueues('a client that does not read holds the writer up', async (kernel) => {
  const BYTES = 24 << 20;
  let written = 0;
  let refused = 0;
  const pump = (c: Connection): void => {
    while (written < BYTES) {
      const more = c.write(patternOf(5, written, 100_000));
      written += 100_000;
      if (!more) {
        refused++;
        return;
      }
    }
    c.end();
  };
  const listener = listen(kernel, { host: '127.0.0.1' }, (c) => {
    c.handler = { onBytes() {}, onDrain: pump };
    pump(c);
  });
  const socket = await client(listener.address!.port);
  socket.pause();
  await turn();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(written < BYTES && refused > 0, 'write() returned false');
  let received = 0;
  let wrong = 0;
  socket.on('data', (bytes) => {
    for (const byte of bytes) if (byte !== byteOf(5, received++)) wrong++;
  });
  socket.resume();
  await new Promise((resolve) => socket.once('end', resolve));
  assert.equal(wrong, 0);
  assert.equal(received, Math.ceil(BYTES / 100_000) * 100_000);
  listener.close();
});

onBothQueues('a paused connection takes no more than a few buffers', async (kernel) => {
  const BYTES = 24 << 20;
  let seen = 0;
  let wrong = 0;
  let peer: Connection | undefined;
  const listener = listen(kernel, { host: '127.0.0.1' }, (c) => {
    peer = c;
    c.handler = {
      onBytes(connection, bytes, start, end) {
        for (let i = start; i < end; i++) if (bytes[i] !== byteOf(9, seen++)) wrong++;
        if (seen > 1000 && seen < 200_000) connection.pause();
      },
    };
  });
  const socket = await client(listener.address!.port);
  for (let sent = 0; sent < BYTES; sent += 1 << 20) socket.write(patternOf(9, sent, 1 << 20));
  socket.end();
  await until(() => peer?.paused === true);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.ok(peer!.bytesRead < 8 << 20, `took ${peer!.bytesRead}`);
  while (seen < 200_000) {
    peer!.resume();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  peer!.resume();
  await until(() => seen === BYTES);
  assert.equal(wrong, 0);
  await until(() => socketsOf(kernel).open === 1);
  listener.close();
});

onBothQueues('half-close in either order', async (kernel) => {
  const events: string[] = [];
  const listener = listen(kernel, { host: '127.0.0.1' }, (c) => {
    c.handler = {
      onBytes(connection, bytes, start, end) {
        events.push(`server ${bytes.toString('latin1', start, end)}`);
        if (bytes[start] === 0x61) connection.end(); // 'a': we end first
      },
      onEnd(connection) {
        events.push('server end');
        connection.write('late');
        connection.end();
      },
      onClose(_, error) {
        events.push(`server close ${error}`);
      },
    };
  });
  const { port } = listener.address!;
  for (const first of ['a', 'b']) {
    events.length = 0;
    const socket = await client(port, { allowHalfOpen: true });
    let got = '';
    socket.on('data', (data) => {
      got += data;
    });
    const ended = new Promise((resolve) => socket.once('end', resolve));
    socket.write(first);
    if (first === 'a') await ended;
    socket.end();
    await ended;
    await until(() => events.includes('server close 0'));
    assert.deepEqual(events, [`server ${first}`, 'server end', 'server close 0']);
    assert.equal(got, first === 'a' ? '' : 'late');
  }
  listener.close();
});

onBothQueues('resets are told to both ends', async (kernel) => {
  const closes: number[] = [];
  let peer: Connection | undefined;
  const listener = listen(kernel, { host: '127.0.0.1' }, (c) => {
    peer = c;
    c.handler = { onBytes() {}, onClose: (_, error) => closes.push(error) };
  });
  const { port } = listener.address!;
  const socket = await client(port);
  await until(() => peer !== undefined);
  socket.resetAndDestroy();
  await until(() => closes.length === 1);
  assert.deepEqual(closes, [-104]);
  peer = undefined;
  const second = await client(port);
  const reset = new Promise<NodeJS.ErrnoException>((resolve) => second.once('error', resolve));
  await until(() => peer !== undefined);
  peer!.reset();
  assert.equal((await reset).code, 'ECONNRESET');
  listener.close();
});

onBothQueues('1,000 connections opened and reset in a loop', async (kernel) => {
  const descriptors = () =>
    spawnSync('ls', [`/proc/${process.pid}/fd`])
      .stdout.toString()
      .split('\n').length;
  const listener = listen(kernel, { host: '127.0.0.1' }, (c) => {
    c.handler = echo;
  });
  const { port } = listener.address!;
  const before = descriptors();
  for (let i = 0; i < 1000; i += 50) {
    const sockets = await Promise.all(Array.from({ length: 50 }, () => client(port)));
    for (const socket of sockets) {
      socket.on('error', () => {});
      socket.write('x');
      socket.resetAndDestroy();
    }
    await until(() => socketsOf(kernel).open === 1);
  }
  await until(() => descriptors() <= before);
  listener.close();
});

onBothQueues('a listener closed with connections on the way', async (kernel) => {
  for (let round = 0; round < 20; round++) {
    const listener = listen(kernel, { host: '127.0.0.1' }, (c) => c.destroy());
    const { port } = listener.address!;
    const sockets = Array.from({ length: 20 }, () => net.connect(port, '127.0.0.1'));
    for (const socket of sockets) socket.on('error', () => {});
    if (round % 2) await turn();
    await new Promise<void>((resolve) => listener.close(resolve));
    // The port is free again at once.
    const next = listen(kernel, { host: '127.0.0.1', port }, (c) => c.destroy());
    next.close();
    for (const socket of sockets) socket.destroy();
  }
});

onBothQueues('a port in use, and one that nobody listens to', async (kernel) => {
  const listener = listen(kernel, { host: '127.0.0.1' }, echo as never);
  const { port } = listener.address!;
  assert.throws(() => listen(kernel, { host: '127.0.0.1', port }, echo as never), {
    code: 'EADDRINUSE',
    syscall: 'listen',
    message: `listen EADDRINUSE: address already in use 127.0.0.1:${port}`,
  });
  await new Promise<void>((resolve) => listener.close(resolve));
  const error = await new Promise<number>((resolve) => {
    connect(kernel, { port }, { onBytes() {}, onClose: (_, code) => resolve(code) });
  });
  assert.equal(error, -111);
});

onBothQueues('both ends are ours, by a Unix socket', async (kernel) => {
  const path = `\0trapless-test-${process.pid}-${kernel.ring !== null}`;
  const listener = listen(kernel, { path }, (c) => {
    c.handler = echo;
  });
  let received = 0;
  let wrong = 0;
  const BYTES = 3_000_000;
  await new Promise<void>((resolve) => {
    connect(
      kernel,
      { path },
      {
        onConnect(c) {
          c.write(patternOf(3, 0, BYTES));
          c.end();
        },
        onBytes(_, bytes, start, end) {
          for (let i = start; i < end; i++) if (bytes[i] !== byteOf(3, received++)) wrong++;
        },
        onClose: () => resolve(),
      },
    );
  });
  assert.equal(wrong, 0);
  assert.equal(received, BYTES);
  listener.close();
});

onBothQueues('more requests in one turn than the queue holds', async (kernel) => {
  const COUNT = 1200;
  let closed = 0;
  const peers: Connection[] = [];
  const listener = listen(kernel, { host: '127.0.0.1', backlog: COUNT }, (c) => {
    peers.push(c);
    c.handler = { onBytes() {}, onClose: () => closed++ };
  });
  const { port } = listener.address!;
  let received = 0;
  for (let i = 0; i < COUNT; i++)
    connect(
      kernel,
      { port },
      {
        onBytes(_, _bytes, start, end) {
          received += end - start;
        },
      },
    );
  await until(() => peers.length === COUNT);
  for (const peer of peers) {
    peer.write('answer');
    peer.end();
  }
  await until(() => closed === COUNT);
  assert.equal(received, COUNT * 6);
  listener.close();
});
