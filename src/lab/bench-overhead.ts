/**
 * `trapless bench overhead`: what a system call costs by syscall page against batch size, as
 * figures 9 and 10 of FlexSC (section 5.1), beside the synchronous call and the same in C.
 *
 * Figure 9 is one core: the program posts a batch, then the kernel is entered once for all of it.
 * Figure 10 is a second core that does the kernel's work. Every configuration is a process of its
 * own, they take turns (A B C A B C), and the C limit takes its turn among them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { type Environment, formatEnvironment, readEnvironment } from '../report/environment.ts';
import { packageRoot } from '../report/package-root.ts';
import { formatPlot, type Series } from '../report/plot.ts';
import { Progress } from '../report/progress.ts';
import { type Summary, summarize } from '../report/statistics.ts';
import { formatNumber, formatRatio, formatTable } from '../report/table.ts';
import { wholeNumber } from '../report/usage.ts';
import { compileLimit, type Limit } from './overhead-limit.ts';
import {
  FILE_BYTES,
  type Figure,
  runTrial,
  type Setting,
  type SkippedCase,
  type TrialPlan,
} from './overhead-trial.ts';
import { createScratch, exitOnSignals } from './scratch.ts';

interface CaseText {
  readonly figure: 9 | 10;
  readonly setting: Setting;
  readonly what: string;
  /** The same in C, as native/bench/overhead.c calls it. */
  readonly c: string;
  /** The least that is possible in C: the same without syscall pages; if that is something else. */
  readonly bare?: string;
  /** The synchronous call it stands for. */
  readonly sync: 'getppid' | 'read';
}

/** A case's name is that of the JSON lines, before `@batch`. */
export const overheadCases: Readonly<Record<string, CaseText>> = {
  nop: {
    figure: 9,
    setting: 'batching',
    what: 'no-op on the ring',
    c: 'page_ring_nop',
    bare: 'ring_nop',
    sync: 'getppid',
  },
  getppid: {
    figure: 9,
    setting: 'batching',
    what: 'getppid on the spot',
    c: 'spot_getppid',
    bare: 'sync_getppid',
    sync: 'getppid',
  },
  read: {
    figure: 9,
    setting: 'batching',
    what: 'read on the spot',
    c: 'spot_read_1k',
    bare: 'sync_pread_1k',
    sync: 'read',
  },
  'read-ring': {
    figure: 9,
    setting: 'batching',
    what: 'read on the ring',
    c: 'page_ring_read_1k',
    bare: 'ring_read_1k',
    sync: 'read',
  },
  'nop-post': {
    figure: 9,
    setting: 'post',
    what: 'no-op by post()',
    c: 'page_ring_nop',
    bare: 'ring_nop',
    sync: 'getppid',
  },
  'nop-sqpoll': {
    figure: 10,
    setting: 'sqpoll',
    what: 'no-op by SQPOLL',
    c: 'sqpoll_nop',
    sync: 'getppid',
  },
  'read-sqpoll': {
    figure: 10,
    setting: 'sqpoll',
    what: 'read by SQPOLL',
    c: 'sqpoll_read_1k',
    sync: 'read',
  },
  'nop-crew': {
    figure: 10,
    setting: 'crew',
    what: 'no-op by the crew',
    c: 'crew_nop',
    sync: 'getppid',
  },
  'getppid-crew': {
    figure: 10,
    setting: 'crew',
    what: 'getppid by the crew',
    c: 'crew_getppid',
    sync: 'getppid',
  },
  'read-crew': {
    figure: 10,
    setting: 'crew',
    what: 'read by the crew',
    c: 'crew_read_1k',
    sync: 'read',
  },
};

export interface OverheadOptions {
  readonly trials?: number;
  readonly rounds?: number;
  readonly roundMs?: number;
  readonly batches?: readonly number[];
  /** The core that works for the program in figure 10. Default: the last. */
  readonly cpu?: number;
  /** Measure the C limit. Default true. */
  readonly limit?: boolean;
  /** Where the measured file goes. Default: the temporary directory. */
  readonly directory?: string;
  readonly progress?: Progress;
}

export interface OverheadReport {
  readonly environment: Environment;
  readonly batches: readonly number[];
  /** Nanoseconds per call of trapless, by `case@batch`. */
  readonly ours: ReadonlyMap<string, Summary>;
  /** Of the C program, by its `case@batch`. */
  readonly c: ReadonlyMap<string, Summary>;
  /** Of the synchronous call from JavaScript. */
  readonly sync: ReadonlyMap<string, Summary>;
  /** What was not measured, and why. */
  readonly skipped: ReadonlyMap<string, string>;
}

