/**
 * `trapless bench overhead`: figures 9 and 10 of FlexSC. What one exception-less call costs,
 * against the size of its batch: on one core (figure 9), and with the other core doing the
 * kernel's work (figure 10); beside it the synchronous call, and the same in C.
 *
 * Each way of calling is a process of its own, every trial a fresh one; the ways take turns.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { formatEnvironment, readEnvironment } from '../report/environment.ts';
import { packageRoot } from '../report/package-root.ts';
import { formatPlot } from '../report/plot.ts';
import { Progress } from '../report/progress.ts';
import { median } from '../report/statistics.ts';
import { formatNumber, formatRatio, formatTable } from '../report/table.ts';
import { UsageError, wholeNumber } from '../report/usage.ts';
import { createScratch, type Scratch } from './scratch.ts';

const BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
const CALLS = ['nop', 'getppid', 'read-1k'] as const;
type Call = (typeof CALLS)[number];

/** The ways of calling, and which calls each can do. */
const WAYS = {
  sync: { what: 'synchronous call from JavaScript', calls: ['getppid', 'read-1k'], far: false },
  spot: { what: 'on the spot, one core', calls: CALLS, far: false },
  ring: { what: 'ring, one core', calls: ['nop', 'read-1k'], far: false },
  sqpoll: { what: "ring, Linux's thread on the other core", calls: ['nop', 'read-1k'], far: true },
  crew: { what: 'crew thread on the other core', calls: CALLS, far: true },
} as const;
type Way = keyof typeof WAYS;

/** The C program's names for the same things. */
const IN_C: Readonly<Record<string, string>> = {
  'sync getppid': 'sync_getppid',
  'sync read-1k': 'sync_pread_1k',
  'ring nop': 'page_ring_nop',
  'ring read-1k': 'page_ring_read_1k',
  'spot getppid': 'spot_getppid',
  'spot read-1k': 'spot_read_1k',
  'sqpoll nop': 'sqpoll_nop',
  'sqpoll read-1k': 'sqpoll_read_1k',
  'crew nop': 'crew_nop',
  'crew getppid': 'crew_getppid',
  'crew read-1k': 'crew_read_1k',
};

export const help = `Usage: trapless bench overhead [options]

Figures 9 and 10 of FlexSC: the cost of one call against the size of its batch, for a no-op,
getppid and a cached read of 1 KiB; on one core, and with another core doing the kernel's work.
Beside it the synchronous call and, in a checkout with a C compiler, the same in C.

  --trials N    processes per way of calling, interleaved (default 5)
  --core N      the core that works for us (default: the last)
  --quick       a first impression: fewer and shorter rounds
  --json        one object per line: {suite, case, unit, ours, peer, peerName, ratio};
                a ratio above 1: trapless is faster
  -h, --help    this text
`;

interface Settings {
  readonly trials: number;
  readonly core: number;
  readonly roundMs: number;
  readonly rounds: number;
  readonly quick: boolean;
  readonly json: boolean;
}

export async function run(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      trials: { type: 'string' },
      core: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(help);
    return 0;
  }
  const cores = availableParallelism();
  const core = values.core === undefined ? cores - 1 : Number(values.core);
  if (!Number.isInteger(core) || core < 0)
    throw new UsageError(`--core takes the number of a core, not '${values.core}'`);
  const quick = values.quick;
  const settings: Settings = {
    trials: values.trials ? wholeNumber('--trials', values.trials, 100) : quick ? 2 : 5,
    core,
    roundMs: quick ? 4 : 12,
    rounds: quick ? 3 : 5,
    quick,
    json: values.json,
  };
  const report = measureAll(settings);
  console.log(settings.json ? formatJson(report) : formatReport(report));
  return 0;
}

/** Nanoseconds per call by 'way call batch' (ours) and by the C program's 'case batch'. */
interface Report {
  readonly ours: ReadonlyMap<string, number>;
  readonly spread: ReadonlyMap<string, readonly [number, number]>;
  readonly c: ReadonlyMap<string, number>;
  readonly skipped: readonly string[];
}

const key = (way: string, call: string, batch: number) => `${way} ${call} ${batch}`;

