/**
 * `trapless lab overhead`: figure 8 (I-Spinlock 5.4). What being informed costs where it is not
 * needed: one acquisition of a free lock (a), and a virtual machine alone on its pCPUs (b).
 */
import { type Cell, formatNumber, formatRatio, formatTable } from '../../report/table.ts';
import {
  type Config,
  type Experiment,
  planOf,
  type Sample,
  type Variant,
  value,
} from './experiment.ts';
import { distinct, metricPlot, metricTable, verdict } from './sections.ts';

/** Accesses in a second to an empty section under a free lock, roughly. */
const EMPTY_ACCESSES_PER_SECOND = 5_000_000;
/** The workload of (a), told apart from micro in (b). */
const FREE = 'free-lock';
/** More than this is a cost, not noise. */
const TOLERANCE = 0.05;

export const overhead: Experiment = {
  name: 'overhead',
  what: 'figure 8: cost of an acquisition, and of a virtual machine alone',
  defaults: {
    locks: ['ticket', 'hvm-ispinlock', 'pv-ispinlock'],
    workloads: ['kernbench', 'micro'],
    vms: 1,
    vcpus: [2],
  },

  configs(options) {
    const size = Math.round(options.seconds * EMPTY_ACCESSES_PER_SECOND);
    const vm = { workload: 'micro' as const, vcpus: 1, size, length: 0 };
    // Without a lock: what the loop itself costs. A single thread excludes itself.
    const locks: Variant[] = ['none', ...options.locks];
    const free = locks.map(
      (lock): Config => ({ workload: FREE, lock, vcpus: 1, plan: planOf(lock, [vm], options) }),
    );
    const alone = options.workloads.flatMap((workload) =>
      options.vcpus.flatMap((vcpus) =>
        options.locks.map((lock): Config => {
          const vms = Array.from({ length: options.vms }, () => ({ workload, vcpus }));
          return { workload, lock, vcpus, plan: planOf(lock, vms, options) };
        }),
      ),
    );
    return [...free, ...alone];
  },

  report(samples) {
    const free = samples.filter(({ workload }) => workload === FREE);
    const alone = samples.filter(({ workload }) => workload !== FREE);
    const [base] = alone;
    const sections = [
      `Figure 8 (a): lock and unlock of a free lock, without the loop around it\n${costTable(free, base?.lock)}`,
      metricTable(
        alone,
        'work_per_s',
        `Figure 8 (b): work per second (over ${base?.lock})`,
        base?.lock,
      ),
      metricPlot(alone, 'work_per_s', 'work per second'),
    ];
    const losses: number[] = [];
    const texts: string[] = [];
    for (const sample of alone) {
      const same = ({ workload, vcpus }: Sample) =>
        workload === sample.workload && vcpus === sample.vcpus;
      const first = value(alone.find(same), 'work_per_s');
      const ours = value(sample, 'work_per_s');
      if (sample.lock === base.lock || first === null || ours === null) continue;
      losses.push(1 - ours / first);
      texts.push(`${sample.workload} with ${sample.lock} ${formatRatio(ours / first)}`);
    }
    const head = distinct(texts).join(', ') || 'only one lock was measured';
    sections.push(
      verdict(
        'a few cycles more than the ticket lock per acquisition, kernbench takes the same time.',
        head,
        losses.length === 0 ? null : Math.max(...losses) <= TOLERANCE,
      ),
    );
    return sections;
  },
};

function costTable(free: readonly Sample[], base: string | undefined): string {
  const loop = value(
    free.find(({ lock }) => lock === 'none'),
    'ns_per_acquisition',
  );
  const cost = (sample: Sample | undefined) => {
    const whole = value(sample, 'ns_per_acquisition');
    return whole === null || loop === null ? null : Math.max(0, whole - loop);
  };
  const least = cost(free.find(({ lock }) => lock === base));
  const rows = free
    .filter(({ lock }) => lock !== 'none')
    .map((sample): Cell[] => {
      const ns = cost(sample);
      const more = ns === null || least === null ? null : formatNumber(ns - least);
      return [sample.lock, ns, more];
    });
  return formatTable(['lock', 'ns', `more than ${base}`], rows, { indent: '  ' });
}
