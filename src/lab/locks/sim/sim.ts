/**
 * `trapless lab sim`: the machine simulator against reality, and then what this machine has not
 * enough cores for.
 *
 *   real runs of every lock        the micro-benchmark, on the pCPUs there are
 *   probes                         what single things cost here (probe-run.ts, calibrate.ts)
 *   the same runs simulated        throughput of each lock, error, order of the locks (compare.ts)
 *   12 and 24 pCPUs                4 to 96 vCPUs per VM, simulated only (large.ts)
 *
 * The micro-benchmark only: it alone is nothing but a lock.
 */

import type { LockName } from '../../../locks/index.ts';
import type { Progress } from '../../../report/progress.ts';
import { median } from '../../../report/statistics.ts';
import { formatTable } from '../../../report/table.ts';
import { LOCK_NAMES } from '../../sim/models.ts';
import { runInChild, type VoidPoint } from '../children.ts';
import {
  type Experiment,
  grid,
  type Options,
  type Point,
  planOf,
  type Sample,
} from '../experiment.ts';
import type { PointResult } from '../run-point.ts';
import { distinct } from '../sections.ts';
import { type Calibration, calibrate, type Pair } from './calibrate.ts';
import { baseOf, compare, compareSections } from './compare.ts';
import { large, largeSections } from './large.ts';
import type { Probed } from './probe-run.ts';

const PROBE_SECONDS_MAX = 1;
/** Delays are rare. */
const DELAY_SECONDS_MAX = 4;
const PROBE_RUNS = 3;
/** The hypervisor's. */
const MARGIN_NS = 100_000;

export const sim: Experiment = {
  name: 'sim',
  what: 'the simulator against real runs, then 12 and 24 pCPUs with up to 96 vCPUs per VM',
  defaults: { locks: LOCK_NAMES, workloads: ['micro'], vcpus: [4, 24] },
  configs: (options) =>
    grid({ ...options, workloads: ['micro'] }).map((config) => ({
      ...config,
      plan: { ...config.plan, distances: options.pcpus > 1 },
    })),
  report: () => [],

  async more(samples, options, progress) {
    const calibration = await measureCosts(options, progress);
    if ('void' in calibration) {
      progress.note(`no costs: ${calibration.void}`);
      return { sections: [`Nothing was simulated: ${calibration.void}`], points: [] };
    }
    const compared = compare(samples, options, calibration, progress);
    const beyond = large(options, calibration, progress);
    return {
      sections: [costsTable(calibration), ...compareSections(compared), ...largeSections(beyond)],
      points: [...costPoints(calibration, samples), ...compared.points, ...beyond.points],
    };
  },
};

async function measureCosts(
  options: Options,
  progress: Progress,
): Promise<Calibration | VoidPoint> {
  const pcpus = Math.min(2, options.pcpus);
  const seconds = Math.min(PROBE_SECONDS_MAX, options.seconds);
  const locks = distinct<LockName>(['ticket', ...options.locks.map(baseOf)]);
  progress.expect(1 + locks.length * PROBE_RUNS * pcpus);
  progress.step('what things cost: probes');
  const probed: Probed | VoidPoint = await runInChild('sim', {
    probes: true,
    pcpus,
    vms: options.vms,
    vcpus: options.vcpus,
    seconds: Math.min(DELAY_SECONDS_MAX, options.seconds),
  });
  if ('void' in probed) return probed;
  const run = (lock: LockName, vcpus: number) => {
    progress.step(`what things cost: ${lock}, ${vcpus} of ${vcpus} vCPUs`);
    const vms = [{ workload: 'micro', vcpus }] as const;
    const more = { distances: vcpus > 1 };
    return runInChild('sim', planOf(lock, vms, { ...options, pcpus: vcpus, seconds }, more));
  };
  const alone = new Map<LockName, number>();
  const pairs = new Map<LockName, Pair[]>();
  for (const lock of locks) {
    const rates: number[] = [];
    const two: Pair[] = [];
    for (let i = 0; i < PROBE_RUNS; i++) {
      const one = await run(lock, 1);
      if ('void' in one) return one;
      rates.push(rateOf(one));
      if (pcpus === 1) continue;
      const both = await run(lock, 2);
      if ('void' in both) return both;
      two.push({ rate: rateOf(both), distance: both.distances[0] });
    }
    alone.set(lock, median(rates));
    if (pcpus > 1) pairs.set(lock, two);
  }
  return calibrate(probed, { alone, pairs });
}

