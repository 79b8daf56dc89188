/**
 * What goes wrong on the simulated machine, and when: ratios, a seed, and a log of every fault.
 *
 *   const faults = new Faults(new Prng(seed), { ...NO_FAULTS, shortRead: 64, hard: [...] });
 *   faults.log                    [{ step: 12, call: 'read', fault: 'short', detail: '3 of 10' }]
 *   faults.enabled = false;       // healed, for the check that everything comes to an end
 *
 * Soft faults are what a program never notices on a real machine: a call that would block, a
 * transfer cut short, a signal. Hard ones must come out as the error that they are.
 */
import { errnoName } from '../../abi/errno.ts';
import type { Prng } from './prng.ts';

/** Ratios are in 256: 0 never, 256 always. */
export interface FaultPlan {
  /** On the spot, Linux would block: the path is not cached, the data not in memory. */
  readonly wouldBlock: number;
  /** Fewer bytes than there are (at least one). */
  readonly shortRead: number;
  readonly shortWrite: number;
  /** getdents64 stops although more would fit. */
  readonly shortListing: number;
  /** A signal came: EINTR. */
  readonly interrupt: number;
  /** Crew threads take up to this many steps for a call. */
  readonly delayMax: number;
  /** Crew threads take submitted entries in any order and mix the steps of chains. */
  readonly reorder: boolean;
  /** Errors that a program must be told. */
  readonly hard: readonly HardFault[];
}

export interface HardFault {
  readonly call: string;
  readonly errno: number;
  readonly ratio: number;
}

export const NO_FAULTS: FaultPlan = {
  wouldBlock: 0,
  shortRead: 0,
  shortWrite: 0,
  shortListing: 0,
  interrupt: 0,
  delayMax: 0,
  reorder: false,
  hard: [],
};

export interface InjectedFault {
  /** Virtual time. */
  readonly step: number;
  readonly call: string;
  readonly fault: string;
  readonly detail: string;
}

/** A signal interrupts what sleeps; the rest is over before it could. */
const INTERRUPTIBLE: ReadonlySet<string> = new Set([
  'openat',
  'close',
  'read',
  'pread64',
  'readv',
  'preadv',
  'write',
  'pwrite64',
  'writev',
  'pwritev',
  'fsync',
  'fdatasync',
  'ftruncate',
]);

export class Faults {
  readonly plan: FaultPlan;
  readonly log: InjectedFault[] = [];
  enabled = true;
  /** Virtual time, set by the crew. */
  step = 0;
  readonly #random: Prng;

  constructor(random: Prng, plan: FaultPlan) {
    this.#random = random;
    this.plan = plan;
  }

  #happens(ratio: number): boolean {
    return this.enabled && ratio > 0 && this.#random.chance(ratio, 256);
  }

  #note(call: string, fault: string, detail = ''): void {
    this.log.push({ step: this.step, call, fault, detail });
  }

  wouldBlock(call: string): boolean {
    if (!this.#happens(this.plan.wouldBlock)) return false;
    this.#note(call, 'would block');
    return true;
  }

  /** The error to fail with, or 0. */
  errnoFor(call: string): number {
    for (const { call: wanted, errno, ratio } of this.plan.hard) {
      if (wanted !== call || !this.#happens(ratio)) continue;
      this.#note(call, 'hard', errnoName(errno));
      return errno;
    }
    return 0;
  }

  interrupts(call: string): boolean {
    if (!INTERRUPTIBLE.has(call) || !this.#happens(this.plan.interrupt)) return false;
    this.#note(call, 'EINTR');
    return true;
  }

  /** How many of `length` bytes are transferred. */
  shorten(direction: 'read' | 'write', length: number): number {
    const ratio = direction === 'read' ? this.plan.shortRead : this.plan.shortWrite;
    if (length < 2 || !this.#happens(ratio)) return length;
    const less = 1 + this.#random.below(length - 1);
    this.#note(direction, 'short', `${less} of ${length}`);
    return less;
  }

  endsListing(): boolean {
    if (!this.#happens(this.plan.shortListing)) return false;
    this.#note('getdents64', 'short');
    return true;
  }

  /** Steps that a crew thread takes for its next call. */
  delay(): number {
    if (!this.enabled || this.plan.delayMax === 0) return 0;
    return this.#random.below(this.plan.delayMax + 1);
  }
}

/** The log as text, for the message of a failed test. */
export function describeFaults(log: readonly InjectedFault[]): string {
  if (log.length === 0) return 'no fault was injected';
  return log
    .map(({ step, call, fault, detail }) => `step ${step}: ${call} ${fault} ${detail}`.trimEnd())
    .join('\n');
}
