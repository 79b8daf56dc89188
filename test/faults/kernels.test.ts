/** Several kernels in one thread, as in a program under trapless that posts calls itself. */
import assert from 'node:assert/strict';
import { onBothTiers } from './run.ts';

onBothTiers('a kernel posts to another', 'two-kernels.mjs', { plain: false }, (late) => {
  assert.deepEqual(late, [], 'answered only when a timer woke the loop');
});
