/**
 * The interfaces of the locks. A lock is some words of shared memory, zero at first; every thread
 * makes its own object over them, with its own vCPU and statistics:
 *
 *   const words = wordsOf(LOCKS['pv-ispinlock'], vcpu.count);
 *   const lock = LOCKS['pv-ispinlock'].create(memory.subarray(0, words), vcpu);
 *   lock.lock();
 *   try { … } finally { lock.unlock(); }
 *
 * Locks are not recursive. lock() while the same object holds it, and unlock() of one it does not
 * hold, throw: that the words belong to another thread's object is noticed no more than in C.
 */
import type { Vcpu } from '../share-info/vcpu.ts';

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

/** Counted by one thread's object for one lock; plain numbers, so it can be posted and summed. */
export interface LockStats {
  acquisitions: number;
  /** Acquisitions that found the lock taken. */
  waits: number;
  /** Acquired in one slice, released in another (I-Spinlock 2.3.2). */
  lhp: number;
  /** Ticket (or place in the queue) taken in one slice, lock acquired in another. */
  lwp: number;
  /** Time on the processor spent spinning, for the lock or for a new slice. */
  spinNs: number;
  /** Time this thread was preempted while it held the lock: what the LHPs above cost. */
  holderPreemptedNs: number;
  /** Time it was preempted between ticket and lock: no less than what the LWPs above cost. */
  waiterPreemptedNs: number;
  /** Times the thread was found incapable and waited for another slice. */
  incapable: number;
  /** Hypercalls made: halts (for js-mutex, Atomics.wait), yields, kicks (Atomics.notify). */
  halts: number;
  yields: number;
  kicks: number;
  /** Acquisitions out of turn: a PTS waiter whose time was up, a stolen queued lock. */
  overtakes: number;
}

export interface LockOptions {
  /** Critical section duration that the informed locks reckon with. Default 6000 (2^14 cycles). */
  csdNs?: number;
  /**
   * Whether constants that the sources give in PAUSE iterations are counted so ('iterations', the
   * default) or taken as the time so many took when they were chosen ('time', see PAUSE_NS).
   */
  spinBy?: 'iterations' | 'time';
  /** pv-ticket, oticket, pv-qspinlock: iterations until a waiter halts. Default 2^15. */
  spinThreshold?: number;
  /** pts: 2^shift iterations of patience per place in the queue. Default 14. */
  shift?: number;
}

export interface Lock {
  lock(): void;
  /** Takes the lock if that needs no waiting. */
  tryLock(): boolean;
  unlock(): void;
  readonly stats: LockStats;
}

/** The locks that know when they will be preempted. */
export interface InformedLock extends Lock {
  /** Nanoseconds left of the slice after everybody's critical section and ours; negative: incapable. */
  lockCap(): number;
  /** Threads with a ticket now, the holder included. */
  readonly lql: number;
  readonly csdNs: number;
}

export interface LockKind {
  readonly name: LockName;
  /** Int32s of shared memory; of the number of vCPUs where it depends on that. */
  readonly words: number | ((vcpus: number) => number);
  create(memory: Int32Array, vcpu: Vcpu, options?: LockOptions): Lock;
}

export interface InformedLockKind extends LockKind {
  create(memory: Int32Array, vcpu: Vcpu, options?: LockOptions): InformedLock;
}

/** Int32s of shared memory that a lock needs for this many vCPUs. */
export function wordsOf(kind: LockKind, vcpus: number): number {
  return typeof kind.words === 'number' ? kind.words : kind.words(vcpus);
}

/** csd: 2^14 cycles, 6 microseconds on the paper's machines (I-Spinlock 4.1). */
export const CSD_NS = 6000;

/**
 * One iteration of a spin loop when its constants were chosen (2013): PAUSE of some 10 cycles and
 * a load that hits, at 2.4 GHz. Since Skylake a PAUSE alone takes up to 140 cycles, and JavaScript
 * has none, so the same count is another time.
 */
export const PAUSE_NS = 5;

/** SPIN_THRESHOLD of Linux's paravirtual locks, in iterations. */
export const SPIN_THRESHOLD = 1 << 15;

export function positive(name: string, value: number): number {
  if (value >= 0 && Number.isFinite(value)) return value;
  throw new RangeError(`trapless: ${name} must be a finite number from 0 on, not ${value}`);
}

/** Throws unless the memory can hold the lock. */
export function checkMemory(kind: LockKind, memory: Int32Array, vcpu: Vcpu): void {
  const words = wordsOf(kind, vcpu.count);
  if (!(memory instanceof Int32Array) || memory.length < words)
    throw new RangeError(
      `trapless: ${kind.name} for ${vcpu.count} vCPUs needs an Int32Array of ${words}, not of ${memory?.length}`,
    );
}
