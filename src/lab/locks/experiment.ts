/**
 * What the lock experiments have in common: which runs to make, the metrics of a run, medians over
 * repeats, and the points that `--json` prints.
 *
 *   const samples = await measure(psp, options, progress);
 *   console.log(psp.report(samples, options).join('\n\n'));
 */
import type { SchedulerName } from '../../hypervisor/options.ts';
import { LOCKS, type LockName, type LockOptions } from '../../locks/index.ts';
import type { Progress } from '../../report/progress.ts';
import { type Summary, summarize } from '../../report/statistics.ts';
import { WORKLOADS, type WorkloadName } from '../workloads/index.ts';
import { bucketPercentile } from '../workloads/observers.ts';
import { runInChild } from './children.ts';
import type { PointPlan, PointResult, VmPlan, VmResult } from './run-point.ts';

/** Time slice reduction (TS): the ticket lock with shorter slices than 30 ms, in microseconds. The
 *  paper does not say how short, so each is a candidate for the best. */
export const TS = {
  'ts-10ms': 10_000,
  'ts-3ms': 3000,
  'ts-1ms': 1000,
  'ts-300us': 300,
  'ts-100us': 100,
} as const;
type TsName = keyof typeof TS;

/** A lock, or a lock with a setting of the hypervisor. */
export type Variant = LockName | TsName | 'none';

export function isTs(variant: Variant): variant is TsName {
  return Object.hasOwn(TS, variant);
}

/** Names that `--locks` takes. */
export function variants(): Variant[] {
  return [...(Object.keys(LOCKS) as LockName[]), ...(Object.keys(TS) as TsName[])];
}

export interface Options {
  readonly locks: readonly Variant[];
  readonly workloads: readonly WorkloadName[];
  /** vCPUs per virtual machine, one run each. */
  readonly vcpus: readonly number[];
  readonly vms: number;
  readonly pcpus: number;
  readonly seconds: number;
  readonly repeats: number;
  readonly scheduler: SchedulerName;
  /** Of the locks: csd, and how constants in PAUSEs are taken. */
  readonly lockOptions: LockOptions;
}

/** One configuration. */
export interface Config {
  /** As in the points: what the virtual machines run. */
  readonly workload: string;
  readonly lock: Variant;
  readonly vcpus: number;
  readonly plan: PointPlan;
}

export interface Sample extends Omit<Config, 'plan'> {
  readonly vms: number;
  readonly pcpus: number;
  /** Empty if every run was void. */
  readonly metrics: ReadonlyMap<Metric, Summary>;
  readonly unit: string;
  /** Why runs are void. */
  readonly voids: readonly string[];
  readonly results: readonly PointResult[];
}

export interface Experiment {
  readonly name: string;
  /** One line, for the help. */
  readonly what: string;
  readonly defaults: Partial<Options>;
  configs(options: Options): Config[];
  /** Sections of text: tables, plots, the paper beside ours in words. */
  report(samples: readonly Sample[], options: Options): string[];
  /** What there is to do beside the runs. */
  more?(
    samples: readonly Sample[],
    options: Options,
    progress: Progress,
  ): Promise<{ readonly sections: readonly string[]; readonly points: readonly Point[] }>;
}

/* --- Metrics ------------------------------------------------------------------------------------ */

/**
 * Of the virtual machines that run the workload: `work_per_s`, `run_time_s`, `fairness_cv` and
 * `lql` are means over them, all others sums.
 */
export const METRICS = {
  acquisitions_per_s: '1/s',
  lhp: 'preemptions',
  lwp: 'preemptions',
  psp_per_1000: '1/1000 acquisitions',
  spin_share: 'share of CPU time',
  holder_preempted_s: 's',
  waiter_preempted_s: 's',
  run_time_s: 's',
  fairness_cv: 'deviation/mean',
  work_per_s: '',
  lql: 'waiting vCPUs',
  neighbour_per_s: 'digits/s',
  ns_per_acquisition: 'ns',
  csd_p50_ns: 'ns',
  csd_p99_ns: 'ns',
  csd_max_ns: 'ns',
} as const;

export type Metric = keyof typeof METRICS;

export function metricsOf(config: Config, result: PointResult): Map<Metric, number> {
  const metrics = new Map<Metric, number>();
  const isNeighbour = (vm: VmResult) => vm.workload === 'neighbour';
  const own = result.vms.filter((vm) => !isNeighbour(vm));
  const beside = result.vms.filter(isNeighbour);
  if (beside.length > 0) metrics.set('neighbour_per_s', mean(beside.map(rate)));
  if (own.length === 0) return metrics;

  const sum = (of: (vm: VmResult) => number) => own.reduce((total, vm) => total + of(vm), 0);
  const acquisitions = sum(({ locks }) => locks.acquisitions);
  const lhp = sum(({ locks }) => locks.lhp);
  const lwp = sum(({ locks }) => locks.lwp);
  metrics.set('acquisitions_per_s', acquisitions / Math.max(...own.map((vm) => vm.seconds)));
  metrics.set('lhp', lhp);
  metrics.set('lwp', lwp);
  metrics.set('psp_per_1000', acquisitions === 0 ? 0 : (1000 * (lhp + lwp)) / acquisitions);
  const ranNs = sum((vm) => vm.ranSeconds) * 1e9;
  metrics.set('spin_share', ranNs === 0 ? 0 : sum(({ locks }) => locks.spinNs) / ranNs);
  metrics.set('holder_preempted_s', sum(({ locks }) => locks.holderPreemptedNs) / 1e9);
  metrics.set('waiter_preempted_s', sum(({ locks }) => locks.waiterPreemptedNs) / 1e9);
  metrics.set('work_per_s', mean(own.map(rate)));
  // The time of work left undone says nothing.
  if (own.every(({ finished }) => finished !== false))
    metrics.set('run_time_s', mean(own.map((vm) => vm.seconds)));
  metrics.set('fairness_cv', mean(own.map((vm) => variation(vm.threadSeconds))));
  const lengths = own.map((vm) => vm.queueLength).filter((length) => length !== null);
  if (lengths.length > 0) metrics.set('lql', mean(lengths));
  const holds = own.map((vm) => vm.holds).filter((counts) => counts !== null);
  if (holds.length > 0) {
    const all = holds[0].map((_, i) => holds.reduce((total, counts) => total + counts[i], 0));
    metrics.set('csd_p50_ns', bucketPercentile(all, 0.5));
    metrics.set('csd_p99_ns', bucketPercentile(all, 0.99));
    metrics.set('csd_max_ns', bucketPercentile(all, 1));
  }
  const [vm] = config.plan.vms;
  if (vm.workload === 'micro' && vm.vcpus === 1 && vm.size !== undefined)
    metrics.set('ns_per_acquisition', (1e9 * own[0].seconds) / vm.size);
  return metrics;
}

