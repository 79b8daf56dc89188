/**
 * `trapless demo`, which is `npm start`: a little site, unmodified, plain and under trapless.
 *
 * The server is `examples/site/server.mjs`, the load comes from `examples/site/load.mjs` in a
 * process of its own. Each trial starts a fresh server; the two take turns; the table shows
 * medians. Before anything is measured both must give the same answers.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { createScratch, exitOnSignals, type Scratch } from '../lab/scratch.ts';
import { loadAddon } from '../native/addon.ts';
import { type Environment, formatEnvironment, readEnvironment } from '../report/environment.ts';
import { packageRoot } from '../report/package-root.ts';
import { Progress } from '../report/progress.ts';
import { median, summarize } from '../report/statistics.ts';
import { formatNumber, formatRatio, formatTable } from '../report/table.ts';
import { wholeNumber } from '../report/usage.ts';
import { type CountingTool, findCountingTool, startCounting } from './demo-entries.ts';
import {
  collect,
  processTree,
  type RunningServer,
  readUsage,
  startServer,
  type Usage,
} from './demo-process.ts';
import { explainFailure } from './failure.ts';

export interface DemoOptions {
  readonly trials?: number;
  readonly seconds?: number;
  readonly connections?: number;
  readonly warmSeconds?: number;
  /** Count kernel entries, in runs of their own. */
  readonly countEntries?: boolean;
  /** Where the site's files are copied to; default: in memory if the machine offers that. */
  readonly directory?: string;
  readonly progress?: Progress;
  /** Which syscall threads trapless uses here; only told in the header. */
  readonly tier?: string;
  /** What stands before `server.mjs` to run it under trapless; for tests. */
  readonly traplessCommand?: readonly string[];
}

export interface DemoReport {
  readonly environment: Environment;
  readonly options: { trials: number; seconds: number; connections: number };
  readonly measures: readonly Measure[];
  /** How kernel entries were counted, or why they were not. */
  readonly counting: CountingTool | { reason: string };
}

export interface Measure {
  readonly name: string;
  readonly unit: string;
  /** The better direction. */
  readonly better: 'more' | 'less';
  /** One value per trial. */
  readonly plain: readonly number[];
  readonly trapless: readonly number[];
}

type Variant = 'plain' | 'trapless';
const variants: readonly Variant[] = ['plain', 'trapless'];

/** 5 pairs of (1 + 3) s and two counting runs: 50 s, well below the two minutes promised. */
const defaults = { trials: 5, seconds: 3, connections: 32, warmSeconds: 1 };
const countingSeconds = 1.5;

/** The load generator ends by itself; this long after its time something hangs. */
const loadGraceMs = 30_000;

/** Files the site gets beside those in examples/site: enough for a listing worth its name. */
const photos = { count: 40, smallBytes: 2048, largeBytes: 65_536 };

export const help = `Usage: trapless demo [options]

Runs an unmodified little site (examples/site/server.mjs: node:http and node:fs only) plain and
under trapless, under the same load, and compares. Takes about a minute.

Options
  --trials N        runs of each, taking turns (default ${defaults.trials})
  --seconds N       measured per run (default ${defaults.seconds})
  --connections N   clients at once (default ${defaults.connections})
  --dir DIR         where the site's files go (default: /dev/shm if writable, else the temporary
                    directory)
  --json            one JSON object per line instead of the table; no progress
`;

export function run(argv: readonly string[]): Promise<number> {
  return explainFailure('demo', () => command(argv));
}

