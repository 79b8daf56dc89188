/**
 * Errors that a program must be told, on the in-memory kernel: ENOSPC, EIO, EMFILE and their like
 * injected into any system call, mixed with short transfers and delays.
 *
 * - An operation in which a call failed rejects with that very code, and one in which none did
 *   does not: no error is swallowed, none comes late.
 * - What an operation says it wrote is there, what it says it read is the whole file: never a
 *   silent truncation.
 * - Whatever happened, no entry, block or descriptor is left, and every operation settles.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { ERRNO, errnoName } from '../../src/abi/errno.ts';
import type { InjectedFault } from '../../src/kernel/sim/faults.ts';
import { type HardFault, NO_FAULTS } from '../../src/kernel/sim/faults.ts';
import { attempt, closeAll, content, type Step, wholeStep } from '../support/fs-program.ts';
import type { Form } from '../support/kernel-fs.ts';
import { holds } from '../support/property.ts';
import { type SimWorld, simWorld } from '../support/sim-world.ts';

const DIR = '/sim/property-errors';

/** Which calls fail how. */
const KINDS: readonly (readonly [call: string, errno: number])[] = [
  ['openat', ERRNO.EMFILE],
  ['openat', ERRNO.EIO],
  ['openat', ERRNO.ENOSPC],
  ['close', ERRNO.EIO],
  ['write', ERRNO.ENOSPC],
  ['write', ERRNO.EIO],
  ['read', ERRNO.EIO],
  ['pread64', ERRNO.EIO],
  ['getdents64', ERRNO.EIO],
  ['statx', ERRNO.EIO],
  ['ftruncate', ERRNO.EIO],
  ['fsync', ERRNO.EIO],
  ['fdatasync', ERRNO.ENOSPC],
  ['mkdirat', ERRNO.ENOSPC],
  ['unlinkat', ERRNO.EIO],
  ['renameat2', ERRNO.ENOSPC],
  ['symlinkat', ERRNO.ENOSPC],
  ['linkat', ERRNO.EIO],
  ['readlinkat', ERRNO.EIO],
  ['faccessat', ERRNO.EIO],
  ['fchmod', ERRNO.EIO],
  ['utimensat', ERRNO.EIO],
];

const failing = (kinds: typeof KINDS, ratio: number): HardFault[] =>
  kinds.map(([call, errno]) => ({ call, errno, ratio }));

/** Anything now and then, or a few calls often. */
const hardFaults: fc.Arbitrary<HardFault[]> = fc.oneof(
  fc.constantFrom(4, 16, 48).map((ratio) => failing(KINDS, ratio)),
  fc
    .tuple(fc.subarray([...KINDS], { minLength: 1, maxLength: 3 }), fc.constantFrom(64, 256))
    .map(([kinds, ratio]) => failing(kinds, ratio)),
);

const plan = fc
  .record({
    wouldBlock: fc.constantFrom(0, 128, 256),
    delayMax: fc.integer({ min: 0, max: 2 }),
    reorder: fc.boolean(),
    shortRead: fc.constantFrom(0, 128),
    shortWrite: fc.constantFrom(0, 128),
    interrupt: fc.constantFrom(0, 64),
    hard: hardFaults,
  })
  .map((given) => ({ ...NO_FAULTS, ...given }));

interface Failure {
  readonly code?: string;
}

/** Every error in an outcome, those of simultaneous steps too. */
function failuresIn(outcome: unknown): Failure[] {
  if (Array.isArray(outcome)) return outcome.flatMap(failuresIn);
  const isFailure = typeof outcome === 'object' && outcome !== null && 'error' in outcome;
  return isFailure ? [outcome as Failure] : [];
}

/** What no program of ours runs into unless it is injected. */
const INJECTED_ONLY = new Set([ERRNO.EIO, ERRNO.EMFILE, ERRNO.ENOSPC].map(errnoName));

