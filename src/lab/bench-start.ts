/**
 * `trapless bench start`: what trapless costs a program that hardly uses it: milliseconds until it
 * runs and ends, and memory once the runtime is loaded and idle.
 *
 * A process for each trial, plain and under trapless in turns; medians. The clock runs from outside,
 * around the whole process.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { formatEnvironment, readEnvironment } from '../report/environment.ts';
import { packageRoot } from '../report/package-root.ts';
import { Progress } from '../report/progress.ts';
import { type Summary, summarize } from '../report/statistics.ts';
import { formatNumber, formatTable } from '../report/table.ts';
import { wholeNumber } from '../report/usage.ts';
import { createScratch } from './scratch.ts';

const HELP = `Usage: trapless bench start [options]

What trapless costs a program that hardly uses it: its start-up, and memory while idle.

Options
  --trials N   processes of each kind, in turns (default 20)
  --json       one object per line: {"suite","case","unit","ours","peer","peerName","ratio"}
`;

interface Case {
  readonly name: string;
  readonly what: string;
  readonly unit: 'ms' | 'MiB';
  readonly program: string;
}

/** Prints what it has of memory, in KiB, once nothing is left to do: all of it, and its own alone. */
const TELL_MEMORY = `setTimeout(() => {
  const text = require('fs').readFileSync('/proc/self/smaps_rollup', 'utf8');
  const kib = (name) => Number(new RegExp('^' + name + ': *(\\\\d+)', 'm').exec(text)?.[1]);
  console.log(JSON.stringify({ resident: kib('Rss'), own: kib('Anonymous') }));
}, 200);`;

const CASES: readonly Case[] = [
  { name: 'empty', what: 'an empty program', unit: 'ms', program: '' },
  {
    name: 'first-call',
    what: 'a program that makes one call',
    unit: 'ms',
    program: "require('fs').stat('/', () => {});",
  },
  {
    name: 'idle-resident',
    what: 'resident memory, one call made, idle',
    unit: 'MiB',
    program: `require('fs').stat('/', () => {}); ${TELL_MEMORY}`,
  },
  {
    name: 'idle-own',
    what: 'of this, memory of its own',
    unit: 'MiB',
    program: `require('fs').stat('/', () => {}); ${TELL_MEMORY}`,
  },
];

interface Row {
  readonly of: Case;
  readonly ours: Summary;
  readonly plain: Summary;
}

export async function run(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      trials: { type: 'string', default: '20' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(HELP.trimEnd());
    return 0;
  }
  const rows = measureAll(wholeNumber('--trials', values.trials, 1000), values.json);
  console.log(values.json ? formatJson(rows) : formatReport(rows));
  return 0;
}

function measureAll(trials: number, silent: boolean): Row[] {
  const scratch = createScratch();
  const progress = new Progress({ silent });
  progress.expect(CASES.length);
  try {
    return CASES.map((of) => {
      progress.step(of.what);
      const file = join(scratch.path, `${of.name}.cjs`);
      writeFileSync(file, of.program);
      const command = join(packageRoot(), 'bin', 'trapless.cjs');
      const [plain, ours] = [[file], [command, 'run', file]].map((args) => ({
        args,
        all: [] as number[],
      }));
      for (let trial = -1; trial < trials; trial++) {
        for (const { args, all } of [plain, ours]) {
          const value = once(of, args);
          if (trial >= 0) all.push(value); // the first of each fills the page cache
        }
      }
      return { of, ours: summarize(ours.all), plain: summarize(plain.all) };
    });
  } finally {
    progress.finish();
    scratch.remove();
  }
}

function once({ name, unit }: Case, args: readonly string[]): number {
  const from = performance.now();
  const { status, stdout, stderr } = spawnSync(process.execPath, [...args], { encoding: 'utf8' });
  const ms = performance.now() - from;
  if (status !== 0) throw new Error(`a program under measurement failed: ${stderr}`);
  if (unit === 'ms') return ms;
  const { resident, own } = JSON.parse(stdout) as { resident: number; own: number };
  return (name === 'idle-own' ? own : resident) / 1024;
}

function formatJson(rows: readonly Row[]): string {
  return rows
    .map(({ of, ours, plain }) =>
      JSON.stringify({
        suite: 'start',
        case: of.name,
        unit: of.unit,
        ours: ours.median,
        peer: plain.median,
        peerName: 'node',
        ratio: plain.median / ours.median,
      }),
    )
    .join('\n');
}

function formatReport(rows: readonly Row[]): string {
  const cells = rows.map(({ of, ours, plain }) => [
    of.what,
    `${formatNumber(plain.median)} ${of.unit}`,
    `${formatNumber(ours.median)} ${of.unit}`,
    `+${formatNumber(ours.median - plain.median)} ${of.unit}`,
  ]);
  const table = formatTable(['', 'node', 'trapless run', 'more'], cells, { indent: '  ' });
  return `${formatEnvironment(readEnvironment())}\n\nWhat trapless costs a program that hardly uses it (medians)\n${table}`;
}
