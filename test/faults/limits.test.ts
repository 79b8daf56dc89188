/**
 * Limits of the machine: a full disk, no descriptor left, 100,000 calls at a time, a burst of
 * connections. Errors must be Node's own, nothing is cut short in silence, and everything works again
 * afterwards.
 */
import assert from 'node:assert/strict';
import { onBothTiers, sameAsPlain, withTmpfs } from './run.ts';

sameAsPlain('a full disk', 'no-space.mjs', withTmpfs('64k'));

interface Many {
  readonly seen: unknown;
  readonly closedAgain: Readonly<Record<'read' | 'written' | 'failed' | 'strange', number>>;
}

const fewFiles = { through: ['sh', '-c', 'ulimit -n 200 && exec "$@"', 'sh'] };
onBothTiers('more files than may be open', 'too-many-files.mjs', fewFiles, (value, plain) => {
  const [ours, node] = [value as Many, plain as Many];
  assert.deepEqual(ours.seen, node.seen);
  const { read, written, failed, strange } = ours.closedAgain;
  // On a chain a file is open for a moment only: Node fails where trapless has no reason to.
  assert.equal(read, 5000);
  assert.ok(written >= node.closedAgain.written, `${written} of 5000 were written`);
  assert.equal(read + written + failed, 10_000);
  assert.equal(strange, 0);
});

// Node's copyFile never fails here, nor does any of these from Node 26 on: four threads do it all.
onBothTiers('few descriptors', 'few-descriptors.mjs', { ...fewFiles, plain: false }, (value) => {
  const { failed, appended, copied } = value as Record<string, Record<string, number>>;
  assert.deepEqual(new Set(Object.values(failed)), new Set([0]), JSON.stringify(failed));
  assert.deepEqual([appended, copied], [40, 400_000]);
});

interface Exhausted {
  readonly results: Readonly<Record<string, number[]>>;
  readonly rssMiB: number;
}

// Not compared with Node, whose readFile runs out of descriptors.
onBothTiers('100,000 calls at a time', 'exhaustion.mjs', { plain: false }, (value) => {
  const { results, rssMiB } = value as Exhausted;
  for (const [call, result] of Object.entries(results))
    assert.deepEqual(result.slice(1), [0, 0], `${call}: wrong, answered twice`);
  // A bound, not a measure. (A slot for each call alone would be 109 MB.)
  assert.ok(rssMiB < 512, `${rssMiB} MiB resident`);
});

sameAsPlain('a burst of connections', 'burst.mjs', {
  through: ['sh', '-c', 'ulimit -n 1024 && exec "$@"', 'sh'],
});

sameAsPlain('a socket that is destroyed is gone at once', 'gone-at-once.mjs');
