/**
 * `trapless bench fs`: an unmodified program's file-system calls, with trapless and without.
 *
 * The same child program (`children/fs-child.mjs`) is run as every contender: under
 * `--import trapless/register`, as plain Node in three styles, with libuv's own io_uring, on the
 * newest Node and on Bun. Each trial is a fresh process, the contenders take turns (A B C A B C),
 * all run the same cases in the same order on the same files, and every result is checked.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { loadAddon } from '../native/addon.ts';
import { type Environment, formatEnvironment, readEnvironment } from '../report/environment.ts';
import { childProgram, packageRoot } from '../report/package-root.ts';
import { Progress } from '../report/progress.ts';
import { type Summary, summarize } from '../report/statistics.ts';
import { type Cell, formatNumber, formatRatio, formatTable } from '../report/table.ts';
import { chosenFrom, listed, wholeNumber } from '../report/usage.ts';
import { defaultPeersDirectory, installPeer } from './peers.ts';
import { createScratch, exitOnSignals } from './scratch.ts';

export const fsCases = [
  'stat',
  'readFile-1k',
  'readFile-64k',
  'read-4k',
  'writeFile-1k',
  'readdir-1000',
] as const;

export type FsCase = (typeof fsCases)[number];

/** Names of `--peers`, in the order they are measured, and what each is. */
export const fsPeers = {
  crew: 'trapless without the ring (TRAPLESS_RING=0)',
  promises: 'node:fs/promises',
  callback: 'node:fs with callbacks',
  sync: 'node:fs, the *Sync calls one after another',
  uring: 'node:fs/promises with UV_USE_IO_URING=1',
  newest: 'node:fs/promises of the newest Node',
  bun: "Bun's node:fs/promises",
} as const;

export type FsPeer = keyof typeof fsPeers;

export interface FsBenchOptions {
  readonly cases?: readonly FsCase[];
  readonly peers?: readonly FsPeer[];
  readonly inFlight?: readonly number[];
  readonly trials?: number;
  readonly warmMs?: number;
  readonly measureMs?: number;
  /** Where the files go; default: in memory if the machine offers that. */
  readonly directory?: string;
  readonly peersDirectory?: string;
  /** The module that installs trapless under a program; null measures the peers alone. */
  readonly register?: string | null;
  /** Which syscall threads trapless uses here; only told in the header. */
  readonly tier?: string;
  readonly progress?: Progress;
}

export interface FsRow {
  readonly case: FsCase;
  readonly inFlight: number;
  /** Microseconds per operation, by contender ('ours' or a peer's name). */
  readonly usPerOp: ReadonlyMap<string, Summary>;
}

export interface FsReport {
  readonly environment: Environment;
  readonly rows: readonly FsRow[];
  /** Peers that were not measured, and why. */
  readonly skipped: ReadonlyMap<string, string>;
  /** Version of the runtime of every contender that was. */
  readonly versions: ReadonlyMap<string, string>;
}

interface Contender {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly api: 'promises' | 'callback' | 'sync';
  readonly version: string;
}

/** What the child is told about the files; it has no other knowledge of them. */
const layout = {
  /** Distinct files per folder; more loops than that share them. */
  files: 64,
  smallBytes: 1024,
  largeBytes: 65_536,
  blockBytes: 4096,
  entries: 1000,
};

const defaults = {
  trials: 5,
  inFlight: [1, 64, 1024],
  warmMs: 60,
  measureMs: 200,
  quick: { trials: 3, warmMs: 20, measureMs: 60 },
};

/** A child that has said nothing for this long hangs: its slowest measurement takes 5 s. */
const silenceMsMax = 60_000;

/** Loops beyond this would measure the memory of the child rather than its calls. */
const inFlightMax = 100_000;

export async function run(argv: readonly string[]): Promise<number> {
  const parsed = parse(argv);
  if (typeof parsed === 'string') {
    console.log(parsed);
    return 0;
  }
  const { json, ...options } = parsed;

  const register = join(packageRoot(), 'dist', 'register.mjs');
  if (!existsSync(register)) {
    throw new Error(`${register} is missing: trapless is not built; run \`npm run build\` first`);
  }
  // Without the addon the numbers are Node's own, and the header has to say so.
  const { reason } = loadAddon();
  const tier = reason === undefined ? undefined : `none, ${reason}`;
  const progress = new Progress({ silent: json });
  try {
    const report = await benchFs({ register, tier, ...options, progress });
    progress.finish();
    console.log(json ? formatJson(report) : formatReport(report));
    // A peer may be missing; the crew is ours, and measured unless it failed.
    return report.skipped.has('crew') ? 1 : 0;
  } finally {
    progress.finish();
  }
}

