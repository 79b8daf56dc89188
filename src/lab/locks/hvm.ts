/**
 * `trapless lab hvm`: figure 9 (I-Spinlock 5.5.1). The locks that need no hypercall: performance
 * over HVM I-Spinlock's (top), what a CPU-bound neighbour makes of it (middle), PSP (bottom).
 */
import {
  type Config,
  type Experiment,
  grid,
  isTs,
  planOf,
  type Sample,
  type Variant,
  value,
} from './experiment.ts';
import { distinct, find, metricPlot, metricTable, ratioText, verdict } from './sections.ts';

const BESIDE = '+neighbour';
/** What I-Spinlock may cost its neighbour. */
const TOLERANCE = 0.02;

export const hvm: Experiment = {
  name: 'hvm',
  what: 'figure 9: HVM I-Spinlock, preemptable tickets, short slices, and a neighbour',
  defaults: {
    locks: ['hvm-ispinlock', 'pts', 'ts-10ms', 'ts-3ms', 'ts-1ms', 'ts-300us', 'ticket'],
    workloads: ['kernbench', 'micro'],
  },

  configs: (options) => [
    ...grid(options),
    // The second virtual machine is the neighbour, with as many vCPUs.
    ...options.workloads.flatMap((workload) =>
      options.vcpus.flatMap((vcpus) =>
        options.locks.map((lock): Config => {
          const vms = [
            { workload, vcpus },
            { workload: 'neighbour' as const, vcpus },
          ];
          return {
            workload: `${workload}${BESIDE}`,
            lock,
            vcpus,
            plan: planOf(lock, vms, options),
          };
        }),
      ),
    ),
  ],

  report(samples) {
    const pairs = samples.filter(({ workload }) => !workload.endsWith(BESIDE));
    const beside = samples.filter(({ workload }) => workload.endsWith(BESIDE));
    const [base, ...others] = distinct(samples.map(({ lock }) => lock));
    const sections = [
      metricTable(pairs, 'work_per_s', `Figure 9, top: work per second (over ${base})`, base),
      metricPlot(pairs, 'work_per_s', 'work per second'),
      metricTable(
        beside,
        'neighbour_per_s',
        `Figure 9, middle: the neighbour's digits of pi per second (over ${base})`,
        base,
      ),
      metricTable(pairs, 'psp_per_1000', 'Figure 9, bottom: PSP per 1,000 acquisitions'),
    ];
    for (const workload of distinct(pairs.map((sample) => sample.workload))) {
      const rivals = others
        .map((lock) => ratioText(pairs, workload, lock, base, 'work_per_s'))
        .filter((one) => one !== undefined);
      const bestTs = bestOf(pairs, workload, others.filter(isTs));
      const sizes = distinct(beside.map(({ vcpus }) => vcpus));
      const losses = sizes.flatMap((vcpus) => {
        const at = (lock: string) =>
          value(find(beside, `${workload}${BESIDE}`, lock, vcpus), 'neighbour_per_s');
        const best = Math.max(...others.map((lock) => at(lock) ?? 0));
        const ours = at(base);
        return ours === null || best === 0 ? [] : [1 - ours / best];
      });
      const told = [
        ...rivals.map(({ text }) => text),
        ...(bestTs === undefined ? [] : [`TS at its best is ${bestTs}`]),
        ...(losses.length === 0 ? [] : [`the neighbour loses at most ${percent(losses)}`]),
      ];
      sections.push(
        `${workload}\n${verdict(
          'HVM I-Spinlock is up to 60 % faster than PTS and 25 % than TS where vCPUs are many, TS slightly faster below 16; TS costs the neighbour up to 13 %.',
          told.join('; ') || 'only one lock was measured',
          rivals.length === 0
            ? null
            : rivals.every(({ ratio }) => ratio <= 1) && losses.every((one) => one <= TOLERANCE),
        )}`,
      );
    }
    return sections;
  },
};

/** The fastest of them where there are the most vCPUs. */
function bestOf(
  samples: readonly Sample[],
  workload: string,
  locks: readonly Variant[],
): Variant | undefined {
  const most = Math.max(...samples.map(({ vcpus }) => vcpus));
  const rate = (lock: Variant) => value(find(samples, workload, lock, most), 'work_per_s') ?? 0;
  return [...locks].sort((a, b) => rate(b) - rate(a))[0];
}

function percent(losses: readonly number[]): string {
  return `${(100 * Math.max(0, ...losses)).toFixed(1)} % with I-Spinlock`;
}
