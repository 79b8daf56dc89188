/**
 * What the benchmarks of servers (`http`, `net`, `dns`) have in common: options, trials that take
 * turns, tables and JSON. A suite says which cases and contenders there are.
 *
 *   export const run = (argv) => runSuite(suite, argv);
 */
import type { ChildProcess } from 'node:child_process';
import { parseArgs } from 'node:util';
import { type Environment, formatEnvironment, readEnvironment } from '../../report/environment.ts';
import { Progress } from '../../report/progress.ts';
import { summarize } from '../../report/statistics.ts';
import { formatRatio, formatTable } from '../../report/table.ts';
import { chosenFrom, listed, wholeNumber } from '../../report/usage.ts';
import { defaultPeersDirectory } from '../peers.ts';
import { createScratch, exitOnSignals } from '../scratch.ts';
import { coresFor } from './cores.ts';
import { findClients, type Load } from './load.ts';
import { type Contender, type Figures, runTrial } from './trial.ts';

export interface GatherOptions {
  /** A directory for this run's files. */
  readonly scratch: string;
  readonly peers: readonly string[];
  readonly peersDirectory: string;
  readonly skipped: Map<string, string>;
  readonly progress: Progress;
}

export interface Suite {
  readonly name: string;
  readonly what: string;
  readonly cases: Readonly<Record<string, string>>;
  readonly kind: Load['kind'];
  /** What the load asks for in a case. */
  asks(name: string): string;
  readonly peers: Readonly<Record<string, string>>;
  /** All that can be measured here; 'ours' is the first. */
  gather(options: GatherOptions): Promise<Contender[]>;
}

export interface SuiteOptions {
  readonly cases?: readonly string[];
  readonly peers?: readonly string[];
  readonly connections?: readonly number[];
  readonly trials?: number;
  readonly seconds?: number;
  readonly warmSeconds?: number;
  readonly peersDirectory?: string;
  readonly progress?: Progress;
}

export interface SuiteRow {
  readonly case: string;
  readonly connections: number;
  /** Every trial's figures, by contender. */
  readonly figures: ReadonlyMap<string, readonly Figures[]>;
}

export interface SuiteReport {
  readonly suite: Suite;
  readonly environment: Environment;
  readonly client: string;
  readonly cores: { readonly server: number; readonly load: number };
  readonly contenders: readonly Contender[];
  readonly rows: readonly SuiteRow[];
  readonly skipped: ReadonlyMap<string, string>;
}

const defaults = {
  trials: 5,
  connections: [64],
  seconds: 3,
  warmSeconds: 1,
  quick: { trials: 3, seconds: 1, warmSeconds: 1 },
};
/** Each is a descriptor on both sides. */
const CONNECTIONS_MAX = 1024;

export async function runSuite(suite: Suite, argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      cases: { type: 'string' },
      peers: { type: 'string' },
      connections: { type: 'string' },
      trials: { type: 'string' },
      seconds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      'peers-dir': { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(helpOf(suite));
    return 0;
  }
  const whole = (option: string, text: string | undefined, max: number) =>
    text === undefined ? {} : { [option]: wholeNumber(`--${option}`, text, max) };
  const peerNames = Object.keys(suite.peers);
  const progress = new Progress({ silent: values.json });
  try {
    const report = await measure(suite, {
      ...(values.quick ? defaults.quick : {}),
      cases: chosenFrom('--cases', values.cases, Object.keys(suite.cases)),
      peers: values.peers === 'none' ? [] : chosenFrom('--peers', values.peers, peerNames),
      ...(values.connections === undefined
        ? {}
        : {
            connections: listed('--connections', values.connections).map((text) =>
              wholeNumber('--connections', text, CONNECTIONS_MAX),
            ),
          }),
      ...whole('trials', values.trials, 1000),
      ...whole('seconds', values.seconds, 3600),
      ...(values['peers-dir'] === undefined ? {} : { peersDirectory: values['peers-dir'] }),
      progress,
    });
    progress.finish();
    console.log(values.json ? formatJson(report) : formatReport(report));
    return report.contenders.some(({ name }) => name === 'ours') ? 0 : 1;
  } finally {
    progress.finish();
  }
}