export const help = `Usage: trapless bench fs [options]

Measures what one file-system call of an unmodified program costs, with trapless and without,
one call at a time and many at once:
${fsCases.join(', ')}.
Peers that are not on this machine (the newest Node, Bun) are installed by npm on first use.

Options
  --cases LIST      some of these cases, separated by commas
  --in-flight LIST  calls outstanding at once (default ${defaults.inFlight.join(',')})
  --peers LIST      whom to compare with (default: all), or none:
${Object.entries(fsPeers)
  .map(([name, what]) => `                      ${name.padEnd(9)} ${what}`)
  .join('\n')}
  --trials N        processes per contender, taking turns (default ${defaults.trials})
  --quick           ${defaults.quick.trials} short trials: a first impression in about a minute
  --dir DIR         where the files go (default: /dev/shm if writable, else the temporary directory)
  --peers-dir DIR   where peers are installed (default ${defaultPeersDirectory()})
  --json            one JSON object per line instead of tables; no progress

A ratio is the peer's time divided by ours: above 1 trapless is faster.
Medians of all trials; the spread is from the fastest to the slowest trial.
`;

/** The options, or the help text if that was asked for. */
function parse(argv: readonly string[]): (FsBenchOptions & { json: boolean }) | string {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      cases: { type: 'string' },
      peers: { type: 'string' },
      'in-flight': { type: 'string' },
      trials: { type: 'string' },
      quick: { type: 'boolean', default: false },
      dir: { type: 'string' },
      'peers-dir': { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return help;
  const quick = values.quick ? defaults.quick : {};
  const peerNames = Object.keys(fsPeers) as FsPeer[];
  return {
    ...quick,
    json: values.json ?? false,
    cases: chosenFrom('--cases', values.cases, fsCases),
    peers: values.peers === 'none' ? [] : chosenFrom('--peers', values.peers, peerNames),
    ...(values['in-flight'] === undefined
      ? {}
      : {
          inFlight: listed('--in-flight', values['in-flight']).map((n) =>
            wholeNumber('--in-flight', n, inFlightMax),
          ),
        }),
    ...(values.trials === undefined
      ? {}
      : { trials: wholeNumber('--trials', values.trials, 1000) }),
    directory: values.dir,
    peersDirectory: values['peers-dir'],
  };
}

/** Measures; see `FsBenchOptions` for what can be chosen. */
export async function benchFs(options: FsBenchOptions = {}): Promise<FsReport> {
  const { trials = defaults.trials, progress = new Progress({ silent: true }) } = options;
  const plan = {
    cases: options.cases ?? fsCases,
    inFlight: options.inFlight ?? defaults.inFlight,
    warmMs: options.warmMs ?? defaults.warmMs,
    measureMs: options.measureMs ?? defaults.measureMs,
    ...layout,
  };
  const skipped = new Map<string, string>();
  const scratch = createScratch(options.directory);
  const running = new Set<ChildProcess>();
  const restoreSignals = exitOnSignals(() => {
    for (const child of running) child.kill('SIGKILL');
  });
  try {
    // At the start: the load it tells of is other people's.
    const environment = readEnvironment({ directory: scratch.path, tier: options.tier });
    makeFiles(scratch.path);
    const contenders = await gather(options, skipped, progress);
    const samples = new Map<string, number[]>();
    progress.expect(trials * contenders.length);
    for (let trial = 1; trial <= trials; trial++) {
      for (const contender of contenders) {
        progress.step(`trial ${trial} of ${trials}: ${contender.name}`);
        if (skipped.has(contender.name)) continue;
        try {
          const results = await runTrial(contender, { ...plan, root: scratch.path }, running);
          for (const one of results) {
            const key = sampleKey(contender.name, one.case, one.inFlight);
            samples.set(key, [...(samples.get(key) ?? []), one.usPerOp]);
          }
        } catch (error) {
          // A peer that fails is no reason to lose the others; ours failing is the result.
          if (contender.name === 'ours') throw error;
          skipped.set(contender.name, (error as Error).message);
        }
      }
    }
    const measured = contenders.filter((contender) => !skipped.has(contender.name));
    const rows = plan.cases.flatMap((name) =>
      plan.inFlight.map((inFlight) => ({
        case: name,
        inFlight,
        usPerOp: new Map(
          measured.map((contender) => [
            contender.name,
            summarize(samples.get(sampleKey(contender.name, name, inFlight)) ?? []),
          ]),
        ),
      })),
    );
    const versions = new Map(measured.map((contender) => [contender.name, contender.version]));
    return { environment, rows, skipped, versions };
  } finally {
    scratch.remove();
    restoreSignals();
  }
}

function sampleKey(contender: string, name: string, inFlight: number): string {
  return `${contender} ${name}@${inFlight}`;
}

async function gather(
  options: FsBenchOptions,
  skipped: Map<string, string>,
  progress: Progress,
): Promise<Contender[]> {
  const peers = options.peers ?? (Object.keys(fsPeers) as FsPeer[]);
  const node = { program: process.execPath, args: [], version: `Node ${process.version}` };
  const plain = plainEnvironment();
  const contenders: Contender[] = [];

  if (options.register) {
    const args = ['--import', pathToFileURL(options.register).href];
    const ours = { ...node, args, api: 'promises' as const };
    const env = { ...process.env };
    // Whatever else the user has set (TRAPLESS_SQPOLL, say) is what they want measured.
    delete env.TRAPLESS;
    delete env.UV_USE_IO_URING;
    delete env.NODE_OPTIONS;
    contenders.push({ ...ours, name: 'ours', env });
    if (peers.includes('crew')) {
      contenders.push({ ...ours, name: 'crew', env: { ...env, TRAPLESS_RING: '0' } });
    }
  } else if (peers.includes('crew')) {
    skipped.set('crew', 'trapless itself is not measured');
  }

  for (const api of ['promises', 'callback', 'sync'] as const) {
    if (peers.includes(api)) contenders.push({ ...node, name: api, env: plain, api });
  }
  if (peers.includes('uring')) {
    const env = { ...plain, UV_USE_IO_URING: '1' };
    contenders.push({ ...node, name: 'uring', env, api: 'promises' });
  }

  const directory = options.peersDirectory ?? defaultPeersDirectory();
  const onInstall = (name: string) => progress.note(`installing ${name} into ${directory}`);
  for (const name of ['newest', 'bun'] as const) {
    if (!peers.includes(name)) continue;
    const runtime = name === 'newest' ? 'node' : 'bun';
    const peer = await installPeer(runtime, { directory, onInstall });
    if ('reason' in peer) {
      skipped.set(name, peer.reason);
      continue;
    }
    const version = `${runtime === 'node' ? 'Node v' : 'Bun '}${peer.version}`;
    contenders.push({ program: peer.path, args: [], name, env: plain, api: 'promises', version });
  }
  return contenders;
}

/** Peers run without anything of ours, even if the benchmark itself runs under trapless. */
function plainEnvironment(): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of Object.keys(env)) {
    if (name.startsWith('TRAPLESS') || name === 'NODE_OPTIONS' || name === 'UV_USE_IO_URING') {
      delete env[name];
    }
  }
  return env;
}

