/**
 * Does fs on syscall pages do what node:fs does? Random programs run twice, on a real kernel and
 * on Node's own functions, each in a world of its own. Every result and every error must be
 * the same (code, errno, syscall, message, path, own properties), and so must the two trees
 * afterwards; no entry, block or descriptor may be left.
 *
 * A failure means that a program under trapless would see something else than under Node.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { Kernel } from '../../src/kernel/kernel.ts';
import type { KernelOptions } from '../../src/kernel/options.ts';
import { anyStep, closeAll, furnish, nodeStep, run, world } from '../support/fs-program.ts';
import { realTree } from '../support/fs-tree.ts';
import { type Form, kernelFs, nodeFunctions } from '../support/kernel-fs.ts';
import { holds } from '../support/property.ts';
import { openDescriptors, removeTree, temporaryDirectory } from '../support/scratch.ts';

let scratch: string;
before(() => {
  scratch = temporaryDirectory('property-real');
});
after(() => removeTree(scratch));

const TIERS: Readonly<Record<string, KernelOptions>> = {
  ring: { ring: true },
  'crew alone': { ring: false },
  // 64 entries in all: programs that do much at a time must wait for room.
  'one page': { ring: true, pages: 1, pagesMax: 1 },
  'grouped, nothing shared': { ring: true, order: 'grouped', share: false },
};

for (const [name, options] of Object.entries(TIERS))
  test(`programs on ${name} equal node fs`, async (t) => {
    const kernel = Kernel.register(options);
    t.after(() => kernel.close());
    if (options.ring && kernel.ring === null) return t.skip(kernel.ringRefused);
    let runs = 0;
    const property = fc.asyncProperty(
      fc.array(fc.oneof({ weight: 20, arbitrary: anyStep }, nodeStep), {
        minLength: 1,
        maxLength: 30,
      }),
      fc.constantFrom<Form>('callback', 'promise'),
      async (program, form) => {
        const base = join(scratch, `run${runs++}`);
        // Names of one length: errors about long paths depend on it.
        const [ours, theirs] = [join(base, 'ours'), join(base, 'node')];
        for (const top of [ours, theirs]) fs.mkdirSync(top, { recursive: true });
        const node = nodeFunctions(form);
        const worlds = [world(ours, kernelFs(kernel, form, node), true), world(theirs, node, true)];
        try {
          for (const one of worlds) await furnish(one);
          const [actual, expected] = [await run(program, worlds[0]), await run(program, worlds[1])];
          assert.deepEqual(fs.readdirSync(base).sort(), ['node', 'ours'], 'it left its world');
          for (const [i, step] of program.entries())
            assert.deepEqual(actual[i], expected[i], `step ${i}, ${JSON.stringify(step)}`);
          assert.deepEqual(realTree(ours), realTree(theirs));
          assert.equal(kernel.statistics().entriesInUse, 0, 'entries in use');
          assert.equal(kernel.pool.taken, 0, 'blocks taken');
          assert.deepEqual(openDescriptors(base), [], 'descriptors open');
        } finally {
          for (const one of worlds) await closeAll(one);
          removeTree(base);
        }
      },
    );
    await holds(t.name, 25, property, 'test/property/real.test.ts');
  });