function helpOf(suite: Suite): string {
  const rows = (of: Readonly<Record<string, string>>) =>
    Object.entries(of)
      .map(([name, what]) => `                      ${name.padEnd(9)} ${what}`)
      .join('\n');
  return `Usage: trapless bench ${suite.name} [options]

${suite.what}
The server has one core, its load another one; the figure is the CPU time of the server per
request, in user mode and in the kernel, because loopback and the client are part of any other.
Peers that are not on this machine are installed by npm on first use; for a load made by wrk:
apt install wrk.

Options
  --cases LIST        some of these, separated by commas (default: all):
${rows(suite.cases)}
  --connections LIST  at once, each with one request in flight (default ${defaults.connections})
  --peers LIST        whom to compare with (default: all), or none:
${rows(suite.peers)}
  --trials N          processes per contender, taking turns (default ${defaults.trials})
  --seconds N         of one measurement (default ${defaults.seconds})
  --quick             ${defaults.quick.trials} trials of ${defaults.quick.seconds} s
  --peers-dir DIR     where peers are installed (default ${defaultPeersDirectory()})
  --json              one JSON object per line instead of tables; no progress

A ratio is the peer's CPU time per request divided by ours: above 1 trapless costs less.
`;
}

/** Every contender on every case, trial by trial. */
export async function measure(suite: Suite, options: SuiteOptions = {}): Promise<SuiteReport> {
  const { trials = defaults.trials, progress = new Progress({ silent: true }) } = options;
  const cases = options.cases ?? Object.keys(suite.cases);
  const counts = options.connections ?? defaults.connections;
  const skipped = new Map<string, string>();
  const cores = coresFor();
  const scratch = createScratch();
  const running = new Set<ChildProcess>();
  const restoreSignals = exitOnSignals(() => {
    for (const server of running) server.kill('SIGKILL');
  });
  try {
    const environment = readEnvironment();
    const clients = await findClients(scratch.path);
    const contenders = await suite.gather({
      scratch: scratch.path,
      peers: options.peers ?? Object.keys(suite.peers),
      peersDirectory: options.peersDirectory ?? defaultPeersDirectory(),
      skipped,
      progress,
    });
    const setting = {
      clients,
      cores,
      running,
      seconds: options.seconds ?? defaults.seconds,
      warmSeconds: options.warmSeconds ?? defaults.warmSeconds,
    };
    const rows = cases.flatMap((name) =>
      counts.map((connections) => ({
        case: name,
        connections,
        figures: new Map<string, Figures[]>(),
      })),
    );
    progress.expect(trials * rows.length * contenders.length);
    for (let trial = 1; trial <= trials; trial++) {
      for (const row of rows) {
        const { connections } = row;
        const load: Load = { kind: suite.kind, connections, what: suite.asks(row.case) };
        for (const contender of contenders) {
          const { name } = contender;
          progress.step(`trial ${trial} of ${trials}: ${row.case}@${connections}, ${name}`);
          if (skipped.has(name)) continue;
          try {
            const figures = await runTrial(contender, row.case, load, setting);
            row.figures.set(name, [...(row.figures.get(name) ?? []), figures]);
          } catch (error) {
            // A peer that fails is no reason to lose the others; ours failing is the result.
            if (name === 'ours') throw error;
            skipped.set(name, (error as Error).message);
          }
        }
      }
    }
    const measured = contenders.filter(({ name }) => !skipped.has(name));
    const client = clients.nameOf(suite.kind);
    return { suite, environment, client, cores, contenders: measured, rows, skipped };
  } finally {
    scratch.remove();
    restoreSignals();
  }
}

type Quantity = 'user' | 'kernel' | 'total' | 'perSecond' | 'p50' | 'p99';

function medianOf(row: SuiteRow, name: string, quantity: Quantity): number | null {
  const figures = row.figures.get(name);
  if (figures === undefined || figures.length === 0) return null;
  return summarize(figures.map((one) => one[quantity])).median;
}

