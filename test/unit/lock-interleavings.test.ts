/**
 * Is every lock algorithm right in every order in which two or three threads can take its steps?
 * Method: src/lab/sim/explorer.ts visits each reachable state of the step models; then models with
 * a known fault, which it must find. A failure prints the schedule that leads there.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { EXPLORED, explore, type Failure, type Processors } from '../../src/lab/sim/explorer.ts';
import { DONE, type LockModel, NEXT } from '../../src/lab/sim/lock-model.ts';
import { createModel, LOCK_NAMES } from '../../src/lab/sim/models.ts';
import { MUTANTS, type Mutant } from '../../src/lab/sim/mutants.ts';

const INFORMED = /ispinlock/;

for (const name of LOCK_NAMES) {
  test(`${name}: every interleaving of 2 threads, twice each`, () => {
    const model = createModel(name, { ...EXPLORED, threads: 2 });
    const result = explore(model, { threads: 2, rounds: 2 });
    assert.equal(result.failure, null, JSON.stringify(result.failure, null, 1));
    assert.ok(result.states > 100, `only ${result.states} states: nothing was explored`);
  });

  test(`${name}: every interleaving of 3 threads`, () => {
    const model = createModel(name, { ...EXPLORED, threads: 3 });
    const result = explore(model, { threads: 3, rounds: 1 });
    assert.equal(result.failure, null, JSON.stringify(result.failure, null, 1));
  });

  // A capability that may come and go at each look makes the states many: one preemption less.
  const preemptions = INFORMED.test(name) ? 0 : 2;
  test(`${name}: 3 threads, twice each, ${preemptions} preemptions`, () => {
    const model = createModel(name, { ...EXPLORED, threads: 3 });
    const result = explore(model, { threads: 3, rounds: 2, preemptions });
    assert.equal(result.failure, null, JSON.stringify(result.failure, null, 1));
  });
}

test('each algorithm has a mutant', () => {
  const mutated = new Set(MUTANTS.map(({ of }) => of));
  assert.deepEqual([...mutated].sort(), [...LOCK_NAMES].sort());
});

for (const name of ['hvm-ispinlock', 'pv-ispinlock'] as const) {
  const search = (threads: number, rounds: number, processors: Processors) =>
    explore(createModel(name, { ...EXPLORED, threads }), { threads, rounds, processors });

  test(`${name}: 2 threads on 1 processor: nobody joins a queue that stands still`, () => {
    const { failure } = search(2, 2, { pcpus: 1, preemptions: Number.POSITIVE_INFINITY });
    assert.equal(failure, null, JSON.stringify(failure, null, 1));
  });

  test(`${name}: 3 threads on 2 processors, 1 preemption`, () => {
    const { failure } = search(3, 1, { pcpus: 2, preemptions: 1 });
    // Who makes no hypercalls spins until the next preemption; but everything was searched first.
    assert.equal(failure?.kind, name === 'hvm-ispinlock' ? 'livelock' : undefined);
  });
}

test('pv-ispinlock burns no slice for who is preempted, but for one who has not told its ticket', () => {
  const search = (untold: boolean) =>
    explore(createModel('pv-ispinlock', { ...EXPLORED, threads: 2 }), {
      threads: 2,
      rounds: 2,
      processors: { pcpus: 1, preemptions: 2, untold },
    }).failure?.kind;
  assert.equal(search(false), undefined);
  assert.equal(search(true), 'livelock');
});

test('ticket and the paper’s forms stand still when a holder is preempted', () => {
  for (const name of ['ticket', 'hvm-ispinlock-paper', 'pv-ispinlock-paper'] as const) {
    const model = createModel(name, { ...EXPLORED, threads: 2 });
    const processors = { pcpus: 1, preemptions: 1 };
    const { failure } = explore(model, { threads: 2, rounds: 1, processors });
    assert.equal(failure?.kind, 'lost wake-up', name);
  }
});

/** Faults that cost time only show where there are fewer processors than threads. */
function slowlyFound({ of, create }: Mutant): Failure | null {
  const preemptions = of === 'pv-ispinlock' ? 2 : Number.POSITIVE_INFINITY;
  for (const [threads, rounds, pcpus] of [
    [2, 2, 1],
    [3, 1, 2],
  ]) {
    const processors = { pcpus, preemptions };
    const { failure } = explore(create({ ...EXPLORED, threads }), { threads, rounds, processors });
    if (failure) return failure;
  }
  return null;
}

for (const mutant of MUTANTS) {
  const { of, name, finds, create } = mutant;
  test(`mutant is found: ${of}, ${name}`, () => {
    const two = explore(create({ ...EXPLORED, threads: 2 }), { threads: 2, rounds: 2 }).failure;
    const failure =
      two ??
      (finds.includes('standstill') || name.startsWith('a waiter')
        ? slowlyFound(mutant)
        : explore(create({ ...EXPLORED, threads: 3 }), { threads: 3, rounds: 1 }).failure);
    assert.ok(failure, 'not found');
    assert.ok(finds.includes(failure.kind), `${failure.kind}: ${failure.message}`);
    assert.ok(failure.schedule.length > 0 || failure.kind === 'livelock');
  });
}

test('a bounded search finds a fault as soon as it has the preemptions for it', () => {
  const split = MUTANTS.find(({ of }) => of === 'ticket');
  assert.ok(split);
  const model = split.create({ ...EXPLORED, threads: 2 });
  const none = explore(model, { threads: 2, rounds: 1, preemptions: 0 });
  const one = explore(model, { threads: 2, rounds: 1, preemptions: 1 });
  assert.equal(none.failure, null);
  assert.notEqual(one.failure, null);
});

test('a step with two shared operations is refused', () => {
  const greedy: LockModel = {
    ...createModel('ticket', { ...EXPLORED, threads: 1 }),
    fifo: false,
    lock: (t, s) => {
      s.store(0, s.load(1));
      t.pc = 0;
      return DONE;
    },
  };
  const { failure } = explore(greedy, { threads: 1, rounds: 1 });
  assert.equal(failure?.kind, 'model');
});

test('FIFO is checked: a lock that lets the later ticket in first is found', () => {
  // A test-and-set lock whose threads take a ticket only for show.
  const barging: LockModel = {
    ...createModel('ticket', { ...EXPLORED, threads: 2 }),
    lock: (t, s) => {
      if (t.pc === 0) {
        s.add(1, 1);
        s.ticket();
        t.pc = 1;
        return NEXT;
      }
      return s.exchange(0, 1) === 0 ? DONE : NEXT;
    },
    unlock: (_t, s) => {
      s.store(0, 0);
      s.released();
      return DONE;
    },
  };
  const { failure } = explore(barging, { threads: 2, rounds: 1 });
  assert.equal(failure?.kind, 'order', failure?.message);
});

test('the same search twice visits the same states', () => {
  const once = () =>
    explore(createModel('pv-ticket', { ...EXPLORED, threads: 2 }), { threads: 2, rounds: 2 });
  assert.deepEqual(once(), once());
});
