/**
 * Descriptors of files at the end of a worker. What it leaves open is what it leaves on plain Node,
 * and nobody loses one of another thread's. Of calls in flight trapless leaves none; Node does.
 */
import assert from 'node:assert/strict';
import { onBothTiers } from './run.ts';

interface Outcome {
  readonly results: Record<string, unknown>;
}
interface Seen {
  readonly outcomes: Readonly<Record<string, Outcome>>;
  readonly flight: readonly object[];
  readonly main: readonly string[];
}

const READS = 'reads before a close';

onBothTiers('descriptors of a worker that ends', 'worker-descriptors.mjs', {}, (value, plain) => {
  const { outcomes, flight, main } = value as Seen;
  const oracle = plain as Seen;
  for (const one of Object.values(outcomes)) {
    // On plain Node the close may overtake one of them.
    assert.deepEqual(one.results[READS], [Array(20).fill(1000), null]);
  }
  for (const one of [...Object.values(outcomes), ...Object.values(oracle.outcomes)])
    delete one.results[READS];
  assert.deepEqual(outcomes, oracle.outcomes);
  assert.deepEqual(main, oracle.main);
  for (const one of flight) assert.deepEqual(one, { lost: 0, left: [] });
});