function rate(vm: VmResult): number {
  return vm.done / vm.seconds;
}

export function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

/** Standard deviation over mean. */
export function variation(values: readonly number[]): number {
  const average = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - average) ** 2))) / average;
}

/* --- Runs --------------------------------------------------------------------------------------- */

const SEED = 20170423;

export function planOf(
  lock: Variant,
  vms: readonly VmPlan[],
  options: Options,
  more: Partial<PointPlan> = {},
): PointPlan {
  const slice = isTs(lock) ? { sliceUs: TS[lock] } : {};
  return {
    lock: isTs(lock) ? 'ticket' : lock === 'none' ? 'broken' : lock,
    lockOptions: options.lockOptions,
    scheduler: options.scheduler,
    vms,
    pcpus: options.pcpus,
    seconds: options.seconds,
    seed: SEED,
    ...slice,
    ...more,
  };
}

/** Every lock with every number of vCPUs and every workload, the same in every virtual machine. */
export function grid(options: Options): Config[] {
  return options.workloads.flatMap((workload) =>
    options.vcpus.flatMap((vcpus) =>
      options.locks.map((lock) => {
        const vms = Array.from({ length: options.vms }, () => ({ workload, vcpus }));
        return { workload, lock, vcpus, plan: planOf(lock, vms, options) };
      }),
    ),
  );
}

/** Makes the runs, configurations taking turns (A B C A B C), so that all see the same noise. */
export async function measure(
  experiment: Experiment,
  options: Options,
  progress: Progress,
): Promise<Sample[]> {
  const configs = experiment.configs(options);
  const results = configs.map((): PointResult[] => []);
  const voids = configs.map((): string[] => []);
  const notes = new Set<string>();
  progress.expect(options.repeats * configs.length);
  for (let repeat = 1; repeat <= options.repeats; repeat++) {
    for (const [i, config] of configs.entries()) {
      const name = `${config.workload}, ${config.lock}, ${config.vcpus} vCPUs`;
      progress.step(`${name} (repeat ${repeat} of ${options.repeats})`);
      const result = await runInChild(experiment.name, config.plan);
      if ('void' in result) {
        voids[i].push(result.void);
        progress.note(`void: ${name}: ${result.void}`);
        continue;
      }
      results[i].push(result);
      for (const note of result.notes) {
        if (!notes.has(note)) progress.note(`note: ${note}`);
        notes.add(note);
      }
    }
  }
  return configs.map((config, i) => sampleOf(config, results[i], voids[i]));
}

function sampleOf(
  config: Config,
  results: readonly PointResult[],
  voids: readonly string[],
): Sample {
  const values = new Map<Metric, number[]>();
  for (const result of results)
    for (const [metric, value] of metricsOf(config, result))
      values.set(metric, [...(values.get(metric) ?? []), value]);
  const { workload, lock, vcpus, plan } = config;
  return {
    workload,
    lock,
    vcpus,
    vms: plan.vms.length,
    pcpus: plan.pcpus,
    metrics: new Map(Array.from(values, ([metric, all]) => [metric, summarize(all)])),
    unit: WORKLOADS[plan.vms[0].workload].unit,
    voids,
    results,
  };
}

/** The median, or null where every run was void. */
export function value(sample: Sample | undefined, metric: Metric): number | null {
  return sample?.metrics.get(metric)?.median ?? null;
}

/* --- Points ------------------------------------------------------------------------------------- */

export interface Point {
  readonly experiment: string;
  readonly workload: string;
  readonly lock: string;
  readonly vms: number;
  readonly vcpus: number;
  readonly pcpus: number;
  readonly metric: string;
  readonly value: number | null;
  readonly unit: string;
}

/** One object per metric; a configuration with void runs has one more, `void`: how many. */
export function pointsOf(experiment: string, samples: readonly Sample[]): Point[] {
  return samples.flatMap((sample) => {
    const { workload, lock, vms, vcpus, pcpus } = sample;
    const point = (metric: string, amount: number, unit: string): Point => ({
      experiment,
      workload,
      lock,
      vms,
      vcpus,
      pcpus,
      metric,
      value: amount,
      unit,
    });
    const points = Array.from(sample.metrics, ([metric, summary]) =>
      point(metric, summary.median, metric === 'work_per_s' ? `${sample.unit}/s` : METRICS[metric]),
    );
    if (sample.voids.length > 0) points.push(point('void', sample.voids.length, 'runs'));
    return points;
  });
}
