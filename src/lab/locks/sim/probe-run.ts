/**
 * Measures on this machine what the simulator's costs are: small probes (workloads/probe.ts), each
 * with threads that are vCPUs. As with runs, in a process that is good for nothing else.
 *
 *   const { basics, loads, … } = await runProbes({ probes: true, pcpus: 2, vms: 2, vcpus: [4], seconds: 1 });
 */
import { Worker } from 'node:worker_threads';
import {
  type Durations,
  Hypervisor,
  type HypervisorStats,
} from '../../../hypervisor/hypervisor.ts';
import { median } from '../../../report/statistics.ts';
import {
  BASICS,
  type Distance,
  PROBE_BYTES,
  type ProbeName,
  type ProbeOrder,
} from '../../workloads/probe.ts';
import { vcpuProgram } from '../vcpu-program.ts';

export interface ProbePlan {
  readonly probes: true;
  readonly pcpus: number;
  readonly vms: number;
  /** vCPUs per VM: delays are measured with each of these numbers. */
  readonly vcpus: readonly number[];
  readonly seconds: number;
}

/** What delays there are with so many vCPUs. */
export interface Load {
  readonly vcpus: number;
  /** Times a processor stood still, and for how long altogether somebody watched. */
  readonly delaysNs: readonly number[];
  readonly watchedNs: number;
  /** For each slice that ended, how long its processor had stood still then. */
  readonly endsNs: readonly number[];
  readonly lateness: Durations;
  readonly switching: Durations;
}

export interface Probed {
  readonly basics: Readonly<Record<(typeof BASICS)[number], number>>;
  /** Null where there is one processor only, as those after it. */
  readonly distance: Distance | null;
  readonly kickNs: number | null;
  readonly futexWakeNs: number | null;
  /** Atomics.notify where somebody sleeps. */
  readonly notifyNs: number | null;
  readonly loads: readonly Load[];
  readonly handoff: Durations;
}

export async function runProbes({ pcpus, vms, vcpus, seconds }: ProbePlan): Promise<Probed> {
  const basics = (await run('basics', 1, [1], 1)).numbers[0];
  const pair = pcpus > 1;
  const kicks = pair ? (await run('kick', 2, [2], 1)).numbers[1] : [];
  const futexes = pair ? (await run('futex', 2, [2], 1)).numbers : [];
  const loads: Load[] = [];
  for (const each of vcpus) loads.push(await load(pcpus, new Array(vms).fill(each), seconds));
  const yields = await run('yields', pcpus, [pcpus, pcpus], Math.min(seconds, 0.5));
  return {
    basics: Object.fromEntries(BASICS.map((name, i) => [name, basics[i]])) as Probed['basics'],
    distance: pair ? await distance() : null,
    kickNs: pair ? median(kicks) : null,
    futexWakeNs: pair ? median(futexes.map(([ns]) => ns)) : null,
    notifyNs: pair ? median(futexes.map(([, ns]) => ns)) : null,
    loads,
    handoff: yields.stats.handoff,
  };
}

export async function distance(): Promise<Distance> {
  const { numbers } = await run('transfer', 2, [2], 1);
  const [transferNs, roundNs] = [0, 1].map((i) => median(numbers.map((one) => one[i])));
  return { transferNs, roundNs };
}

async function load(pcpus: number, vms: readonly number[], seconds: number): Promise<Load> {
  const { numbers, stats } = await run('delays', pcpus, vms, seconds);
  return {
    vcpus: vms[0],
    watchedNs: numbers.reduce((sum, [watched]) => sum + watched, 0),
    delaysNs: numbers.flatMap(([, gaps, ...rest]) => rest.slice(0, gaps)),
    endsNs: numbers.flatMap(([, gaps, ...rest]) => rest.slice(gaps)),
    lateness: stats.lateness,
    switching: stats.switching,
  };
}

async function run(
  probe: ProbeName,
  pcpus: number,
  vms: readonly number[],
  seconds: number,
): Promise<{ readonly numbers: number[][]; readonly stats: HypervisorStats }> {
  const hypervisor = Hypervisor.start({ pcpus, vms: vms.map((vcpus) => ({ vcpus })) });
  try {
    const words = new SharedArrayBuffer(PROBE_BYTES);
    const threads = vms.reduce((sum, vcpus) => sum + vcpus, 0);
    const { ticket } = hypervisor;
    const places = vms.flatMap((vcpus, vm) =>
      Array.from({ length: vcpus }, (_, index) => ({ vm, index })),
    );
    const numbers = await Promise.all(
      places.map((place) => inThread({ probe, ticket, ...place, threads, words, seconds })),
    );
    return { numbers, stats: hypervisor.stats() };
  } finally {
    hypervisor.stop();
  }
}

function inThread(order: ProbeOrder): Promise<number[]> {
  const { program, isText } = vcpuProgram();
  const worker = new Worker(program, { workerData: order, eval: isText });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`a probe's thread ended with ${code}`)));
  });
}
