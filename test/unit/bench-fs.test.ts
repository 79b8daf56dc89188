/**
 * Does the file-system benchmark measure what it says, and notice results that are wrong? A tiny
 * run of the real thing; a failure means that its numbers cannot be trusted.
 */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { benchFs, formatJson, formatReport, fsCases, run } from '../../src/lab/bench-fs.ts';
import { createScratch } from '../../src/lab/scratch.ts';
import { childProgram } from '../../src/report/package-root.ts';

const folder = mkdtempSync(join(tmpdir(), 'bench-fs-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Stands for `trapless/register` where it is the benchmark that is tested. */
const register = join(folder, 'register.mjs');
writeFileSync(register, 'process.env.REGISTERED = "1";\n');

const tiny = { trials: 2, warmMs: 1, measureMs: 2 };

test('every case is measured by every contender, and the files are gone afterwards', async () => {
  const before = readdirSync(folder);
  const report = await benchFs({
    ...tiny,
    directory: folder,
    register,
    inFlight: [1, 3],
    peers: ['crew', 'promises', 'callback', 'sync'],
  });
  assert.deepEqual(readdirSync(folder), before);
  assert.deepEqual([...report.skipped], []);
  assert.equal(report.rows.length, fsCases.length * 2);
  for (const row of report.rows) {
    assert.deepEqual([...row.usPerOp.keys()], ['ours', 'crew', 'promises', 'callback', 'sync']);
    for (const summary of row.usPerOp.values()) {
      assert.equal(summary.trials, 2);
      assert.ok(summary.min > 0 && summary.max < 1e6, JSON.stringify(summary));
    }
  }

  const lines = formatJson(report)
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.ok(lines[0].environment.filesystem);
  const comparisons = lines.slice(1);
  assert.equal(comparisons.filter((line) => line.suite === 'fs').length, report.rows.length * 4);
  assert.equal(
    comparisons.filter((line) => line.suite === 'fs-crew').length,
    report.rows.length * 3,
  );
  for (const line of comparisons) {
    assert.equal(line.unit, 'us/op');
    assert.match(line.case, /^[\w-]+@\d+$/);
    assert.equal(line.ratio, line.peer / line.ours);
  }
  assert.match(formatReport(report), /readFile-1k@3/);
});

test('a peer that fails is left out with the reason, ours failing fails', async () => {
  const broken = join(folder, 'broken.mjs');
  writeFileSync(broken, 'if (process.env.TRAPLESS_RING === "0") throw new Error("no crew");\n');
  const options = { ...tiny, cases: ['stat'] as const, inFlight: [1], trials: 1 };
  const report = await benchFs({ ...options, register: broken, peers: ['crew', 'promises'] });
  assert.match(report.skipped.get('crew') ?? '', /no crew/);
  assert.deepEqual([...report.rows[0].usPerOp.keys()], ['ours', 'promises']);

  writeFileSync(broken, 'throw new Error("broken");\n');
  await assert.rejects(benchFs({ ...options, register: broken, peers: [] }), /ours.*broken/s);
});

/** Wrong results: sizes, data, counts, lost writes. */
const lies: [string, string, RegExp][] = [
  ['stat', 'fsp.stat = async () => ({ size: 1 })', /size 1/],
  [
    'readFile-1k',
    'fsp.readFile = only("/small/", () => Buffer.alloc(1023))',
    /1023 bytes read of 1024/,
  ],
  ['readFile-64k', 'fsp.readFile = only("/large/", () => Buffer.alloc(65536))', /0 read, not 1/],
  ['writeFile-1k', 'fsp.writeFile = async () => {}', /ENOENT/],
  ['readdir-1000', 'fsp.readdir = async () => new Array(999).fill("x")', /999 names of 1000/],
];
for (const [name, lie, message] of lies) {
  test(`the child notices: ${name} with ${lie}`, async () => {
    const liar = join(folder, 'liar.mjs');
    writeFileSync(
      liar,
      `import fsp from 'node:fs/promises';
      const real = fsp.readFile; // Node's loader needs it for the child itself.
      const only = (folder, lie) => async (path, ...rest) =>
        String(path).includes(folder) ? lie() : real(path, ...rest);
      ${lie};`,
    );
    await assert.rejects(
      benchFs({ ...tiny, register: liar, peers: [], cases: [name as never], inFlight: [2] }),
      message,
    );
  });
}

test('the child runs by itself on any runtime: it imports node:fs only', () => {
  const child = childProgram('fs-child.mjs');
  const plan = { api: 'sync', cases: [], inFlight: [] };
  const ended = spawnSync(process.execPath, [child, JSON.stringify(plan)], { encoding: 'utf8' });
  assert.equal(ended.status, 0, ended.stderr);
});

test('a wrong option is answered with what is right', async () => {
  const message = async (...argv: string[]) => {
    try {
      await run(argv);
    } catch (error) {
      return (error as Error).message;
    }
    return 'no error';
  };
  assert.match(await message('--cases', 'read'), /there is no 'read'; choose from stat, /);
  assert.match(await message('--peers', 'deno'), /there is no 'deno'; choose from crew, promises/);
  assert.match(await message('--in-flight', '1,0'), /from 1 to 100000, not '0'/);
  assert.match(await message('--trials', 'x'), /from 1 to 1000, not 'x'/);
  assert.match(await message('--nonsense'), /--nonsense/);
  assert.throws(() => createScratch('/no/such/place'), /give --dir an existing directory/);
});