const defaults = {
  trials: 5,
  rounds: 5,
  roundMs: 10,
  batches: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
  quick: { trials: 3, rounds: 3, roundMs: 3 },
};

export const help = `Usage: trapless bench overhead [options]

Measures what one system call costs, in nanoseconds, against the size of the batch it is posted
in: FlexSC's figures 9 (one core, one kernel entry per batch) and 10 (another core does the
kernel's work), for a no-op, getppid and a read of 1 KiB from the page cache. Beside it: the
synchronous call from JavaScript, and the same in C (compiled here, if there is a compiler).

Options
  --trials N   processes per configuration, taking turns (default ${defaults.trials})
  --quick      ${defaults.quick.trials} short trials: about half a minute
  --cpu N      the core that works for the program in figure 10 (default: the last one)
  --no-c       without the C limit
  --dir DIR    where the file is that is read (default: the temporary directory)
  --json       one JSON object per line instead of tables and plots; no progress

A ratio is the peer's time divided by ours: above 1 trapless is faster.
Medians of all trials, of each its fastest round; the spread is from the fastest to the slowest
trial.
`;

export async function run(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      trials: { type: 'string' },
      quick: { type: 'boolean', default: false },
      cpu: { type: 'string' },
      'no-c': { type: 'boolean', default: false },
      dir: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
      // This program's own children: a plan.
      trial: { type: 'string' },
    },
  });
  if (values.help) {
    console.log(help);
    return 0;
  }
  if (values.trial !== undefined) return runChild(JSON.parse(values.trial));

  const json = values.json ?? false;
  const progress = new Progress({ silent: json });
  try {
    const report = await benchOverhead({
      ...(values.quick ? defaults.quick : {}),
      ...(values.trials === undefined
        ? {}
        : { trials: wholeNumber('--trials', values.trials, 1000) }),
      ...(values.cpu === undefined ? {} : { cpu: coreNumber(values.cpu) }),
      limit: !values['no-c'],
      directory: values.dir,
      progress,
    });
    progress.finish();
    console.log(json ? formatJson(report) : formatReport(report));
    return 0;
  } finally {
    progress.finish();
  }
}

function coreNumber(text: string): number {
  return wholeNumber('--cpu', String(Number(text) + 1), 4096) - 1;
}

function runChild(plan: TrialPlan): number {
  for (const line of runTrial(plan)) console.log(JSON.stringify(line));
  return 0;
}

/* --- Measuring ---------------------------------------------------------------------------------- */

/** Measures; see `OverheadOptions` for what can be chosen. */
export async function benchOverhead(options: OverheadOptions = {}): Promise<OverheadReport> {
  const { trials = defaults.trials, progress = new Progress({ silent: true }) } = options;
  const batches = options.batches ?? defaults.batches;
  const cpu = options.cpu ?? availableParallelism() - 1;
  const skipped = new Map<string, string>();
  const samples = { ours: new Samples(), c: new Samples(), sync: new Samples() };
  const running = new Set<ChildProcess>();
  // Not in memory, unlike the other benchmarks: io_uring reads a tmpfs in a thread of its own.
  const scratch = createScratch(options.directory ?? tmpdir());
  const restoreSignals = exitOnSignals(() => {
    for (const child of running) child.kill('SIGKILL');
  });
  try {
    const environment = readEnvironment({ directory: scratch.path });
    const file = join(scratch.path, 'file');
    writeFileSync(file, Buffer.alloc(FILE_BYTES, 1));
    const plan = {
      file,
      batches,
      cpu,
      rounds: options.rounds ?? defaults.rounds,
      roundMs: options.roundMs ?? defaults.roundMs,
    };
    const settings = settingsHere(skipped);
    const limit = options.limit === false ? null : await limitHere(scratch.path, skipped);
    progress.expect(trials * (settings.length + (limit ? 1 : 0)));
    for (let trial = 1; trial <= trials; trial++) {
      for (const setting of settings) {
        progress.step(`trial ${trial} of ${trials}: ${setting}`);
        if (skipped.has(setting)) continue;
        try {
          const into = setting === 'sync' ? samples.sync : samples.ours;
          const results = await runInChild({ setting, ...plan }, running);
          into.add(results.filter((one) => 'ns' in one));
          for (const one of results) if ('skipped' in one) skipped.set(one.case, one.skipped);
        } catch (error) {
          // Refused rings and the like: the rest can still be measured.
          skipped.set(setting, (error as Error).message);
        }
      }
      if (limit === null) continue;
      progress.step(`trial ${trial} of ${trials}: the same in C`);
      samples.c.add(await limit.run({ cpu, quick: true }));
    }
    const { ours, c, sync } = samples;
    return { environment, batches, ours: ours.all(), c: c.all(), sync: sync.all(), skipped };
  } finally {
    scratch.remove();
    restoreSignals();
  }
}

