/**
 * What a lock knows of the thread it runs on: its number, its share_info, the clock, and the
 * hypercalls. `joinHypervisor` (src/hypervisor/) makes a real one; without a hypervisor:
 *
 *   const vcpu = freeVcpu();
 */
import { SHARE_INFO, VCPU_STATE } from '../abi/share-info.ts';
import { ShareInfo } from './share-info.ts';

export interface Vcpu {
  /** Its global number: its line in share_info. */
  readonly id: number;
  /** vCPUs of its VM. */
  readonly count: number;
  /** Global number of its VM's first vCPU. */
  readonly first: number;
  readonly info: ShareInfo;
  /** CLOCK_MONOTONIC in ns. */
  nowNs(): number;
  /** Hypercall: others first; a new quantum follows. */
  yield(): void;
  /** Hypercall: not before a kick. */
  halt(): void;
  /** Hypercall: ends the halt of a vCPU (its global number), or lets its next one return at once. */
  kick(vcpu: number): void;
  /** Stands for so many PAUSE instructions, of some 40 cycles each. */
  relax(iterations: number): void;
}

/** The global is a getter, and this clock is read before every lock. */
const clock = performance;

let offset: number | undefined;

/** performance.now() in ns and this more is CLOCK_MONOTONIC; measured once per thread. */
export function clockOffsetNs(): number {
  offset ??= measureOffset();
  return offset;
}

function measureOffset(): number {
  let best = 0;
  let tightest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 50; i++) {
    const before = clock.now();
    const monotonic = Number(process.hrtime.bigint());
    const after = clock.now();
    if (after - before >= tightest) continue;
    tightest = after - before;
    best = monotonic - ((before + after) / 2) * 1e6;
  }
  return best;
}

/** CLOCK_MONOTONIC in ns, as a double: share_info's clock. `offsetNs` is clockOffsetNs(). */
export function monotonicNs(offsetNs = clockOffsetNs()): number {
  return clock.now() * 1e6 + offsetNs;
}

let relaxed = 1;

/** Node 20 has no Atomics.pause: a dependent chain of multiplications takes as long. */
export function relax(iterations: number): void {
  let x = relaxed;
  for (let i = iterations * 10; i > 0; i--) x = Math.imul(x, 1664525) + 1013904223;
  relaxed = x | 1; // or the loop would be for nothing, and the compiler could tell
}

/** A thread that nobody preempts but Linux. */
class FreeVcpu implements Vcpu {
  readonly id: number;
  readonly count: number;
  readonly first = 0;
  readonly info: ShareInfo;
  readonly #clockOffset = clockOffsetNs();
  readonly #word = new Int32Array(new SharedArrayBuffer(4));

  constructor(id: number, count: number) {
    this.id = id;
    this.count = count;
    const memory = new ArrayBuffer(Math.max(count, id + 1) * SHARE_INFO.size);
    const view = new DataView(memory);
    for (let at = 0; at < memory.byteLength; at += SHARE_INFO.size) {
      view.setFloat64(at + SHARE_INFO.preemptionNs, Number.POSITIVE_INFINITY, true);
      view.setInt32(at + SHARE_INFO.state, VCPU_STATE.running, true);
    }
    this.info = new ShareInfo(memory);
  }

  nowNs(): number {
    return monotonicNs(this.#clockOffset);
  }

  yield(): void {}

  /** Who waits looks again soon: nobody can be kicked without a hypervisor. */
  halt(): void {
    Atomics.wait(this.#word, 0, 0, 0.1);
  }

  kick(_vcpu: number): void {}

  relax(iterations: number): void {
    relax(iterations);
  }
}

/** No hypervisor: preemption never, halt is a short sleep, yield nothing. */
export function freeVcpu(id = 0, count = 1): Vcpu {
  return new FreeVcpu(id, count);
}
