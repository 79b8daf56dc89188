/**
 * One state of a few threads at one lock, and what can happen in it: the explorer's other half.
 *
 *   const stepper = new Stepper(model, { threads: 2, rounds: 1 });
 *   stepper.work.set(state); stepper.happen(event, choice); stepper.work   // the state after it
 */
import type { Failure, Processors } from './explorer.ts';
import {
  CHANGE,
  createThread,
  DONE,
  HALT,
  type LockModel,
  REGISTERS,
  SLICE,
  SPIN,
  type Steps,
  YIELD,
} from './lock-model.ts';

/** Phases of a thread. */
const LOCKING = 0;
const UNLOCKING = 1;
const FINISHED = 2;

/** A thread's fields in a state. */
const PHASE = 0;
const PC = 1;
const BUDGET = 2;
const SPINNING = 3;
const SPIN_WORD = 4;
const SPIN_MASK = 5;
const SPIN_VALUE = 6;
const SPIN_EQUAL = 7;
const HALTED = 8;
const TOKEN = 9;
const SLICE_ID = 10;
const ROUNDS = 11;
/** With processors: on one; whether it has a ticket and has said so; who stood still since it
 *  asked. */
const ON = 12;
const TOOK = 13;
const STANDING = 14;
const FIRST_REGISTER = 15;
const FIELDS = FIRST_REGISTER + REGISTERS;

/** Has a ticket; and has said so. */
const TICKET = 1;
const TOLD = 2;
/** Preemptions left: as many as it likes. */
const ANY = -1;

/** A budget as a state keeps it: how much is left does not matter, as it may end at any time. */
const NONE = 0;
const SOME = 1;
const ENDLESS = 2;

const LONG_NS = 1_000_000;
export class Broken extends Error {
  constructor(
    readonly kind: Failure['kind'],
    message: string,
  ) {
    super(message);
  }
}

export interface SteppedOptions {
  readonly threads: number;
  readonly rounds: number;
  readonly processors?: Processors;
}

/**
 * What can happen in a state, as a number. Below the number of threads: that thread takes a step.
 * With processors there is the hypervisor, too: after those it switches one in, then preempts one.
 */
export type Event = number;

/** One event at a time on a state, which is a flat array: memory, what is global, the threads. */
export class Stepper implements Steps {
  readonly #model: LockModel;
  readonly #count: number;
  /** The state being worked on, and the part of it that is the lock's memory. */
  readonly work: Int32Array;
  readonly #memory: Int32Array;
  readonly #holder: number;
  /** Two queues, each its length and then its threads: tickets taken, futex waiters. */
  readonly #tickets: number;
  readonly #futex: number;
  /** With processors: how many preemptions are left. */
  readonly #preemptions: number;
  readonly #threads: number;
  readonly #pcpus: number;
  readonly #untold: boolean;
  readonly #scratch;
  /** How many events there are; not all can happen. */
  readonly events: number;
  #current = 0;
  #operations = 0;
  #choice = 0;
  /** Set if the step looked at how much of its slice is left: then there is a second outcome. */
  asked = false;

