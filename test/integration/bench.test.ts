/**
 * Does `trapless bench` run as it is built, and print the lines it promises? The figures themselves
 * mean nothing here.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bin, execute } from '../support/execute.ts';

const bench = (...args: string[]) => execute([bin, 'bench', ...args]);

test('bench start: a line for each case, and a table', async () => {
  const { code, stdout, stderr } = await bench('start', '--trials', '1', '--json');
  assert.equal(code, 0, stderr);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const cases = ['empty', 'first-call', 'idle-resident', 'idle-own'];
  assert.deepEqual(
    lines.map((line) => line.case),
    cases,
  );
  for (const { suite, ours, peer, peerName, ratio } of lines) {
    assert.deepEqual([suite, peerName], ['start', 'node']);
    assert.ok(ours > 0 && peer > 0);
    assert.equal(ratio, peer / ours);
  }
  const table = await bench('start', '--trials', '1');
  assert.match(table.stdout, /node +trapless run +more\n/);
});

test('bench: what makes no sense is refused', async () => {
  for (const [args, message] of [
    [['strt'], /there is no suite 'strt'/],
    [['start', '--trials', '0'], /--trials takes a whole number/],
  ] as const) {
    const { code, stderr } = await bench(...args);
    assert.equal(code, 2);
    assert.match(stderr, message);
  }
});
