/**
 * Who holds a VM's lock, and what is counted of that (docs/LOCKS-SIMULATOR.md: what is counted).
 *
 *   acquired(vcpu, nowNs); … released(vcpu, nowNs)
 */
import type { Vcpu } from './machine-state.ts';

/** Throws if somebody else holds it. */
export function acquired(vcpu: Vcpu, nowNs: number): void {
  const vm = vcpu.machine;
  if (vm.holder !== null)
    throw new Error(
      `${vm.model.name}: mutual exclusion: vCPU ${vcpu.thread.id} got the lock that ` +
        `${vm.holder.thread.id} holds, at ${nowNs} ns`,
    );
  vm.holder = vcpu;
  if (vcpu.waited) vm.waits++;
  vcpu.waited = false;
  // I-Spinlock 2.3.2: ticket and lock in different quanta.
  if (vcpu.sliceId !== vcpu.ticketSlice) vm.lwp++;
  // Exact: from when the lock was free, or asked for, until whoever got it was there again.
  const freeNs = Math.max(vm.freedNs, vcpu.ticketNs);
  if (vcpu.inNs > freeNs) vm.waiterPreemptedNs += Math.min(vcpu.inNs, nowNs) - freeNs;
  vm.waitNsMax = Math.max(vm.waitNsMax, nowNs - vcpu.ticketNs);
  vcpu.heldSlice = vcpu.sliceId;
  vcpu.heldOffNs = vcpu.offNs;
  vcpu.heldNs = nowNs;
}

export function released(vcpu: Vcpu, nowNs: number): void {
  const vm = vcpu.machine;
  if (vm.holder !== vcpu) throw new Error(`${vm.model.name}: released by a stranger`);
  vm.holder = null;
  vm.freedNs = nowNs;
  vcpu.acquisitions++;
  // I-Spinlock 2.3.2: acquired and released in different quanta.
  if (vcpu.sliceId !== vcpu.heldSlice) vm.lhp++;
  vm.holderPreemptedNs += vcpu.offNs - vcpu.heldOffNs;
  vm.heldNs += nowNs - vcpu.heldNs;
}
