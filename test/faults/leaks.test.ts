/**
 * No descriptor, thread, mapping or entry leaks, however many calls are made: 200,000 by default,
 * LEAK_CALLS=10000000 for the full run. What the process holds after them is what it held before.
 */
import assert from 'node:assert/strict';
import { accessSync, constants } from 'node:fs';
import { onBothTiers } from './run.ts';

const CALLS = Number(process.env.LEAK_CALLS ?? 200_000);
/** No program takes longer for a call, in microseconds, even on a busy machine. */
const CALL_US_MAX = 500;
const MiB = 2 ** 20;

/** How much more may be there afterwards. V8 and malloc map and unmap as they like. */
const MORE_MAX = {
  descriptors: 0,
  threads: 0,
  mappings: 200,
  entries: 0,
  blocks: 0,
  arena: 0,
  rss: 96 * MiB,
  heapUsed: 3 * MiB,
  external: MiB,
  arrayBuffers: MiB,
};
type Holds = Readonly<Record<keyof typeof MORE_MAX, number>>;

interface Leaks {
  readonly calls: number;
  readonly seconds: number;
  readonly before: Holds;
  readonly after: Holds;
  readonly by: { readonly spot: number; readonly ring: number; readonly crew: number };
  readonly unexpected: readonly string[];
}

/** Files in memory: truncating one on a disk waits for the disk. */
function memory(): NodeJS.ProcessEnv {
  try {
    accessSync('/dev/shm', constants.W_OK);
    return { TMPDIR: '/dev/shm' };
  } catch {
    return {};
  }
}

const options = {
  plain: false,
  // Its young generation, which grows with time, is hundreds of mappings in Node 24.
  nodeOptions: ['--expose-gc', '--max-semi-space-size=1'],
  env: { ...memory(), LEAK_CALLS: String(CALLS) },
  timeoutMs: 60_000 + (CALLS * CALL_US_MAX) / 1000,
};

onBothTiers(`nothing leaks in ${CALLS} calls`, 'leaks.mjs', options, (value, _plain, t) => {
  const { calls, seconds, before, after, by, unexpected } = value as Leaks;
  t.diagnostic(JSON.stringify({ calls, seconds, by, before, after }));
  assert.deepEqual(unexpected, []);
  assert.ok(calls >= CALLS);
  assert.ok(by.spot > 0 && by.crew > 0, 'every kind of syscall thread was used');
  assert.equal(by.ring > 0, t.name.includes('ring'));
  const grown = Object.entries(MORE_MAX).flatMap(([name, most]) => {
    const [was, is] = [before[name as keyof Holds], after[name as keyof Holds]];
    return is > was + most ? [`${name}: ${was}, then ${is}`] : [];
  });
  assert.deepEqual(grown, []);
});
