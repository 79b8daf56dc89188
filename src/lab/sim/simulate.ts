/**
 * One run of the machine simulator: pure computation, the same result for the same options and
 * seed. docs/LOCKS-SIMULATOR.md says what is modelled.
 *
 *   const result = simulate({
 *     lock: 'pv-ispinlock',
 *     pcpus: 12,
 *     vms: [{ vcpus: 24 }, { vcpus: 24 }],
 *     seconds: 1,
 *   });
 *   result.acquisitionsPerS; result.pspPer1000; result.vms[0].spinShare
 *
 * Throws if two threads ever hold one lock, if nobody can run although not all are through, or if
 * `acquisitions` are not done in `seconds`.
 */
import { COSTS } from './costs.ts';
import { Machine } from './machine.ts';
import { LOCK_MODELS } from './models.ts';
import type { MachineOptions, SimulationOptions, SimulationResult } from './options.ts';

export type { Costs } from './costs.ts';
export type {
  SimulatedVm,
  SimulationOptions,
  SimulationResult,
  VmResult,
} from './options.ts';

export function simulate(options: SimulationOptions): SimulationResult {
  const machineOptions = complete(options);
  const { vms, seconds, events } = new Machine(machineOptions).run();
  const sum = (of: (vm: (typeof vms)[number]) => number) =>
    vms
      .filter((_, i) => machineOptions.vms[i].workload === 'micro')
      .reduce((n, vm) => n + of(vm), 0);
  const acquisitions = sum((vm) => vm.acquisitions);
  const runNs = sum((vm) => vm.runNs);
  const per1000 = (count: number) => (acquisitions === 0 ? 0 : (count / acquisitions) * 1000);
  return {
    lock: options.lock,
    seed: machineOptions.seed,
    seconds,
    events,
    vms,
    acquisitions,
    acquisitionsPerS: acquisitions / seconds,
    lhpPer1000: per1000(sum((vm) => vm.lhp)),
    lwpPer1000: per1000(sum((vm) => vm.lwp)),
    pspPer1000: per1000(sum((vm) => vm.lhp + vm.lwp)),
    spinShare: runNs === 0 ? 0 : sum((vm) => vm.spinNs) / runNs,
    fairnessCv: Math.max(0, ...vms.map((vm) => vm.fairnessCv)),
  };
}

function complete(options: SimulationOptions): MachineOptions {
  const { lock, pcpus, vms, seconds = 1, sliceUs = 30_000, ratelimitUs = 1_000 } = options;
  const { thinkNs = 2_000, criticalNs = 1_500 } = options;
  if (!Object.hasOwn(LOCK_MODELS, lock))
    throw new RangeError(`simulate: no lock is called '${lock}'`);
  count('pcpus', pcpus);
  if (vms.length === 0) throw new RangeError('simulate: vms must name at least one VM');
  for (const { vcpus } of vms) count('vcpus', vcpus);
  if (options.acquisitions !== undefined) count('acquisitions', options.acquisitions);
  for (const [name, value] of Object.entries({ seconds, sliceUs, thinkNs, criticalNs }))
    if (!(value > 0 && Number.isFinite(value)))
      throw new RangeError(`simulate: ${name} must be more than 0, not ${value}`);
  return {
    lock,
    pcpus,
    vms: vms.map((vm) => ({ weight: 256, workload: 'micro', ...vm })),
    secondsMax: seconds,
    acquisitions: options.acquisitions ?? null,
    drain: options.drain ?? false,
    seed: options.seed ?? 1,
    order: options.order ?? null,
    begins: options.begins ?? [],
    scheduler: options.scheduler ?? 'credit',
    sliceNs: sliceUs * 1_000,
    marginNs: (options.marginUs ?? Math.min(100, Math.floor(sliceUs / 10))) * 1_000,
    ratelimitNs: ratelimitUs * 1_000,
    boost: options.boost ?? true,
    publish: options.publish ?? 'slice',
    thinkNs,
    criticalNs,
    distribution: options.distribution ?? 'exponential',
    parameters: options.parameters ?? {},
    costs: { ...COSTS, ...options.costs },
    model: options.model,
    futex: options.futex ?? 'slice',
  };
}

function count(name: string, value: number): void {
  if (!(Number.isInteger(value) && value > 0))
    throw new RangeError(`simulate: ${name} must be a whole number from 1, not ${value}`);
}