function measureAll(settings: Settings): Report {
  const scratch = createScratch();
  const skipped: string[] = [];
  const ways = (Object.keys(WAYS) as Way[]).filter((way) => {
    if (!WAYS[way].far || availableParallelism() > 1) return true;
    skipped.push(`${way}: there is no other core`);
    return false;
  });
  const program = compileC(scratch, skipped);
  const progress = new Progress({
    total: settings.trials * (ways.length + (program ? 1 : 0)),
    silent: settings.json,
  });
  const ours = new Map<string, number[]>();
  const c = new Map<string, number[]>();
  try {
    for (let trial = 1; trial <= settings.trials; trial++) {
      for (const way of ways) {
        progress.step(`trial ${trial} of ${settings.trials}: ${WAYS[way].what}`);
        runChild(way, settings, ours, skipped);
      }
      if (program === null) continue;
      progress.step(`trial ${trial} of ${settings.trials}: the same in C`);
      runC(program, settings, c, skipped);
    }
  } finally {
    progress.finish();
    scratch.remove();
  }
  return {
    ours: medians(ours),
    spread: new Map([...ours].map(([name, ns]) => [name, [Math.min(...ns), Math.max(...ns)]])),
    c: medians(c),
    skipped: [...new Set(skipped)],
  };
}

function medians(all: ReadonlyMap<string, number[]>): Map<string, number> {
  return new Map([...all].map(([name, ns]) => [name, median(ns)]));
}

function collect(into: Map<string, number[]>, name: string, ns: number): void {
  const list = into.get(name);
  if (list) list.push(ns);
  else into.set(name, [ns]);
}

interface Line {
  readonly call: string;
  readonly case?: string;
  readonly batch: number;
  readonly ns: number;
  readonly skipped?: string;
}

function linesOf(output: string): Line[] {
  return output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line);
}