  constructor(model: LockModel, { threads: count, rounds, processors }: SteppedOptions) {
    this.#model = model;
    this.#count = count;
    this.#pcpus = processors?.pcpus ?? 0;
    this.#untold = processors?.untold ?? !model.owners;
    this.events = this.#pcpus === 0 ? count : 3 * count;
    this.#holder = model.words;
    this.#tickets = this.#holder + 1;
    this.#futex = this.#tickets + 1 + count;
    this.#preemptions = this.#futex + 1 + count;
    this.#threads = this.#preemptions + 1;
    this.work = new Int32Array(this.#threads + count * FIELDS);
    this.#memory = this.work.subarray(0, model.words);
    this.#scratch = Array.from({ length: count }, (_, id) => createThread(id));
    for (let id = 0; id < count; id++) this.work[this.#at(id) + ROUNDS] = rounds;
    const { preemptions = 0 } = processors ?? {};
    this.work[this.#preemptions] = Number.isFinite(preemptions) ? preemptions : ANY;
  }

  #at(id: number): number {
    return this.#threads + id * FIELDS;
  }

  #fail(kind: Failure['kind'], message: string): never {
    throw new Broken(kind, message);
  }

  finished(state: Int32Array): boolean {
    for (let id = 0; id < this.#count; id++)
      if (state[this.#at(id) + PHASE] !== FINISHED) return false;
    return true;
  }

  /** Whether it can happen; `busy` if a thread can move and need not wait for that. */
  enabled(state: Int32Array, event: Event): 'no' | 'waiting' | 'busy' {
    const id = event % this.#count;
    const at = this.#at(id);
    if (state[at + PHASE] === FINISHED || state[at + HALTED] === 1) return 'no';
    if (event >= 2 * this.#count) return this.#mayPreempt(state, at) ? 'busy' : 'no';
    if (event >= this.#count)
      return state[at + ON] === 0 && this.#on(state) < this.#pcpus ? 'busy' : 'no';
    if (this.#pcpus > 0 && state[at + ON] === 0) return 'no';
    if (state[at + SPINNING] === 0) return 'busy';
    if (this.#spinOver(state, at)) return 'busy';
    const word = state[at + SPIN_WORD];
    if (word === CHANGE) return 'waiting';
    // Without processors a slice may end at any time.
    const mayEnd = state[at + BUDGET] === SOME || (word === SLICE && this.#pcpus === 0);
    return mayEnd ? 'waiting' : 'no';
  }

  #mayPreempt(state: Int32Array, at: number): boolean {
    if (state[at + ON] === 0 || state[this.#preemptions] === 0) return false;
    return (this.#untold || state[at + TOOK] !== TICKET) && this.#rival(state);
  }

  #on(state: Int32Array): number {
    let count = 0;
    for (let id = 0; id < this.#count; id++) count += state[this.#at(id) + ON];
    return count;
  }

  /** Whether somebody could run who does not. */
  #rival(state: Int32Array): boolean {
    for (let id = 0; id < this.#count; id++) {
      const at = this.#at(id);
      const ready = state[at + PHASE] !== FINISHED && state[at + HALTED] === 0;
      if (ready && state[at + ON] === 0) return true;
    }
    return false;
  }

  #spinOver(state: Int32Array, at: number): boolean {
    const word = state[at + SPIN_WORD];
    if (word === CHANGE) return false;
    const seen = word === SLICE ? state[at + SLICE_ID] : state[word] & state[at + SPIN_MASK];
    return (seen === state[at + SPIN_VALUE]) === (state[at + SPIN_EQUAL] === 1);
  }

  describe(state: Int32Array, event: Event): string {
    const id = event % this.#count;
    if (event >= 2 * this.#count) return `${id}:preempted`;
    if (event >= this.#count) return `${id}:switched in`;
    const at = this.#at(id);
    const phase = state[at + PHASE] === LOCKING ? 'lock' : 'unlock';
    return `${id}:${phase}.${state[at + PC]}`;
  }

  /** Lets it happen on `work`, which holds the state before it. */
  happen(event: Event, choice: number): void {
    this.asked = false;
    if (event < this.#count) this.#step(event, choice);
    else if (event < 2 * this.#count) this.#switchIn(event - this.#count);
    else {
      if (this.work[this.#preemptions] !== ANY) this.work[this.#preemptions] -= 1;
      this.work[this.#at(event % this.#count) + ON] = 0;
    }
  }

  #switchIn(id: number): void {
    const { work } = this;
    work[this.#at(id) + ON] = 1;
    work[this.#at(id) + SLICE_ID] ^= 1;
    this.#goesOn(id);
  }

  /** It does not stand still any more: who asks now need not see it. */
  #goesOn(id: number): void {
    for (let other = 0; other < this.#count; other++)
      this.work[this.#at(other) + STANDING] &= ~(1 << id);
  }

  #step(id: number, choice: number): void {
    const { work } = this;
    const at = this.#at(id);
    const t = this.#scratch[id];
    this.#current = id;
    this.#operations = 0;
    this.#choice = choice;

    t.pc = work[at + PC];
    const kind = work[at + BUDGET];
    t.budget = kind === ENDLESS ? Number.POSITIVE_INFINITY : kind;
    for (let r = 0; r < REGISTERS; r++) t.r[r] = work[at + FIRST_REGISTER + r];
    if (work[at + SPINNING] === 1 && !this.#spinOver(work, at)) {
      if (work[at + SPIN_WORD] === SLICE) work[at + SLICE_ID] ^= 1;
      else if (work[at + SPIN_WORD] !== CHANGE) t.budget = 0;
    }
    work.fill(0, at + SPINNING, at + HALTED);

    const locking = work[at + PHASE] === LOCKING;
    const outcome = locking ? this.#model.lock(t, this) : this.#model.unlock(t, this);
    if (this.#operations > 1) this.#fail('model', `thread ${id}: two shared operations in a step`);

    if (outcome === DONE) {
      this.#done(id, at, locking);
      return;
    }
    work[at + PC] = t.pc;
    work[at + BUDGET] =
      t.budget === Number.POSITIVE_INFINITY ? ENDLESS : t.budget > 0 ? SOME : NONE;
    for (let r = 0; r < REGISTERS; r++) work[at + FIRST_REGISTER + r] = t.r[r];
    if (outcome === SPIN) {
      work[at + SPINNING] = 1;
      work[at + SPIN_WORD] = t.spinWord;
      work[at + SPIN_MASK] = t.spinMask;
      work[at + SPIN_VALUE] = t.spinValue;
      work[at + SPIN_EQUAL] = t.spinEqual ? 1 : 0;
    } else if (outcome === YIELD) {
      if (this.#pcpus === 0) work[at + SLICE_ID] ^= 1;
      else if (this.#rival(work)) work[at + ON] = 0;
    } else if (outcome === HALT) {
      if (work[at + TOKEN] === 1) {
        work[at + TOKEN] = 0;
      } else {
        work[at + HALTED] = 1;
        work[at + ON] = 0;
      }
    }
  }

  #done(id: number, at: number, locking: boolean): void {
    const { work } = this;
    if (locking) {
      const holder = work[this.#holder];
      if (holder !== 0)
        this.#fail('mutual exclusion', `thread ${id} got the lock that ${holder - 1} holds`);
      work[this.#holder] = id + 1;
      if (this.#model.fifo) {
        const first = this.#shift(this.#tickets);
        if (first !== id)
          this.#fail('order', `thread ${id} got the lock; thread ${first} took its ticket first`);
      }
      work[at + PHASE] = UNLOCKING;
    } else {
      if (work[this.#holder] === id + 1)
        this.#fail('model', `thread ${id} ended unlock() without a release`);
      work[at + ROUNDS] -= 1;
      work[at + PHASE] = work[at + ROUNDS] === 0 ? FINISHED : LOCKING;
      if (work[at + PHASE] === FINISHED) work[at + ON] = 0;
    }
    work[at + PC] = 0;
    work[at + BUDGET] = NONE;
    work.fill(0, at + FIRST_REGISTER, at + FIELDS);
  }

  #push(queue: number, id: number): void {
    this.work[queue + 1 + this.work[queue]] = id;
    this.work[queue] += 1;
  }

  #shift(queue: number): number {
    const { work } = this;
    if (work[queue] === 0) return -1;
    const first = work[queue + 1];
    work.copyWithin(queue + 1, queue + 2, queue + 1 + work[queue]);
    work[queue + work[queue]] = 0;
    work[queue] -= 1;
    return first;
  }

  load(word: number): number {
    this.#operations++;
    return this.#memory[word];
  }

  store(word: number, value: number): void {
    this.#operations++;
    this.#memory[word] = value;
  }

  #update(word: number, value: number): number {
    this.#operations++;
    const old = this.#memory[word];
    this.#memory[word] = value;
    return old;
  }

  add(word: number, delta: number): number {
    return this.#update(word, this.#memory[word] + delta);
  }

  exchange(word: number, value: number): number {
    return this.#update(word, value);
  }

  compareExchange(word: number, expected: number, value: number): number {
    const old = this.#memory[word];
    return this.#update(word, old === (expected | 0) ? value : old);
  }

  exchangePart(word: number, mask: number, value: number): number {
    const old = this.#memory[word];
    return this.#update(word, (old & ~mask) | value) & mask;
  }

  compareExchangePart(word: number, mask: number, expected: number, value: number): number {
    const old = this.#memory[word];
    const part = old & mask;
    this.#update(word, part === (expected | 0) ? (old & ~mask) | value : old);
    return part;
  }

  or(word: number, bits: number): number {
    return this.#update(word, this.#memory[word] | bits);
  }

  and(word: number, bits: number): number {
    return this.#update(word, this.#memory[word] & bits);
  }

  nowNs(): number {
    this.#operations++;
    return 0;
  }

  /** With processors always enough: those searches are about who runs. */
  preemptionNs(): number {
    this.#operations++;
    if (this.#pcpus > 0) return LONG_NS;
    this.asked = true;
    return this.#choice === 0 ? LONG_NS : -LONG_NS;
  }

  sliceId(): number {
    this.#operations++;
    return this.work[this.#at(this.#current) + SLICE_ID];
  }

  runs(vcpu: number): boolean {
    this.#operations++;
    if (!(vcpu >= 0 && vcpu < this.#count)) this.#fail('model', `state of vCPU ${vcpu}`);
    if (this.#pcpus > 0) return this.work[this.#at(vcpu) + ON] === 1;
    this.asked = true;
    return this.#choice === 0;
  }

  kick(vcpu: number): void {
    this.#operations++;
    if (!(vcpu >= 0 && vcpu < this.#count)) this.#fail('model', `kick of vCPU ${vcpu}`);
    this.#wake(vcpu);
  }

  #wake(id: number): void {
    const at = this.#at(id);
    if (this.work[at + HALTED] === 1) this.work[at + HALTED] = 0;
    else if (this.work[at + PHASE] !== FINISHED) this.work[at + TOKEN] = 1;
  }

  futexWait(word: number, expected: number): boolean {
    this.#operations++;
    if (this.#memory[word] !== expected) return false;
    this.#push(this.#futex, this.#current);
    return true;
  }

  futexWake(_word: number): void {
    this.#operations++;
    const first = this.#shift(this.#futex);
    if (first !== -1) this.#wake(first);
  }

  asks(): void {
    if (this.#pcpus === 0) return;
    let standing = 0;
    for (let id = 0; id < this.#count; id++) {
      const at = this.#at(id);
      if (this.work[at + TOOK] === TOLD && this.work[at + ON] === 0) standing |= 1 << id;
    }
    this.work[this.#at(this.#current) + STANDING] = standing;
  }

  ticket(): void {
    if (this.#model.fifo) this.#push(this.#tickets, this.#current);
    if (this.#pcpus === 0) return;
    const at = this.#at(this.#current);
    this.work[at + TOOK] = TICKET;
    if (this.work[at + STANDING] === 0) return;
    const who = 31 - Math.clz32(this.work[at + STANDING]);
    this.#fail('standstill', `thread ${this.#current} queues behind ${who}, which does not run`);
  }

  waits(): void {}

  took(): void {
    if (this.#pcpus > 0) this.work[this.#at(this.#current) + TOOK] = TOLD;
  }

  released(): void {
    const holder = this.work[this.#holder];
    if (holder !== this.#current + 1)
      this.#fail('mutual exclusion', `thread ${this.#current} released what ${holder - 1} holds`);
    this.work[this.#holder] = 0;
    this.work[this.#at(this.#current) + TOOK] = 0;
    this.#goesOn(this.#current);
  }
}
