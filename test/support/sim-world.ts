/**
 * An in-memory kernel with the real pages, scheduler and operations above it, ready for a
 * program.
 *
 *   const sim = await simWorld(top, { seed: 1, faults: { ...NO_FAULTS, wouldBlock: 128 } });
 *   await run(program, sim.world);
 *   sim.assertNothingLeft();
 */
import assert from 'node:assert/strict';
import { NO_LINK, SLOT_SIZE } from '../../src/abi/entry.ts';
import { Kernel } from '../../src/kernel/kernel.ts';
import type { KernelOptions } from '../../src/kernel/options.ts';
import { describeFaults, type FaultPlan, NO_FAULTS } from '../../src/kernel/sim/faults.ts';
import { SimKernel } from '../../src/kernel/sim/native.ts';
import { furnish, type World, world } from './fs-program.ts';
import { type Form, kernelFs } from './kernel-fs.ts';

export interface SimWorldOptions {
  readonly seed: number;
  readonly faults?: FaultPlan;
  readonly form?: Form;
  readonly kernel?: KernelOptions;
  readonly capacity?: number;
  readonly openFilesMax?: number;
}

export interface SimWorld {
  readonly sim: SimKernel;
  readonly kernel: Kernel;
  readonly world: World;
  /** Every entry, block and descriptor is back, but for those in `world.fds`. */
  assertNothingLeft(): void;
  /** For the message of a failure. */
  describe(): string;
}

/** What is given back is junk from then on (as in xv6's kalloc): whoever still reads it is seen. */
function scribble(kernel: Kernel): void {
  const { pool, pages, desk } = kernel;
  const give = pool.give.bind(pool);
  pool.give = (block) => {
    pool.bytes.fill(0xdb, block, block + 4096);
    give(block);
  };
  const free = pages.free.bind(pages);
  pages.free = (id) => {
    for (let at = id; at !== NO_LINK; at = pages.next(at))
      desk.slots.fill(0xdb, at * SLOT_SIZE, (at + 1) * SLOT_SIZE);
    free(id);
  };
}

/** A furnished world whose top has the same name as the oracle's. */
export async function simWorld(top: string, options: SimWorldOptions): Promise<SimWorld> {
  const { seed, faults = NO_FAULTS, form = 'callback' } = options;
  const kernelOptions = { pages: 1, pagesMax: 2, ring: true, ...options.kernel };
  const sim = new SimKernel({
    seed,
    pagesMax: kernelOptions.pagesMax,
    faults,
    fileSystem: {
      uid: process.getuid!(),
      gid: process.getgid!(),
      umask: process.umask(),
      capacity: options.capacity,
    },
    openFilesMax: options.openFilesMax ?? 1024,
  });
  const kernel = Kernel.over((drain) => sim.open(drain), kernelOptions);
  scribble(kernel);
  assert.equal(kernel.ring, null);
  assert.match(kernel.ringRefused, /not permitted/);
  const own = world(top, kernelFs(kernel, form), false);
  sim.faults.enabled = false;
  await furnish(own);
  sim.faults.enabled = true;
  return {
    sim,
    kernel,
    world: own,
    assertNothingLeft() {
      assert.equal(kernel.inFlight, 0, 'operations in flight');
      assert.equal(kernel.statistics().entriesInUse, 0, 'entries in use');
      assert.equal(kernel.pool.taken, 0, 'blocks taken');
      const open = own.fds.filter((fd) => fd !== undefined);
      assert.deepEqual(sim.machine.files.numbers.sort(), [...open].sort(), 'descriptors open');
    },
    describe: () => `seed ${seed}\n${describeFaults(sim.faults.log)}`,
  };
}
