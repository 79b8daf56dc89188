/**
 * Which vCPU runs next: Xen's credit scheduler, or round robin. Keeps the runnable vCPUs that are
 * not running; the machine does the switching.
 *
 *   scheduler.add(vcpu)          runnable again: behind those of its priority
 *   scheduler.take()             the next to run, or undefined
 *   scheduler.account(elapsed)   each period: credit by weight, priorities anew
 *
 * Credit: a VM earns the machine's time in proportion to its weight, split over its active vCPUs;
 * running costs it. Credit left: UNDER; none: OVER; woken with credit left: BOOST, until it next
 * leaves its processor. One queue for all processors, where Xen has one each and steals when one
 * runs dry: the same but for which processor a vCPU comes back to.
 */
export const BOOST = 0;
export const UNDER = 1;
export const OVER = 2;
export type Priority = 0 | 1 | 2;

/** What the scheduler keeps of a vCPU. */
export interface Schedulable {
  readonly vm: number;
  readonly weight: number;
  creditNs: number;
  priority: Priority;
  /** Has run or wanted to since credit was last given. */
  active: boolean;
}

export class Scheduler<V extends Schedulable> {
  readonly #credit: boolean;
  readonly #boost: boolean;
  readonly #vcpus: readonly V[];
  readonly #pcpus: number;
  readonly #capNs: number;
  #queues: V[][] = [[], [], []];

  constructor(
    vcpus: readonly V[],
    options: {
      readonly scheduler: 'credit' | 'round-robin';
      readonly boost: boolean;
      readonly pcpus: number;
      /** Most credit that can be saved or owed. */
      readonly capNs: number;
    },
  ) {
    this.#vcpus = vcpus;
    this.#credit = options.scheduler === 'credit';
    this.#boost = options.boost && this.#credit;
    this.#pcpus = options.pcpus;
    this.#capNs = options.capNs;
  }

  add(vcpu: V): void {
    vcpu.active = true;
    this.#queues[vcpu.priority].push(vcpu);
  }

  take(): V | undefined {
    const [boost, under, over] = this.#queues;
    return boost.shift() ?? under.shift() ?? over.shift();
  }

  get empty(): boolean {
    const [boost, under, over] = this.#queues;
    return boost.length === 0 && under.length === 0 && over.length === 0;
  }

  /** A vCPU has left its processor after running so long. */
  ran(vcpu: V, elapsedNs: number): void {
    vcpu.active = true;
    if (!this.#credit) return;
    vcpu.creditNs = Math.max(-this.#capNs, vcpu.creditNs - elapsedNs);
    vcpu.priority = vcpu.creditNs < 0 ? OVER : UNDER;
  }

  /** A vCPU that slept was woken. */
  woken(vcpu: V): void {
    if (this.#boost && vcpu.priority === UNDER) vcpu.priority = BOOST;
  }

  account(elapsedNs: number): void {
    if (!this.#credit) return;
    const active = this.#vcpus.filter((vcpu) => vcpu.active);
    const count = new Map<number, number>();
    let weights = 0;
    for (const vcpu of active) {
      if (!count.has(vcpu.vm)) weights += vcpu.weight;
      count.set(vcpu.vm, (count.get(vcpu.vm) ?? 0) + 1);
    }
    for (const vcpu of active) {
      const share = vcpu.weight / weights / (count.get(vcpu.vm) as number);
      vcpu.creditNs = Math.min(this.#capNs, vcpu.creditNs + elapsedNs * this.#pcpus * share);
      if (vcpu.priority !== BOOST) vcpu.priority = vcpu.creditNs < 0 ? OVER : UNDER;
      vcpu.active = false;
    }
    const queued = this.#queues.flat();
    this.#queues = [[], [], []];
    for (const vcpu of queued) this.add(vcpu);
  }
}
