/**
 * Sockets when things go wrong: no descriptors, a program that ends right after writing, a worker
 * terminated in the midst of traffic, more completions than there is room for.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { buildSync } from 'esbuild';
import { socketsOf } from '../../src/kernel/sockets/sockets.ts';
import { bindTo, closeNow, nameOf, openSocket, SOCK_DGRAM } from '../../src/ops/socket.ts';
import { AF_INET, type IpAddress } from '../../src/ops/socket-address.ts';
import { Datagrams } from '../../src/sockets/datagrams.ts';
import { listen } from '../../src/sockets/index.ts';
import { execute, root } from '../support/execute.ts';
import { client, onBothQueues, until } from '../support/sockets.ts';

const program = (name: string): string => join(root, 'test', 'faults', 'programs', 'sockets', name);
const TIERS = ['ring', 'ready'] as const;

/** Programs as JavaScript: what loads TypeScript cannot be had in a worker, and opens and closes
 *  descriptors of its own. */
const bundles = mkdtempSync(join(tmpdir(), 'trapless-worker-'));
after(() => rmSync(bundles, { recursive: true }));
function bundled(name: string): string {
  const outfile = join(bundles, `${name}.cjs`);
  buildSync({
    entryPoints: [program(`${name}.ts`)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    logOverride: { 'empty-import-meta': 'silent' },
  });
  return outfile;
}
const addon = join(root, 'native', 'build', 'Release', 'trapless.node');

const emfile = bundled('emfile');
for (const tier of TIERS)
  test(`no descriptor for a connection: accepting recovers [${tier}]`, async () => {
    const line = ['-c', 'ulimit -n 60; exec "$@"', 'sh', process.execPath, emfile, tier];
    const result = await execute(line, { command: 'sh', env: { TRAPLESS_ADDON: addon } });
    assert.equal(result.code, 0, result.stderr);
    assert.deepEqual(JSON.parse(result.stdout), { before: 0, served: 10, answered: 10 });
  });

for (const tier of TIERS)
  for (const how of ['exit', 'throw'])
    test(`the last turn's writes leave, ended by ${how} [${tier}]`, async () => {
      let received = '';
      const server = net.createServer((socket) => {
        socket.write('go');
        socket.on('error', () => {});
        socket.on('data', (data) => {
          received += data;
        });
        socket.on('close', () => server.close());
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as net.AddressInfo;
      const closed = new Promise((resolve) => server.once('close', resolve));
      const line = ['--import', 'tsx', program('exit.ts'), tier, String(port), how];
      const { code } = await execute(line);
      assert.equal(code, how === 'exit' ? 0 : 1);
      await closed;
      assert.equal(received, 'first 1 second third');
    });

const workerProgram = bundled('worker');

/** What a worker could leave behind. Only sockets and our own: a worker that inherited the flags of
 *  this process would load TypeScript's loader, whose reads Node leaves open when it is terminated
 *  in the midst of one. */
function held(): { descriptors: number; threads: number; kibibytes: number } {
  const size = /VmSize:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))!;
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    kibibytes: Number(size[1]),
  };
}

function startWorker(tier: string, options: object): Worker {
  return new Worker(workerProgram, {
    execArgv: [],
    env: { TRAPLESS_ADDON: addon },
    workerData: { ring: tier === 'ring', ...options },
  });
}

const message = (worker: Worker): Promise<unknown> =>
  new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));

for (const tier of TIERS)
  test(`a worker terminated with 1,000 open sockets [${tier}]`, { timeout: 60_000 }, async () => {
    let before = held();
    for (let round = 0; round < 4; round++) {
      const worker = startWorker(tier, { count: 500 });
      await message(worker);
      await new Promise((resolve) => setTimeout(resolve, round * 10));
      await worker.terminate();
      // The first one also opened what stays: for loading TypeScript, for crew threads.
      if (round === 0) before = held();
    }
    await until(() => held().descriptors <= before.descriptors);
    const after = held();
    assert.ok(after.threads <= before.threads + 1, JSON.stringify({ before, after }));
    // Less than one arena.
    assert.ok(after.kibibytes < before.kibibytes + 20_000, JSON.stringify({ before, after }));
  });

/** Accepted in mid-callback, moved out of Linux's way, and never delivered. */
for (const tier of TIERS)
  test(`a worker terminated with connections nobody has seen [${tier}]`, {
    timeout: 20_000,
  }, async () => {
    const worker = startWorker(tier, { count: 0 });
    const port = (await message(worker)) as number;
    const first = await client(port);
    first.write('x');
    assert.equal(await message(worker), 'busy');
    const others = await Promise.all(Array.from({ length: 20 }, () => client(port)));
    const closed = [first, ...others].map(
      (one) => new Promise((resolve) => one.on('error', () => {}).once('close', resolve)),
    );
    for (const one of [first, ...others]) one.resume();
    worker.postMessage('go on');
    assert.equal(await message(worker), 'accepted');
    await worker.terminate();
    await Promise.all(closed);
  });

onBothQueues('more completes than the queue holds', async (kernel) => {
  const COUNT = 6000;
  const sockets = socketsOf(kernel);
  const listener = listen(kernel, { host: '127.0.0.1' }, (c) => {
    c.handler = {
      onBytes: (connection, bytes, start, end) => void connection.write(bytes.subarray(start, end)),
    };
  });
  const { port } = listener.address!;
  const before = await client(port);
  await until(() => sockets.open === 2);
  const fd = openSocket(kernel, AF_INET, SOCK_DGRAM | sockets.socketFlags);
  assert.equal(bindTo(kernel, fd, '127.0.0.1', 0), 0);
  const to = nameOf(kernel, fd, 'getsockname') as IpAddress;
  const told = new Uint8Array(COUNT);
  let wrong = 0;
  const udp = new Datagrams(sockets, fd, {
    onMessage() {},
    onError() {},
    onSent(tag, result) {
      told[tag]++;
      if (result !== 1) wrong++;
    },
  });
  before.write('in the jam');
  for (let i = 0; i < COUNT; i++) {
    udp.send('x', 0x7f000001, to.port, i);
    if (i % 200 === 0) sockets.queue.enter();
  }
  sockets.queue.enter();
  // A ring holds 4,096 completions and keeps the others apart; readiness stopped taking requests.
  if (kernel.ring !== null) assert.equal(sockets.queue.hasUnsubmitted, false);
  assert.equal(told.indexOf(1), -1);
  const echoed = async (socket: net.Socket, text: string): Promise<void> => {
    let got = '';
    for await (const data of socket) {
      got += data;
      if (got.length >= text.length) break;
    }
    assert.equal(got, text);
  };
  await echoed(before, 'in the jam');
  await until(() => udp.queued === 0);
  assert.ok(told.every((count) => count === 1));
  assert.equal(wrong, 0);
  const after = await client(port);
  after.write('behind it');
  await echoed(after, 'behind it');
  udp.release();
  closeNow(kernel, fd);
  listener.close();
});
