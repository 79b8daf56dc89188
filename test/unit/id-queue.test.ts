import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdQueue } from '../../src/kernel/id-queue.ts';

test('ids come back in order, and memory is reused', () => {
  const queue = new IdQueue(4);
  for (const id of [1, 2, 3, 4]) queue.push(id);
  queue.drop(2);
  queue.push(5);
  assert.deepEqual([queue.length, queue.at(0), queue.at(2)], [3, 3, 5]);
  assert.equal(queue.pop(), 5);
  assert.equal(queue.length, 2);
});

test('one id too many is an error, not a call that never ends', () => {
  const queue = new IdQueue(2);
  queue.push(1);
  queue.push(2);
  assert.throws(() => queue.push(3), /full/);
  assert.equal(queue.length, 2);
});
