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
import { newStats } from '../../locks/psp.ts';
import { freeVcpu, type Vcpu } from '../../share-info/vcpu.ts';
import { drill } from './drill.ts';
import { WORKLOADS } from './index.ts';
import { HoldTimer, QueueSampler } from './observers.ts';
import {
  CONTROL,
  type Ground,
  START_NS,
  type WorkerMessage,
  type WorkerOrder,
  type WorkerReport,
} from './order.ts';
import { type Distance, distance, type ProbeOrder, probe } from './probe.ts';
import { sumOfStats } from './stats.ts';
import type { Site } from './workload.ts';

/** A given amount of work, meant for `seconds`, is left undone after this many times as long. */
const PATIENCE = 4;

function lockOf(order: WorkerOrder, memory: SharedArrayBuffer, vcpu: Vcpu): Lock {
  const { lock, lockOptions } = order;
  if (lock !== 'broken') return LOCKS[lock].create(new Int32Array(memory), vcpu, lockOptions);
  const stats = newStats();
  return {
    stats,
    lock() {
      stats.acquisitions++;
    },
    tryLock: () => true,
    unlock() {},
  };
}

/**
 * Nobody works before everybody is a vCPU: with some of them not there yet it would be another
 * experiment. Returns when all are; CLOCK_MONOTONIC ns of that.
 */
function startingLine(order: WorkerOrder, vcpu: Vcpu): number {
  const { control, threads } = order;
  const words = new Int32Array(control);
  const start = new Float64Array(control);
  if (Atomics.add(words, CONTROL.joined, 1) + 1 === threads) {
    start[START_NS] = vcpu.nowNs();
    Atomics.store(words, CONTROL.start, 2);
  }
  while (Atomics.load(words, CONTROL.start) !== 2) letOthers(order, vcpu);
  return start[START_NS];
}

function letOthers({ ticket }: WorkerOrder, vcpu: Vcpu): void {
  if (ticket === null) vcpu.halt();
  else vcpu.yield();
}

/** Where a vCPU works, and what is observed of it. */
class Stage {
  readonly locks: readonly Lock[];
  readonly sampler = new QueueSampler();
  readonly timer: HoldTimer | null;
  readonly site: Site;
  untilNs = 0;

  constructor(order: WorkerOrder, vcpu: Vcpu, { memory, lockMemory }: Ground) {
    const { plan, index } = order;
    this.locks = lockMemory.map((words) => lockOf(order, words, vcpu));
    this.timer = order.timeHolds ? new HoldTimer(() => vcpu.nowNs()) : null;
    const locks = this.locks.map((lock) => this.timer?.watch(lock) ?? this.sampler.watch(lock));
    this.site = { plan, memory, vcpu, index, locks, over: () => vcpu.nowNs() >= this.untilNs };
  }
}

/**
 * First each vCPU alone, on locks of its own, then in pairs, so that waiting is compiled, too: if
 * all rehearsed together, one preempted with the lock would keep the others from it. A pair has both
 * processors to itself, as those whose turn it is not yield.
 */
function rehearse(order: WorkerOrder, vcpu: Vcpu, state: unknown): void {
  if (order.lock !== 'broken') drill(LOCKS[order.lock], order.lockOptions);
  const workload = WORKLOADS[order.workload];
  const { rehearsal } = order;
  const { rehearsalMs } = workload;
  if (rehearsalMs === undefined || rehearsal === null) return;
  const untimed = { ...order, plan: { ...order.plan, size: undefined } };
  const on = (ground: Ground) => {
    const stage = new Stage(untimed, vcpu, ground);
    stage.untilNs = vcpu.nowNs() + rehearsalMs * 1e6;
    workload.work(stage.site, state);
  };
  const { lockMemory } = rehearsal.ground;
  const alone = {
    memory: workload.prepare(order.plan),
    lockMemory: lockMemory.map(({ byteLength }) => new SharedArrayBuffer(byteLength)),
  };
  // Several times: what V8 compiles within one call (on-stack replacement) is for that call alone.
  for (let i = 0; i < 4; i++) on(alone);
  const control = new Int32Array(order.control);
  while (Atomics.load(control, CONTROL.rehearsed) < rehearsal.after) letOthers(order, vcpu);
  for (let i = 0; i < 2; i++) on(rehearsal.ground);
}

/** When all others only wait for the start. */
function measureDistance(order: WorkerOrder, vcpu: Vcpu): Distance | null {
  if (order.distance === null) return null;
  const control = new Int32Array(order.control);
  while (Atomics.load(control, CONTROL.rehearsed) < order.threads) letOthers(order, vcpu);
  return distance(order.distance, vcpu, vcpu.id);
}

/** Not the one published, which is earlier by a margin. */
function sliceEndNs({ info, id }: Vcpu): number {
  return info.switchedInNs(id) + info.sliceNs(id);
}

async function main(order: WorkerOrder): Promise<WorkerReport> {
  const { plan, index, vm, ticket } = order;
  const workload = WORKLOADS[order.workload];
  const state = await workload.load(plan, order.ground.memory);
  const control = new Int32Array(order.control);
  Atomics.add(control, CONTROL.ready, 1);
  Atomics.notify(control, CONTROL.ready);
  Atomics.wait(control, CONTROL.start, 0);

  const joined = ticket === null ? null : joinHypervisor(ticket, vm, index);
  const vcpu: Vcpu = joined ?? freeVcpu(index, plan.vcpus);
  try {
    rehearse(order, vcpu, state);
    Atomics.add(control, CONTROL.rehearsed, 1);
    const far = measureDistance(order, vcpu);
    const stage = new Stage(order, vcpu, order.ground);
    const startNs = startingLine(order, vcpu);
    const patience = workload.finished === undefined ? 1 : PATIENCE;
    stage.untilNs = startNs + patience * plan.seconds * 1e9;
    const beganNs = vcpu.nowNs();
    const leftNs = joined === null ? null : sliceEndNs(vcpu) - beganNs;
    const outcome = workload.work(stage.site, state);
    return {
      vm,
      index,
      outcome,
      startNs,
      beganNs,
      leftNs,
      endNs: vcpu.nowNs(),
      locks: sumOfStats(stage.locks.map(({ stats }) => stats)),
      queueLength: stage.sampler.mean(),
      distance: far,
      holds: stage.timer?.counts ?? null,
    };
  } finally {
    joined?.leave();
  }
}

if (parentPort !== null && 'probe' in workerData) {
  parentPort.postMessage(probe(workerData as ProbeOrder));
} else if (parentPort !== null) {
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
