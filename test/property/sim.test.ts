/**
 * The in-memory kernel against node:fs as oracle: random programs run on the real pages,
 * scheduler and operations over simulated syscall threads, and on Node in a temporary directory.
 *
 * - Without faults, and with nothing but delays (calls that would block, late and reordered
 *   completions), every result and error is the same, and so is the tree.
 * - Short transfers, short listings and signals do not show in anything that is whole: readFile,
 *   writeFile, readdir and the rest are as they were without.
 *
 * Hard faults are in sim-errors.test.ts.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { SelectionOrder } from '../../src/kernel/options.ts';
import { type FaultPlan, NO_FAULTS } from '../../src/kernel/sim/faults.ts';
import {
  anyStep,
  closeAll,
  furnish,
  run,
  type Step,
  wholeStep,
  world,
} from '../support/fs-program.ts';
import { realTree, simTree } from '../support/fs-tree.ts';
import { type Form, nodeFunctions } from '../support/kernel-fs.ts';
import { holds } from '../support/property.ts';
import { removeTree, temporaryDirectory } from '../support/scratch.ts';
import { simWorld } from '../support/sim-world.ts';

let scratch: string;
let runs = 0;
before(() => {
  scratch = temporaryDirectory('property-sim');
});
after(() => removeTree(scratch));

const ratio = fc.integer({ min: 0, max: 256 });
const delays: fc.Arbitrary<FaultPlan> = fc
  .record({ wouldBlock: ratio, delayMax: fc.integer({ min: 0, max: 4 }), reorder: fc.boolean() })
  .map((plan) => ({ ...NO_FAULTS, ...plan }));
const softFaults: fc.Arbitrary<FaultPlan> = fc
  .record({
    wouldBlock: ratio,
    delayMax: fc.integer({ min: 0, max: 2 }),
    reorder: fc.boolean(),
    shortRead: ratio,
    shortWrite: ratio,
    shortListing: ratio,
    interrupt: fc.integer({ min: 0, max: 128 }),
  })
  .map((plan) => ({ ...NO_FAULTS, ...plan }));

const machine = fc.record({
  seed: fc.nat(),
  form: fc.constantFrom<Form>('callback', 'promise'),
  kernel: fc.record({
    pages: fc.constant(1),
    pagesMax: fc.integer({ min: 1, max: 3 }),
    order: fc.constantFrom<SelectionOrder>('as-found', 'grouped', 'io-first'),
    share: fc.boolean(),
  }),
});

function property(step: fc.Arbitrary<Step>, faults: fc.Arbitrary<FaultPlan>) {
  const program = fc.array(step, { minLength: 1, maxLength: 30 });
  return fc.asyncProperty(program, machine, faults, async (program, options, faults) => {
    const top = join(scratch, `run${runs++}`);
    fs.mkdirSync(top);
    const oracle = world(top, nodeFunctions(options.form), false);
    const {
      sim,
      world: ours,
      kernel,
      assertNothingLeft,
      describe,
    } = await simWorld(top, {
      ...options,
      faults,
    });
    try {
      await furnish(oracle);
      const expected = await run(program, oracle);
      const actual = await run(program, ours);
      for (const [i, step] of program.entries())
        assert.deepEqual(actual[i], expected[i], `step ${i}, ${JSON.stringify(step)}`);
      assert.deepEqual(simTree(sim.machine.fs, top), realTree(top));
      assert.deepEqual(fs.readdirSync(scratch), [basename(top)], 'the program left its world');
      assertNothingLeft();
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${describe()}`, { cause: error });
    } finally {
      await closeAll(oracle);
      kernel.close();
      removeTree(top);
    }
  });
}

const FILE = 'test/property/sim.test.ts';

test('sim without faults equals node fs', async (t) => {
  await holds(t.name, 100, property(anyStep, fc.constant(NO_FAULTS)), FILE);
});

test('sim with delays equals node fs', async (t) => {
  await holds(t.name, 100, property(anyStep, delays), FILE);
});

test('sim with short transfers and signals equals node fs', async (t) => {
  await holds(t.name, 100, property(wholeStep, softFaults), FILE);
});
