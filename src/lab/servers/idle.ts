/**
 * What connections cost that do nothing: the memory of each, and what they take from those that
 * are busy. Each has had one exchange before it falls silent.
 *
 *   const bytes = await idleMemory(contender, { case: 'idle-memory', idle: 5000, load }, setting);
 *   const { alone, beside } = await idleBusy(contender, …);
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { UsageError } from '../../report/usage.ts';
import type { Load } from './load.ts';
import { type Contender, type Figures, measureLoad, type Setting, withServer } from './trial.ts';

export interface IdleCase {
  readonly case: string;
  /** How many connections are silent. */
  readonly idle: number;
  readonly load: Load;
}

/** The same load twice, on one server: alone, and with the idle connections beside it. */
export interface IdleBusy {
  readonly alone: Figures;
  readonly beside: Figures;
}

/** What the process has open besides. */
const OTHER_DESCRIPTORS = 200;

/** A server inherits our limit, and runtimes raise the soft one by themselves. */
export function checkDescriptorLimit(connections: number): void {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const hard = Number(/^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  if (connections + OTHER_DESCRIPTORS <= hard) return;
  throw new UsageError(
    `${connections} connections at once need more descriptors than the hard limit of ${hard}; ` +
      'choose fewer with --idle, or raise it (ulimit -Hn, LimitNOFILE)',
  );
}

/** Bytes of resident memory per idle connection, garbage collected before and after. */
export function idleMemory(
  contender: Contender,
  { case: name, idle, load }: IdleCase,
  setting: Setting,
): Promise<number> {
  const { clients, cores } = setting;
  return withServer(contender, name, setting, async ({ pid, port }) => {
    // Code that is compiled and tables that exist already are not counted to the connections.
    await (await clients.keep(load, 64, port, cores.load)).end();
    const before = await settledMemory(pid);
    const kept = await clients.keep(load, idle, port, cores.load);
    const after = await settledMemory(pid);
    await kept.end();
    return (after - before) / idle;
  });
}

export function idleBusy(
  contender: Contender,
  { case: name, idle, load }: IdleCase,
  setting: Setting,
): Promise<IdleBusy> {
  const { clients, cores, warmSeconds } = setting;
  return withServer(contender, name, setting, async (server) => {
    const warmAndMeasure = async () => {
      await clients.run(load, server.port, warmSeconds, cores.load);
      return measureLoad(server, load, setting);
    };
    const first = await warmAndMeasure();
    const kept = await clients.keep(load, idle, server.port, cores.load);
    const beside = await warmAndMeasure();
    await kept.end();
    // Before and after: a server goes on getting warmer.
    return { alone: mean(first, await warmAndMeasure()), beside };
  });
}

function mean(one: Figures, other: Figures): Figures {
  const names = Object.keys(one) as (keyof Figures)[];
  return Object.fromEntries(
    names.map((name) => [name, (one[name] + other[name]) / 2]),
  ) as unknown as Figures;
}

const SETTLE_MS = 400;

async function settledMemory(pid: number): Promise<number> {
  for (let i = 0; i < 3; i++) {
    process.kill(pid, 'SIGUSR2');
    await sleep(SETTLE_MS);
  }
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)![1]) * 1024;
}
