/**
 * What a simulation is given and what it gives; `simulate()` fills in the defaults.
 */
import type { Costs } from './costs.ts';
import type { LockModel, LockName, LockParameters } from './lock-model.ts';

export interface SimulatedVm {
  readonly vcpus: number;
  readonly weight?: number;
  /** 'micro': all threads want one lock. 'cpu': computes and wants none, the neighbour. */
  readonly workload?: 'micro' | 'cpu';
}

export interface Begin {
  readonly atNs: number;
  readonly leftNs: number;
}

export type Distribution = 'fixed' | 'uniform' | 'exponential';

export interface SimulationOptions {
  readonly lock: LockName;
  readonly pcpus: number;
  readonly vms: readonly SimulatedVm[];
  /** Simulated time; with `acquisitions`, the most there may be. Default 1. */
  readonly seconds?: number;
  /** How often each thread takes the lock; the run ends when the last has. Default: no bound. */
  readonly acquisitions?: number;
  /** Each thread ends when it is through with what it was at after `seconds`, and the run with the
   *  last of them, as the workloads do; otherwise the run is cut there. */
  readonly drain?: boolean;
  readonly seed?: number;
  /** Who runs first: vCPUs by number, VM after VM. Default: the first of each VM, then the second. */
  readonly order?: readonly number[];
  /** On each processor: when the first vCPU begins, and what is left of its slice then. Default: at
   *  once, and slices of any length. */
  readonly begins?: readonly Begin[];
  readonly scheduler?: 'credit' | 'round-robin';
  /** Default 30,000, Xen's. */
  readonly sliceUs?: number;
  /** The time published is this much before the slice's end. Default 100, at most a tenth of it. */
  readonly marginUs?: number;
  /** A slice is not cut shorter than this for a woken vCPU. Default 1,000, Xen's. */
  readonly ratelimitUs?: number;
  readonly boost?: boolean;
  /** What share_info promises: the slice, or its least length (I-Spinlock 4.2.2). */
  readonly publish?: 'slice' | 'ratelimit';
  /** Mean time between unlock and lock, and from lock to unlock. Defaults 2,000 and 1,500. */
  readonly thinkNs?: number;
  readonly criticalNs?: number;
  /** Of both times; 'exponential' is cut at four means. Default 'exponential'. */
  readonly distribution?: Distribution;
  readonly parameters?: Partial<Omit<LockParameters, 'threads'>>;
  readonly costs?: Partial<Costs>;
  /** Another algorithm in the place of `lock`'s: a variant, a mutant. */
  readonly model?: (parameters: LockParameters) => LockModel;
  /** js-mutex: a sleeping thread's vCPU keeps its slice, or halts as a guest kernel would do. */
  readonly futex?: 'slice' | 'halt';
}

/** Options as the machine takes them: nothing left out. */
export interface MachineOptions {
  readonly lock: LockName;
  readonly pcpus: number;
  readonly vms: readonly Required<SimulatedVm>[];
  readonly secondsMax: number;
  readonly acquisitions: number | null;
  readonly drain: boolean;
  readonly seed: number;
  readonly order: readonly number[] | null;
  readonly begins: readonly Begin[];
  readonly scheduler: 'credit' | 'round-robin';
  readonly sliceNs: number;
  readonly marginNs: number;
  readonly ratelimitNs: number;
  readonly boost: boolean;
  readonly publish: 'slice' | 'ratelimit';
  readonly thinkNs: number;
  readonly criticalNs: number;
  readonly distribution: Distribution;
  readonly parameters: Partial<Omit<LockParameters, 'threads'>>;
  readonly costs: Costs;
  readonly model: ((parameters: LockParameters) => LockModel) | undefined;
  readonly futex: 'slice' | 'halt';
}

export interface VmResult {
  readonly acquisitions: number;
  readonly acquisitionsPerS: number;
  /** Acquisitions that had to wait. */
  readonly waits: number;
  /** The paper's count: lock taken and released in different slices; ticket and lock likewise. */
  readonly lhp: number;
  readonly lwp: number;
  readonly lhpPer1000: number;
  readonly lwpPer1000: number;
  readonly pspPer1000: number;
  /** Exact: the lock held by a vCPU that did not run; the lock free, the next one not running. */
  readonly holderPreemptedNs: number;
  readonly waiterPreemptedNs: number;
  readonly heldNs: number;
  readonly waitNsMax: number;
  /** On a processor, of all vCPUs; of that, in PAUSE loops. */
  readonly runNs: number;
  readonly spinNs: number;
  readonly spinShare: number;
  /** 'cpu': run time less what cold caches cost after each switch. */
  readonly workNs: number;
  /** Times another vCPU was replaced by one of these. */
  readonly switches: number;
  readonly kicks: number;
  readonly halts: number;
  readonly yields: number;
  /** Deviation over mean of the threads' run times, or without `acquisitions` of their counts. */
  readonly fairnessCv: number;
  readonly runNsPerVcpu: readonly number[];
  readonly acquisitionsPerVcpu: readonly number[];
  /** Empty without `acquisitions` or `drain`. */
  readonly finishedNsPerVcpu: readonly number[];
}

export interface SimulationResult {
  readonly lock: LockName;
  readonly seed: number;
  /** Simulated. */
  readonly seconds: number;
  /** What the simulation was made of; its cost. */
  readonly events: number;
  readonly vms: readonly VmResult[];
  /** All VMs that lock, together; shares and rates weighted as they are. */
  readonly acquisitions: number;
  readonly acquisitionsPerS: number;
  readonly lhpPer1000: number;
  readonly lwpPer1000: number;
  readonly pspPer1000: number;
  readonly spinShare: number;
  /** Of the VM with the greatest. */
  readonly fairnessCv: number;
}