type CellOf = (row: SuiteRow, name: string) => number | string | null;

export function formatReport(report: SuiteReport): string {
  const { environment, contenders, rows, cores } = report;
  const everybody = contenders.map(({ name }) => name);
  const peers = everybody.filter((name) => name !== 'ours');
  const label = (row: SuiteRow) => `${row.case}@${row.connections}`;
  const table = (title: string, cell: CellOf, names: readonly string[] = everybody) =>
    formatTable(
      [title, ...names],
      rows.map((row) => [label(row), ...names.map((name) => cell(row, name))]),
    );
  const sections = [
    formatEnvironment(environment),
    `load: ${report.client}, on core ${cores.load}; the server on core ${cores.server}`,
    contenders.map((it) => `  ${it.name.padEnd(9)} ${it.what}, ${it.version}`).join('\n'),
  ];
  for (const [name, reason] of report.skipped) sections.push(`  skipped ${name}: ${reason}`);
  sections.push('CPU time of the server per request, median (case@connections)');
  for (const quantity of ['user', 'kernel', 'total'] as const)
    sections.push(table(`us, ${quantity}`, (row, name) => medianOf(row, name, quantity)));
  if (peers.length > 0) {
    sections.push('How many times as much CPU time the peer needs: total, and user mode alone');
    for (const quantity of ['total', 'user'] as const) {
      const ratio: CellOf = (row, name) => {
        const [theirs, mine] = [name, 'ours'].map((it) => medianOf(row, it, quantity));
        return theirs === null || mine === null ? null : formatRatio(theirs / mine);
      };
      sections.push(table(`peer / ours, ${quantity}`, ratio, peers));
    }
  }
  sections.push(
    'What the client saw, median',
    table('requests/s', (row, name) => {
      const perSecond = medianOf(row, name, 'perSecond');
      return perSecond === null ? null : `${Math.round(perSecond / 1000)} k`;
    }),
    table('p50, us', (row, name) => medianOf(row, name, 'p50')),
    table('p99, us', (row, name) => medianOf(row, name, 'p99')),
    'Spread of the total: fastest to slowest trial',
    table('us, total', (row, name) => {
      const figures = row.figures.get(name);
      if (figures === undefined || figures.length === 0) return null;
      const { min, max } = summarize(figures.map((one) => one.total));
      return `${min.toFixed(2)}-${max.toFixed(2)}`;
    }),
  );
  return sections.join('\n\n');
}

/** JSON lines: the environment, then one comparison each. */
export function formatJson(report: SuiteReport): string {
  const { suite, environment, client, cores, contenders, rows, skipped } = report;
  const lines: object[] = [
    { suite: suite.name, environment, client, cores, skipped: Object.fromEntries(skipped) },
  ];
  for (const row of rows) {
    const told = (name: string) => ({
      user: medianOf(row, name, 'user'),
      kernel: medianOf(row, name, 'kernel'),
      perSecond: medianOf(row, name, 'perSecond'),
      p50: medianOf(row, name, 'p50'),
      p99: medianOf(row, name, 'p99'),
    });
    const ours = medianOf(row, 'ours', 'total');
    for (const { name, version } of contenders) {
      const peer = medianOf(row, name, 'total');
      if (name === 'ours' || ours === null || peer === null) continue;
      const spread = (of: string) => {
        const { min, max } = summarize(row.figures.get(of)!.map(({ total }) => total));
        return [min, max];
      };
      lines.push({
        suite: suite.name,
        case: `${row.case}@${row.connections}`,
        unit: 'us/request',
        ours,
        peer,
        peerName: name,
        ratio: peer / ours,
        peerVersion: version,
        oursSpread: spread('ours'),
        peerSpread: spread(name),
        trials: row.figures.get('ours')!.length,
        oursDetail: told('ours'),
        peerDetail: told(name),
      });
    }
  }
  return lines.map((line) => JSON.stringify(line)).join('\n');
}
