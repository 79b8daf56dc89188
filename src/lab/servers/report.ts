/**
 * What the benchmarks of servers print: tables, or JSON lines.
 *
 *   console.log(formatReport(report, ['total', 'p99']));
 *   console.log(formatJson(report));
 */
import { formatEnvironment } from '../../report/environment.ts';
import { summarize } from '../../report/statistics.ts';
import { formatRatio, formatTable } from '../../report/table.ts';
import { nameOfRow, type SuiteReport, type SuiteRow } from './suite.ts';
import type { Figures } from './trial.ts';

export type Quantity = keyof Figures;

type CellOf = (row: SuiteRow, name: string) => number | string | null;

function medianOf(row: SuiteRow, name: string, quantity: Quantity): number | null {
  const figures = row.figures.get(name);
  if (figures === undefined || figures.length === 0) return null;
  return summarize(figures.map((one) => one[quantity])).median;
}

/** How much of the throughput, or how many times the CPU time, with the idle connections. */
function besideToAlone(row: SuiteRow, name: string, quantity: Quantity): number | null {
  const alone = row.alone.get(name);
  const beside = row.figures.get(name);
  if (alone === undefined || beside === undefined) return null;
  return summarize(beside.map((one, trial) => one[quantity] / alone[trial][quantity])).median;
}

function bytesOf(row: SuiteRow, name: string): number | null {
  const bytes = row.bytes.get(name);
  return bytes === undefined ? null : summarize(bytes).median;
}

/** Peer's by ours: of what is better when it is less. */
function ratioOf(row: SuiteRow, name: string, of: (row: SuiteRow, name: string) => number | null) {
  const theirs = of(row, name);
  const mine = of(row, 'ours');
  return theirs === null || mine === null ? null : theirs / mine;
}

const asRatio = (value: number | null) => (value === null ? null : formatRatio(value));
const asShare = (value: number | null) => (value === null ? null : `${(100 * value).toFixed(1)} %`);

interface Section {
  readonly title: string;
  readonly heading?: string;
  readonly cell: CellOf;
  /** Ratios are of peers only. */
  readonly ratios?: boolean;
}

/** What can be asked for with --show. */
const SECTIONS = {
  user: { title: 'us, user', cell: (row, name) => medianOf(row, name, 'user') },
  kernel: { title: 'us, kernel', cell: (row, name) => medianOf(row, name, 'kernel') },
  total: {
    title: 'us, total',
    heading: 'CPU time of the server per request, median (case@connections)',
    cell: (row, name) => medianOf(row, name, 'total'),
  },
  ratio: {
    title: 'peer / ours, total',
    heading: 'How many times as much CPU time the peer needs: total, and user mode alone',
    cell: (row, name) => asRatio(ratioOf(row, name, (...of) => medianOf(...of, 'total'))),
    ratios: true,
  },
  'user-ratio': {
    title: 'peer / ours, user',
    cell: (row, name) => asRatio(ratioOf(row, name, (...of) => medianOf(...of, 'user'))),
    ratios: true,
  },
  throughput: {
    title: 'requests/s',
    heading: 'What the client saw, median',
    cell: (row, name) => {
      const perSecond = medianOf(row, name, 'perSecond');
      return perSecond === null ? null : `${(perSecond / 1000).toFixed(1)} k`;
    },
  },
  p50: { title: 'p50, us', cell: (row, name) => medianOf(row, name, 'p50') },
  p99: { title: 'p99, us', cell: (row, name) => medianOf(row, name, 'p99') },
  p999: { title: 'p99.9, us', cell: (row, name) => medianOf(row, name, 'p999') },
  spread: {
    title: 'us, total',
    heading: 'Spread of the total: fastest to slowest trial',
    cell: (row, name) => {
      const figures = row.figures.get(name);
      if (figures === undefined || figures.length === 0) return null;
      const { min, max } = summarize(figures.map((one) => one.total));
      return `${min.toFixed(2)}-${max.toFixed(2)}`;
    },
  },
} as const satisfies Record<string, Section>;

export type SectionName = keyof typeof SECTIONS;
export const sectionNames = Object.keys(SECTIONS) as SectionName[];

const KEPT: readonly Section[] = [
  {
    title: 'throughput',
    heading:
      'With idle connections beside, of what it is without: throughput, CPU time per request',
    cell: (row, name) => asShare(besideToAlone(row, name, 'perSecond')),
  },
  { title: 'CPU time', cell: (row, name) => asShare(besideToAlone(row, name, 'total')) },
];

