/**
 * One run: virtual machines on a hypervisor, a workload in each, started together.
 *
 *   const result = await runPoint({ lock: 'ticket', vms: [{ workload: 'micro', vcpus: 4 }], … });
 *
 * It throws VoidRun when a result is wrong. Preempted threads may hold anything of V8's or libc's:
 * call it in a process that is good for nothing else (see children.ts).
 */
import { Worker } from 'node:worker_threads';
import { Hypervisor } from '../../hypervisor/hypervisor.ts';
import type { SchedulerName } from '../../hypervisor/options.ts';
import {
  LOCKS,
  type LockName,
  type LockOptions,
  type LockStats,
  wordsOf,
} from '../../locks/index.ts';
import { createScratch } from '../scratch.ts';
import { WORKLOADS, type WorkloadName } from '../workloads/index.ts';
import {
  CONTROL,
  type Ground,
  START_NS,
  type WorkerMessage,
  type WorkerOrder,
  type WorkerReport,
} from '../workloads/order.ts';
import { type Distance, PROBE_BYTES } from '../workloads/probe.ts';
import { sumOfStats } from '../workloads/stats.ts';
import { VoidRun, type WorkloadPlan } from '../workloads/workload.ts';
import { distance } from './sim/probe-run.ts';
import { vcpuProgram } from './vcpu-program.ts';

export interface VmPlan {
  readonly workload: WorkloadName;
  readonly vcpus: number;
  /** As in WorkloadPlan. */
  readonly size?: number;
  readonly length?: number;
}

export interface PointPlan {
  readonly lock: LockName | 'broken';
  readonly vms: readonly VmPlan[];
  /** 0: no hypervisor, the threads run as Linux lets them. */
  readonly pcpus: number;
  readonly seconds: number;
  readonly seed: number;
  readonly sliceUs?: number;
  readonly scheduler?: SchedulerName;
  readonly lockOptions?: LockOptions;
  readonly timeHolds?: boolean;
  /** Measure how far the processors are from each other, before and after. */
  readonly distances?: boolean;
}

export interface VmResult {
  readonly workload: WorkloadName;
  readonly unit: string;
  readonly vcpus: number;
  /** Units of work. */
  readonly done: number;
  /** From the start of all to the end of its last thread. */
  readonly seconds: number;
  /** Whether a given amount of work was done; null where there is none. */
  readonly finished: boolean | null;
  /** Of its threads: from the start of all to their end. */
  readonly threadSeconds: readonly number[];
  /** Time its threads were on a processor. */
  readonly ranSeconds: number;
  readonly locks: LockStats;
  /** Mean queue length the informed locks saw; null for others. */
  readonly queueLength: number | null;
  readonly holds: readonly number[] | null;
}

/** A vCPU's first turn. */
export interface Start {
  /** Its global number. */
  readonly vcpu: number;
  /** After the start of all. */
  readonly atNs: number;
  /** What was left of its slice. */
  readonly leftNs: number | null;
  /** In the whole run, all its locks. */
  readonly acquisitions: number;
}

export interface PointResult {
  readonly vms: readonly VmResult[];
  /** The vCPUs in the order of their first turns. */
  readonly starts: readonly Start[];
  /** If asked for: before the run and after it. */
  readonly distances: readonly Distance[];
  /** What the reader should know of the run. */
  readonly notes: readonly string[];
  /** Of the hypervisor: preemptions against the published time, the 99th percentile. */
  readonly latenessNs?: number;
  /** From the signal until the next vCPU runs, the median. */
  readonly switchingNs?: number;
}

export async function runPoint(plan: PointPlan): Promise<PointResult> {
  const scratch = createScratch();
  const hypervisor =
    plan.pcpus === 0
      ? null
      : Hypervisor.start({
          pcpus: plan.pcpus,
          vms: plan.vms.map(({ vcpus }) => ({ vcpus })),
          scheduler: plan.scheduler ?? 'credit',
          ...(plan.sliceUs === undefined ? {} : { sliceUs: plan.sliceUs }),
        });
  try {
    const control = new SharedArrayBuffer(4 * CONTROL.words);
    const guests = plan.vms.map((vm, number) => guest(plan, vm, number, scratch.path));
    const threads = plan.vms.reduce((sum, { vcpus }) => sum + vcpus, 0);
    const pair = plan.distances ? new SharedArrayBuffer(PROBE_BYTES) : null;
    const before = plan.vms.map((_, vm) => total(plan.vms.slice(0, vm).map(({ vcpus }) => vcpus)));
    const workers = guests.flatMap(({ plan: workloadPlan, ground, rehearsal }, vm) =>
      Array.from({ length: workloadPlan.vcpus }, (_, index) =>
        startWorker({
          workload: plan.vms[vm].workload,
          lock: plan.lock,
          lockOptions: plan.lockOptions ?? {},
          plan: workloadPlan,
          vm,
          index,
          ground,
          rehearsal: rehearsal && {
            ground: rehearsal,
            after: before[vm] + index - (index % 2),
          },
          control,
          threads,
          ticket: hypervisor?.ticket ?? null,
          distance: before[vm] + index < 2 ? pair : null,
          timeHolds: plan.timeHolds ?? false,
        }),
      ),
    );
    await startTogether(control, workers);
    const reports = await Promise.all(workers.map(({ report }) => report));
    const distances = reports.flatMap((report) => report.distance ?? []).slice(0, 1);
    if (plan.distances) distances.push(await distance());
    const startNs = new Float64Array(control)[START_NS];
    const machine = hypervisor?.stats() ?? null;
    const notes = new Set<string>();
    const vms = guests.map(({ plan: workloadPlan, ground: { memory } }, vm) => {
      const own = reports.filter((report) => report.vm === vm);
      const workload = WORKLOADS[plan.vms[vm].workload];
      const outcomes = own.map(({ outcome }) => outcome);
      const note = workload.check(workloadPlan, memory, outcomes);
      if (note !== undefined) notes.add(note);
      const finished = workload.finished?.(workloadPlan, memory) ?? null;
      const ranNs = machine?.vcpus.filter((vcpu) => vcpu.vm === vm).map(({ runNs }) => runNs);
      return vmResult(plan.vms[vm], own, startNs, finished, ranNs);
    });
    const { lateness, switching } = machine ?? {};
    const starts = reports.map(({ beganNs, leftNs, locks }, vcpu) => ({
      vcpu,
      atNs: beganNs - startNs,
      leftNs,
      acquisitions: locks.acquisitions,
    }));
    return {
      vms,
      starts: starts.sort((a, b) => a.atNs - b.atNs),
      distances,
      notes: [...notes],
      latenessNs: lateness?.p99Ns,
      switchingNs: switching?.p50Ns,
    };
  } finally {
    hypervisor?.stop();
    scratch.remove();
  }
}