/** Closing what was only read loses nothing: that it failed need not be said. */
const READING = new Set(['readFile', 'readdir', 'together', 'many', 'reread', 'rm']);

/** Whether an operation may succeed although this call failed. */
function mayHide(step: Step, { call, detail }: InjectedFault): boolean {
  if (call === 'close') return READING.has(step.op);
  // While others have files open, who may open none comes again.
  if (detail === 'EMFILE') return step.op === 'together' || step.op === 'many';
  // What exists in the middle of a path and is not seen to be a directory is none: Node's ENOTDIR.
  if (call === 'statx' && step.op === 'mkdir') return step.path?.includes('/') ?? false;
  // Node's recursive readdir takes what it cannot stat for no directory.
  return call === 'statx' && (step.op === 'readdir' || step.op === 'together');
}

function checkErrors(step: Step, outcome: unknown, injected: readonly InjectedFault[]): void {
  const codes = failuresIn(outcome).map(({ code }) => code ?? 'none');
  const told = injected.filter((fault) => !mayHide(step, fault));
  const wanted = new Set(injected.map(({ detail }) => detail));
  const what = `${JSON.stringify(step)} -> ${JSON.stringify(outcome)}`;
  for (const code of codes)
    if (INJECTED_ONLY.has(code)) assert.ok(wanted.has(code), `${code} was not injected: ${what}`);
  if (told.length === 0) return;
  assert.ok(
    codes.some((code) => wanted.has(code)),
    `${[...wanted]} was swallowed: ${what}`,
  );
}

/** A write that succeeded is all there. */
function checkContent(step: Step, outcome: unknown, { sim, world }: SimWorld): void {
  if (outcome !== undefined || (step.op !== 'writeFile' && step.op !== 'appendFile')) return;
  const path = Buffer.from(`${world.dir}/${step.path}`).toString('latin1');
  const there = sim.machine.fs.contentOf(path);
  const data = content(step.size, step.fill);
  const flag = step.flag ?? 'a';
  if (flag.startsWith('w')) assert.deepEqual(there, data, 'content written');
  else if (flag.startsWith('a'))
    assert.ok(there.subarray(-data.length).equals(data) || !data.length);
  else assert.deepEqual(there.subarray(0, data.length), data, 'content written over');
}

/** A read that succeeded was whole: the same read without faults returns the same. */
async function checkRead(step: Step, outcome: unknown, { sim, world }: SimWorld): Promise<void> {
  if (step.op !== 'readFile' || failuresIn(outcome).length > 0) return;
  sim.faults.enabled = false;
  assert.deepEqual(outcome, await attempt(world, step), 'content read');
  sim.faults.enabled = true;
}

async function runStep(step: Step, own: SimWorld): Promise<void> {
  const { kernel, sim, world } = own;
  const before = sim.faults.log.length;
  const outcome = await attempt(world, step);
  // A recursive rm is over at its first error; what it had begun beside that comes to its end later.
  while (kernel.inFlight > 0) await setImmediate();
  const injected = sim.faults.log.slice(before).filter(({ fault }) => fault === 'hard');
  checkErrors(step, outcome, injected);
  checkContent(step, outcome, own);
  await checkRead(step, outcome, own);
}

test('injected errors come out as themselves', async (t) => {
  const property = fc.asyncProperty(
    fc.array(wholeStep, { minLength: 5, maxLength: 25 }),
    fc.nat(),
    fc.constantFrom<Form>('callback', 'promise'),
    plan,
    async (program, seed, form, faults) => {
      const own = await simWorld(DIR, { seed, form, faults });
      try {
        for (const step of program) await runStep(step, own);
        own.assertNothingLeft();
        own.sim.faults.enabled = false;
        await closeAll(own.world);
        own.assertNothingLeft();
      } catch (error) {
        throw new Error(`${(error as Error).message}\n${own.describe()}`, { cause: error });
      } finally {
        own.kernel.close();
      }
    },
  );
  await holds(t.name, 150, property, 'test/property/sim-errors.test.ts');
});
