/**
 * Sections of the experiments' reports: a metric as a table and as a plot against vCPUs, and in
 * words how it grows, beside the paper.
 *
 *   metricTable(samples, 'psp_per_1000', 'PSP per 1,000 acquisitions');
 *   metricPlot(samples, 'psp_per_1000', 'PSP per 1,000 acquisitions');
 */
import { formatPlot } from '../../report/plot.ts';
import { type Cell, formatNumber, formatRatio, formatTable } from '../../report/table.ts';
import { type Metric, type Sample, value } from './experiment.ts';

/** Rows: workload and vCPUs; columns: locks. `of` names a lock the others are divided by. */
export function metricTable(
  samples: readonly Sample[],
  metric: Metric,
  title: string,
  of?: string,
): string {
  const locks = distinct(samples.map(({ lock }) => lock));
  const rows = rowsOf(samples).map(([workload, vcpus]): Cell[] => {
    const at = (lock: string) => value(find(samples, workload, lock, vcpus), metric);
    const base = of === undefined ? null : at(of);
    return [
      workload,
      String(vcpus),
      ...locks.map((lock) => {
        const here = at(lock);
        if (here === null) return voidText(find(samples, workload, lock, vcpus));
        return base ? `${formatNumber(here)} (${formatRatio(here / base)})` : here;
      }),
    ];
  });
  return `${title}\n${formatTable(['workload', 'vCPUs', ...locks], rows, { indent: '  ' })}`;
}

export function metricPlot(samples: readonly Sample[], metric: Metric, title: string): string {
  return distinct(samples.map(({ workload }) => workload))
    .map((workload) => {
      const own = samples.filter((sample) => sample.workload === workload);
      const series = distinct(own.map(({ lock }) => lock)).map((lock) => ({
        name: lock,
        points: own.flatMap((sample): [number, number][] => {
          const y = value(sample, metric);
          return sample.lock === lock && y !== null ? [[sample.vcpus, y]] : [];
        }),
      }));
      return formatPlot(
        series.filter(({ points }) => points.length > 0),
        { title: `${title}: ${workload}`, xLabel: 'vCPUs per VM', height: 12 },
      );
    })
    .join('\n\n');
}

export function find(
  samples: readonly Sample[],
  workload: string,
  lock: string,
  vcpus: number,
): Sample | undefined {
  return samples.find(
    (sample) => sample.workload === workload && sample.lock === lock && sample.vcpus === vcpus,
  );
}

export function distinct<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

function rowsOf(samples: readonly Sample[]): [string, number][] {
  const keys = distinct(samples.map(({ workload, vcpus }) => `${workload} ${vcpus}`));
  return keys.map((key) => {
    const [workload, vcpus] = key.split(' ');
    return [workload, Number(vcpus)];
  });
}

export function voidText(sample: Sample | undefined): string {
  return sample !== undefined && sample.voids.length > 0 ? 'void' : '-';
}

/** `PSP: 0.4 at 4 vCPUs, 12 at 24: grows 30x` for one workload and lock; undefined without two points. */
export function growth(
  samples: readonly Sample[],
  workload: string,
  lock: string,
  metric: Metric,
): { readonly from: number; readonly to: number; readonly text: string } | undefined {
  const points = samples
    .filter((sample) => sample.workload === workload && sample.lock === lock)
    .map((sample) => [sample.vcpus, value(sample, metric)] as const)
    .filter((point): point is readonly [number, number] => point[1] !== null)
    .sort((a, b) => a[0] - b[0]);
  if (points.length < 2) return undefined;
  const [least, from] = points[0];
  const [most, to] = points[points.length - 1];
  const times = from > 0 ? ` (${formatRatio(to / from)})` : '';
  return {
    from,
    to,
    text: `${formatNumber(from)} at ${least} vCPUs, ${formatNumber(to)} at ${most}${times}`,
  };
}

/** `The paper: … Here: … The shape agrees.` */
export function verdict(paper: string, here: string, agrees: boolean | null): string {
  const words =
    agrees === null
      ? 'Too little was measured to compare.'
      : agrees
        ? 'The shape agrees.'
        : 'The shape does not agree.';
  return `The paper: ${paper}\nHere: ${here}. ${words}`;
}

/** Who is fastest where there is the most contention, in words. */
export function ratioText(
  samples: readonly Sample[],
  workload: string,
  lock: string,
  base: string,
  metric: Metric,
): { readonly ratio: number; readonly text: string } | undefined {
  const sizes = samples.filter((one) => one.workload === workload).map(({ vcpus }) => vcpus);
  const most = Math.max(...sizes);
  const here = value(find(samples, workload, lock, most), metric);
  const there = value(find(samples, workload, base, most), metric);
  if (here === null || there === null || there === 0) return undefined;
  const ratio = here / there;
  return { ratio, text: `${lock} ${formatRatio(ratio)} ${base}'s at ${most} vCPUs` };
}