class Samples {
  readonly #values = new Map<string, number[]>();

  add(figures: readonly Figure[]): void {
    for (const { case: name, batch, ns } of figures) {
      const key = keyOf(name, batch);
      this.#values.set(key, [...(this.#values.get(key) ?? []), ns]);
    }
  }

  all(): Map<string, Summary> {
    return new Map(Array.from(this.#values, ([key, values]) => [key, summarize(values)]));
  }
}

function keyOf(name: string, batch: number): string {
  return `${name}@${batch}`;
}

function settingsHere(skipped: Map<string, string>): Setting[] {
  if (availableParallelism() > 1) return ['sync', 'batching', 'post', 'sqpoll', 'crew'];
  for (const setting of ['sqpoll', 'crew']) skipped.set(setting, 'needs a second core');
  return ['sync', 'batching', 'post'];
}

async function limitHere(directory: string, skipped: Map<string, string>): Promise<Limit | null> {
  const limit = await compileLimit(directory);
  if (!('reason' in limit)) return limit;
  skipped.set('C limit', limit.reason);
  return null;
}

/** A trial hangs when it has not ended after this long; the longest takes some seconds. */
const TRIAL_MS_MAX = 120_000;

function runInChild(
  plan: TrialPlan,
  running: Set<ChildProcess>,
): Promise<(Figure | SkippedCase)[]> {
  const env = { ...process.env };
  for (const name of Object.keys(env))
    if (/^(TRAPLESS_(RING|SQPOLL|CORES|SHARE|ORDER)|NODE_OPTIONS)$/.test(name)) delete env[name];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, childArguments(JSON.stringify(plan)), {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TRIAL_MS_MAX,
      killSignal: 'SIGKILL',
    });
    running.add(child);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr = (stderr + chunk).slice(-4000);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      running.delete(child);
      if (code === 0)
        resolve(
          stdout
            .split('\n')
            .filter(Boolean)
            .map((line) => JSON.parse(line)),
        );
      else reject(new Error(`exit ${code ?? signal}: ${messageIn(stderr)}`));
    });
  });
}

/** The same program once more: from what is built, or in a checkout's tests from the sources. */
function childArguments(trial: string): string[] {
  const root = packageRoot();
  const built = join(root, 'bin', 'trapless.cjs');
  if (typeof __dirname === 'string' && existsSync(built))
    return [built, 'bench', 'overhead', '--trial', trial];
  const self = pathToFileURL(join(root, 'src', 'lab', 'bench-overhead.ts')).href;
  const script = `import { run } from ${JSON.stringify(self)}; await run(['--trial', ${JSON.stringify(trial)}]);`;
  return ['--import', 'tsx', '--input-type=module', '-e', script];
}

function messageIn(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim());
  return lines.find((line) => /Error:/.test(line))?.trim() ?? lines.at(-1) ?? 'no message';
}

/* --- Reporting ---------------------------------------------------------------------------------- */

/** Tables, plots and the paper's figures beside ours, below the environment. */
export function formatReport(report: OverheadReport): string {
  const sections = [formatEnvironment(report.environment)];
  for (const [name, reason] of report.skipped) sections.push(`  ${name} skipped: ${reason}`);
  for (const figure of [9, 10] as const) {
    const names = casesOf(report, figure);
    if (names.length === 0) continue;
    sections.push(titleOf(figure), ...tablesOf(report, names), plotOf(report, figure, names));
    sections.push(`FlexSC: ${PAPER[figure]}`, verdictOf(report, names));
  }
  return sections.join('\n\n');
}

const PAPER = {
  9: 'a lone call 43 % slower than the synchronous one, even at 2, up to 130 % faster from 32 on',
  10: 'a lone call more than 10 times as slow as the synchronous one, recouped at 32',
};

function titleOf(figure: 9 | 10): string {
  return figure === 9
    ? 'FlexSC figure 9: one core, one kernel entry per batch'
    : "FlexSC figure 10: another core does the kernel's work";
}

