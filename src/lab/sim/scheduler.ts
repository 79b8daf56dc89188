/**
 * Which vCPU runs next: Xen's credit scheduler, or round robin, as in native/hv_credit.c. Keeps
 * the runnable vCPUs that are not running; the machine does the switching.
 *
 *   scheduler.add(vcpu)          runnable again: behind everybody
 *   scheduler.addShuffled(vcpu)  the same towards the end of its quantum: about behind everybody
 *   scheduler.take()             the next to run, or undefined
 *   scheduler.account(elapsed)   each period: credit by weight, priorities anew
 *
 * Credit: vCPUs earn the machine's time in proportion to their weight, running costs it. Credit
 * left: UNDER; none: OVER; woken with credit left: BOOST, until it next leaves its processor; OVER
 * after a yield, until the next accounting: behind everybody. One queue for all processors, where
 * Xen has one each and steals when one runs dry. It is shuffled a little, or the same vCPUs would
 * run beside each other for ever.
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
  /** What it may owe and still count as UNDER. */
  overdraftNs: number;
  priority: Priority;
  /** Has run or wanted to since credit was last given. */
  active: boolean;
}

/** What the active vCPUs of a VM get together. */
interface Share {
  readonly vm: number;
  readonly weight: number;
  readonly active: number;
  fairNs: number;
  settled: boolean;
}

export class Scheduler<V extends Schedulable> {
  readonly #credit: boolean;
  readonly #boost: boolean;
  readonly #vcpus: readonly V[];
  readonly #pcpus: number;
  readonly #sliceNs: number;
  readonly #uniform: () => number;
  /** In the order they came. */
  #queue: V[] = [];

  constructor(
    vcpus: readonly V[],
    options: {
      readonly scheduler: 'credit' | 'round-robin';
      readonly boost: boolean;
      readonly pcpus: number;
      readonly sliceNs: number;
      /** Random numbers from 0 to 1. */
      readonly uniform: () => number;
    },
  ) {
    this.#vcpus = vcpus;
    this.#credit = options.scheduler === 'credit';
    this.#boost = options.boost && this.#credit;
    this.#pcpus = options.pcpus;
    this.#sliceNs = options.sliceNs;
    this.#uniform = options.uniform;
  }

  add(vcpu: V): void {
    vcpu.active = true;
    this.#queue.push(vcpu);
  }

  addShuffled(vcpu: V): void {
    this.add(vcpu);
    if (!this.#credit) return;
    vcpu.overdraftNs = this.#sliceNs * this.#uniform();
    const queue = this.#queue;
    const overtaken = Math.floor(this.#uniform() * (Math.floor((queue.length - 1) / 3) + 1));
    queue.copyWithin(queue.length - overtaken, queue.length - 1 - overtaken, queue.length - 1);
    queue[queue.length - 1 - overtaken] = vcpu;
  }

  take(): V | undefined {
    const queue = this.#queue;
    let best = 0;
    for (let i = 1; i < queue.length; i++) if (queue[i].priority < queue[best].priority) best = i;
    return queue.length === 0 ? undefined : queue.splice(best, 1)[0];
  }

  get empty(): boolean {
    return this.#queue.length === 0;
  }

  /** A vCPU has left its processor, or stays there, after running so long. */
  ran(vcpu: V, elapsedNs: number): void {
    vcpu.active = true;
    if (!this.#credit) return;
    vcpu.creditNs -= elapsedNs;
    vcpu.overdraftNs = 0;
    vcpu.priority = this.#byCredit(vcpu);
  }

  #byCredit(vcpu: V): Priority {
    return vcpu.creditNs < -vcpu.overdraftNs ? OVER : UNDER;
  }

  /** A vCPU gave its processor away: before it is added. */
  yielded(vcpu: V): void {
    if (this.#credit) vcpu.priority = OVER;
  }

  /** A vCPU that slept was woken. */
  woken(vcpu: V): void {
    if (this.#boost && vcpu.priority === UNDER) vcpu.priority = BOOST;
  }

  account(elapsedNs: number): void {
    if (!this.#credit) return;
    const active = this.#vcpus.filter((vcpu) => vcpu.active);
    const shares = this.#shares(active, elapsedNs);
    const queued = new Set(this.#queue);
    for (const vcpu of active) {
      const { fairNs, active: count } = shares.get(vcpu.vm) as Share;
      const credit = Math.min(elapsedNs, vcpu.creditNs + fairNs / count);
      vcpu.creditNs = Math.max(-2 * (elapsedNs + this.#sliceNs), credit);
      if (!queued.has(vcpu) || vcpu.priority !== BOOST) vcpu.priority = this.#byCredit(vcpu);
      vcpu.active = queued.has(vcpu);
    }
  }

  /** By weight, but no VM gets more than one processor for each of its active vCPUs: what is left
   *  over goes to the others (Xen's csched_acct). */
  #shares(active: readonly V[], elapsedNs: number): Map<number, Share> {
    const shares = new Map<number, Share>();
    for (const { vm, weight } of active) {
      const before = shares.get(vm)?.active ?? 0;
      shares.set(vm, { vm, weight, active: before + 1, fairNs: 0, settled: false });
    }
    let totalNs = elapsedNs * this.#pcpus;
    for (let again = true; again; ) {
      again = false;
      const open = [...shares.values()].filter(({ settled }) => !settled);
      const weights = open.reduce((sum, share) => sum + share.weight * share.active, 0);
      const leftNs = totalNs;
      for (const share of open) {
        share.fairNs = (leftNs * share.weight * share.active) / weights;
        const peakNs = elapsedNs * share.active;
        if (share.fairNs < peakNs) continue;
        share.fairNs = peakNs;
        share.settled = again = true;
        totalNs -= peakNs;
      }
    }
    return shares;
  }
}
