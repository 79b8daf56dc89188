/**
 * Sockets when things go wrong: no descriptors, a program that ends right after writing, a worker
 * terminated in the midst of traffic.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { buildSync } from 'esbuild';
import { execute, root } from '../support/execute.ts';

const program = (name: string): string => join(root, 'test', 'faults', 'programs', 'sockets', name);
const TIERS = ['ring', 'ready'] as const;

for (const tier of TIERS)
  test(`no descriptor for a connection: accepting recovers [${tier}]`, async () => {
    const limited = ['-c', 'ulimit -n 60; exec "$@"', 'sh', process.execPath, '--import', 'tsx'];
    const result = await execute([...limited, program('emfile.ts'), tier], { command: 'sh' });
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

/** TypeScript in a worker, whatever loads it here. */
const bundled = join(mkdtempSync(join(tmpdir(), 'trapless-worker-')), 'worker.cjs');
buildSync({
  entryPoints: [program('worker.ts')],
  outfile: bundled,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  logOverride: { 'empty-import-meta': 'silent' },
});
after(() => rmSync(dirname(bundled), { recursive: true }));
const addon = join(root, 'native', 'build', 'Release', 'trapless.node');

const descriptors = (): number => readdirSync('/proc/self/fd').length;

for (const tier of TIERS)
  test(`a worker terminated with 1,000 open sockets [${tier}]`, { timeout: 60_000 }, async () => {
    let before = 0;
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(bundled, {
        env: { TRAPLESS_ADDON: addon },
        workerData: { ring: tier === 'ring', count: 500 },
      });
      await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
      await new Promise((resolve) => setTimeout(resolve, round * 10));
      await worker.terminate();
      // The first one also opened what stays: for loading TypeScript, for crew threads.
      if (round === 0) before = descriptors();
    }
    assert.ok(descriptors() <= before, `${descriptors()} descriptors, there were ${before}`);
  });
