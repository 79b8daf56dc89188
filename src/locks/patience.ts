/**
 * How long a waiter spins before it does something else. The sources count PAUSE iterations; how
 * long those are depends on the processor (PAUSE_NS), so they can also be taken as time.
 *
 *   patience.start(1 << 15);
 *   while (!ready() && patience.left()) vcpu.relax(1);
 */
import type { Vcpu } from '../share-info/vcpu.ts';
import { type LockOptions, PAUSE_NS } from './lock.ts';

/** Iterations between two looks at the clock. */
const CLOCK_EVERY = 32;

export class Patience {
  private readonly vcpu: Vcpu;
  private readonly byTime: boolean;
  private iterations = 0;
  private untilNs = 0;

  constructor(vcpu: Vcpu, options: LockOptions = {}) {
    const { spinBy = 'iterations' } = options;
    if (spinBy !== 'iterations' && spinBy !== 'time')
      throw new RangeError(`trapless: spinBy must be 'iterations' or 'time', not ${spinBy}`);
    this.vcpu = vcpu;
    this.byTime = spinBy === 'time';
  }

  start(iterations: number): void {
    this.iterations = this.byTime ? 0 : iterations;
    if (this.byTime) this.untilNs = this.vcpu.nowNs() + iterations * PAUSE_NS;
  }

  /** Called once per iteration. */
  left(): boolean {
    if (!this.byTime) return --this.iterations >= 0;
    if (++this.iterations % CLOCK_EVERY !== 0) return true;
    return this.vcpu.nowNs() < this.untilNs;
  }
}
