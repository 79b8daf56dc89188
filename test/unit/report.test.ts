/**
 * Are tables aligned, plots placed, progress quiet when it should be, and environments told
 * truly? Pure functions and a fake clock; a failure means that a report misleads its reader.
 */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  filesystemIn,
  filesystemOf,
  formatEnvironment,
  readEnvironment,
} from '../../src/report/environment.ts';
import { childProgram, packageRoot, packageVersion } from '../../src/report/package-root.ts';
import { formatPlot } from '../../src/report/plot.ts';
import { Progress } from '../../src/report/progress.ts';
import { median, percentile, summarize } from '../../src/report/statistics.ts';
import { displayWidth, formatNumber, formatRatio, formatTable } from '../../src/report/table.ts';

test('table: numbers right, words left, lines without trailing spaces', () => {
  const table = formatTable(
    ['case', 'us/op', 'ratio'],
    [
      ['stat@1', 1.04, '20.1x'],
      ['readFile-1k@64', 123.4, null],
    ],
  );
  assert.equal(
    table,
    [
      'case            us/op  ratio',
      '──────────────  ─────  ─────',
      'stat@1           1.04  20.1x',
      'readFile-1k@64    123      -',
    ].join('\n'),
  );
});

test('table: indent and ascii', () => {
  const table = formatTable(['a'], [['b']], { indent: '  ', ascii: true });
  assert.equal(table, '  a\n  -\n  b');
});

test('table: markdown aligns the same columns and escapes pipes', () => {
  const table = formatTable(['who | what', 'n'], [['a|b', 2]], { markdown: true });
  assert.equal(table, '| who \\| what | n |\n|---|---:|\n| a\\|b | 2.00 |');
});

test('table: ranges and units count as numbers, a column with a word does not', () => {
  const line = formatTable(
    ['a long head', 'b long head'],
    [
      ['1.2-3.4', '5 s'],
      ['1', 'skipped'],
    ],
  );
  assert.equal(line.split('\n')[2], '    1.2-3.4  5 s');
});

test('table: a row of the wrong length is named', () => {
  assert.throws(() => formatTable(['a', 'b'], [['1', '2'], ['1']]), {
    name: 'RangeError',
    message: 'row 1 has 1 cells, the heading has 2',
  });
});

test('table: without rows only the heading', () => {
  assert.equal(formatTable(['a', 'bc'], []), 'a  bc\n─  ──');
});

test('numbers keep three digits and never an exponent', () => {
  const cases: [number, string][] = [
    [0, '0'],
    [0.00004, '0.000'],
    [0.1234, '0.123'],
    [0.9996, '1.00'],
    [1.234, '1.23'],
    [9.996, '10.0'],
    [12.34, '12.3'],
    [99.96, '100'],
    [1234.5, '1235'],
    [-1.234, '-1.23'],
    [Number.NaN, '-'],
    [Number.POSITIVE_INFINITY, '-'],
  ];
  for (const [value, text] of cases) assert.equal(formatNumber(value), text, `${value}`);
  assert.equal(formatRatio(2), '2.00x');
  assert.equal(formatRatio(Number.NaN), '-');
});

test('width ignores colours and counts code points', () => {
  assert.equal(displayWidth('\u001b[31mred\u001b[0m'), 3);
  assert.equal(displayWidth('µs●'), 3);
});

test('plot: markers where they belong, legend, ticks', () => {
  const plot = formatPlot(
    [
      {
        name: 'ring',
        points: [
          [1, 100],
          [4, 50],
          [16, 0],
        ],
      },
      {
        name: 'sync',
        points: [
          [1, 100],
          [16, 100],
        ],
      },
    ],
    { width: 9, height: 3, logX: true, xLabel: 'batch', yLabel: 'ns', title: 'cost', ascii: true },
  );
  assert.deepEqual(plot.split('\n'), [
    'cost',
    'ns',
    '100 |*.......o',
    '    |  ..*.',
    '  0 |      ..*',
    '    +---------',
    '     1   4  16',
    '     batch (log scale)',
    '     * ring   o sync',
  ]);
});

test('plot: one point, no points, impossible points', () => {
  assert.match(formatPlot([{ name: 'a', points: [[5, 5]] }], { ascii: true }), /\*/);
  assert.equal(formatPlot([], { title: 'nothing' }), 'nothing: no points');
  assert.throws(() => formatPlot([{ name: 'a', points: [[0, 1]] }], { logX: true }), {
    message: 'a logarithmic x axis has no 0',
  });
  assert.throws(() => formatPlot([{ name: 'a', points: [[1, Number.NaN]] }]), {
    message: 'y must be finite, got NaN',
  });
  assert.throws(() => formatPlot([], { width: 1 }), RangeError);
});

