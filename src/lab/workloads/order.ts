/**
 * What a vCPU's thread is told (workerData), and what it reports (one message).
 */
import type { HypervisorTicket } from '../../hypervisor/options.ts';
import type { LockName, LockOptions, LockStats } from '../../locks/index.ts';
import type { WorkloadName } from './index.ts';
import type { Distance } from './probe.ts';
import type { Memory, Outcome, WorkloadPlan } from './workload.ts';

/** Words of the control memory. */
export const CONTROL = { ready: 0, start: 1, joined: 4, rehearsed: 5, words: 6 } as const;
/** Its double: CLOCK_MONOTONIC ns of the start, once `joined` counts every thread. */
export const START_NS = 1;

/** What the vCPUs of a virtual machine share. */
export interface Ground {
  readonly memory: Memory;
  /** Locks on memory of their own, so that none shares a line with another. */
  readonly lockMemory: readonly SharedArrayBuffer[];
}

/** vCPUs rehearse together in pairs, one pair after the other. */
export interface Rehearsal {
  readonly ground: Ground;
  /** How many vCPUs have their turn before. */
  readonly after: number;
}

export interface WorkerOrder {
  readonly workload: WorkloadName;
  /** `broken` excludes nobody: for tests, which want to see such a run void. */
  readonly lock: LockName | 'broken';
  readonly lockOptions: LockOptions;
  readonly plan: WorkloadPlan;
  readonly vm: number;
  readonly index: number;
  readonly ground: Ground;
  /** What is done before the start; null where nothing is. */
  readonly rehearsal: Rehearsal | null;
  readonly control: SharedArrayBuffer;
  /** Of all virtual machines. */
  readonly threads: number;
  /** null: no hypervisor, the threads run as Linux lets them. */
  readonly ticket: HypervisorTicket | null;
  /** For two vCPUs: PROBE_BYTES on which they measure their distance just before the start. */
  readonly distance: SharedArrayBuffer | null;
  /** Time every critical section (figure 3). */
  readonly timeHolds: boolean;
}

export interface WorkerReport {
  readonly vm: number;
  readonly index: number;
  readonly outcome: Outcome;
  /** CLOCK_MONOTONIC ns. */
  readonly startNs: number;
  /** When it first ran after the start: vCPUs take turns. */
  readonly beganNs: number;
  /** What was left of its slice then; null without a hypervisor. */
  readonly leftNs: number | null;
  readonly endNs: number;
  /** Of all its locks, summed. */
  readonly locks: LockStats;
  /** Mean of `lql` as the informed locks saw it; null for others. */
  readonly queueLength: number | null;
  /** Null unless asked for. */
  readonly distance: Distance | null;
  /** Counts by HoldTimer's buckets; null unless asked for. */
  readonly holds: readonly number[] | null;
}

export type WorkerMessage =
  | { readonly report: WorkerReport }
  | { readonly error: string; readonly isVoid: boolean };
