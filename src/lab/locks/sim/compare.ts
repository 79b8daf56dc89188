/**
 * Real runs and the same ones simulated: throughput, error, and whether the locks come in the same
 * order.
 *
 * Throughput is acquisitions over the length the run was meant to have; what vCPUs still do after
 * the end, each in its turn, is in neither. Each real run is simulated from its own beginning: the
 * order in which vCPUs first ran, which decides for long which of them are on pCPUs together, and how
 * much of the first slices was left; and with how far from each other the pCPUs were before it and
 * after it.
 */
import type { LockName, LockOptions } from '../../../locks/index.ts';
import { PAUSE_NS } from '../../../locks/index.ts';
import type { Progress } from '../../../report/progress.ts';
import { type Summary, summarize } from '../../../report/statistics.ts';
import { formatNumber, formatTable } from '../../../report/table.ts';
import { LOCK_PARAMETERS } from '../../sim/lock-model.ts';
import { type SimulationOptions, simulate } from '../../sim/simulate.ts';
import { isTs, type Options, type Point, type Sample, TS, type Variant } from '../experiment.ts';
import type { PointResult } from '../run-point.ts';
import { distinct } from '../sections.ts';
import { at, type Calibration, settings } from './calibrate.ts';

/** Simulations of each real run. */
const SEEDS = 2;
const FLOOR = 0.25;
const AIM = 0.1;
const SWAPPED_SHOWN = 6;

export interface Compared {
  readonly rows: readonly Row[];
  readonly points: readonly Point[];
}

interface Row {
  readonly lock: Variant;
  readonly vcpus: number;
  readonly real: Summary;
  readonly simulated: Summary;
  readonly error: number;
}

export function compare(
  samples: readonly Sample[],
  options: Options,
  calibration: Calibration,
  progress: Progress,
): Compared {
  const measured = samples.filter(({ results }) => results.length > 0);
  progress.expect(measured.length);
  const rows = measured.map(({ lock, vcpus, results }): Row => {
    progress.step(`simulated: ${lock}, ${vcpus} vCPUs`);
    const real = summarize(results.map((result) => throughput(result, options.seconds)));
    const simulated = summarize(
      results.flatMap((result, run) => again(result, { lock, vcpus, run }, options, calibration)),
    );
    return { lock, vcpus, real, simulated, error: simulated.median / real.median - 1 };
  });
  return { rows, points: rows.flatMap((row) => pointsOf(row, options)) };
}

/** The same run simulated, SEEDS times. */
function again(
  { starts, distances }: PointResult,
  { lock, vcpus, run }: { readonly lock: Variant; readonly vcpus: number; readonly run: number },
  options: Options,
  calibration: Calibration,
): number[] {
  const { pcpus, seconds } = options;
  const begins = starts
    .slice(0, pcpus)
    .map(({ atNs, leftNs }) => ({ atNs, leftNs: Math.max(0, leftNs ?? 0) }));
  const what = {
    ...variant(lock, options),
    pcpus,
    vms: Array.from({ length: options.vms }, () => ({ vcpus })),
    order: starts.map(({ vcpu }) => vcpu),
    begins,
    seconds,
    drain: true,
  };
  return Array.from({ length: SEEDS }, (_, i) => {
    const far = distances[i % distances.length];
    const costs = far === undefined ? calibration : at(calibration, far);
    const seed = 1 + run * SEEDS + i;
    return simulate({ ...settings(costs, what.lock, vcpus), ...what, seed }).acquisitions / seconds;
  });
}

function throughput({ vms }: PointResult, seconds: number): number {
  return vms.reduce((sum, { locks }) => sum + locks.acquisitions, 0) / seconds;
}

/** Whose algorithm it is. */
export function baseOf(lock: Variant): LockName {
  return isTs(lock) || lock === 'none' ? 'ticket' : lock;
}

/** A lock of the lab as the simulator takes it. */
export function variant(
  lock: Variant,
  { lockOptions, scheduler }: Options,
): Pick<SimulationOptions, 'lock' | 'scheduler' | 'sliceUs' | 'parameters'> {
  if (scheduler === 'gang') throw new RangeError('trapless lab sim: gang is not simulated');
  const name = baseOf(lock);
  return {
    lock: name,
    scheduler,
    parameters: parameters(lockOptions),
    ...(isTs(lock) ? { sliceUs: TS[lock] } : {}),
  };
}