const MEMORY: readonly Section[] = [
  {
    title: 'bytes',
    heading: 'Resident memory per idle connection, median',
    cell: (row, name) => {
      const bytes = bytesOf(row, name);
      return bytes === null ? null : String(Math.round(bytes));
    },
  },
  {
    title: 'peer / ours',
    cell: (row, name) => asRatio(ratioOf(row, name, bytesOf)),
    ratios: true,
  },
];

export function formatReport(
  report: SuiteReport,
  show: readonly SectionName[] = sectionNames,
): string {
  const { environment, contenders, rows, cores, rate, tier } = report;
  const everybody = contenders.map(({ name }) => name);
  const peers = everybody.filter((name) => name !== 'ours');
  const busy = rows.filter(({ figures }) => figures.size > 0);
  const lines = [
    formatEnvironment(environment),
    `load: ${report.client}${rate ? ` at ${rate} requests/s` : ''}, on core ${cores.load}; ` +
      `the server on core ${cores.server}${tier === 'crew' ? '; what is ours without io_uring' : ''}`,
    contenders.map((it) => `  ${it.name.padEnd(9)} ${it.what}, ${it.version}`).join('\n'),
  ];
  for (const [name, reason] of report.skipped) lines.push(`  skipped ${name}: ${reason}`);
  const add = (sections: readonly Section[], of: readonly SuiteRow[]) => {
    if (of.length === 0) return;
    for (const { title, heading, cell, ratios } of sections) {
      const names = ratios ? peers : everybody;
      if (names.length === 0) continue;
      if (heading !== undefined) lines.push(heading);
      lines.push(
        formatTable(
          [title, ...names],
          of.map((row) => [nameOfRow(row), ...names.map((name) => cell(row, name))]),
        ),
      );
    }
  };
  add(
    show.map((name) => SECTIONS[name]),
    busy,
  );
  add(
    KEPT,
    rows.filter(({ alone }) => alone.size > 0),
  );
  add(
    MEMORY,
    rows.filter(({ bytes }) => bytes.size > 0),
  );
  return lines.join('\n\n');
}

/** JSON lines: the environment, then one comparison each. */
export function formatJson(report: SuiteReport): string {
  const { suite, tier, rate, environment, client, cores, contenders, rows, skipped } = report;
  const told = Object.fromEntries(skipped);
  const lines: object[] = [
    { suite: suite.name, tier, rate, environment, client, cores, skipped: told },
  ];
  for (const row of rows) {
    for (const { name, version } of contenders) {
      if (name === 'ours') continue;
      const head = { suite: suite.name, tier, case: nameOfRow(row), peerName: name };
      for (const one of comparisons(row, name))
        lines.push({ ...head, ...one, peerVersion: version });
    }
  }
  return lines.map((line) => JSON.stringify(line)).join('\n');
}

function comparisons(row: SuiteRow, peer: string): object[] {
  const found: object[] = [];
  const compare = (unit: string, of: (name: string) => number | null, more: object = {}) => {
    const ours = of('ours');
    const theirs = of(peer);
    if (ours === null || theirs === null) return;
    // Of a share that is kept, more is better.
    const ratio = unit === 'throughput kept' ? ours / theirs : theirs / ours;
    found.push({ unit, ours, peer: theirs, ratio, ...more });
  };
  compare('bytes/connection', (name) => bytesOf(row, name));
  compare('throughput kept', (name) => besideToAlone(row, name, 'perSecond'));
  compare('us/request', (name) => medianOf(row, name, 'total'), detailsOf(row, peer));
  return found;
}

const QUANTITIES = ['user', 'kernel', 'perSecond', 'p50', 'p99', 'p999'] as const;

function detailsOf(row: SuiteRow, peer: string): object {
  const spread = (name: string) => {
    const figures = row.figures.get(name) ?? [];
    if (figures.length === 0) return [];
    const { min, max } = summarize(figures.map(({ total }) => total));
    return [min, max];
  };
  const detail = (name: string) =>
    Object.fromEntries(QUANTITIES.map((quantity) => [quantity, medianOf(row, name, quantity)]));
  return {
    oursSpread: spread('ours'),
    peerSpread: spread(peer),
    trials: row.figures.get('ours')?.length ?? 0,
    oursDetail: detail('ours'),
    peerDetail: detail(peer),
  };
}