function rateOf({ vms }: PointResult): number {
  return vms[0].locks.acquisitions / vms[0].seconds;
}

function named(calibration: Calibration): [string, number, string][] {
  const { costs, loads, sectionNs, besideNs, waitedNs } = calibration;
  return [
    ['sectionNs', sectionNs, 'the critical section by itself'],
    ...Array.from(besideNs, ([lock, ns]): [string, number, string] => [
      `beside_${lock}`,
      ns,
      'a round of this lock alone, less the steps of the algorithm and the section',
    ]),
    ...Array.from(waitedNs, ([lock, ns]): [string, number, string] => [
      `waited_${lock}`,
      ns,
      'with two threads of this lock, what an acquisition after waiting takes beyond that',
    ]),
    ...Object.entries(costs)
      .filter(([name]) => MEANING[name] !== undefined)
      .map(([name, ns]): [string, number, string] => [name, ns, MEANING[name]]),
    ...loads.flatMap(({ vcpus, delaysNs, watchedNs, endsNs, lateness, switching }) => {
      const with_ = `with ${vcpus} vCPUs per VM`;
      const share = endsNs.filter((ns) => ns > MARGIN_NS).length / Math.max(1, endsNs.length);
      return [
        [`switchNs_${vcpus}`, switching.meanNs, `a switch at the end of a slice, ${with_}`],
        [`lateNs_${vcpus}`, lateness.p50Ns, 'preemption, after the end of the slice'],
        [`delayNs_${vcpus}`, mean(delaysNs), 'a delay nobody foresaw'],
        [`delayEveryNs_${vcpus}`, watchedNs / Math.max(1, delaysNs.length), 'from one to the next'],
        [
          `endDelays_${vcpus}`,
          1000 * share,
          'of 1,000 slices, ended while one of over 100 us went on',
        ],
      ] as [string, number, string][];
    }),
  ];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

const MEANING: Readonly<Record<string, string>> = {
  localNs: 'an access that hits',
  atomicNs: 'an atomic operation that hits',
  transferNs: 'a cache line from the other pCPU, half a hand-over, when the probes ran',
  spinnerNs: 'for each further pCPU that spins on the line (assumed: takes more than two cores)',
  coldSectionNs: 'the section, if the one before was on the other pCPU',
  pauseNs: 'a turn of a PAUSE loop',
  clockNs: 'reading the clock',
  hypercallNs: 'into the hypervisor and back',
  wakeNs: 'from a kick until the vCPU is ready',
  handoffNs: 'a switch after a yield or a halt',
  waitNs: 'statistics before and after waiting',
  futexNs: 'a futex call',
  notifyNs: 'a futex call that wakes somebody',
  futexWakeNs: 'from its wake until the sleeper goes on',
};

function costsTable(calibration: Calibration): string {
  const rows = named(calibration).map(([name, ns, what]) => [name, ns, what]);
  return `Costs measured here, ns\n${formatTable(['cost', 'ns', 'what'], rows, { indent: '  ' })}`;
}

function costPoints(calibration: Calibration, samples: readonly Sample[]): Point[] {
  const [{ vms, pcpus }] = samples;
  return named(calibration).map(([metric, value]) => ({
    experiment: 'sim',
    workload: 'micro',
    lock: 'all',
    vms,
    vcpus: 0,
    pcpus,
    metric: `cost_${metric}`,
    value,
    unit: metric.startsWith('endDelays') ? '1/1000 slices' : 'ns',
  }));
}
