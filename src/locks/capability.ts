/**
 * lock_cap, the lock completion capability (I-Spinlock 4.1, equations 1 and 2):
 *
 *   lock_cap = preemption time - now - (lql + 1) * csd
 *
 * A thread may take a ticket if what is left of its slice is enough for everybody with a ticket
 * (lql), and for its own critical section.
 *
 * Where the paper's listing (figure 5) is not what the paper says, this is what it says: csd is
 * 2^14 cycles (the listing's constant is 2^15), lql is tail - head (the listing subtracts the
 * other way round, in eight bits, where 0 - 3 is 253 threads and forbids every ticket), and the
 * remaining slice has one name (there, remaining_slice is computed and remaining used). Text and
 * listing disagree about lock_cap = 0: capable here, as in the listing.
 */
import type { ShareInfo } from '../share-info/share-info.ts';
import type { Vcpu } from '../share-info/vcpu.ts';
import { CSD_NS, type LockOptions, positive } from './lock.ts';
import { HEAD, TAIL } from './ticket.ts';

export class Capability {
  readonly csdNs: number;
  private readonly memory: Int32Array;
  private readonly vcpu: Vcpu;
  private readonly info: ShareInfo;
  private readonly id: number;

  constructor(memory: Int32Array, vcpu: Vcpu, options: LockOptions = {}) {
    this.csdNs = positive('csdNs', options.csdNs ?? CSD_NS);
    this.memory = memory;
    this.vcpu = vcpu;
    this.info = vcpu.info;
    this.id = vcpu.id;
  }

  /**
   * Threads with a ticket, the holder included. Plain loads: an estimate, which may be old before
   * the ticket is taken in any case (the paper's residue: several threads may count on the same
   * place), and Atomics.load costs 8 ns. Head first: it then is not ahead of tail, save on a
   * processor that reorders loads.
   */
  lql(): number {
    const head = this.memory[HEAD];
    const waiting = (this.memory[TAIL] - head) | 0;
    return waiting < 0 ? 0 : waiting;
  }

  lockCap(): number {
    const preemption = this.info.preemptionNs(this.id);
    // Never preempted: no need to ask what time it is, the better part of the check's cost.
    if (preemption === Number.POSITIVE_INFINITY) return preemption;
    return preemption - this.vcpu.nowNs() - (this.lql() + 1) * this.csdNs;
  }
}
