/**
 * From probes and short runs of the micro-benchmark without overcommitment to the simulator's costs.
 * Nothing is fitted to what is compared afterwards:
 *
 *   each lock, one thread alone   what lock() and unlock() take beside the steps of the algorithm:
 *                                 statistics, and what V8 makes of that lock's code, and of the
 *                                 section between
 *   ticket, two on a pCPU each    how much longer a section is whose data come from the other pCPU
 *
 * What two cores cannot show keeps its default: several spinning on one line (`spinnerNs`).
 */
import type { LockName } from '../../../locks/index.ts';
import { COSTS, type Costs } from '../../sim/costs.ts';
import { type SimulationOptions, simulate } from '../../sim/simulate.ts';
import type { Load, Probed } from './probe-run.ts';

export interface Calibration {
  /** But for delays, which depend on how many vCPUs there are. */
  readonly costs: Costs;
  readonly loads: readonly Load[];
  /** The section by itself, and what stands between two of them. */
  readonly sectionNs: number;
  readonly clockNs: number;
  /** Of each lock alone: a round, less what is simulated of it. */
  readonly besideNs: ReadonlyMap<LockName, number>;
}

export interface Rates {
  /** Acquisitions a second of one thread alone. */
  readonly alone: ReadonlyMap<LockName, number>;
  /** The ticket lock's with two threads, a pCPU each; null with one pCPU. */
  readonly pair: number | null;
}

/** Of what is beside, this part is done while the lock is held (psp.acquired, released, section). */
const HELD_PART = 2 / 3;
const SIMULATED_SECONDS = 0.5;

export function calibrate(probed: Probed, rates: Rates): Calibration {
  const { clockNs, sectionNs } = probed.basics;
  const costs = costsOf(probed);
  const bare = { costs, loads: probed.loads, sectionNs, clockNs, besideNs: new Map() };
  const besideNs = new Map(
    Array.from(rates.alone, ([lock, rate]) => [
      lock,
      Math.max(0, 1e9 / rate - 1e9 / simulated(bare, lock, 1)),
    ]),
  );
  const alone = { ...bare, besideNs };
  if (rates.pair === null) return alone;
  const coldSectionNs = Math.max(0, 1e9 / rates.pair - 1e9 / simulated(alone, 'ticket', 2));
  return { ...alone, costs: { ...costs, coldSectionNs } };
}

function simulated(calibration: Calibration, lock: LockName, vcpus: number): number {
  const run = { lock, pcpus: vcpus, vms: [{ vcpus }], seconds: SIMULATED_SECONDS };
  return simulate({ ...run, ...settings(calibration, lock, vcpus) }).acquisitionsPerS;
}

/** What every simulation of this lock with about so many vCPUs per VM has in common. */
export function settings(
  { costs, loads, sectionNs, clockNs, besideNs }: Calibration,
  lock: LockName,
  vcpus: number,
): Partial<SimulationOptions> {
  const beside = besideNs.get(lock) ?? 0;
  const nearest = loads.reduce((best, load) =>
    Math.abs(load.vcpus - vcpus) < Math.abs(best.vcpus - vcpus) ? load : best,
  );
  const { delaysNs, endsNs, watchedNs, lateness, switching } = nearest;
  const delays = {
    delaysNs,
    delayEveryNs: delaysNs.length === 0 ? COSTS.delayEveryNs : watchedNs / delaysNs.length,
    endDelaysNs: endsNs,
    switchNs: switching.meanNs || COSTS.switchNs,
    lateNs: lateness.p50Ns || COSTS.lateNs,
  };
  return {
    costs: { ...costs, ...delays },
    // The clock is read between sections, whether it is time to stop.
    thinkNs: clockNs + beside * (1 - HELD_PART),
    criticalNs: sectionNs + beside * HELD_PART,
    distribution: 'fixed',
  };
}

function costsOf(probed: Probed): Costs {
  const { clockNs, pauseNs, localNs, atomicNs, hypercallNs, futexNs } = probed.basics;
  // A hand-over is two transfers: the waiters' copies are made invalid, and one of them comes back.
  const transferNs = probed.transferNs === null ? COSTS.transferNs : probed.transferNs / 2;
  const handoffNs = probed.handoff.meanNs || COSTS.handoffNs;
  return {
    ...COSTS,
    clockNs,
    pauseNs,
    localNs,
    atomicNs,
    hypercallNs,
    futexNs,
    transferNs,
    futexWakeNs: probed.futexWakeNs ?? COSTS.futexWakeNs,
    // A kick's latency ends with the switch; that is counted by itself.
    wakeNs: probed.kickNs === null ? COSTS.wakeNs : Math.max(0, probed.kickNs - handoffNs),
    handoffNs,
  };
}
