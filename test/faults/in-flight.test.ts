/**
 * What may happen to a call while it is in flight: its file changes, it is aborted, its descriptor
 * is closed, its buffer is given away.
 */
import assert from 'node:assert/strict';
import { onBothTiers, sameAsPlain } from './run.ts';

sameAsPlain('a file that changes while it is read', 'changing-file.mjs');
sameAsPlain('an abort in every state', 'abort.mjs');
sameAsPlain('closing with reads in flight', 'close-in-flight.mjs');

const gc = { plain: false, nodeOptions: ['--expose-gc'] };
onBothTiers('a buffer transferred away', 'transferred.mjs', gc, (value) => {
  const { untouched, many, strange, ...reads } = value as Record<string, unknown>;
  assert.equal(untouched, true, 'written into memory that was given away');
  assert.equal(many, undefined);
  assert.deepEqual(strange, []);
  for (const [name, result] of Object.entries(reads)) assert.deepEqual(result, [null, 5, 0], name);
});
