/**
 * What this machine has not enough cores for: 12 and 24 pCPUs, 4 to 96 vCPUs per VM, with the costs
 * measured here, with the fewest vCPUs: of those there is one per processor.
 */
import { formatPlot } from '../../../report/plot.ts';
import type { Progress } from '../../../report/progress.ts';
import { formatNumber, formatTable } from '../../../report/table.ts';
import { simulate } from '../../sim/simulate.ts';
import type { Options, Point, Variant } from '../experiment.ts';
import { distinct } from '../sections.ts';
import { type Calibration, settings } from './calibrate.ts';
import { variant } from './compare.ts';

const PCPUS = [12, 24];
const VCPUS = [4, 12, 24, 48, 96];
/** Ten slices. */
const SECONDS_MAX = 0.3;

export interface Large {
  readonly seconds: number;
  readonly rows: readonly LargeRow[];
  readonly points: readonly Point[];
}

interface LargeRow {
  readonly lock: Variant;
  readonly pcpus: number;
  readonly vcpus: number;
  readonly perS: number;
  readonly psp: number;
}

export function large(options: Options, calibration: Calibration, progress: Progress): Large {
  const seconds = Math.min(SECONDS_MAX, options.seconds);
  const rows: LargeRow[] = [];
  const points: Point[] = [];
  progress.expect(PCPUS.length * VCPUS.length * options.locks.length);
  for (const pcpus of PCPUS)
    for (const vcpus of VCPUS)
      for (const lock of options.locks) {
        progress.step(`simulated: ${lock}, ${vcpus} vCPUs on ${pcpus} pCPUs`);
        const vms = Array.from({ length: options.vms }, () => ({ vcpus }));
        const one = variant(lock, options);
        const what = { ...settings(calibration, one.lock, 1), ...one, pcpus, vms, seconds };
        const { acquisitionsPerS, pspPer1000, spinShare } = simulate(what);
        rows.push({ lock, pcpus, vcpus, perS: acquisitionsPerS, psp: pspPer1000 });
        for (const [metric, value, unit] of [
          ['simulated_per_s', acquisitionsPerS, '1/s'],
          ['simulated_psp_per_1000', pspPer1000, '1/1000 acquisitions'],
          ['simulated_spin_share', spinShare, 'share of CPU time'],
        ] as const) {
          const where = { lock, vms: options.vms, vcpus, pcpus };
          points.push({ experiment: 'sim', workload: 'micro', ...where, metric, value, unit });
        }
      }
  return { seconds, rows, points };
}

export function largeSections({ seconds, rows }: Large): string[] {
  return [
    `Simulated only: ${formatNumber(seconds)} s of larger machines with the costs above`,
    ...PCPUS.flatMap((pcpus) => {
      const own = rows.filter((row) => row.pcpus === pcpus);
      return [
        table(own, `${pcpus} pCPUs: acquisitions per second`, ({ perS }) => perS),
        table(own, `${pcpus} pCPUs: PSP per 1,000 acquisitions`, ({ psp }) => psp),
        plot(own, `${pcpus} pCPUs: acquisitions per second`),
      ];
    }),
  ];
}

function table(rows: readonly LargeRow[], title: string, of: (row: LargeRow) => number): string {
  const locks = distinct(rows.map(({ lock }) => lock));
  // Locks downwards: there are more of them than fit beside each other.
  const lines = locks.map((lock) => [
    lock,
    ...VCPUS.map((vcpus) => of(rows.find((row) => row.lock === lock && row.vcpus === vcpus)!)),
  ]);
  const head = ['vCPUs per VM', ...VCPUS.map(String)];
  return `${title}\n${formatTable(head, lines, { indent: '  ' })}`;
}

function plot(rows: readonly LargeRow[], title: string): string {
  const series = distinct(rows.map(({ lock }) => lock)).map((lock) => ({
    name: lock,
    points: rows
      .filter((row) => row.lock === lock)
      .map(({ vcpus, perS }): [number, number] => [vcpus, Math.max(1, perS)]),
  }));
  return formatPlot(series, { title, logX: true, logY: true, xLabel: 'vCPUs per VM' });
}