function makeFiles(root: string): void {
  for (const folder of ['small', 'large', 'written', 'listing']) mkdirSync(join(root, folder));
  for (let file = 0; file < layout.files; file++) {
    const fill = 1 + (file % 250); // fillOf in children/fs-child.mjs
    writeFileSync(join(root, 'small', String(file)), Buffer.alloc(layout.smallBytes, fill));
    writeFileSync(join(root, 'large', String(file)), Buffer.alloc(layout.largeBytes, fill));
  }
  for (let entry = 0; entry < layout.entries; entry++) {
    writeFileSync(join(root, 'listing', `entry-${String(entry).padStart(4, '0')}.txt`), '');
  }
}

/** What one child is to do: its only argument, as JSON, with the api of the contender. */
interface TrialPlan {
  readonly root: string;
  readonly cases: readonly FsCase[];
  readonly inFlight: readonly number[];
  readonly warmMs: number;
  readonly measureMs: number;
}

interface Measurement {
  readonly case: FsCase;
  readonly inFlight: number;
  readonly usPerOp: number;
}

function runTrial(
  contender: Contender,
  plan: TrialPlan,
  running: Set<ChildProcess>,
): Promise<Measurement[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      contender.program,
      [
        ...contender.args,
        childProgram('fs-child.mjs'),
        JSON.stringify({ api: contender.api, ...plan }),
      ],
      { env: contender.env, stdio: ['ignore', 'pipe', 'pipe'] },
    );
    running.add(child);

    let silent = false;
    const onSilence = () => {
      silent = true;
      child.kill('SIGKILL');
    };
    let timer = setTimeout(onSilence, silenceMsMax);

    const results: Measurement[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => {
      clearTimeout(timer);
      timer = setTimeout(onSilence, silenceMsMax);
      // A runtime may print lines of its own.
      if (line.startsWith('{')) results.push(JSON.parse(line));
    });
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr = (stderr + chunk).slice(-4000);
    });

    const end = (problem: string | null) => {
      clearTimeout(timer);
      running.delete(child);
      if (problem === null) resolve(results);
      else reject(new Error(`${contender.name} (${contender.version}) failed: ${problem}`));
    };
    child.on('error', (error) => end(error.message));
    child.on('close', (code, signal) => {
      const expected = plan.cases.length * plan.inFlight.length;
      if (silent) end(`no result within ${silenceMsMax / 1000} s; it hangs`);
      else if (code !== 0) end(`exit ${code ?? signal}: ${stderr.trim() || 'no message'}`);
      else if (results.length !== expected) end(`${results.length} results of ${expected}`);
      else end(null);
    });
  });
}

