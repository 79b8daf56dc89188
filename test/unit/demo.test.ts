/**
 * Does the little site answer as a site should, and does the demo measure it from outside? A
 * failure means that `npm start` breaks, or that its table tells of something else.
 */

import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { demo, formatJson, formatReport } from '../../src/cli/demo.ts';
import { parsePerfStat, parseStrace } from '../../src/cli/demo-entries.ts';
import {
  processTree,
  type RunningServer,
  readUsage,
  startServer,
} from '../../src/cli/demo-process.ts';
import { packageRoot } from '../../src/report/package-root.ts';

const site = join(packageRoot(), 'examples', 'site');
const folder = mkdtempSync(join(tmpdir(), 'demo-test-'));
let server: RunningServer;

before(async () => {
  cpSync(join(site, 'public'), join(folder, 'public'), { recursive: true });
  cpSync(join(site, 'data'), join(folder, 'data'), { recursive: true });
  writeFileSync(join(folder, 'secret'), 'secret');
  writeFileSync(join(folder, 'public', 'large'), Buffer.alloc(300_000, 'large'));
  const args = [join(site, 'server.mjs'), '--port', '0', '--root', folder];
  server = await startServer(process.execPath, args, process.env);
});

after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Paths exactly as written: fetch would resolve the dots. */
function ask(method: string, path: string, body?: Buffer, headers: Record<string, string> = {}) {
  return new Promise<{ status: number; body: Buffer; type: string }>((resolve, reject) => {
    const options = { port: server.port, host: '127.0.0.1', method, path, headers, agent: false };
    const asked = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          body: Buffer.concat(chunks),
          type: String(response.headers['content-type']),
        }),
      );
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

test('site: files whole and streamed, index, listing, summary', async () => {
  const index = await ask('GET', '/?query');
  assert.equal(index.status, 200);
  assert.match(index.type, /^text\/html/);
  assert.match(index.body.toString(), /A little site/);
  assert.deepEqual((await ask('GET', '/large')).body, Buffer.alloc(300_000, 'large'));
  assert.match((await ask('GET', '/notes/')).body.toString(), /href="about.txt"/);
  const summary = JSON.parse((await ask('GET', '/api/summary')).body.toString());
  assert.equal(summary.length, 8);
  assert.equal(summary[0].station, 'Anchorage');
  assert.ok(summary[0].lowest < summary[0].mean && summary[0].mean < summary[0].highest);
});

test('site: an upload is stored whole and replaced', async () => {
  for (const size of [0, 100_000, 5]) {
    const body = Buffer.alloc(size, 'upload');
    const length = { 'Content-Length': String(size) };
    assert.equal((await ask('PUT', '/uploads/a.bin', body, length)).status, 201);
    assert.deepEqual((await ask('GET', '/uploads/a.bin')).body, body);
  }
  assert.deepEqual(readdirSync(join(folder, 'uploads')), ['a.bin']);
});

test('site: refuses what it should', async () => {
  const status = async (...args: Parameters<typeof ask>) => (await ask(...args)).status;
  assert.equal(await status('GET', '/missing'), 404);
  assert.equal(await status('GET', '/style.css/below'), 404);
  assert.equal(await status('GET', '/../secret'), 404);
  assert.equal(await status('GET', '/%2e%2e/secret'), 404);
  assert.equal(await status('GET', '/uploads/../../secret'), 404);
  assert.equal(await status('GET', '/%00'), 404);
  assert.equal(await status('GET', '/%zz'), 400);
  assert.equal(await status('DELETE', '/'), 405);
  assert.equal(await status('PUT', '/style.css', Buffer.from('x')), 405);
  const length = { 'Content-Length': '1' };
  assert.equal(await status('PUT', '/uploads/..', Buffer.from('x'), length), 400);
  assert.equal(await status('PUT', '/uploads/.hidden', Buffer.from('x'), length), 400);
  const chunked = { 'Transfer-Encoding': 'chunked' };
  assert.equal(await status('PUT', '/uploads/a', Buffer.from('x'), chunked), 411);
});

test('usage: a process sees itself and its children', () => {
  const tree = processTree(process.pid);
  assert.equal(tree[0], process.pid);
  assert.ok(tree.includes(server.pid), `${server.pid} in ${tree}`);
  const usage = readUsage(process.pid);
  assert.ok(usage !== null && usage.userMs > 0 && usage.switches > 0);
  assert.equal(readUsage(2 ** 22 + 1), null);
});

test('counts: of perf stat and strace as they print them', () => {
  const perf = '# started on Sat\n\n135413,,raw_syscalls:sys_enter,3012345678,100.00,,\n';
  assert.equal(parsePerfStat(perf), 135413);
  assert.equal(parsePerfStat('<not counted>,,raw_syscalls:sys_enter,0,0.00,,\n'), 0);
  const strace = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.02    0.361014          36      9893      1077 futex
 20.00    0.100000           1       107           epoll_pwait
------ ----------- ----------- --------- --------- ----------------
100.00    0.461014           7     10000      1077 total
`;
  assert.equal(parseStrace(strace), 10_000);
  assert.equal(parseStrace(''), 0);
});

test('a server that does not start says why', async () => {
  const args = ['-e', 'console.error("no such luck"); process.exit(3)'];
  await assert.rejects(startServer(process.execPath, args, process.env), (error: Error) => {
    assert.match(error.message, /ended at once \(3\):\nno such luck$/);
    return true;
  });
});

test('the demo compares, with plain Node standing in for trapless', async () => {
  const report = await demo({
    trials: 1,
    seconds: 0.3,
    warmSeconds: 0.1,
    connections: 4,
    countEntries: false,
    directory: folder,
    traplessCommand: [process.execPath],
  });
  const names = report.measures.map((measure) => measure.name.trim());
  assert.deepEqual(names, [
    'throughput',
    'latency p50',
    'latency p99',
    'CPU per request',
    'of it in user mode',
    'of it in the kernel',
    'context switches per request',
  ]);
  for (const measure of report.measures) {
    assert.ok(measure.plain[0] >= 0 && measure.trapless[0] >= 0, measure.name);
  }
  assert.ok(report.measures[0].plain[0] > 10);
  assert.match(formatReport(report), /npx trapless run app\.js/);
  assert.match(formatReport(report), /Kernel entries were not counted: not asked for\./);
  assert.equal(formatJson(report).split('\n').length, 1 + report.measures.length);
});
