/**
 * Every interleaving of a few threads that take and give back one lock, each a few times: depth
 * first over the steps of a lock model, each state visited once.
 *
 *   const result = explore(createModel('ticket', EXPLORED), { threads: 3, rounds: 1 });
 *   result.failure     null, or what went wrong and the schedule that leads there
 *
 * Looked for: two holders (mutual exclusion); no thread can move although not all are through (a
 * lost wake-up, or a deadlock); states from which no end can be reached (a livelock; only without
 * a preemption bound); for FIFO models, a lock got before its turn; more than one shared operation
 * in a step (a fault of the model).
 *
 * What depends on time is a choice: a bounded spin loop may end at any moment, a thread's slice may
 * be over or not whenever it looks. Memory is sequentially consistent, as JavaScript's Atomics are:
 * reorderings that the C twins must prevent by themselves are not explored.
 */
import {
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

/** Parameters for models to be explored: packed memory, one chunk of spinning. */
export const EXPLORED = { threads: 3, stride: 1, spinThreshold: 1, ptsShift: 0, csdNs: 1 } as const;

export interface ExploreOptions {
  readonly threads: number;
  /** How often each thread takes the lock. */
  readonly rounds: number;
  /** Switches away from a thread that could have gone on. Left out: no bound, all interleavings. */
  readonly preemptions?: number;
  /** Gives up, by throwing, beyond so many states. */
  readonly states?: number;
}

export interface Failure {
  readonly kind: 'mutual exclusion' | 'lost wake-up' | 'livelock' | 'order' | 'model';
  readonly message: string;
  /** One entry a step: which thread, and where it was. */
  readonly schedule: readonly string[];
}

export interface ExploreResult {
  readonly states: number;
  readonly transitions: number;
  readonly failure: Failure | null;
}

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
const FIRST_REGISTER = 12;
const FIELDS = FIRST_REGISTER + REGISTERS;

/** A budget as a state keeps it: how much is left does not matter, as it may end at any time. */
const NONE = 0;
const SOME = 1;
const ENDLESS = 2;

const LONG_NS = 1_000_000;
const STATES = 3_000_000;

class Broken extends Error {
  constructor(
    readonly kind: Failure['kind'],
    message: string,
  ) {
    super(message);
  }
}

/** One step at a time on a state, which is a flat array: memory, what is global, the threads. */
class Stepper implements Steps {
  readonly #model: LockModel;
  readonly #count: number;
  /** The state being worked on, and the part of it that is the lock's memory. */
  readonly work: Int32Array;
  readonly #memory: Int32Array;
  readonly #holder: number;
  /** Two queues, each its length and then its threads: tickets taken, futex waiters. */
  readonly #tickets: number;
  readonly #futex: number;
  readonly #threads: number;
  readonly #scratch;
  #current = 0;
  #operations = 0;
  #choice = 0;
  /** Set if the step looked at how much of its slice is left: then there is a second outcome. */
  asked = false;

  constructor(model: LockModel, count: number, rounds: number) {
    this.#model = model;
    this.#count = count;
    this.#holder = model.words;
    this.#tickets = this.#holder + 1;
    this.#futex = this.#tickets + 1 + count;
    this.#threads = this.#futex + 1 + count;
    this.work = new Int32Array(this.#threads + count * FIELDS);
    this.#memory = this.work.subarray(0, model.words);
    this.#scratch = Array.from({ length: count }, (_, id) => createThread(id));
    for (let id = 0; id < count; id++) this.work[this.#at(id) + ROUNDS] = rounds;
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

  /** Whether the thread can move at all; `busy` if it also could do so without waiting. */
  enabled(state: Int32Array, id: number): 'no' | 'waiting' | 'busy' {
    const at = this.#at(id);
    if (state[at + PHASE] === FINISHED || state[at + HALTED] === 1) return 'no';
    if (state[at + SPINNING] === 0) return 'busy';
    if (this.#spinOver(state, at)) return 'busy';
    const mayEnd = state[at + BUDGET] === SOME || state[at + SPIN_WORD] === SLICE;
    return mayEnd ? 'waiting' : 'no';
  }

  #spinOver(state: Int32Array, at: number): boolean {
    const word = state[at + SPIN_WORD];
    const seen = word === SLICE ? state[at + SLICE_ID] : state[word] & state[at + SPIN_MASK];
    return (seen === state[at + SPIN_VALUE]) === (state[at + SPIN_EQUAL] === 1);
  }

  describe(state: Int32Array, id: number): string {
    const at = this.#at(id);
    const phase = state[at + PHASE] === LOCKING ? 'lock' : 'unlock';
    return `${id}:${phase}.${state[at + PC]}`;
  }

  /** Runs one step of a thread on `work`, which holds the state before it. */
  step(id: number, choice: number): void {
    const { work } = this;
    const at = this.#at(id);
    const t = this.#scratch[id];
    this.#current = id;
    this.#operations = 0;
    this.#choice = choice;
    this.asked = false;

    t.pc = work[at + PC];
    const kind = work[at + BUDGET];
    t.budget = kind === ENDLESS ? Number.POSITIVE_INFINITY : kind;
    for (let r = 0; r < REGISTERS; r++) t.r[r] = work[at + FIRST_REGISTER + r];
    if (work[at + SPINNING] === 1 && !this.#spinOver(work, at)) {
      if (work[at + SPIN_WORD] === SLICE) work[at + SLICE_ID] ^= 1;
      else t.budget = 0;
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
      work[at + SLICE_ID] ^= 1;
    } else if (outcome === HALT) {
      if (work[at + TOKEN] === 1) work[at + TOKEN] = 0;
      else work[at + HALTED] = 1;
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

  preemptionNs(): number {
    this.#operations++;
    this.asked = true;
    return this.#choice === 0 ? LONG_NS : -LONG_NS;
  }

  sliceId(): number {
    this.#operations++;
    return this.work[this.#at(this.#current) + SLICE_ID];
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

  ticket(): void {
    if (this.#model.fifo) this.#push(this.#tickets, this.#current);
  }

  released(): void {
    const holder = this.work[this.#holder];
    if (holder !== this.#current + 1)
      this.#fail('mutual exclusion', `thread ${this.#current} released what ${holder - 1} holds`);
    this.work[this.#holder] = 0;
  }
}

/** Exact, not a digest: two states are never taken for one another. */
function keyOf(state: Int32Array): string {
  return String.fromCharCode.apply(null, new Uint16Array(state.buffer) as unknown as number[]);
}

interface Frame {
  readonly state: Int32Array;
  readonly index: number;
  /** The thread that ran last, and preemptions so far. */
  readonly last: number;
  readonly preemptions: number;
  readonly step: string;
  /** What to try next: thread, and which of two outcomes. */
  thread: number;
  choice: number;
  moved: boolean;
}

export function explore(model: LockModel, options: ExploreOptions): ExploreResult {
  const { threads, rounds, preemptions: bound = Number.POSITIVE_INFINITY } = options;
  const statesMax = options.states ?? STATES;
  const bounded = Number.isFinite(bound);
  const stepper = new Stepper(model, threads, rounds);
  const { work } = stepper;
  /** A state's number; with a bound, the fewest preemptions it was reached with. */
  const seen = new Map<string, number>();
  const parents: number[] = [];
  const children: number[] = [];
  const ends: number[] = [];
  let states = 0;
  let transitions = 0;

  const first = work.slice();
  seen.set(keyOf(first) + (bounded ? ' ' : ''), 0);
  const stack: Frame[] = [
    {
      state: first,
      index: 0,
      last: -1,
      preemptions: 0,
      step: '',
      thread: 0,
      choice: 0,
      moved: false,
    },
  ];
  states = 1;

  const fail = (kind: Failure['kind'], message: string, more: string[] = []): ExploreResult => ({
    states,
    transitions,
    failure: {
      kind,
      message: `${model.name}: ${message}`,
      schedule: [...stack.slice(1).map(({ step }) => step), ...more],
    },
  });

  while (stack.length > 0) {
    const frame = stack[stack.length - 1];
    const id = frame.thread;
    if (id === threads) {
      if (!frame.moved) {
        if (!stepper.finished(frame.state))
          return fail('lost wake-up', 'no thread can move, but not all are through');
        ends.push(frame.index);
      }
      stack.pop();
      continue;
    }
    const { choice } = frame;
    const advance = () => {
      frame.thread = id + 1;
      frame.choice = 0;
    };
    if (stepper.enabled(frame.state, id) === 'no') {
      advance();
      continue;
    }
    frame.moved = true;
    const switched = id !== frame.last && frame.last !== -1;
    const preempting = switched && stepper.enabled(frame.state, frame.last) === 'busy';
    const preemptions = frame.preemptions + (preempting ? 1 : 0);
    if (preemptions > bound) {
      advance();
      continue;
    }

    const step = stepper.describe(frame.state, id);
    work.set(frame.state);
    try {
      stepper.step(id, choice);
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      return fail(error.kind, error.message, [step]);
    }
    transitions++;
    if (stepper.asked && choice === 0) frame.choice = 1;
    else advance();

    const state = work.slice();
    let key = keyOf(state);
    if (bounded) key += String.fromCharCode(id);
    const before = seen.get(key);
    let index = before;
    if (before === undefined) {
      index = bounded ? 0 : states;
      if (++states > statesMax) throw new Error(`${model.name}: over ${statesMax} states`);
    }
    if (!bounded) {
      parents.push(frame.index);
      children.push(index as number);
    }
    if (before !== undefined && (!bounded || before <= preemptions)) continue;
    seen.set(key, bounded ? preemptions : (index as number));
    stack.push({
      state,
      index: index as number,
      last: id,
      preemptions,
      step,
      thread: 0,
      choice: 0,
      moved: false,
    });
  }

  if (!bounded) {
    const stuck = states - reaching(ends, parents, children, states);
    if (stuck > 0) return fail('livelock', `from ${stuck} states no end can be reached`);
  }
  return { states, transitions, failure: null };
}

/** How many states can reach one of the ends, along the edges backwards. */
function reaching(ends: number[], parents: number[], children: number[], states: number): number {
  const heads = new Int32Array(states).fill(-1);
  const nexts = new Int32Array(children.length);
  for (let edge = 0; edge < children.length; edge++) {
    nexts[edge] = heads[children[edge]];
    heads[children[edge]] = edge;
  }
  const marked = new Uint8Array(states);
  const queue = [...ends];
  for (const end of ends) marked[end] = 1;
  let count = ends.length;
  while (queue.length > 0) {
    const state = queue.pop() as number;
    for (let edge = heads[state]; edge !== -1; edge = nexts[edge]) {
      if (marked[parents[edge]] === 1) continue;
      marked[parents[edge]] = 1;
      count++;
      queue.push(parents[edge]);
    }
  }
  return count;
}
