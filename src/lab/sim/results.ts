/**
 * What a run comes to for one virtual machine, from what its vCPUs counted.
 *
 *   const result = resultOf(vm, { options, nowNs });
 */
import type { Vcpu, Vm } from './machine-state.ts';
import type { MachineOptions, VmResult } from './options.ts';

export function resultOf(
  vm: Vm,
  { options, nowNs }: { readonly options: MachineOptions; readonly nowNs: number },
): VmResult {
  const { vcpus } = vm;
  const sum = (of: (vcpu: Vcpu) => number) => vcpus.reduce((total, v) => total + of(v), 0);
  const acquisitions = sum((vcpu) => vcpu.acquisitions);
  const per1000 = (count: number) => (acquisitions === 0 ? 0 : (count / acquisitions) * 1000);
  const runNs = sum((vcpu) => vcpu.runNs);
  const spinNs = sum((vcpu) => vcpu.spinNs);
  const coldNs = sum((vcpu) => vcpu.switches * options.costs.coldNs);
  const counted = options.acquisitions === null;
  const progress = vcpus.map((vcpu) => (counted ? vcpu.acquisitions : vcpu.finishedNs));
  return {
    acquisitions,
    acquisitionsPerS: acquisitions / (nowNs / 1e9),
    waits: vm.waits,
    lhp: vm.lhp,
    lwp: vm.lwp,
    lhpPer1000: per1000(vm.lhp),
    lwpPer1000: per1000(vm.lwp),
    pspPer1000: per1000(vm.lhp + vm.lwp),
    holderPreemptedNs: vm.holderPreemptedNs,
    waiterPreemptedNs: vm.waiterPreemptedNs,
    heldNs: vm.heldNs,
    waitNsMax: vm.waitNsMax,
    runNs,
    spinNs,
    spinShare: runNs === 0 ? 0 : spinNs / runNs,
    workNs: vm.computes ? Math.max(0, runNs - coldNs) : 0,
    switches: sum((vcpu) => vcpu.switches),
    kicks: vm.kicks,
    halts: vm.halts,
    yields: vm.yields,
    fairnessCv: vm.computes ? 0 : variation(progress),
    runNsPerVcpu: vcpus.map((vcpu) => vcpu.runNs),
    acquisitionsPerVcpu: vcpus.map((vcpu) => vcpu.acquisitions),
    finishedNsPerVcpu: counted && !options.drain ? [] : vcpus.map((vcpu) => vcpu.finishedNs),
  };
}

/** Standard deviation over mean. */
function variation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  if (mean === 0) return 0;
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return Math.sqrt(square) / mean;
}
