/**
 * Is every lock algorithm right in every order in which two or three threads can take its steps?
 * Method: src/lab/sim/explorer.ts visits each reachable state of the step models; then models with
 * a known fault, which it must find. A failure prints the schedule that leads there.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { EXPLORED, explore } from '../../src/lab/sim/explorer.ts';
import { DONE, type LockModel, NEXT } from '../../src/lab/sim/lock-model.ts';
import { createModel, LOCK_NAMES } from '../../src/lab/sim/models.ts';
import { MUTANTS } from '../../src/lab/sim/mutants.ts';

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

for (const { of, name, finds, create } of MUTANTS) {
  test(`mutant is found: ${of}, ${name}`, () => {
    const two = explore(create({ ...EXPLORED, threads: 2 }), { threads: 2, rounds: 2 });
    const { failure } = two.failure
      ? two
      : explore(create({ ...EXPLORED, threads: 3 }), { threads: 3, rounds: 1 });
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