function parameters({ csdNs, spinBy }: LockOptions): SimulationOptions['parameters'] {
  const { spinThreshold, ptsShift } = LOCK_PARAMETERS;
  const csd = csdNs === undefined ? {} : { csdNs };
  if (spinBy !== 'time') return csd;
  // As much time in the simulator's iterations, of some 40 ns.
  const shorter = Math.round(Math.log2(40 / PAUSE_NS));
  return { ...csd, spinThreshold: spinThreshold >> shorter, ptsShift: ptsShift - shorter };
}

function pointsOf({ lock, vcpus, real, simulated, error }: Row, options: Options): Point[] {
  const { vms, pcpus } = options;
  const point = (metric: string, value: number, unit: string): Point => ({
    experiment: 'sim',
    workload: 'micro',
    lock,
    vms,
    vcpus,
    pcpus,
    metric,
    value,
    unit,
  });
  return [
    point('real_per_s', real.median, '1/s'),
    point('simulated_per_s', simulated.median, '1/s'),
    point('error', error, 'share of real'),
  ];
}

/* --- In words ------------------------------------------------------------------------------------ */

export function compareSections({ rows }: Compared): string[] {
  if (rows.length === 0) return ['No run was real: nothing to compare.'];
  const head = ['vCPUs', 'lock', 'real', 'from-to', 'simulated', 'from-to', 'error', ''];
  const table = formatTable(
    head,
    rows.map((row) => [
      String(row.vcpus),
      row.lock,
      rate(row.real.median),
      range(row.real),
      rate(row.simulated.median),
      range(row.simulated),
      `${row.error >= 0 ? '+' : ''}${(100 * row.error).toFixed(0)} %`,
      verdictOf(row),
    ]),
    { indent: '  ' },
  );
  const within = (share: number) => rows.filter(({ error }) => Math.abs(error) <= share).length;
  return [
    `Acquisitions per second, real and simulated (medians)\n${table}`,
    `Within 10 %: ${within(AIM)} of ${rows.length}; within 25 %: ${within(FLOOR)}. "spread": the real runs differ among themselves by more than the error, as when a convoy begins sooner or later; more --repeats or --seconds tell.`,
    ...distinct(rows.map(({ vcpus }) => vcpus)).map((vcpus) =>
      orderSection(rows.filter((row) => row.vcpus === vcpus)),
    ),
  ];
}

function verdictOf({ real, simulated, error }: Row): string {
  if (Math.abs(error) <= AIM) return 'aim';
  if (Math.abs(error) <= FLOOR) return 'floor';
  return real.min <= simulated.median && simulated.median <= real.max ? 'spread' : 'off';
}

/** Pairs of locks that are told apart in reality, and come the other way round simulated. */
function orderSection(rows: readonly Row[]): string {
  const swapped: string[] = [];
  let pairs = 0;
  for (const [i, a] of rows.entries())
    for (const b of rows.slice(i + 1)) {
      const apart = a.real.max < b.real.min || b.real.max < a.real.min;
      if (!apart) continue;
      pairs++;
      const same = a.real.median < b.real.median === a.simulated.median < b.simulated.median;
      if (!same) swapped.push(`${a.lock} and ${b.lock}`);
    }
  const listed = (of: (row: Row) => number) =>
    [...rows].sort((a, b) => of(b) - of(a)).map(({ lock }) => lock);
  return [
    `Order of locks, ${rows[0].vcpus} vCPUs per VM, fastest first`,
    `  real       ${listed(({ real }) => real.median).join(', ')}`,
    `  simulated  ${listed(({ simulated }) => simulated.median).join(', ')}`,
    `  Of ${pairs} pairs whose real runs do not overlap, ${pairs - swapped.length} come in the same order${
      swapped.length === 0 ? '.' : `; not: ${shortened(swapped)}.`
    }`,
  ].join('\n');
}

function shortened(pairs: readonly string[]): string {
  const more = pairs.length - SWAPPED_SHOWN;
  const shown = pairs.slice(0, SWAPPED_SHOWN).join('; ');
  return more > 0 ? `${shown}; and ${more} more` : shown;
}

function rate(perS: number): string {
  return formatNumber(perS);
}

function range({ min, max }: Summary): string {
  return `${rate(min)}-${rate(max)}`;
}