function runChild(
  way: Way,
  settings: Settings,
  ours: Map<string, number[]>,
  skipped: string[],
): void {
  const plan = {
    way,
    calls: WAYS[way].calls,
    batches: settings.quick ? BATCHES.filter((batch) => batch !== 2 && batch !== 128) : BATCHES,
    roundMs: settings.roundMs,
    rounds: settings.rounds,
    core: settings.core,
  };
  const child = join(packageRoot(), 'dist', 'children', 'overhead-child.mjs');
  const output = execFileSync(process.execPath, [child, JSON.stringify(plan)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for (const line of linesOf(output)) {
    if (line.skipped !== undefined) skipped.push(`${way}: ${line.skipped}`);
    else collect(ours, key(way, line.call, line.batch), line.ns);
  }
}

/** native/bench/overhead.c is in the repository only. */
function compileC(scratch: Scratch, skipped: string[]): string | null {
  const native = join(packageRoot(), 'native');
  const source = join(native, 'bench', 'overhead.c');
  if (!existsSync(source)) {
    skipped.push('C: its source is in the repository, not in the package');
    return null;
  }
  const program = join(scratch.path, 'overhead');
  const others = ['ring', 'crew', 'spot', 'attempt', 'execute', 'pack'].map((name) =>
    join(native, `${name}.c`),
  );
  const { status, error, stderr } = spawnSync(
    'cc',
    ['-O2', '-std=c11', '-pthread', source, ...others, '-o', program],
    { encoding: 'utf8' },
  );
  if (status === 0) return program;
  skipped.push(`C: ${error ? 'there is no compiler (cc)' : stderr.trim()}`);
  return null;
}

function runC(
  program: string,
  settings: Settings,
  c: Map<string, number[]>,
  skipped: string[],
): void {
  const args = ['--cpu', String(settings.core), ...(settings.quick ? ['--quick'] : [])];
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) {
    skipped.push(`C: ${stderr.trim()}`);
    return;
  }
  for (const line of linesOf(stdout)) {
    if (line.skipped !== undefined) skipped.push(`C ${line.case}: ${line.skipped}`);
    else collect(c, `${line.case} ${line.batch}`, line.ns);
  }
}

/* --- Report --------------------------------------------------------------------------------- */

function inC(report: Report, way: string, call: string, batch: number): number | undefined {
  return report.c.get(`${IN_C[`${way} ${call}`]} ${batch}`);
}

/** One figure's table and plot for one call. */
function formatFigure(report: Report, call: Call, far: boolean): string {
  const ways = (Object.keys(WAYS) as Way[]).filter(
    (way) => way !== 'sync' && WAYS[way].far === far && report.ours.has(key(way, call, 1)),
  );
  if (ways.length === 0) return '';
  const batches = BATCHES.filter((batch) => report.ours.has(key(ways[0], call, batch)));
  const sync = report.ours.get(key('sync', call, 1));
  const rows = batches.map((batch) => [
    String(batch),
    ...ways.flatMap((way) => {
      const ours = report.ours.get(key(way, call, batch)) ?? Number.NaN;
      const c = inC(report, way, call, batch);
      return [ours, c ?? null, c === undefined ? null : formatRatio(ours / c)];
    }),
    ...(sync === undefined
      ? []
      : [formatRatio(sync / (report.ours.get(key(ways[0], call, batch)) ?? 0))]),
  ]);
  const head = [
    'batch',
    ...ways.flatMap((way) => [`${way} ns`, 'in C', 'ours / C']),
    ...(sync === undefined ? [] : [`sync / ${ways[0]}`]),
  ];
  const series = ways.map((way) => ({
    name: way as string,
    points: batches.map(
      (batch) => [batch, report.ours.get(key(way, call, batch)) ?? 0] as [number, number],
    ),
  }));
  if (sync !== undefined)
    series.push({ name: 'synchronous', points: batches.map((batch) => [batch, sync]) });
  const figure = far ? 'Figure 10 (the other core works)' : 'Figure 9 (one core)';
  return [
    `${figure}: ${call}${sync === undefined ? '' : `, synchronous ${formatNumber(sync)} ns`}`,
    formatTable(head, rows),
    formatPlot(series, {
      logX: true,
      logY: true,
      xLabel: 'batch',
      yLabel: 'ns per call',
      height: 12,
    }),
  ].join('\n\n');
}

/** The paper's figures beside ours, in words and numbers. */
function formatPaper(report: Report): string {
  const cost = (way: Way, call: Call, batch: number) => {
    const ours = report.ours.get(key(way, call, batch));
    const sync = report.ours.get(key('sync', call, 1));
    return ours === undefined || sync === undefined ? null : formatRatio(ours / sync);
  };
  return formatTable(
    [
      'cost of a call / synchronous call',
      'FlexSC (getppid)',
      'spot getppid',
      'ring read-1k',
      'crew getppid',
    ],
    [
      [
        'one core, batch of 1',
        '1.43x',
        cost('spot', 'getppid', 1),
        cost('ring', 'read-1k', 1),
        null,
      ],
      [
        'one core, batch of 32',
        '0.43x',
        cost('spot', 'getppid', 32),
        cost('ring', 'read-1k', 32),
        null,
      ],
      ['other core, batch of 1', 'over 10x', null, null, cost('crew', 'getppid', 1)],
      ['other core, batch of 32', 'about 1x', null, null, cost('crew', 'getppid', 32)],
    ],
  );
}

const IN_WORDS = `The shape is the paper's: one call alone pays for the hand-over, a batch shares it, and
another core pays off only for batches. The floor is higher: FlexSC entered the kernel once per
batch for any call; here that is true of the ring (a no-op, a read), while getppid, which the ring
does not know, is still a system call each, on the spot or on the crew's core.`;

export function formatReport(report: Report): string {
  const figures = [false, true].flatMap((far) =>
    CALLS.map((call) => formatFigure(report, call, far)).filter((text) => text !== ''),
  );
  return [
    formatEnvironment(readEnvironment()),
    ...report.skipped.map((reason) => `skipped ${reason}`),
    ...figures,
    "The paper's figures beside ours",
    formatPaper(report),
    IN_WORDS,
  ].join('\n\n');
}

export function formatJson(report: Report): string {
  const lines: object[] = [
    { suite: 'overhead', environment: readEnvironment(), skipped: report.skipped },
  ];
  for (const [name, ours] of report.ours) {
    const [way, call, batch] = name.split(' ');
    const common = { suite: 'overhead', case: `${way} ${call}@${batch}`, unit: 'ns/call', ours };
    const spread = report.spread.get(name);
    const peers = {
      C: inC(report, way, call, Number(batch)),
      sync: report.ours.get(key('sync', call, 1)),
    };
    for (const [peerName, peer] of Object.entries(peers)) {
      if (peer === undefined || (way === 'sync' && peerName === 'sync')) continue;
      lines.push({ ...common, peer, peerName, ratio: peer / ours, oursSpread: spread });
    }
  }
  return lines.map((line) => JSON.stringify(line)).join('\n');
}
