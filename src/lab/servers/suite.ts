/**
 * What the benchmarks of servers (`http`, `net`, `dns`) have in common: every contender on every
 * case, in trials that take turns. A suite says which cases and contenders there are.
 *
 *   const report = await measure(suite, { cases: ['hello'], connections: [1, 64] });
 */
import type { ChildProcess } from 'node:child_process';
import { type Environment, readEnvironment } from '../../report/environment.ts';
import { Progress } from '../../report/progress.ts';
import { defaultPeersDirectory } from '../peers.ts';
import { createScratch, exitOnSignals } from '../scratch.ts';
import { type Cores, coresFor } from './cores.ts';
import { checkDescriptorLimit, idleBusy, idleMemory } from './idle.ts';
import { findClients, type Load } from './load.ts';
import { type Contender, type Figures, runTrial, type Setting } from './trial.ts';

/** Which syscall threads what is ours may use. */
export const TIERS = ['ring', 'crew'] as const;
export type Tier = (typeof TIERS)[number];

export interface GatherOptions {
  /** A directory for this run's files. */
  readonly scratch: string;
  readonly tier: Tier;
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
  /** The case in which every request has a connection of its own. */
  readonly short?: string;
  readonly peers: Readonly<Record<string, string>>;
  /** All that can be measured here; 'ours' is the first. */
  gather(options: GatherOptions): Promise<Contender[]>;
}

/** Of any suite with connections. */
export const IDLE_CASES = {
  'idle-memory': 'resident memory per connection that is open and silent',
  'idle-busy': 'what is kept of the throughput when idle connections are open beside',
} as const;

export interface SuiteOptions {
  readonly tier?: Tier;
  readonly cases?: readonly string[];
  readonly peers?: readonly string[];
  readonly connections?: readonly number[];
  /** Silent connections in the cases that have them. */
  readonly idle?: number;
  /** Requests a second; undefined: as many as are answered. */
  readonly rate?: number;
  readonly trials?: number;
  readonly seconds?: number;
  readonly warmSeconds?: number;
  readonly collections?: number;
  readonly peersDirectory?: string;
  readonly progress?: Progress;
}

export interface SuiteRow {
  readonly case: string;
  readonly connections: number;
  /** Silent ones beside them; 0 in most cases. */
  readonly idle: number;
  /** Every trial's figures, by contender. */
  readonly figures: Map<string, Figures[]>;
  /** idle-busy: the same without the idle connections, trial by trial. */
  readonly alone: Map<string, Figures[]>;
  /** idle-memory: bytes per idle connection. Then there are no other figures. */
  readonly bytes: Map<string, number[]>;
}

export interface SuiteReport {
  readonly suite: Suite;
  readonly tier: Tier;
  readonly rate: number | undefined;
  readonly environment: Environment;
  readonly client: string;
  readonly cores: Cores;
  readonly contenders: readonly Contender[];
  readonly rows: readonly SuiteRow[];
  readonly skipped: ReadonlyMap<string, string>;
}

export const defaults = {
  trials: 5,
  connections: [64],
  idle: { 'idle-memory': 10_000, 'idle-busy': 10_000 },
  seconds: 3,
  warmSeconds: 1,
  collections: 8,
  quick: { trials: 3, seconds: 1, warmSeconds: 1 },
} as const;

/** Every contender on every case, trial by trial. */
export async function measure(suite: Suite, options: SuiteOptions = {}): Promise<SuiteReport> {
  const { trials = defaults.trials, progress = new Progress({ silent: true }) } = options;
  const { tier = 'ring', rate } = options;
  let rows = rowsOf(options.cases ?? Object.keys(suite.cases), options);
  for (const { connections, idle } of rows) checkDescriptorLimit(connections + idle);
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
    if (options.cases === undefined && suite.short && clients.noShort !== null) {
      skipped.set(suite.short, clients.noShort);
      rows = rows.filter((row) => row.case !== suite.short);
    }
    const contenders = await suite.gather({
      scratch: scratch.path,
      tier,
      peers: options.peers ?? Object.keys(suite.peers),
      peersDirectory: options.peersDirectory ?? defaultPeersDirectory(),
      skipped,
      progress,
    });
    const setting: Setting = {
      clients,
      cores,
      running,
      seconds: options.seconds ?? defaults.seconds,
      warmSeconds: options.warmSeconds ?? defaults.warmSeconds,
      collections: options.collections ?? defaults.collections,
    };
    progress.expect(trials * rows.length * contenders.length);
    for (let trial = 1; trial <= trials; trial++) {
      for (const row of rows) {
        const load: Load = {
          kind: suite.kind,
          connections: row.connections,
          what: suite.asks(row.case),
          short: row.case === suite.short,
          rate,
        };
        for (const contender of contenders) {
          const { name } = contender;
          progress.step(`trial ${trial} of ${trials}: ${nameOfRow(row)}, ${name}`);
          if (skipped.has(name)) continue;
          try {
            await runRow(row, contender, load, setting);
          } catch (error) {
            // A peer that fails is no reason to lose the others; ours failing is the result.
            if (name === 'ours') throw error;
            skipped.set(name, (error as Error).message);
          }
        }
      }
    }
    const measured = contenders.filter(({ name }) => !skipped.has(name));
    const client = clients.nameOf(suite.kind, rate);
    return {
      suite,
      tier,
      rate,
      environment,
      client,
      cores,
      contenders: measured,
      rows,
      skipped,
    };
  } finally {
    scratch.remove();
    restoreSignals();
  }
}

function rowsOf(cases: readonly string[], options: SuiteOptions): SuiteRow[] {
  const { connections: counts = defaults.connections } = options;
  return cases.flatMap((name) => {
    const isIdle = Object.hasOwn(IDLE_CASES, name);
    const idle = isIdle ? (options.idle ?? defaults.idle[name as keyof typeof IDLE_CASES]) : 0;
    return (name === 'idle-memory' ? [0] : counts).map((connections) => ({
      case: name,
      connections,
      idle,
      figures: new Map(),
      alone: new Map(),
      bytes: new Map(),
    }));
  });
}

/** hello@64, idle-busy@64+10000 */
export function nameOfRow({ case: name, connections, idle }: SuiteRow): string {
  return `${name}@${connections}${idle > 0 ? `+${idle}` : ''}`;
}

async function runRow(
  row: SuiteRow,
  contender: Contender,
  load: Load,
  setting: Setting,
): Promise<void> {
  const { name } = contender;
  const idleCase = { case: row.case, idle: row.idle, load };
  if (row.case === 'idle-memory') {
    append(row.bytes, name, await idleMemory(contender, idleCase, setting));
  } else if (row.case === 'idle-busy') {
    const { alone, beside } = await idleBusy(contender, idleCase, setting);
    append(row.alone, name, alone);
    append(row.figures, name, beside);
  } else append(row.figures, name, await runTrial(contender, row.case, load, setting));
}

function append<T>(lists: Map<string, T[]>, name: string, one: T): void {
  lists.set(name, [...(lists.get(name) ?? []), one]);
}