interface Guest {
  readonly plan: WorkloadPlan;
  readonly ground: Ground;
  readonly rehearsal: Ground | null;
}

function guest(plan: PointPlan, vm: VmPlan, number: number, directory: string): Guest {
  const { workload, ...rest } = vm;
  const workloadPlan: WorkloadPlan = {
    ...rest,
    seconds: plan.seconds,
    seed: plan.seed + number,
    directory,
    vm: number,
  };
  const { locks, prepare, rehearsalMs } = WORKLOADS[workload];
  const words = plan.lock === 'broken' ? 1 : wordsOf(LOCKS[plan.lock], vm.vcpus);
  const ground = (): Ground => ({
    memory: prepare(workloadPlan),
    lockMemory: Array.from({ length: locks }, () => new SharedArrayBuffer(4 * words)),
  });
  const rehearsal = rehearsalMs === undefined ? null : ground();
  return { plan: workloadPlan, ground: ground(), rehearsal };
}

interface RunningWorker {
  readonly worker: Worker;
  readonly report: Promise<WorkerReport>;
}

function startWorker(order: WorkerOrder): RunningWorker {
  const { program, isText } = vcpuProgram();
  const worker = new Worker(program, { workerData: order, eval: isText });
  const report = new Promise<WorkerReport>((resolve, reject) => {
    worker.once('message', (message: WorkerMessage) => {
      if ('report' in message) resolve(message.report);
      else reject(message.isVoid ? new VoidRun(message.error) : new Error(message.error));
    });
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`a vCPU's thread ended with ${code}`)));
  });
  // Looked at later, when all are started.
  report.catch(() => {});
  return { worker, report };
}

/** Lets all go to the starting line once all have loaded. */
async function startTogether(
  control: SharedArrayBuffer,
  workers: readonly RunningWorker[],
): Promise<void> {
  const words = new Int32Array(control);
  const failed = Promise.race(workers.map(({ report }) => report));
  for (;;) {
    const ready = Atomics.load(words, CONTROL.ready);
    if (ready === workers.length) break;
    // Not Atomics.wait: messages of workers that fail must get through.
    await Promise.race([new Promise((resolve) => setTimeout(resolve, 5)), failed]);
  }
  Atomics.store(words, CONTROL.start, 1);
  Atomics.notify(words, CONTROL.start);
}

function total(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

function vmResult(
  { workload, vcpus }: VmPlan,
  reports: readonly WorkerReport[],
  startNs: number,
  finished: boolean | null,
  ranNs: readonly number[] | undefined,
): VmResult {
  const sum = (of: (report: WorkerReport) => number) =>
    reports.reduce((total, report) => total + of(report), 0);
  const threadSeconds = reports.map(({ endNs }) => (endNs - startNs) / 1e9);
  const lengths = reports.map((one) => one.queueLength).filter((one) => one !== null);
  const [{ holds }] = reports;
  return {
    workload,
    unit: WORKLOADS[workload].unit,
    vcpus,
    done: sum(({ outcome }) => outcome.done),
    seconds: Math.max(...threadSeconds),
    finished,
    threadSeconds,
    // Without a hypervisor nobody tells: as if they had run all the time.
    ranSeconds: ranNs === undefined ? total(threadSeconds) : total(ranNs) / 1e9,
    locks: sumOfStats(reports.map(({ locks }) => locks)),
    queueLength: lengths.length === 0 ? null : lengths.reduce((a, b) => a + b, 0) / lengths.length,
    holds: holds?.map((_, bucket) => sum((report) => report.holds?.[bucket] ?? 0)) ?? null,
  };
}
