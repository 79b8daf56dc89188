/**
 * What connections cost that do nothing: the memory of each, and what they take from those that
 * are busy. Each has had one exchange before it falls silent.
 *
 *   const bytes = await idleMemory(contender, { case: 'idle-memory', idle: 10_000, load }, setting);
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

/** Of the load before the memory is looked at for the first time. */
const WARM_CONNECTIONS = 64;
const WARM_ACCEPTS = 20 * WARM_CONNECTIONS;

/**
 * Bytes of resident memory per idle connection. What belongs to the program must not be counted to
 * them: so it has accepted and answered enough before that its code is compiled. Nor must what V8
 * has room for and does not use: its young generation holds 0 to 32 MB, by chance, until little has
 * been allocated for some seconds; the collection after that gives it back.
 */
export function idleMemory(
  contender: Contender,
  { case: name, idle, load }: IdleCase,
  setting: Setting,
): Promise<number> {
  const { clients, cores, warmSeconds, collections } = setting;
  return withServer(contender, name, setting, async ({ pid, port }) => {
    const warm = { ...load, connections: WARM_CONNECTIONS };
    await clients.run(warm, port, warmSeconds, cores.load);
    for (let accepted = 0; accepted < WARM_ACCEPTS; accepted += WARM_CONNECTIONS)
      await (await clients.keep(load, WARM_CONNECTIONS, port, cores.load)).end();
    const before = await settledMemory(pid, collections);
    const kept = await clients.keep(load, idle, port, cores.load);
    const after = await settledMemory(pid, collections);
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

/** V8 looks at the last 5 seconds to know how much is allocated. */
const SETTLE_MS = 1000;

async function settledMemory(pid: number, collections: number): Promise<number> {
  for (let i = 0; i < collections; i++) {
    process.kill(pid, 'SIGUSR2');
    await sleep(SETTLE_MS);
  }
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)![1]) * 1024;
}
