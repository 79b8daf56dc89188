/**
 * A lock algorithm as a machine of single steps, so that a scheduler can be put between any two of
 * them. Each algorithm is written once (`locks/*.ts`) and run by two drivers: the explorer, which
 * tries every order of the steps, and the machine, which gives each step a cost and a time.
 *
 *   const model = LOCK_MODELS['pv-ticket'];
 *   model.lock(thread, steps)      // one step of lock(): NEXT, DONE, SPIN, HALT or YIELD
 *   model.unlock(thread, steps)    // the same for unlock()
 *
 * Rules of a step: at most one operation of `Steps` on what is shared (the explorer throws
 * otherwise), then any amount of arithmetic on `thread.r`, then the next `thread.pc`. All that a
 * thread knows between two steps is in `pc`, `r` and `budget`: the explorer copies and compares
 * them. A loop around PAUSE is one step that answers SPIN and says what it waits for; it is run
 * again when that came true, or when its budget of iterations is used up.
 */
export type LockName =
  | 'ticket'
  | 'pts'
  | 'pv-ticket'
  | 'oticket'
  | 'hvm-ispinlock'
  | 'pv-ispinlock'
  | 'hvm-ispinlock-paper'
  | 'pv-ispinlock-paper'
  | 'mcs'
  | 'pv-qspinlock'
  | 'js-mutex';

/** What a step answers. */
export const NEXT = 0;
/** lock(): the lock is ours. unlock(): nothing is left to do. */
export const DONE = 1;
/** In a PAUSE loop: run this step again when `thread.spin*` holds or `budget` is 0. */
export const SPIN = 2;
/** Hypercall: sleep until kicked; a kick that came before counts. Continues at `thread.pc`. */
export const HALT = 3;
/** Hypercall: give the rest of the slice away. Continues at `thread.pc`, in a new slice. */
export const YIELD = 4;
export type Outcome = 0 | 1 | 2 | 3 | 4;

/** Registers a model may use. */
export const REGISTERS = 6;

/** `spinWord` of a thread that waits for its slice to change, not for memory. */
export const SLICE = -1;

/**
 * `spinWord` of a thread that looks at several things in each turn of its loop: memory, share_info.
 * It waits for a change of any since `asks()`.
 */
export const CHANGE = -2;

/** What a thread keeps between two steps. */
export interface Thread {
  /** Which of its VM's vCPUs, from 0. */
  readonly id: number;
  pc: number;
  readonly r: Float64Array;
  /** Iterations left of a bounded spin loop. */
  budget: number;
  /** SPIN: wait until (memory[spinWord] & spinMask) equals spinValue, or differs from it. */
  spinWord: number;
  spinMask: number;
  spinValue: number;
  spinEqual: boolean;
}

/** The shared memory, the clock and the hypercalls, as the driver provides them. */
export interface Steps {
  load(word: number): number;
  store(word: number, value: number): void;
  /** Each of these is one atomic instruction and returns the word as it was. */
  add(word: number, delta: number): number;
  exchange(word: number, value: number): number;
  compareExchange(word: number, expected: number, value: number): number;
  /**
   * The same on the bits of the mask alone, a byte or a half of the word (Uint8Array, Uint16Array
   * over the same memory); they return those bits as they were. A store is an exchange.
   */
  exchangePart(word: number, mask: number, value: number): number;
  compareExchangePart(word: number, mask: number, expected: number, value: number): number;
  or(word: number, bits: number): number;
  and(word: number, bits: number): number;
  nowNs(): number;
  preemptionNs(): number;
  sliceId(): number;
  /** share_info's state of another vCPU of the VM: whether it is on a processor. */
  runs(vcpu: number): boolean;
  kick(vcpu: number): void;
  /** Futex: if the word is as expected, queues the caller, which must then HALT. */
  futexWait(word: number, expected: number): boolean;
  futexWake(word: number): void;
  /**
   * Marks, no operations: the thread begins to look whether it may take a ticket; it now has its
   * place in the order; others can see that it has; it begins to wait, where it may yet get the
   * lock without spinning; the lock is free again.
   */
  asks(): void;
  waits(): void;
  ticket(): void;
  took(): void;
  released(): void;
}

/** What can be set about the algorithms. Iterations are PAUSE loops, as in the originals. */
export interface LockParameters {
  /** vCPUs that share the lock. */
  readonly threads: number;
  /** Int32s from one per-vCPU record to the next: 16 is a cache line each. */
  readonly stride: number;
  /** PV spin locks: iterations before halting. Linux: 1 << 15. */
  readonly spinThreshold: number;
  /** PTS: the timeout is (distance << ptsShift) iterations. Its authors' second version: 14. */
  readonly ptsShift: number;
  /** I-Spinlock's csd. The paper: 2^14 cycles, 6 us on its machine. */
  readonly csdNs: number;
  /** pv-ispinlock: iterations between two looks at who is next. */
  readonly lookEvery: number;
}

export const LOCK_PARAMETERS: Omit<LockParameters, 'threads'> = {
  stride: 16,
  spinThreshold: 1 << 15,
  ptsShift: 14,
  csdNs: 6_000,
  lookEvery: 64,
};

export interface LockModel {
  readonly name: LockName;
  /** Whether whoever takes a ticket first also gets the lock first. */
  readonly fifo: boolean;
  /** Whether it calls took(). */
  readonly owners?: boolean;
  /** Int32s of shared memory. */
  readonly words: number;
  lock(t: Thread, s: Steps): Outcome;
  unlock(t: Thread, s: Steps): Outcome;
}

export function createThread(id: number): Thread {
  return {
    id,
    pc: 0,
    r: new Float64Array(REGISTERS),
    budget: 0,
    spinWord: 0,
    spinMask: 0,
    spinValue: 0,
    spinEqual: false,
  };
}

/** Ends a step of a PAUSE loop: wait until the masked word equals the value. */
export function spinUntil(t: Thread, word: number, value: number, mask = -1): Outcome {
  t.spinWord = word;
  t.spinMask = mask;
  t.spinValue = value;
  t.spinEqual = true;
  return SPIN;
}

/** Ends a step of a PAUSE loop: wait until the word is no longer the value. */
export function spinWhile(t: Thread, word: number, value: number): Outcome {
  spinUntil(t, word, value);
  t.spinEqual = false;
  return SPIN;
}

/** Ends a step of a PAUSE loop: wait until anything is other than it was at `asks()`. */
export function spinUntilChange(t: Thread): Outcome {
  t.spinWord = CHANGE;
  return SPIN;
}

/** Whether what a spinning thread waits for is there. */
export function spinEnds(t: Thread, memory: Int32Array, sliceId: number): boolean {
  const seen = t.spinWord === SLICE ? sliceId : memory[t.spinWord] & t.spinMask;
  return (seen === t.spinValue) === t.spinEqual;
}
