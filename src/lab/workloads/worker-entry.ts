/**
 * The program of one vCPU's thread (dist/lab-worker.cjs): loads its workload, waits for the start,
 * joins the hypervisor, works, leaves, and reports.
 *
 *   new Worker(vcpuProgram(), { workerData: order satisfies WorkerOrder });
 *
 * Everything that takes long or could wait for another thread (loading, compiling, messages) is
 * done outside of the hypervisor's care: a vCPU that is preempted may hold what the others need.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { joinHypervisor } from '../../hypervisor/joined-vcpu.ts';
import { LOCKS, type Lock } from '../../locks/index.ts';
import { freeVcpu, type Vcpu } from '../../share-info/vcpu.ts';
import { WORKLOADS } from './index.ts';
import { HoldTimer, QueueSampler } from './observers.ts';
import {
  CONTROL,
  START_NS,
  type WorkerMessage,
  type WorkerOrder,
  type WorkerReport,
} from './order.ts';
import { noStats, sumOfStats } from './stats.ts';

/** A given amount of work, meant for `seconds`, is left undone after this many times as long. */
const PATIENCE = 4;

function lockOf(order: WorkerOrder, memory: SharedArrayBuffer, vcpu: Vcpu): Lock {
  if (order.lock !== 'broken') return LOCKS[order.lock].create(new Int32Array(memory), vcpu);
  const stats = noStats();
  return {
    stats,
    lock() {
      stats.acquisitions++;
    },
    tryLock: () => true,
    unlock() {},
  };
}

async function main(order: WorkerOrder): Promise<WorkerReport> {
  const { plan, memory, index, vm, ticket } = order;
  const workload = WORKLOADS[order.workload];
  const state = await workload.load(plan, memory);
  const control = new Int32Array(order.control);
  Atomics.add(control, CONTROL.ready, 1);
  Atomics.notify(control, CONTROL.ready);
  Atomics.wait(control, CONTROL.start, 0);
  const patience = workload.finished === undefined ? 1 : PATIENCE;
  const deadlineNs = new Float64Array(order.control)[START_NS] + patience * plan.seconds * 1e9;

  const joined = ticket === null ? null : joinHypervisor(ticket, vm, index);
  const vcpu: Vcpu = joined ?? freeVcpu(index, plan.vcpus);
  const startNs = vcpu.nowNs();
  try {
    const locks = order.lockMemory.map((words) => lockOf(order, words, vcpu));
    const sampler = new QueueSampler();
    const timer = order.timeHolds ? new HoldTimer(() => vcpu.nowNs()) : null;
    const observed = locks.map((lock) => timer?.watch(lock) ?? sampler.watch(lock));
    const site = {
      plan,
      memory,
      vcpu,
      index,
      locks: observed,
      over: () => vcpu.nowNs() >= deadlineNs,
    };
    const outcome = workload.work(site, state);
    return {
      vm,
      index,
      outcome,
      startNs,
      endNs: vcpu.nowNs(),
      locks: sumOfStats(locks.map(({ stats }) => stats)),
      queueLength: sampler.mean(),
      holds: timer?.counts ?? null,
    };
  } finally {
    joined?.leave();
  }
}

if (parentPort !== null) {
  const port = parentPort;
  main(workerData as WorkerOrder).then(
    (report) => port.postMessage({ report } satisfies WorkerMessage),
    (error: Error) =>
      port.postMessage({
        error: error?.message ?? String(error),
        isVoid: error?.name === 'VoidRun',
      } satisfies WorkerMessage),
  );
}
