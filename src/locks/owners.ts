/**
 * Who has which ticket, so that share_info tells whether a queue moves:
 *
 *   owners.took(my);          // just after the ticket was taken
 *   owners.allRun()           // nobody with a ticket is off its processor
 *   owners.nextRuns()         // the holder, or whose turn it is, is on its processor
 *
 * Equation 2 of I-Spinlock (4.1) reckons with csd for everybody in the queue: it supposes that they
 * run. Where a vCPU is delayed by something its hypervisor did not foresee (the host took the core,
 * a garbage collection in the critical section), one with a ticket is preempted after all. Then
 * everybody after it takes tickets, too, is preempted with them in turn, and each later hand-over
 * goes to a vCPU that is not running: a convoy that never dissolves, since in a new slice lock_cap
 * is large again. So nobody may join a queue that stands still.
 *
 * A word per vCPU (a thread has one ticket at most), by the ticket's lowest bits: the owner's global
 * number plus 1. It is written after the ticket was taken, so for some nanoseconds a reader finds
 * the owner of long ago: an estimate, as lql is.
 */
import { VCPU_STATE } from '../abi/share-info.ts';
import type { ShareInfo } from '../share-info/share-info.ts';
import type { Vcpu } from '../share-info/vcpu.ts';
import { HEAD, TAIL } from './ticket.ts';

/** The first of the owners' words. */
const OWNER = 2;

function slots(vcpus: number): number {
  let size = 1;
  while (size < vcpus) size *= 2;
  return size;
}

/** Int32s of a ticket lock with owners. */
export function wordsWithOwners(vcpus: number): number {
  return OWNER + slots(vcpus);
}

export class TicketOwners {
  private readonly memory: Int32Array;
  private readonly info: ShareInfo;
  private readonly mask: number;
  private readonly mark: number;

  constructor(memory: Int32Array, vcpu: Vcpu) {
    this.memory = memory;
    this.info = vcpu.info;
    this.mask = slots(vcpu.count) - 1;
    this.mark = vcpu.id + 1;
  }

  took(my: number): void {
    this.memory[OWNER + (my & this.mask)] = this.mark;
  }

  allRun(): boolean {
    const { memory } = this;
    const head = memory[HEAD];
    const waiting = (memory[TAIL] - head) | 0;
    for (let i = 0; i < waiting; i++) if (!this.runs((head + i) | 0)) return false;
    return true;
  }

  nextRuns(): boolean {
    return this.runs(this.memory[HEAD]);
  }

  private runs(ticket: number): boolean {
    const mark = this.memory[OWNER + (ticket & this.mask)];
    // 0: nobody has had this place yet, or is about to write its number.
    return mark === 0 || this.info.state(mark - 1) === VCPU_STATE.running;
  }
}
