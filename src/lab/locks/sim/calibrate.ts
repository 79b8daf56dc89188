/**
 * From probes and two short runs of the micro-benchmark under the ticket lock to the simulator's
 * costs. Nothing is fitted to a lock's own result, save ticket's without overcommitment:
 *
 *   one thread alone       what lock() and unlock() take beside the algorithm (statistics)
 *   two, a pCPU for each   how much longer a section is whose data come from the other processor
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
  readonly thinkNs: number;
  readonly criticalNs: number;
}

/** Acquisitions a second of one thread alone, and of two with a pCPU each; null with one pCPU. */
export interface TicketRates {
  readonly alone: number;
  readonly pair: number | null;
}

/** Of what statistics take, this part is done while the lock is held (psp.acquired, released). */
const HELD_PART = 2 / 3;
const SIMULATED_SECONDS = 0.5;

export function calibrate(probed: Probed, rates: TicketRates): Calibration {
  const { clockNs, sectionNs } = probed.basics;
  const costs = costsOf(probed);
  const { loads } = probed;
  // The clock is read between sections, whether it is time to stop.
  const bare = { costs, loads, thinkNs: clockNs, criticalNs: sectionNs };
  const beside = Math.max(0, 1e9 / rates.alone - 1e9 / simulated(bare, 1));
  const alone = {
    costs,
    loads,
    thinkNs: clockNs + beside * (1 - HELD_PART),
    criticalNs: sectionNs + beside * HELD_PART,
  };
  if (rates.pair === null) return alone;
  const coldSectionNs = Math.max(0, 1e9 / rates.pair - 1e9 / simulated(alone, 2));
  return { ...alone, costs: { ...costs, coldSectionNs } };
}

function simulated(calibration: Calibration, vcpus: number): number {
  const run = { lock: 'ticket' as LockName, pcpus: vcpus, vms: [{ vcpus }] };
  return simulate({ ...run, ...settings(calibration, vcpus), seconds: SIMULATED_SECONDS })
    .acquisitionsPerS;
}

/** What every simulation of this machine with about so many vCPUs per VM has in common. */
export function settings(
  { costs, loads, thinkNs, criticalNs }: Calibration,
  vcpus: number,
): Partial<SimulationOptions> {
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
  return { costs: { ...costs, ...delays }, thinkNs, criticalNs, distribution: 'fixed' };
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
