/**
 * What things cost on the simulated machine, in ns. The defaults are a server of today with a
 * hypervisor; a calibration run sets those of the machine it was made on.
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
  /** One turn of a PAUSE loop. */
  readonly pauseNs: number;
  readonly clockNs: number;
  /** Into the hypervisor and back. */
  readonly hypercallNs: number;
  /** From a kick to the woken vCPU being ready to run. */
  readonly wakeNs: number;
  /** Another vCPU is switched in. */
  readonly switchNs: number;
  /** What a CPU-bound vCPU then loses to cold caches. */
  readonly coldNs: number;
  /** A slice ends up to so much before or after the time published. */
  readonly jitterNs: number;
  /** Futex wait or wake, the system call alone. */
  readonly futexNs: number;
}

export const COSTS: Costs = {
  localNs: 1,
  atomicNs: 8,
  transferNs: 60,
  spinnerNs: 10,
  pauseNs: 40,
  clockNs: 25,
  hypercallNs: 500,
  wakeNs: 2_000,
  switchNs: 2_000,
  coldNs: 10_000,
  jitterNs: 0,
  futexNs: 1_500,
};
