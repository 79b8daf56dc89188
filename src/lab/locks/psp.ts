/**
 * `trapless lab psp`: table 1 (I-Spinlock 2.3.2). How often lock holders and waiters are preempted
 * under the ticket lock, and how much time goes into spinning, with two VMs on the same pCPUs.
 */
import { formatNumber, formatTable } from '../../report/table.ts';
import { type Experiment, grid, value } from './experiment.ts';
import { distinct, growth, metricPlot, verdict, voidText } from './sections.ts';

/** Table 1: PSP and the share of cycles spent spinning (%), by vCPUs. */
const PAPER: Readonly<Record<string, Readonly<Record<number, readonly [number, number]>>>> = {
  // The table prints 0.01; its own cycles give 0.1.
  kernbench: { 4: [2151, 0.01], 8: [17057, 87.9], 12: [74589, 87.01] },
  pbzip2: { 4: [140, 0.4], 8: [1542, 26.1], 12: [40114, 84.5] },
};

export const psp: Experiment = {
  name: 'psp',
  what: 'table 1: preempted holders and waiters, and time spent spinning',
  defaults: { locks: ['ticket'], workloads: ['kernbench', 'pbzip2', 'micro'], vcpus: [4, 8, 12] },
  configs: grid,

  report(samples) {
    const rows = samples.map((sample) => {
      const { workload, lock, vcpus } = sample;
      const lhp = value(sample, 'lhp');
      const lwp = value(sample, 'lwp');
      const share = value(sample, 'spin_share');
      const theirs = PAPER[workload]?.[vcpus];
      return [
        workload,
        lock,
        String(vcpus),
        lhp === null || lwp === null ? voidText(sample) : String(Math.round(lhp + lwp)),
        lhp,
        lwp,
        value(sample, 'psp_per_1000'),
        share === null ? null : `${formatNumber(100 * share)} %`,
        value(sample, 'acquisitions_per_s'),
        theirs && String(theirs[0]),
        theirs && `${theirs[1]} %`,
      ];
    });
    const head = ['workload', 'lock', 'vCPUs', 'PSP', 'LHP', 'LWP', 'PSP/1000', 'spinning'];
    const table = formatTable([...head, 'acq/s', 'paper: PSP', 'spinning'], rows, { indent: '  ' });
    const sections = [
      `Table 1: problematic spin preemptions (a slice ended between ticket and lock, or lock and unlock)\n${table}`,
      metricPlot(samples, 'psp_per_1000', 'PSP per 1,000 acquisitions'),
    ];
    for (const workload of distinct(samples.map((sample) => sample.workload))) {
      const lock = samples[0].lock;
      const grown = growth(samples, workload, lock, 'psp_per_1000');
      const spun = growth(samples, workload, lock, 'spin_share');
      const agrees = grown && spun ? grown.to > grown.from && spun.to >= spun.from : null;
      sections.push(
        `${workload}, ${lock}\n${verdict(
          'PSP grow 35-fold (kernbench) and 287-fold (pbzip2) from 4 to 12 vCPUs, spinning to 85 %.',
          `PSP per 1,000 acquisitions ${grown?.text ?? 'not measured'}; spinning share ${spun?.text ?? 'not measured'}`,
          agrees,
        )}`,
      );
    }
    return sections;
  },
};
