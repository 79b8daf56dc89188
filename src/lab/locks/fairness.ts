/**
 * `trapless lab fairness`: figure 6 (I-Spinlock 5.2). All threads of the micro-benchmark make the
 * same number of accesses: how many wait at a time (top), and do all end together (bottom)?
 */
import { type Experiment, planOf, value } from './experiment.ts';
import { distinct, metricPlot, metricTable, verdict } from './sections.ts';

/** Accesses of one virtual machine in a second, roughly: sizes the run. */
const ACCESSES_PER_SECOND = 600_000;
/** Floor of what counts as fair: deviation over mean. */
const FAIR = 0.05;

export const fairness: Experiment = {
  name: 'fairness',
  what: 'figure 6: waiting vCPUs, and whether all threads end together',
  // Without ticket: its convoys would take minutes for as many accesses. Long, because what a thread
  // gets done in a slice depends on who is beside it: a brother that wants the lock, or a stranger.
  // With 24 vCPUs a thread has a slice every 0.7 s, and that has to even out: the deviation falls
  // with the square root of the number of slices, of which 90 s have 125.
  defaults: {
    locks: ['hvm-ispinlock', 'pv-ispinlock'],
    workloads: ['micro'],
    vcpus: [4, 24],
    seconds: 90,
    repeats: 1,
  },

  configs: (options) =>
    options.workloads.flatMap((workload) =>
      options.vcpus.flatMap((vcpus) =>
        options.locks.map((lock) => {
          const accesses = Math.round((options.seconds * ACCESSES_PER_SECOND) / vcpus);
          // Others are sized by their seconds.
          const size = workload === 'micro' ? { size: Math.max(1, accesses) } : {};
          const vms = Array.from({ length: options.vms }, () => ({ workload, vcpus, ...size }));
          return { workload, lock, vcpus, plan: planOf(lock, vms, options) };
        }),
      ),
    ),

  report(samples) {
    const sections = [
      metricTable(samples, 'lql', 'Figure 6, top: vCPUs waiting for the lock (lql), mean'),
      metricTable(samples, 'run_time_s', 'Figure 6, bottom: run time, s'),
      metricTable(
        samples,
        'fairness_cv',
        "Standard deviation of the threads' times over their mean",
      ),
      metricPlot(samples, 'fairness_cv', "deviation of threads' times over mean"),
    ];
    for (const lock of distinct(samples.map((sample) => sample.lock))) {
      const own = samples.filter((sample) => sample.lock === lock);
      const all = own
        .map((sample) => value(sample, 'fairness_cv'))
        .filter((one): one is number => one !== null);
      const worst = Math.max(...all);
      const last = own[own.length - 1];
      const lql = value(last, 'lql');
      sections.push(
        `${lock}\n${verdict(
          'lql grows to the number of vCPUs; all threads take the same time, deviation almost nil.',
          all.length === 0
            ? 'nothing measured'
            : `the deviation is at most ${(100 * worst).toFixed(1)} %${lql === null ? '' : `, lql ${lql.toFixed(1)} of ${last.vcpus} vCPUs`}`,
          all.length === 0 ? null : worst <= FAIR,
        )}`,
      );
    }
    return sections;
  },
};