function casesOf(report: OverheadReport, figure: 9 | 10): string[] {
  return Object.keys(overheadCases).filter(
    (name) =>
      overheadCases[name].figure === figure && report.ours.has(keyOf(name, report.batches[0])),
  );
}

function tablesOf(report: OverheadReport, names: readonly string[]): string[] {
  return names.map((name) => {
    const { what, c, bare, sync } = overheadCases[name];
    const lone = report.sync.get(keyOf(sync, 1))?.median;
    const rows = report.batches.map((batch) => {
      const ours = report.ours.get(keyOf(name, batch))!;
      const same = report.c.get(keyOf(c, batch))?.median;
      const least = bare && (report.c.get(keyOf(bare, batch)) ?? report.c.get(keyOf(bare, 1)));
      return [
        String(batch),
        ours.median,
        `${formatNumber(ours.min)}-${formatNumber(ours.max)}`,
        lone === undefined ? null : formatRatio(lone / ours.median),
        same,
        same === undefined ? null : formatRatio(ours.median / same),
        least ? least.median : null,
      ];
    });
    const head = ['batch', 'ns/call', 'spread', 'sync/ours', 'same in C', 'ours/C', 'bare C'];
    const against =
      lone === undefined ? '' : `; synchronous from JavaScript: ${formatNumber(lone)} ns`;
    return `${what}${against}\n${formatTable(head, rows)}`;
  });
}

function plotOf(report: OverheadReport, figure: 9 | 10, names: readonly string[]): string {
  const series: Series[] = names.map((name) => ({
    name: overheadCases[name].what,
    points: report.batches.map((batch) => [batch, report.ours.get(keyOf(name, batch))!.median]),
  }));
  for (const call of ['getppid', 'read'] as const) {
    const lone = report.sync.get(keyOf(call, 1))?.median;
    if (lone === undefined) continue;
    const points = report.batches.map((batch) => [batch, lone] as const);
    series.push({ name: `${call}, synchronous`, points });
  }
  return formatPlot(series, {
    title: `Figure ${figure}`,
    logX: true,
    logY: true,
    xLabel: 'calls in a batch',
    yLabel: 'ns per call (log scale)',
  });
}

/** What the paper says of its figure, in the same words, of ours. */
function verdictOf(report: OverheadReport, names: readonly string[]): string {
  return names
    .map((name) => {
      const { what, sync } = overheadCases[name];
      const lone = report.sync.get(keyOf(sync, 1))?.median;
      if (lone === undefined) return '';
      const at = (batch: number) => report.ours.get(keyOf(name, batch))!.median;
      const even = report.batches.find((batch) => at(batch) <= lone);
      const best = Math.min(...report.batches.map(at));
      const alone = at(report.batches[0]);
      const parts = [
        `a lone call ${compare(alone, lone)}`,
        even === undefined ? 'never even' : `even at ${even}`,
        `at best ${compare(best, lone)}`,
      ];
      return `Here, ${what}: ${parts.join(', ')}`;
    })
    .filter(Boolean)
    .join('\n');
}

function compare(ns: number, lone: number): string {
  if (ns > 2 * lone) return `${formatNumber(ns / lone)} times as slow`;
  const percent = ns > lone ? ns / lone - 1 : lone / ns - 1;
  return `${formatNumber(percent * 100)} % ${ns > lone ? 'slower' : 'faster'}`;
}

/** JSON lines: the environment, then one comparison each. */
export function formatJson(report: OverheadReport): string {
  const lines: object[] = [
    {
      suite: 'overhead',
      environment: report.environment,
      skipped: Object.fromEntries(report.skipped),
    },
  ];
  for (const [name, { c, bare, sync }] of Object.entries(overheadCases)) {
    for (const batch of report.batches) {
      const ours = report.ours.get(keyOf(name, batch));
      if (ours === undefined) continue;
      const peers: [string, Summary | undefined][] = [
        ['sync', report.sync.get(keyOf(sync, 1))],
        ['c', report.c.get(keyOf(c, batch))],
        ['c-bare', bare === undefined ? undefined : report.c.get(keyOf(bare, batch))],
      ];
      for (const [peerName, peer] of peers) {
        if (peer === undefined) continue;
        lines.push({
          suite: 'overhead',
          case: keyOf(name, batch),
          unit: 'ns/call',
          ours: ours.median,
          peer: peer.median,
          peerName,
          ratio: peer.median / ours.median,
          oursSpread: [ours.min, ours.max],
          peerSpread: [peer.min, peer.max],
          trials: ours.trials,
        });
      }
    }
  }
  return lines.map((line) => JSON.stringify(line)).join('\n');
}