/** Tables of medians, ratios and spreads, below the environment. */
export function formatReport(report: FsReport): string {
  const names = contendersOf(report);
  const label = (row: FsRow) => `${row.case}@${row.inFlight}`;
  const table = (first: string, columns: readonly string[], cell: CellOf) =>
    formatTable(
      [first, ...columns],
      report.rows.map((row) => [label(row), ...columns.map((name) => cell(row, name))]),
    );
  const sections = [
    formatEnvironment(report.environment),
    names.map((name) => `  ${name.padEnd(9)} ${describe(name, report)}`).join('\n'),
  ];
  for (const [name, reason] of report.skipped) sections.push(`  skipped ${name}: ${reason}`);

  sections.push(
    'Microseconds per operation, median (case@in flight)',
    table('us/op', names, (row, name) => row.usPerOp.get(name)?.median),
    'Spread: fastest to slowest trial',
    table('us/op', names, (row, name) => {
      const summary = row.usPerOp.get(name);
      return summary && `${formatNumber(summary.min)}-${formatNumber(summary.max)}`;
    }),
  );
  for (const ours of ['ours', 'crew']) {
    const peers = names.filter((name) => name !== 'ours' && name !== 'crew');
    if (!names.includes(ours) || peers.length === 0) continue;
    sections.push(
      ours === 'ours'
        ? 'How many times as fast as the peer: trapless'
        : 'How many times as fast as the peer: trapless without the ring',
      table('peer / ours', peers, (row, name) => {
        const ratio = ratioOf(row, ours, name);
        return ratio === null ? null : formatRatio(ratio);
      }),
    );
  }
  return sections.join('\n\n');
}

type CellOf = (row: FsRow, name: string) => Cell;

/**
 * JSON lines: the environment, then one comparison each. `suite` is `fs`, and `fs-crew` where
 * ours is trapless without the ring.
 */
export function formatJson(report: FsReport): string {
  const lines: object[] = [
    {
      suite: 'fs',
      environment: report.environment,
      skipped: Object.fromEntries(report.skipped),
    },
  ];
  const names = contendersOf(report);
  for (const ours of ['ours', 'crew']) {
    if (!names.includes(ours)) continue;
    for (const row of report.rows) {
      for (const peer of names) {
        const mine = row.usPerOp.get(ours);
        const theirs = row.usPerOp.get(peer);
        if (peer === 'ours' || peer === ours || !mine || !theirs) continue;
        lines.push({
          suite: ours === 'ours' ? 'fs' : 'fs-crew',
          case: `${row.case}@${row.inFlight}`,
          unit: 'us/op',
          ours: mine.median,
          peer: theirs.median,
          peerName: peer,
          ratio: theirs.median / mine.median,
          peerVersion: report.versions.get(peer),
          oursSpread: [mine.min, mine.max],
          peerSpread: [theirs.min, theirs.max],
          trials: mine.trials,
        });
      }
    }
  }
  return lines.map((line) => JSON.stringify(line)).join('\n');
}

function contendersOf(report: FsReport): string[] {
  return [...(report.rows[0]?.usPerOp.keys() ?? [])];
}

function describe(name: string, report: FsReport): string {
  const what = name === 'ours' ? 'trapless under node:fs/promises' : fsPeers[name as FsPeer];
  return `${what}, ${report.versions.get(name)}`;
}

function ratioOf(row: FsRow, ours: string, peer: string): number | null {
  const mine = row.usPerOp.get(ours);
  const theirs = row.usPerOp.get(peer);
  return mine && theirs ? theirs.median / mine.median : null;
}
