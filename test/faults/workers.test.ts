/**
 * Descriptors of files at the end of a worker. What it leaves open is what it leaves on plain Node,
 * and nobody loses one of another thread's. Of calls in flight trapless leaves none; Node does.
 */
import assert from 'node:assert/strict';
import { onBothTiers } from './run.ts';

interface Seen {
  readonly outcomes: object;
  readonly flight: readonly object[];
  readonly main: readonly string[];
}

onBothTiers('descriptors of a worker that ends', 'worker-descriptors.mjs', {}, (value, plain) => {
  const { outcomes, flight, main } = value as Seen;
  const oracle = plain as Seen;
  assert.deepEqual(outcomes, oracle.outcomes);
  assert.deepEqual(main, oracle.main);
  for (const one of flight) assert.deepEqual(one, { lost: 0, left: [] });
});
