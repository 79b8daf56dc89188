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
 * be over or not, and another vCPU run or not, whenever a thread looks. Memory is sequentially
 * consistent, as JavaScript's Atomics are: reorderings that the C twins must prevent by themselves
 * are not explored.
 *
 * With `processors` there is a hypervisor: only so many threads run, it switches them in at any
 * time and in any order, preempts a few times and never again. Then who spins for somebody who is
 * off spins for ever, and that is found; and for locks that look whether their queue moves, a ticket
 * behind somebody who has been off since before they looked is a standstill.
 */
import type { LockModel } from './lock-model.ts';
import { Broken, Stepper } from './stepper.ts';

/** Parameters for models to be explored: packed memory, one chunk of spinning. */
export const EXPLORED = {
  threads: 3,
  stride: 1,
  spinThreshold: 1,
  ptsShift: 0,
  csdNs: 1,
  lookEvery: 1,
} as const;

export interface Processors {
  readonly pcpus: number;
  /** How often the hypervisor takes a processor from somebody who has not stopped; or Infinity. */
  readonly preemptions: number;
  /** Also from a thread that has a ticket, and has not yet said so (src/locks/owners.ts). */
  readonly untold?: boolean;
}

export interface ExploreOptions {
  readonly threads: number;
  /** How often each thread takes the lock. */
  readonly rounds: number;
  /** Switches away from a thread that could have gone on. Left out: no bound, all interleavings. */
  readonly preemptions?: number;
  /** Left out: as many processors as threads. Not together with `preemptions`. */
  readonly processors?: Processors;
  /** Gives up, by throwing, beyond so many states. */
  readonly states?: number;
}

export interface Failure {
  readonly kind:
    | 'mutual exclusion'
    | 'lost wake-up'
    | 'livelock'
    | 'order'
    | 'standstill'
    | 'model';
  readonly message: string;
  /** One entry a step: which thread, and where it was. */
  readonly schedule: readonly string[];
}

export interface ExploreResult {
  readonly states: number;
  readonly transitions: number;
  readonly failure: Failure | null;
}

const STATES = 3_000_000;

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
  /** What to try next, and which of two outcomes. */
  event: number;
  choice: number;
  moved: boolean;
}

export function explore(model: LockModel, options: ExploreOptions): ExploreResult {
  const { preemptions: bound = Number.POSITIVE_INFINITY } = options;
  const statesMax = options.states ?? STATES;
  const bounded = Number.isFinite(bound);
  const stepper = new Stepper(model, options);
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
      event: 0,
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
    const { event } = frame;
    if (event === stepper.events) {
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
      frame.event = event + 1;
      frame.choice = 0;
    };
    if (stepper.enabled(frame.state, event) === 'no') {
      advance();
      continue;
    }
    frame.moved = true;
    const switched = event !== frame.last && frame.last !== -1;
    const preempting = switched && stepper.enabled(frame.state, frame.last) === 'busy';
    const preemptions = frame.preemptions + (preempting ? 1 : 0);
    if (preemptions > bound) {
      advance();
      continue;
    }

    const step = stepper.describe(frame.state, event);
    work.set(frame.state);
    try {
      stepper.happen(event, choice);
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      return fail(error.kind, error.message, [step]);
    }
    transitions++;
    if (stepper.asked && choice === 0) frame.choice = 1;
    else advance();

    const state = work.slice();
    let key = keyOf(state);
    if (bounded) key += String.fromCharCode(event);
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
      last: event,
      preemptions,
      step,
      event: 0,
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
