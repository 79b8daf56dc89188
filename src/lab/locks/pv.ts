/**
 * `trapless lab pv`: figure 10 (I-Spinlock 5.5.2). The locks that use hypercalls: performance over
 * the paravirtual ticket lock's (top), PSP (bottom).
 */
import { type Experiment, grid } from './experiment.ts';
import { distinct, growth, metricPlot, metricTable, ratioText, verdict } from './sections.ts';

/** I-Spinlock's PSP may grow this much and be constant. */
const CONSTANT = 1.5;

export const pv: Experiment = {
  name: 'pv',
  what: 'figure 10: PV I-Spinlock against paravirtual tickets and Oticket',
  defaults: { locks: ['pv-ticket', 'oticket', 'pv-ispinlock'], workloads: ['kernbench', 'micro'] },
  configs: grid,

  report(samples) {
    const [base, ...others] = distinct(samples.map(({ lock }) => lock));
    const sections = [
      metricTable(samples, 'work_per_s', `Figure 10, top: work per second (over ${base})`, base),
      metricPlot(samples, 'work_per_s', 'work per second'),
      metricTable(samples, 'psp_per_1000', 'Figure 10, bottom: PSP per 1,000 acquisitions'),
      metricPlot(samples, 'psp_per_1000', 'PSP per 1,000 acquisitions'),
    ];
    for (const workload of distinct(samples.map((sample) => sample.workload))) {
      const speeds = others
        .map((lock) => ratioText(samples, workload, lock, base, 'work_per_s'))
        .filter((one) => one !== undefined);
      const ours = others.includes('pv-ispinlock') ? 'pv-ispinlock' : (others.at(-1) ?? base);
      const best = ratioText(samples, workload, ours, base, 'work_per_s');
      const grown = growth(samples, workload, ours, 'psp_per_1000');
      const words = speeds.map(({ text }) => text).join(', ') || 'only one lock was measured';
      sections.push(
        `${workload}\n${verdict(
          'all alike with few vCPUs; with many PV I-Spinlock is up to 15 % faster than PV TS and 8 % than Oticket; its PSP stay constant, those of the others grow.',
          `${words}${grown ? `; PSP per 1,000 of ${ours}: ${grown.text}` : ''}`,
          best && grown
            ? best.ratio >= Math.max(...speeds.map(({ ratio }) => ratio)) &&
                best.ratio >= 1 &&
                grown.to <= CONSTANT * grown.from
            : null,
        )}`,
      );
    }
    return sections;
  },
};
