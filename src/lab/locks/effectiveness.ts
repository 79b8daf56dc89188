/**
 * `trapless lab effectiveness`: figure 7 (I-Spinlock 5.3). Performance over the ticket lock's
 * (top), and the number of problematic preemptions (bottom), of both I-Spinlocks.
 */
import { type Experiment, grid } from './experiment.ts';
import { distinct, growth, metricPlot, metricTable, ratioText, verdict } from './sections.ts';

/** An I-Spinlock's PSP may grow this much from the fewest to the most vCPUs and be constant. */
const CONSTANT = 1.5;

export const effectiveness: Experiment = {
  name: 'effectiveness',
  what: 'figure 7: performance over the ticket lock, and preempted holders and waiters',
  defaults: { locks: ['ticket', 'hvm-ispinlock', 'pv-ispinlock'] },
  configs: grid,

  report(samples) {
    const locks = distinct(samples.map(({ lock }) => lock));
    const [base, ...others] = locks;
    const sections = [
      metricTable(samples, 'work_per_s', `Figure 7, top: work per second (over ${base})`, base),
      metricPlot(samples, 'work_per_s', 'work per second'),
      metricTable(samples, 'psp_per_1000', 'Figure 7, bottom: PSP per 1,000 acquisitions'),
      metricTable(samples, 'lhp', 'Lock holders preempted, in all'),
      metricTable(samples, 'lwp', 'Lock waiters preempted, in all'),
      metricPlot(samples, 'psp_per_1000', 'PSP per 1,000 acquisitions'),
    ];
    for (const workload of distinct(samples.map((sample) => sample.workload))) {
      // With one lock asked for there is nothing to compare; its PSP are still told.
      for (const lock of others.length > 0 ? others : locks) {
        const speed = ratioText(samples, workload, lock, base, 'work_per_s');
        const psp = ratioText(samples, workload, lock, base, 'psp_per_1000');
        const grown = growth(samples, workload, lock, 'psp_per_1000');
        const here = [
          speed && `speed: ${speed.text}`,
          psp && `PSP: ${psp.text}`,
          grown && `its PSP per 1,000: ${grown.text}`,
        ].filter(Boolean);
        sections.push(
          `${workload}, ${lock}\n${verdict(
            'no loss of performance as vCPUs grow, far fewer PSP than the ticket lock, and constant.',
            here.join('; ') || 'too little was measured',
            speed && psp && grown
              ? speed.ratio >= 1 && psp.ratio < 1 && grown.to <= CONSTANT * grown.from
              : null,
          )}`,
        );
      }
    }
    return sections;
  },
};
