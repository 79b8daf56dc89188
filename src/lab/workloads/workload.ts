/**
 * What a workload of the lock experiments is: real work that n vCPUs share under locks.
 *
 *   const memory = workload.prepare(plan);            // once per virtual machine
 *   const state = await workload.load(plan, memory);  // in every vCPU's thread, before the start
 *   workload.work(site, state);                       // the measured part; units of work done
 *   workload.check(plan, memory, outcomes);           // throws VoidRun if anything is amiss
 *
 * All that is shared lies in SharedArrayBuffers and is touched by plain loads and stores under the
 * locks: a lock that does not exclude makes the run void.
 */
import type { Lock } from '../../locks/index.ts';
import type { Vcpu } from '../../share-info/vcpu.ts';

/** The run measured nothing: its result is wrong, or it did not end. */
export class VoidRun extends Error {
  override readonly name = 'VoidRun';
}

export interface WorkloadPlan {
  /** Threads of this virtual machine. */
  readonly vcpus: number;
  /** The work ends after this long; what has an end of its own is sized to take about as long. */
  readonly seconds: number;
  /** Everything generated comes from this. */
  readonly seed: number;
  /** Amount of work instead of what `seconds` makes of it: accesses per thread, jobs, blocks. */
  readonly size?: number;
  /** micro: steps of one critical section. */
  readonly length?: number;
  /** Where files go, for workloads with files. */
  readonly directory: string;
  /** Tells this virtual machine's files from another's. */
  readonly vm: number;
}

export type Memory = Readonly<Record<string, SharedArrayBuffer>>;

/** One vCPU's view of a run. */
export interface Site {
  readonly plan: WorkloadPlan;
  readonly memory: Memory;
  readonly vcpu: Vcpu;
  /** Number of this vCPU in its virtual machine. */
  readonly index: number;
  readonly locks: readonly Lock[];
  /** Whether it is time to stop. */
  over(): boolean;
}

/** What one vCPU reports. */
export interface Outcome {
  /** Units of work done. */
  readonly done: number;
  /** For `check`: whatever the workload wants to compare. */
  readonly proof?: string;
}

export interface Workload<State = unknown> {
  readonly name: string;
  /** What is counted: `accesses`, `records`. */
  readonly unit: string;
  /** How many locks the threads share. */
  readonly locks: number;
  prepare(plan: WorkloadPlan): Memory;
  load(plan: WorkloadPlan, memory: Memory): State | Promise<State>;
  work(site: Site, state: State): Outcome;
  /** work() is done this long several times before the start, on other memory and locks: V8 compiles
   *  what turns out hot, and in the measured part that would take a thread out of its section. */
  readonly rehearsalMs?: number;
  /** Returns what the reader should know, such as that a part had to be replaced. */
  check(plan: WorkloadPlan, memory: Memory, outcomes: readonly Outcome[]): string | undefined;
  /** Whether all of a given amount of work was done; absent where there is no such amount. */
  finished?(plan: WorkloadPlan, memory: Memory): boolean;
}

/** FNV-1a, 32 bits. */
export function checksum(bytes: ArrayLike<number>): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  return hash >>> 0;
}
