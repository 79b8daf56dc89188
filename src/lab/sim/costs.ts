/**
 * What things cost on the simulated machine, in ns. The defaults are a server of today with a
 * hypervisor; `trapless lab sim` measures those of the machine at hand (src/lab/locks/sim/).
 */
export interface Costs {
  /** An access to a line this processor has. */
  readonly localNs: number;
  /** An atomic read-modify-write on a line this processor has to itself. */
  readonly atomicNs: number;
  /** A line comes from another processor, or the others' copies are made invalid. */
  readonly transferNs: number;
  /** Delay of a hand-over for each other processor that spins on the line. */
  readonly spinnerNs: number;
  /** A critical section is so much longer when the one before was on another processor: what it
   *  works on comes from there. */
  readonly coldSectionNs: number;
  /** One turn of a PAUSE loop, the look at what it waits for included. */
  readonly pauseNs: number;
  /** Beside the algorithm: what a thread that had to wait does before and after. */
  readonly waitNs: number;
  /** And what an acquisition takes longer that came after waiting, for whatever else. */
  readonly waitedNs: number;
  readonly clockNs: number;
  /** Into the hypervisor and back. */
  readonly hypercallNs: number;
  /** From a kick to the woken vCPU being ready to run. */
  readonly wakeNs: number;
  /** Another vCPU is switched in after a slice's end. */
  readonly switchNs: number;
  /** The same after a yield or a halt. */
  readonly handoffNs: number;
  /** What a CPU-bound vCPU then loses to cold caches. */
  readonly coldNs: number;
  /** A preemption comes this much after the end of the slice. */
  readonly lateNs: number;
  /** And that end is up to so much before or after the one that was meant. */
  readonly jitterNs: number;
  /** Times a processor stands still for something the hypervisor does not know of; one is taken at
   *  random. */
  readonly delaysNs: readonly number[];
  /** Mean time from one of those to the next on the same processor; Infinity: never. */
  readonly delayEveryNs: number;
  /** The same just before a slice ends, until it does; one is taken at random for each slice. */
  readonly endDelaysNs: readonly number[];
  /** A futex call that finds nobody to wake, or no need to sleep. */
  readonly futexNs: number;
  /** One that wakes somebody. */
  readonly notifyNs: number;
  /** From a wake until the sleeper goes on, where it has its processor. */
  readonly futexWakeNs: number;
}

export const COSTS: Costs = {
  localNs: 1,
  atomicNs: 8,
  transferNs: 60,
  spinnerNs: 10,
  coldSectionNs: 0,
  pauseNs: 40,
  waitNs: 0,
  waitedNs: 0,
  clockNs: 25,
  hypercallNs: 500,
  wakeNs: 2_000,
  switchNs: 2_000,
  handoffNs: 2_000,
  coldNs: 10_000,
  lateNs: 0,
  jitterNs: 0,
  delaysNs: [],
  delayEveryNs: Number.POSITIVE_INFINITY,
  endDelaysNs: [],
  futexNs: 100,
  notifyNs: 1_500,
  futexWakeNs: 1_500,
};
