/** Does everybody who waits for a file to be closed get his turn, whatever those before him do with theirs? */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OpenFiles } from '../../src/kernel/open-files.ts';

function filled(): OpenFiles {
  const files = new OpenFiles();
  while (!files.full) files.enter();
  return files;
}

test('one leaves, one comes, in order', () => {
  const files = filled();
  const came: number[] = [];
  for (let i = 0; i < 3; i++)
    files.later(() => {
      came.push(i);
      files.enter();
    });
  files.leave();
  assert.deepEqual(came, [0]);
  files.leave();
  files.leave();
  assert.deepEqual(came, [0, 1, 2]);
});

test('who has nothing to open any more leaves his turn to the next', () => {
  const files = filled();
  let came = 0;
  for (let i = 0; i < 200; i++) files.later(() => void came++);
  files.leave();
  assert.equal(came, 200);
});
