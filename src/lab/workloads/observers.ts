/**
 * What is measured of a lock from outside: how long it was held (figure 3), and how many waited
 * for it (figure 6, top).
 *
 *   const timer = new HoldTimer(() => vcpu.nowNs());
 *   const lock = timer.watch(kind.create(memory, vcpu));   // use it as the lock itself
 */
import type { Lock } from '../../locks/index.ts';

/** Buckets of a quarter of an octave each, from 1 ns. */
const PER_OCTAVE = 4;
const BUCKETS = 40 * PER_OCTAVE;

/** Times from lock() returned to unlock() called. Two readings of the clock are in them. */
export class HoldTimer {
  readonly counts = new Array<number>(BUCKETS).fill(0);
  readonly #nowNs: () => number;

  constructor(nowNs: () => number) {
    this.#nowNs = nowNs;
  }

  watch(lock: Lock): Lock {
    let sinceNs = 0;
    return {
      stats: lock.stats,
      lock: () => {
        lock.lock();
        sinceNs = this.#nowNs();
      },
      tryLock: () => {
        const got = lock.tryLock();
        if (got) sinceNs = this.#nowNs();
        return got;
      },
      unlock: () => {
        this.counts[bucketOf(this.#nowNs() - sinceNs)]++;
        lock.unlock();
      },
    };
  }
}

export function bucketOf(ns: number): number {
  const bucket = Math.floor(Math.log2(Math.max(1, ns)) * PER_OCTAVE);
  return Math.min(bucket, BUCKETS - 1);
}

/** The upper end of a bucket, ns. */
export function bucketNs(bucket: number): number {
  return 2 ** ((bucket + 1) / PER_OCTAVE);
}

/** The value below which `share` of all counted lie: the upper end of its bucket, ns. */
export function bucketPercentile(counts: readonly number[], share: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let seen = 0;
  for (const [bucket, count] of counts.entries()) {
    seen += count;
    if (count > 0 && seen >= share * total) return bucketNs(bucket);
  }
  return Number.NaN;
}

/** Reads an informed lock's `lql` at every 16th acquisition. */
export class QueueSampler {
  #sum = 0;
  #samples = 0;

  watch(lock: Lock): Lock {
    if (!('lql' in lock)) return lock;
    const informed = lock as Lock & { readonly lql: number };
    let calls = 0;
    return {
      stats: lock.stats,
      lock: () => {
        lock.lock();
        if ((calls++ & 15) !== 0) return;
        this.#sum += informed.lql;
        this.#samples++;
      },
      tryLock: () => lock.tryLock(),
      unlock: () => lock.unlock(),
    };
  }

  mean(): number | null {
    return this.#samples === 0 ? null : this.#sum / this.#samples;
  }
}
