/**
 * Do the server benchmarks measure what they say, and notice answers that are wrong? Tiny runs of
 * the real thing; a failure means that their numbers cannot be trusted.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import * as dns from '../../src/lab/bench-dns.ts';
import * as express from '../../src/lab/bench-express.ts';
import * as http from '../../src/lab/bench-http.ts';
import * as net from '../../src/lab/bench-net.ts';
import { coresFor, cpuOf } from '../../src/lab/servers/cores.ts';
import { checkDescriptorLimit } from '../../src/lab/servers/idle.ts';
import { parseWrk } from '../../src/lab/servers/load.ts';
import { formatJson, formatReport } from '../../src/lab/servers/report.ts';
import {
  measure,
  type Suite,
  type SuiteReport,
  type SuiteRow,
} from '../../src/lab/servers/suite.ts';

const skip = availableParallelism() < 2 && 'needs a second core for the load';
const tiny = { trials: 1, warmSeconds: 0.05, seconds: 0.2, connections: [4], collections: 1 };

const everybody = ['ours', 'crew', 'node', 'limit'];

function assertFigures(row: SuiteRow): void {
  for (const [figures] of [...row.figures.values(), ...row.alone.values()]) {
    assert.ok(figures.total > 0 && figures.total < 1e5, JSON.stringify(figures));
    assert.ok(figures.p50 > 0 && figures.p50 <= figures.p99, JSON.stringify(figures));
    assert.ok(figures.p99 <= figures.p999, JSON.stringify(figures));
  }
}

const linesOf = (report: SuiteReport) =>
  formatJson(report)
    .split('\n')
    .map((line) => JSON.parse(line));

for (const [{ suite }, cases] of [
  [net, ['64B', '1K', '16K', '64K', 'echo']],
  [dns, ['a']],
  [http, ['hello', 'json', 'static']],
] as const) {
  test(`bench ${suite.name}: every case by every contender`, { skip }, async () => {
    const report = await measure(suite, { ...tiny, cases, peers: everybody.slice(1) });
    assert.deepEqual([...report.skipped], []);
    assert.equal(report.rows.length, cases.length);
    for (const row of report.rows) {
      assert.deepEqual([...row.figures.keys()], everybody);
      assertFigures(row);
    }
    const [header, ...lines] = linesOf(report);
    assert.equal(header.suite, suite.name);
    assert.equal(lines.length, report.rows.length * 3);
    for (const line of lines) assert.equal(line.ratio, line.peer / line.ours);
    assert.match(formatReport(report), /peer \/ ours, user/);
  });
}

const hasWrk = spawnSync('wrk', ['-v']).error === undefined;
const noWrk = hasWrk ? false : 'wrk is not installed (scripts/install-clients.sh)';
test('bench http: a connection for each request', { skip: skip || noWrk }, async () => {
  const report = await measure(http.suite, { ...tiny, cases: ['short'], peers: ['node', 'limit'] });
  assert.deepEqual([...report.skipped], []);
  assert.equal(report.rows[0].figures.size, 3);
  assertFigures(report.rows[0]);
});

test('bench express: ours and node', { skip }, async () => {
  const report = await measure(express.suite, { ...tiny, peers: ['node'] });
  assert.deepEqual([...report.skipped], []);
  for (const row of report.rows) assert.equal(row.figures.size, 2);
});

for (const { suite } of [net, http])
  test(`bench ${suite.name}: connections that are idle`, { skip }, async () => {
    const cases = ['idle-memory', 'idle-busy'];
    const report = await measure(suite, { ...tiny, cases, idle: 300, peers: everybody.slice(1) });
    assert.deepEqual([...report.skipped], []);
    const [memory, busy] = report.rows;
    assert.deepEqual([memory.figures.size, memory.idle, memory.connections], [0, 300, 0]);
    assert.deepEqual([...memory.bytes.keys()], everybody);
    assert.deepEqual([...busy.figures.keys()], everybody);
    assert.deepEqual([...busy.alone.keys()], everybody);
    assertFigures(busy);
    const units = linesOf(report).map(({ case: name, unit }) => `${name} ${unit}`);
    assert.equal(units.filter((unit) => unit === 'idle-memory@0+300 bytes/connection').length, 3);
    assert.equal(units.filter((unit) => unit === 'idle-busy@4+300 throughput kept').length, 3);
    assert.match(formatReport(report), /Resident memory per idle connection/);
  });

test('without the ring, at a fixed rate, some of the tables', { skip }, async () => {
  const options = { ...tiny, cases: ['64B'], peers: ['crew', 'node'], tier: 'crew' } as const;
  const report = await measure(net.suite, { ...options, rate: 500 });
  // What is without the ring anyhow is no contender of its own.
  assert.deepEqual([...report.rows[0].figures.keys()], ['ours', 'node']);
  assert.equal(report.contenders[0].env.TRAPLESS_RING, '0');
  for (const [{ perSecond }] of report.rows[0].figures.values())
    assert.ok(perSecond > 0 && perSecond < 600, `${perSecond}`);
  const text = formatReport(report, ['p999']);
  assert.match(text, /at 500 requests\/s.*without io_uring/);
  assert.match(text, /p99\.9, us/);
  assert.doesNotMatch(text, /us, total/);
});

test('more connections than descriptors are refused', () => {
  checkDescriptorLimit(10);
  assert.throws(() => checkDescriptorLimit(2 ** 40), /ulimit -Hn/);
});

test('a wrong answer is noticed, and a server that ends', { skip }, async () => {
  const script = {
    silent: 'process.exit(3)',
    liar: `const s = require('net').createServer((c) => c.on('data', () => c.write('x'.repeat(64))));
      s.listen(0, '127.0.0.1', () => console.log(JSON.stringify(s.address())))`,
  };
  const suite = (name: keyof typeof script): Suite => ({
    ...net.suite,
    gather: async () => [
      {
        name: 'ours',
        what: name,
        version: '0',
        env: process.env,
        command: () => [process.execPath, ['-e', script[name]]],
      },
    ],
  });
  const one = { ...tiny, cases: ['64B'] };
  await assert.rejects(measure(suite('silent'), one), /it ended with 3/);
  await assert.rejects(measure(suite('liar'), one), /bytes of another connection/);
});

test('wrk is understood, and so are its errors', () => {
  const text = `  Latency Distribution
     50%  253.00us
     75%    1.20ms
     90%    2.00ms
     99%    1.02s
  12345 requests in 1.00s, 1.5MB read
Requests/sec:  12300.50
    99.9%  1500000us
`;
  assert.deepEqual(parseWrk(text), {
    requests: 12345,
    perSecond: 12300.5,
    p50: 253,
    p99: 1_020_000,
    p999: 1_500_000,
  });
  const errors = '  Socket errors: connect 0, read 5, write 0, timeout 0\n';
  assert.throws(() => parseWrk(text + errors), /read 5/);
  assert.throws(() => parseWrk('nonsense'), /nonsense/);
});

test("a process's time and the cores", { skip }, () => {
  const before = cpuOf(process.pid);
  const until = performance.now() + 60;
  while (performance.now() < until);
  const after = cpuOf(process.pid);
  assert.ok(after.user + after.kernel - before.user - before.kernel >= 20_000);
  const { server, load } = coresFor();
  assert.notEqual(server, load);
});

test('a wrong option is answered with what is right', async () => {
  await assert.rejects(http.run(['--cases', 'bye']), /choose from hello, json, static/);
  await assert.rejects(http.run(['--peers', 'apache']), /choose from crew, run, run-crew, node/);
  await assert.rejects(http.run(['--tier', 'boat']), /choose from ring, crew/);
  await assert.rejects(http.run(['--show', 'all']), /choose from user, kernel, total/);
  await assert.rejects(http.run(['--filter', 'total']), /Unknown option '--filter'/);
  await assert.rejects(net.run(['--connections', '5000']), /from 1 to 1024, not '5000'/);
});