/** A stream that remembers and a clock that stands until told. */
function fakes(isTTY: boolean) {
  const written: string[] = [];
  const clock = { ms: 0 };
  const stream = { isTTY, columns: 80, write: (text: string) => written.push(text) };
  return { written, clock, options: { stream, now: () => clock.ms } };
}

test('progress: nothing in the first two seconds', () => {
  for (const isTTY of [true, false]) {
    const { written, clock, options } = fakes(isTTY);
    const progress = new Progress(options);
    progress.step('one');
    clock.ms = 1900;
    progress.step('two');
    progress.finish();
    assert.deepEqual(written, []);
  }
});

test('progress: plain lines elsewhere, not too many, with the time left', () => {
  const { written, clock, options } = fakes(false);
  const progress = new Progress({ ...options, total: 4 });
  progress.step('one');
  clock.ms = 3000;
  progress.step('two');
  clock.ms = 4000;
  progress.step('three');
  clock.ms = 9000;
  progress.step('four');
  progress.finish();
  assert.deepEqual(written, [
    '[2/4] two (3 s, about 9 s left)\n',
    '[4/4] four (9 s, about 3 s left)\n',
  ]);
});

test('progress: one line redrawn on a terminal, erased at the end and by notes', () => {
  const { written, clock, options } = fakes(true);
  const progress = new Progress(options);
  clock.ms = 2500;
  progress.step('one');
  progress.note('kept');
  progress.step('x'.repeat(200));
  progress.finish();
  assert.equal(written[0], '\r\u001b[2Kone (3 s)');
  assert.deepEqual(written.slice(1, 3), ['\r\u001b[2K', 'kept\n']);
  assert.equal(written[3].length, '\r\u001b[2K'.length + 79);
  assert.equal(written[4], '\r\u001b[2K');
});

test('progress: silent means silent', () => {
  const { written, clock, options } = fakes(false);
  const progress = new Progress({ ...options, silent: true });
  clock.ms = 10_000;
  progress.step('one');
  progress.note('two');
  progress.finish();
  assert.deepEqual(written, []);
});

const MOUNTINFO = `22 27 0:21 / /proc rw,relatime - proc proc rw
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684096k
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:40 / /with\\040space rw - xfs /dev/vdb rw
41 27 0:41 / /dev/shm rw - ramfs none rw
`;

test('environment: the file system is that of the deepest, topmost mount', () => {
  assert.equal(filesystemIn(MOUNTINFO, '/dev/shm/a'), 'ramfs');
  assert.equal(filesystemIn(MOUNTINFO, '/dev/shmoo'), 'ext4');
  assert.equal(filesystemIn(MOUNTINFO, '/with space'), 'xfs');
  assert.equal(filesystemIn(MOUNTINFO, '/'), 'ext4');
  assert.equal(filesystemIn('', '/'), null);
  assert.equal(filesystemOf('/no/such/directory'), null);
});

test('environment: header names machine, versions, tier and directory', () => {
  const environment = readEnvironment({ directory: tmpdir(), tier: 'ring' });
  assert.equal(environment.node, process.version);
  assert.equal(environment.trapless, packageVersion());
  assert.ok(environment.cores >= 1);
  assert.ok(!Number.isNaN(Date.parse(environment.date)));
  const header = formatEnvironment({ ...environment, filesystem: 'tmpfs', governor: 'powersave' });
  assert.match(header, /governor powersave/);
  assert.match(header, /\(tier: ring\)/);
  assert.match(header, /\(tmpfs: in memory, so the calls are measured rather than a disk\)$/);
  const bare = formatEnvironment(readEnvironment());
  assert.equal(bare.split('\n').length, 2);
  assert.doesNotMatch(bare, /tier/);
});

test('package root: found, and the children with it', () => {
  assert.ok(existsSync(join(packageRoot(), 'package.json')));
  assert.match(packageVersion(), /^\d+\.\d+\.\d+/);
  assert.ok(existsSync(childProgram('fs-child.mjs')));
  assert.throws(() => childProgram('no-such-child.mjs'), /npm run build/);
});

test('statistics: medians, spreads, percentiles', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.deepEqual(summarize([2, 9, 4]), { median: 4, min: 2, max: 9, trials: 3 });
  assert.throws(() => summarize([]), RangeError);
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  assert.equal(percentile(hundred, 0.5), 50);
  assert.equal(percentile(hundred, 0.99), 99);
  assert.equal(percentile(hundred, 1), 100);
  assert.equal(percentile([7], 0), 7);
  assert.throws(() => percentile([], 0.5), RangeError);
});
