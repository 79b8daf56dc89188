/**
 * trapless/hypervisor: virtual machines whose vCPUs are threads of this process, preempted for
 * real.
 *
 *   const hypervisor = Hypervisor.start({ pcpus: 2, vms: [{ vcpus: 4 }, { vcpus: 4 }] });
 *   new Worker(file, { workerData: { ticket: hypervisor.ticket, vm: 0, index: 2 } });
 *   …in the worker…
 *   const vcpu = joinHypervisor(workerData.ticket, workerData.vm, workerData.index);
 *   …
 *   vcpu.leave();
 */
export {
  type Durations,
  Hypervisor,
  type HypervisorStats,
  type VcpuStats,
} from './hypervisor/hypervisor.ts';
export { JoinedVcpu, joinHypervisor, type SchedInfo } from './hypervisor/joined-vcpu.ts';
export type {
  HypervisorOptions,
  HypervisorTicket,
  SchedulerName,
  VmOptions,
} from './hypervisor/options.ts';
