/**
 * What the kernel counts: calls by number and by kind of syscall thread, kernel entries, and,
 * when switched on (`--stats`), latencies. Counting costs an increment per call.
 */
import { CONTROL, NUMBER_NOP } from '../abi/entry.ts';
import { syscallName } from '../abi/syscalls.ts';
import type { SyscallPages } from '../page/pages.ts';
import type { Scheduler } from './scheduler.ts';

export interface KernelStatistics {
  /** Chains (a chain is one request of the program) by the kind of syscall thread that got them. */
  readonly calls: { readonly spot: number; readonly ring: number; readonly crew: number };
  /** By the name of the chain's first call. */
  readonly byName: Readonly<Record<string, { spot: number; ring: number; crew: number }>>;
  /** Tried on the spot, passed on because it would have blocked. */
  readonly wouldBlock: number;
  /** System calls made on the spot, by the program's own thread; 0 unless timing was on. */
  readonly spotSystemCalls: number;
  readonly ringEnters: number;
  readonly crew: {
    readonly wakes: number;
    readonly handoffs: number;
    readonly pagesLocked: number;
    /** Pages drained by a core other than the first on the list. */
    readonly secondCore: number;
  };
  readonly loop: {
    readonly wakesByEventfd: number;
    readonly spinsWon: number;
    readonly spinsLost: number;
  };
  /** Times the spot was closed for a while because Linux blocked there. */
  readonly spotPauses: number;
  readonly pages: number;
  readonly entriesInUse: number;
  /** Microseconds from post to delivery; null unless timing was on. */
  readonly latency: { count: number; p50: number; p90: number; p99: number; max: number } | null;
}

/** Latency buckets: powers of sqrt(2) microseconds from 0.1 us. */
const BUCKETS = 64;
const bucketOf = (us: number): number =>
  Math.min(BUCKETS - 1, Math.max(0, Math.round(Math.log2(us / 0.1) * 2)));
const bucketUs = (bucket: number): number => 0.1 * 2 ** (bucket / 2);

export class Counters {
  wouldBlock = 0;
  spotSystemCalls = 0;
  timing = false;

  readonly #spot = new Uint32Array(NUMBER_NOP + 1);
  readonly #ring = new Uint32Array(NUMBER_NOP + 1);
  readonly #crew = new Uint32Array(NUMBER_NOP + 1);
  #postedAt: Float64Array | null = null;
  readonly #latencies = new Uint32Array(BUCKETS);
  #latencyMax = 0;

  spot(number: number): void {
    this.#spot[number]++;
  }

  ring(number: number, count = 1): void {
    this.#ring[number] += count;
  }

  crew(number: number): void {
    this.#crew[number]++;
  }

  crewTookBack(number: number): void {
    this.#crew[number]--;
  }

  /** Starts measuring latencies: two clock reads per call. */
  startTiming(entriesMax: number): void {
    this.#postedAt ??= new Float64Array(entriesMax);
    this.timing = true;
  }

  posted(id: number): void {
    if (this.#postedAt !== null) this.#postedAt[id] = performance.now();
  }

  delivered(id: number): void {
    if (this.#postedAt === null) return;
    const us = (performance.now() - this.#postedAt[id]) * 1000;
    this.#latencies[bucketOf(us)]++;
    if (us > this.#latencyMax) this.#latencyMax = us;
  }

  #percentile(count: number, share: number): number {
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#latencies[bucket];
      if (seen >= count * share) return Math.min(bucketUs(bucket), this.#latencyMax);
    }
    return this.#latencyMax;
  }

  snapshot(control: Int32Array, scheduler: Scheduler, pages: SyscallPages): KernelStatistics {
    const sum = (counts: Uint32Array) => counts.reduce((total, n) => total + n, 0);
    const byName: Record<string, { spot: number; ring: number; crew: number }> = {};
    for (let number = 0; number <= NUMBER_NOP; number++) {
      const counts = {
        spot: this.#spot[number],
        ring: this.#ring[number],
        crew: this.#crew[number],
      };
      if (counts.spot + counts.ring + counts.crew === 0) continue;
      byName[number === NUMBER_NOP ? 'nop' : syscallName(number)] = counts;
    }
    const count = sum(this.#latencies);
    const word = (index: number) => control[index] >>> 0;
    return {
      calls: { spot: sum(this.#spot), ring: sum(this.#ring), crew: sum(this.#crew) },
      byName,
      wouldBlock: this.wouldBlock,
      spotSystemCalls: this.spotSystemCalls,
      ringEnters: scheduler.ring?.enters ?? 0,
      crew: {
        wakes: scheduler.crew.wakes,
        handoffs: word(CONTROL.crewHandoffs),
        pagesLocked: word(CONTROL.crewPagesLocked),
        secondCore: word(CONTROL.crewSecondCore),
      },
      loop: {
        wakesByEventfd: word(CONTROL.wakesByEventfd),
        spinsWon: word(CONTROL.spinsWon),
        spinsLost: word(CONTROL.spinsLost),
      },
      spotPauses: scheduler.spot.pauses,
      pages: pages.pages,
      entriesInUse: pages.entriesInUse,
      latency:
        count === 0
          ? null
          : {
              count,
              p50: this.#percentile(count, 0.5),
              p90: this.#percentile(count, 0.9),
              p99: this.#percentile(count, 0.99),
              max: this.#latencyMax,
            },
    };
  }
}