async function command(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      trials: { type: 'string' },
      seconds: { type: 'string' },
      connections: { type: 'string' },
      dir: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(help);
    return 0;
  }
  const json = values.json ?? false;
  const progress = new Progress({ silent: json });
  try {
    checkInstallation();
    if (!json) console.log('The same little site, plain and under trapless. About a minute.\n');
    const report = await demo({
      trials: optional('--trials', values.trials, 100),
      seconds: optional('--seconds', values.seconds, 600),
      connections: optional('--connections', values.connections, 10_000),
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

function optional(option: string, text: string | undefined, max: number): number | undefined {
  return text === undefined ? undefined : wholeNumber(option, text, max);
}

/** What the demo needs, with what to do about it. */
function checkInstallation(): void {
  if (process.platform !== 'linux') {
    throw new Error(
      `there is nothing to compare on ${process.platform}: trapless uses Linux, and elsewhere a program runs under it as it does without.`,
    );
  }
  const root = packageRoot();
  const remedy = existsSync(join(root, 'src'))
    ? 'trapless is not built yet; run `npm ci`, or `npm run build` if that has been done.'
    : 'the installation is incomplete; run `npm install trapless` again.';
  for (const part of ['bin/trapless.cjs', 'dist/register.mjs', 'examples/site/server.mjs']) {
    if (!existsSync(join(root, part))) throw new Error(`${part} is missing: ${remedy}`);
  }
  const { addon, reason } = loadAddon();
  if (addon === null) throw new Error(`calls would go the usual way: ${reason}`);
}

interface Trial {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly requests: number;
  readonly used: Usage | null;
}

/** Measures; see `DemoOptions` for what can be chosen. */
export async function demo(options: DemoOptions = {}): Promise<DemoReport> {
  const { progress = new Progress({ silent: true }) } = options;
  const chosen = {
    trials: options.trials ?? defaults.trials,
    seconds: options.seconds ?? defaults.seconds,
    connections: options.connections ?? defaults.connections,
  };
  const { warmSeconds = defaults.warmSeconds, countEntries = true } = options;
  const site = join(packageRoot(), 'examples', 'site');
  const scratch = createScratch(options.directory);
  const cleanup = new Set<() => void>();
  const restoreSignals = exitOnSignals(() => {
    for (const kill of cleanup) kill();
  });

  const start = async (variant: Variant): Promise<RunningServer> => {
    const command =
      variant === 'plain'
        ? [process.execPath]
        : (options.traplessCommand ?? [
            process.execPath,
            join(packageRoot(), 'bin', 'trapless.cjs'),
            'run',
          ]);
    const args = [join(site, 'server.mjs'), '--port', '0', '--root', scratch.path];
    const server = await startServer(
      command[0],
      [...command.slice(1), ...args],
      environmentOf(variant),
    );
    cleanup.add(server.kill);
    return server;
  };
  const load = (port: number, seconds: number, warm: number, observer: LoadObserver) =>
    runLoad(
      join(site, 'load.mjs'),
      { port, seconds, warmSeconds: warm, connections: chosen.connections },
      observer,
      cleanup,
    );

  try {
    const environment = readEnvironment({ directory: scratch.path, tier: options.tier });
    makeSite(site, scratch);
    progress.expect(variants.length * (chosen.trials + 1));
    const counting = countEntries ? await findCountingTool() : { reason: 'not asked for' };

    const trials: Record<Variant, Trial[]> = { plain: [], trapless: [] };
    const answers: Record<Variant, string> = { plain: '', trapless: '' };
    for (let trial = 1; trial <= chosen.trials; trial++) {
      for (const variant of variants) {
        progress.step(`trial ${trial} of ${chosen.trials}: ${variant}`);
        const server = await start(variant);
        if (trial === 1) answers[variant] = await fingerprint(server.port);
        if (trial === 1 && variant === 'trapless') compareAnswers(answers);
        let before: Usage | null = null;
        let after: Usage | null = null;
        const result = await load(server.port, chosen.seconds, warmSeconds, {
          measuring: () => {
            before = readUsage(server.pid);
          },
          measured: () => {
            after = readUsage(server.pid);
          },
        });
        await server.stop();
        cleanup.delete(server.kill);
        trials[variant].push({ ...result, used: difference(before, after) });
      }
    }

    const entries: Record<Variant, number[]> = { plain: [], trapless: [] };
    for (const variant of variants) {
      progress.step(`counting kernel entries: ${variant}`);
      if (typeof counting !== 'string') continue;
      const server = await start(variant);
      // Warm, as in the trials: compiling is not what is counted.
      await load(server.port, warmSeconds, 0, {});
      const counter = await startCounting(counting, processTree(server.pid));
      const { total } = await load(server.port, countingSeconds, 0, {});
      entries[variant].push((await counter.stop()) / total);
      await server.stop();
      cleanup.delete(server.kill);
    }
    return { environment, options: chosen, measures: measuresOf(trials, entries), counting };
  } finally {
    for (const kill of cleanup) kill();
    scratch.remove();
    restoreSignals();
  }
}

/** Both run in the user's environment, but neither with the other's settings. */
function environmentOf(variant: Variant): NodeJS.ProcessEnv {
  const env = { ...process.env };
  delete env.NODE_OPTIONS;
  delete env.TRAPLESS;
  return variant === 'plain' ? { ...env, TRAPLESS: '0' } : env;
}

/** The site's files and some photographs of noise, the same for both. */
function makeSite(site: string, scratch: Scratch): void {
  for (const folder of ['public', 'data']) {
    cpSync(join(site, folder), join(scratch.path, folder), { recursive: true });
  }
  const folder = join(scratch.path, 'public', 'photos');
  mkdirSync(folder);
  writeFileSync(join(folder, 'small.jpg'), Buffer.alloc(photos.smallBytes, 'small'));
  writeFileSync(join(folder, 'large.jpg'), Buffer.alloc(photos.largeBytes, 'large'));
  for (let photo = readdirSync(folder).length; photo < photos.count; photo++) {
    writeFileSync(join(folder, `photo-${photo}.jpg`), Buffer.alloc(512 + photo * 64, 'photo'));
  }
}

/** What the site answers, condensed: both variants must be of one mind before they are timed. */
async function fingerprint(port: number): Promise<string> {
  const base = `http://127.0.0.1:${port}`;
  const hash = createHash('sha256');
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(base + path, { ...init, headers: { Connection: 'close' } });
    hash.update(`${path} ${response.status}\n`);
    hash.update(Buffer.from(await response.arrayBuffer()));
  };
  for (const path of ['/', '/style.css', '/notes/', '/photos/', '/photos/large.jpg']) {
    await ask(path);
  }
  await ask('/api/summary');
  await ask('/missing.html');
  await ask('/uploads/check', { method: 'PUT', body: 'x'.repeat(100_000) });
  await ask('/uploads/check');
  return hash.digest('hex');
}

function compareAnswers(answers: Record<Variant, string>): void {
  if (answers.plain === answers.trapless) return;
  throw new Error(
    'the site answers differently under trapless than plain. That is a bug of trapless: please report it, with the output of `trapless doctor`.',
  );
}

interface LoadObserver {
  measuring?: () => void;
  measured?: () => void;
}

interface LoadResult {
  /** Every request answered, also outside of the measured time. */
  readonly total: number;
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

function runLoad(
  program: string,
  plan: { port: number; connections: number; seconds: number; warmSeconds: number },
  observer: LoadObserver,
  cleanup: Set<() => void>,
): Promise<LoadResult> {
  return new Promise((resolve, reject) => {
    const child: ChildProcess = spawn(process.execPath, [program, JSON.stringify(plan)], {
      env: environmentOf('plain'),
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: (plan.seconds + plan.warmSeconds) * 1000 + loadGraceMs,
      killSignal: 'SIGKILL',
    });
    const kill = () => child.kill('SIGKILL');
    cleanup.add(kill);
    const messages = collect(child);
    let result: LoadResult | undefined;
    createInterface({ input: child.stdout! }).on('line', (line) => {
      if (line === 'measuring') observer.measuring?.();
      else if (line === 'measured') observer.measured?.();
      else if (line.startsWith('{')) result = JSON.parse(line);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      cleanup.delete(kill);
      if (code === 0 && result) resolve(result);
      else reject(new Error(`the load generator ended with ${code ?? signal}${messages()}`));
    });
  });
}

function difference(before: Usage | null, after: Usage | null): Usage | null {
  if (before === null || after === null) return null;
  return {
    userMs: after.userMs - before.userMs,
    systemMs: after.systemMs - before.systemMs,
    switches: after.switches - before.switches,
  };
}

function measuresOf(
  trials: Record<Variant, Trial[]>,
  entries: Record<Variant, number[]>,
): Measure[] {
  const measure = (
    name: string,
    unit: string,
    better: Measure['better'],
    value: (trial: Trial) => number | null,
  ): Measure => {
    const values = (variant: Variant) =>
      trials[variant].map(value).filter((number): number is number => number !== null);
    return { name, unit, better, plain: values('plain'), trapless: values('trapless') };
  };
  const perRequest = (trial: Trial, total: (used: Usage) => number) =>
    trial.used === null ? null : total(trial.used) / trial.requests;

  const all: Measure[] = [
    measure('throughput', 'requests/s', 'more', (trial) => trial.perSecond),
    measure('latency p50', 'ms', 'less', (trial) => trial.p50Ms),
    measure('latency p99', 'ms', 'less', (trial) => trial.p99Ms),
    measure('CPU per request', 'us', 'less', (trial) =>
      perRequest(trial, (used) => (used.userMs + used.systemMs) * 1000),
    ),
    measure('  of it in user mode', 'us', 'less', (trial) =>
      perRequest(trial, (used) => used.userMs * 1000),
    ),
    measure('  of it in the kernel', 'us', 'less', (trial) =>
      perRequest(trial, (used) => used.systemMs * 1000),
    ),
    measure('context switches per request', '', 'less', (trial) =>
      perRequest(trial, (used) => used.switches),
    ),
    { name: 'kernel entries per request', unit: '', better: 'less', ...entries },
  ];
  return all.filter((one) => one.plain.length > 0 && one.trapless.length > 0);
}

/** Above 1 trapless is better, whichever direction that is. */
function gainOf(measure: Measure): number {
  const ratio = median(measure.trapless) / median(measure.plain);
  return measure.better === 'more' ? ratio : 1 / ratio;
}

export function formatReport(report: DemoReport): string {
  const spread = (values: readonly number[]) => {
    const { min, max, trials } = summarize(values);
    return trials === 1 ? '-' : `${formatNumber(min)}-${formatNumber(max)}`;
  };
  const { trials, seconds, connections } = report.options;
  return [
    formatEnvironment(report.environment),
    formatTable(
      ['', 'unit', 'plain Node', 'spread', 'trapless', 'spread', 'better'],
      report.measures.map((measure) => [
        measure.name,
        measure.unit,
        median(measure.plain),
        spread(measure.plain),
        median(measure.trapless),
        spread(measure.trapless),
        formatRatio(gainOf(measure)),
      ]),
    ),
    [
      `Medians of ${trials} trials of ${seconds} s each, taking turns; ${connections} keep-alive`,
      'connections from another process on the same machine. The server is unmodified:',
      'examples/site/server.mjs. CPU and context switches are those of all threads of the server.',
      countingNote(report.counting),
    ].join('\n'),
    howToTry(),
  ].join('\n\n');
}

function countingNote(counting: DemoReport['counting']): string {
  if (counting === 'perf stat') {
    return 'Kernel entries were counted by `perf stat` in a separate run.';
  }
  if (counting === 'strace -c') {
    return 'Kernel entries were counted by `strace -c` in a separate run, which slows the server.';
  }
  return `Kernel entries were not counted: ${counting.reason}.`;
}

function howToTry(): string {
  return `Try it with a program of yours; nothing in it has to change:

  npx trapless run app.js                     instead of \`node app.js\`
  npx trapless run --stats app.js             the same, and tells on exit where its calls went
  node --import trapless/register app.js      where you want to keep node's own options

\`npx trapless doctor\` tells what this machine offers; docs/LIMITS.md, when not to use trapless.`;
}

export function formatJson(report: DemoReport): string {
  const lines: object[] = [
    {
      suite: 'demo',
      environment: report.environment,
      options: report.options,
      counting: report.counting,
    },
    ...report.measures.map((measure) => ({
      suite: 'demo',
      case: measure.name.trim(),
      unit: measure.unit,
      ours: median(measure.trapless),
      peer: median(measure.plain),
      peerName: 'plain Node',
      ratio: gainOf(measure),
      trials: measure.plain.length,
    })),
  ];
  return lines.map((line) => JSON.stringify(line)).join('\n');
}
