/**
 * Does the overhead benchmark run every case, in every setting, and report it as it says? A tiny
 * run of the real thing, from the sources; the figures themselves mean nothing here.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  benchOverhead,
  formatJson,
  formatReport,
  type OverheadReport,
  overheadCases,
  run,
} from '../../src/lab/bench-overhead.ts';
import { compileLimit } from '../../src/lab/overhead-limit.ts';

const folder = mkdtempSync(join(tmpdir(), 'bench-overhead-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

let report: OverheadReport;

test('every case is measured, and the files are gone afterwards', async () => {
  report = await benchOverhead({
    trials: 1,
    rounds: 1,
    roundMs: 0.1,
    batches: [1, 64],
    directory: folder,
  });
  assert.deepEqual(readdirSync(folder), []);
  for (const name of report.skipped.keys()) {
    // A busy machine, or one without io_uring or a second core, may refuse some.
    assert.ok(name in overheadCases || ['sqpoll', 'crew', 'C limit'].includes(name), name);
  }
  for (const [name, { setting }] of Object.entries(overheadCases)) {
    if (report.skipped.has(name) || report.skipped.has(setting)) continue;
    for (const batch of [1, 64]) {
      const summary = report.ours.get(`${name}@${batch}`);
      assert.ok(summary && summary.median > 1 && summary.median < 1e8, `${name}@${batch}`);
    }
  }
  assert.ok(report.sync.has('getppid@1') && report.sync.has('read@1'));
});

test('the C limit has every case it is compared with', async () => {
  const limit = await compileLimit(folder);
  assert.ok(!('reason' in limit), JSON.stringify(limit));
  if (report.skipped.size > 0 || availableParallelism() < 2) return;
  for (const { c } of Object.values(overheadCases))
    assert.ok(report.c.has(`${c}@64`), `${c} is missing`);
});

test('where it cannot be compiled there is a reason', async () => {
  const saved = process.env.CC;
  process.env.CC = '/no/such/compiler';
  try {
    const limit = await compileLimit(folder);
    assert.ok('reason' in limit && /no\/such\/compiler/.test(limit.reason));
  } finally {
    if (saved === undefined) delete process.env.CC;
    else process.env.CC = saved;
  }
});

test('reports', () => {
  const text = formatReport(report);
  assert.match(text, /FlexSC figure 9: one core/);
  assert.match(text, /FlexSC: a lone call 43 % slower/);
  assert.match(text, /Here, read on the spot: a lone call .*, at best .* % (faster|slower)|times/);
  const [head, ...lines] = formatJson(report)
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(head.suite, 'overhead');
  assert.ok(head.environment.cpu);
  assert.ok(lines.length > 4);
  for (const line of lines) {
    assert.equal(line.suite, 'overhead');
    assert.match(line.case, /^[\w-]+@\d+$/);
    assert.equal(line.unit, 'ns/call');
    assert.equal(line.ratio, line.peer / line.ours);
    assert.match(line.peerName, /^(sync|c|c-bare)$/);
  }
});

test('the command line', async () => {
  const printed: string[] = [];
  const { log } = console;
  console.log = (text: string) => printed.push(text);
  try {
    assert.equal(await run(['--help']), 0);
  } finally {
    console.log = log;
  }
  assert.match(printed[0], /Usage: trapless bench overhead/);
  await assert.rejects(run(['--trials', '0']), /--trials takes a whole number from 1 to 1000/);
  await assert.rejects(run(['--cpu', 'x']), /--cpu takes a whole number/);
});
