/**
 * From probes and short runs of each lock with one thread alone to the simulator's costs. Nothing is
 * fitted to what is compared afterwards. A lock alone shows what lock() and unlock() take beside the
 * steps of the algorithm: statistics, and what V8 makes of that lock's code, and of the section
 * between.
 *
 * What two cores cannot show keeps its default: several spinning on one line (`spinnerNs`).
 */
import type { LockName } from '../../../locks/index.ts';
import { median } from '../../../report/statistics.ts';
import { COSTS, type Costs } from '../../sim/costs.ts';
import { type SimulationOptions, simulate } from '../../sim/simulate.ts';
import type { Distance } from '../../workloads/probe.ts';
import type { Load, Probed } from './probe-run.ts';

export interface Calibration {
  /** But for delays, which depend on how many vCPUs there are. */
  readonly costs: Costs;
  readonly loads: readonly Load[];
  /** The section by itself, and what stands between two of them. */
  readonly sectionNs: number;
  readonly clockNs: number;
  readonly ticketNs: number;
  /** Of each lock alone: a round, less what is simulated of it. */
  readonly besideNs: ReadonlyMap<LockName, number>;
  /** Of each lock with two threads, a pCPU each: an acquisition after waiting, less what is simulated
   *  of it. */
  readonly waitedNs: ReadonlyMap<LockName, number>;
}

const SIMULATED_SECONDS = 0.5;

export interface Rates {
  /** Acquisitions a second of one thread alone. */
  readonly alone: ReadonlyMap<LockName, number>;
  /** Of two threads, a pCPU each, and how far apart those were; empty with one pCPU. */
  readonly pairs: ReadonlyMap<LockName, readonly Pair[]>;
}

export interface Pair {
  readonly rate: number;
  readonly distance: Distance;
}

export function calibrate(probed: Probed, { alone, pairs }: Rates): Calibration {
  const { clockNs, sectionNs, ticketNs } = probed.basics;
  const costs = costsOf(probed);
  const none = new Map<LockName, number>();
  const anywhere = {
    ...{ costs, loads: probed.loads, sectionNs, clockNs, ticketNs },
    ...{ besideNs: none, waitedNs: none },
  };
  const bare = probed.distance === null ? anywhere : at(anywhere, probed.distance);
  const besideNs = new Map(
    Array.from(alone, ([lock, rate]) => [
      lock,
      Math.max(0, 1e9 / rate - 1e9 / simulated(bare, lock, 1).acquisitionsPerS),
    ]),
  );
  const apart = { ...bare, besideNs };
  const waitedNs = new Map(
    Array.from(pairs, ([lock, runs]) => [
      lock,
      median(runs.map(({ rate, distance }) => waitedOf(at(apart, distance), lock, rate))),
    ]),
  );
  return { ...apart, waitedNs };
}

function waitedOf(calibration: Calibration, lock: LockName, rate: number): number {
  const { acquisitionsPerS, waits } = simulated(calibration, lock, 2);
  return Math.max(0, 1e9 / rate - 1e9 / acquisitionsPerS) / Math.max(waits, 0.01);
}

/** With the processors so far from each other. */
export function at(calibration: Calibration, { transferNs, roundNs }: Distance): Calibration {
  const costs = {
    ...calibration.costs,
    // A hand-over is two transfers: the waiters' copies are made invalid, and one of them comes back.
    transferNs: transferNs / 2,
    coldSectionNs: Math.max(0, roundNs - transferNs - calibration.sectionNs),
  };
  return { ...calibration, costs };
}

/** So many threads on as many processors; `waits`: the share of acquisitions that had to. */
function simulated(calibration: Calibration, lock: LockName, vcpus: number) {
  const run = { lock, pcpus: vcpus, vms: [{ vcpus }], seconds: SIMULATED_SECONDS };
  const { acquisitions, acquisitionsPerS, vms } = simulate({
    ...run,
    ...settings(calibration, lock, vcpus),
  });
  return { acquisitionsPerS, waits: vms[0].waits / acquisitions };
}

/** What every simulation of this lock with about so many vCPUs per VM has in common. */
export function settings(
  { costs, loads, sectionNs, clockNs, ticketNs, besideNs, waitedNs }: Calibration,
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
    switchNs: switching.p50Ns || COSTS.switchNs,
    lateNs: lateness.p50Ns || COSTS.lateNs,
  };
  return {
    costs: { ...costs, ...delays, waitedNs: waitedNs.get(lock) ?? 0 },
    // Between two sections: the clock, whether it is time to stop, and the statistics of a ticket.
    // All else is done with the lock held.
    thinkNs: clockNs + Math.min(beside, ticketNs),
    criticalNs: sectionNs + beside - Math.min(beside, ticketNs),
    distribution: 'fixed',
  };
}

function costsOf(probed: Probed): Costs {
  const { clockNs, pauseNs, localNs, atomicNs, hypercallNs, futexNs, waitNs } = probed.basics;
  const handoffNs = probed.handoff.p50Ns || COSTS.handoffNs;
  return {
    ...COSTS,
    clockNs,
    pauseNs,
    localNs,
    atomicNs,
    hypercallNs,
    futexNs,
    waitNs,
    notifyNs: probed.notifyNs ?? COSTS.notifyNs,
    futexWakeNs: probed.futexWakeNs ?? COSTS.futexWakeNs,
    // A kick's latency ends with the switch; that is counted by itself.
    wakeNs: probed.kickNs === null ? COSTS.wakeNs : Math.max(0, probed.kickNs - handoffNs),
    handoffNs,
  };
}
