/**
 * One trial of the overhead benchmark, in a process of its own: what a call costs from TypeScript
 * in batches, in one configuration (cores, rings and crews are settings of a process).
 *
 *   for (const figure of runTrial({ setting: 'batching', … })) console.log(figure);
 *
 * The cycle is the paper's: claim an entry, fill it, post it; flexsc_wait; take the result, free
 * the entry. Nothing else runs in the process.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { NUMBER_NOP, SLOT_SIZE } from '../abi/entry.ts';
import { syscallNumber } from '../abi/syscalls.ts';
import { type Completion, Kernel } from '../kernel/kernel.ts';
import type { KernelOptions } from '../kernel/options.ts';
import type { Route } from '../kernel/routes.ts';
import { loadAddon } from '../native/addon.ts';
import { type PostedCall, register } from '../syscall.ts';

/** How a process is set up. */
export type Setting = 'sync' | 'batching' | 'post' | 'sqpoll' | 'crew';
type PageSetting = Exclude<Setting, 'sync' | 'post'>;

export interface TrialPlan {
  readonly setting: Setting;
  /** A file of `fileBytes` bytes, in the page cache. */
  readonly file: string;
  readonly batches: readonly number[];
  /** The core that works for us in the settings sqpoll and crew; the program keeps off it. */
  readonly cpu: number;
  readonly rounds: number;
  readonly roundMs: number;
}

export interface Figure {
  readonly case: string;
  readonly batch: number;
  /** Nanoseconds per call in the fastest round: the one least disturbed by others. */
  readonly ns: number;
}

/** A case that this machine cannot do. */
export interface SkippedCase {
  readonly case: string;
  readonly skipped: string;
}

export const READ_BYTES = 1024;
export const FILE_BYTES = 65_536;
const BATCH_MAX = 512;
/** Calls before the first measurement, so that V8 has compiled what is measured. */
const WARM_CALLS = 100_000;

const OPTIONS: Readonly<Record<PageSetting, (cpu: number) => KernelOptions>> = {
  // One core does everything: long batches are not shared with the crew.
  batching: () => ({ share: false }),
  sqpoll: (cpu) => ({ share: false, sqpollCore: cpu, sqpollIdleMs: 1000 }),
  crew: (cpu) => ({ ring: false, cores: [cpu] }),
};

type Fill = (kernel: Kernel, id: number, index: number) => void;

interface Case {
  readonly name: string;
  readonly call: 'nop' | 'getppid' | 'pread64';
  readonly route: Route;
}

export function* runTrial(plan: TrialPlan): Generator<Figure | SkippedCase> {
  if (plan.setting === 'sync') yield* synchronous(plan);
  else if (plan.setting === 'post') yield* publicApi(plan);
  else yield* posted(plan, plan.setting);
}

/** This thread runs on the other cores, as the C limit does. */
function keepOff(cpu: number, kernel: Kernel): void {
  if (availableParallelism() === 1) return;
  const { pages } = kernel;
  const id = pages.claim();
  const slot = id * SLOT_SIZE;
  const call = (name: 'sched_getaffinity' | 'sched_setaffinity') => {
    pages.call(id, syscallNumber(name), 3, 0);
    pages.setInt(id, 0, process.pid); // the main thread's id is the process's
    pages.setInt(id, 1, 128);
    pages.setSlot(id, 2, 0);
    let done = false;
    kernel.post(id, {
      done() {
        done = true;
      },
    });
    while (!done) kernel.wait();
  };
  call('sched_getaffinity');
  kernel.desk.slots[slot + (cpu >> 3)] &= ~(1 << (cpu & 7));
  call('sched_setaffinity');
  pages.free(id);
}

/* --- One trap per call -------------------------------------------------------------------------- */

function* synchronous(plan: TrialPlan): Generator<Figure> {
  const { addon } = loadAddon();
  if (addon === null) return;
  const kernel = Kernel.register({ ring: false });
  keepOff(plan.cpu, kernel);
  kernel.close();
  const getppid = syscallNumber('getppid');
  const loop = (batch: number) => {
    for (let i = 0; i < batch; i++) addon.systemCall(getppid);
  };
  yield { case: 'getppid', batch: 1, ns: measure(loop, 64, plan) };

  const fd = openSync(plan.file, 'r');
  const buffer = Buffer.alloc(READ_BYTES);
  const read = (batch: number) => {
    for (let i = 0; i < batch; i++) readSync(fd, buffer, 0, READ_BYTES, offsetOf(i));
  };
  yield { case: 'read', batch: 1, ns: measure(read, 64, plan) };
  closeSync(fd);
}

function offsetOf(index: number): number {
  return (index * READ_BYTES) % FILE_BYTES;
}

/* --- Syscall pages ------------------------------------------------------------------------------ */

const CASES: Readonly<Record<PageSetting, readonly Case[]>> = {
  batching: [
    { name: 'nop', call: 'nop', route: 'ring' },
    { name: 'getppid', call: 'getppid', route: 'spot' },
    { name: 'read', call: 'pread64', route: 'spot' },
    { name: 'read-ring', call: 'pread64', route: 'ring' },
  ],
  sqpoll: [
    { name: 'nop-sqpoll', call: 'nop', route: 'ring' },
    { name: 'read-sqpoll', call: 'pread64', route: 'ring' },
  ],
  crew: [
    { name: 'nop-crew', call: 'nop', route: 'crew' },
    { name: 'getppid-crew', call: 'getppid', route: 'crew' },
    { name: 'read-crew', call: 'pread64', route: 'crew' },
  ],
};

function* posted(plan: TrialPlan, setting: PageSetting): Generator<Figure | SkippedCase> {
  const options = { pages: 16, ringEntries: BATCH_MAX, ...OPTIONS[setting](plan.cpu) };
  const kernel = Kernel.register(options);
  keepOff(plan.cpu, kernel);
  const fd = openSync(plan.file, 'r');
  const fillRead = readsInto(kernel, fd);
  for (const one of CASES[setting]) {
    if (one.route === 'ring' && kernel.ring === null) {
      yield { case: one.name, skipped: kernel.ringRefused };
      continue;
    }
    const number = one.call === 'nop' ? NUMBER_NOP : syscallNumber(one.call);
    kernel.reroute(number, one.route);
    const fill = one.call === 'pread64' ? fillRead : null;
    const run = batchRunner(kernel, number, fill, setting !== 'batching');
    const before = elsewhere(kernel, one);
    for (let calls = 0; calls < WARM_CALLS; calls += 64) run(64);
    const figures: Figure[] = [];
    for (const batch of plan.batches)
      figures.push({ case: one.name, batch, ns: measure(run, batch, plan) });
    // A busy machine closes the spot now and then; then these were another route's figures.
    if (elsewhere(kernel, one) - before > WARM_CALLS / 10)
      yield { case: one.name, skipped: `some of the calls were not on the ${one.route}` };
    else yield* figures;
  }
  closeSync(fd);
  kernel.close();
}

/** Calls of a case that another kind of syscall thread ran. */
function elsewhere(kernel: Kernel, { call, route }: Case): number {
  const counts = kernel.statistics().byName[call];
  if (counts === undefined) return 0;
  return counts.spot + counts.ring + counts.crew - counts[route];
}

/** Reads into memory with a known address, a piece for each call: as the same calls in C do. */
function readsInto(kernel: Kernel, fd: number): Fill {
  const blocks = Int32Array.from({ length: BATCH_MAX }, () => kernel.pool.take(READ_BYTES));
  return ({ pages, pool }, id, index) => {
    pages.setInt(id, 0, fd);
    pages.setAddress(id, 1, pool.addressLow + blocks[index], pool.addressHigh);
    pages.setInt(id, 2, READ_BYTES);
    pages.setInt(id, 3, offsetOf(index));
  };
}

/** Runs a batch to its end. Served by another core it polls, as the C limit does; on this core
 *  it enters the kernel for the whole batch. */
function batchRunner(
  kernel: Kernel,
  number: number,
  fill: Fill | null,
  polls: boolean,
): (batch: number) => void {
  const { pages } = kernel;
  const argc = fill === null ? 0 : 4;
  let left = 0;
  const completion: Completion = {
    done(_kernel, id) {
      const result = pages.result(id);
      pages.free(id);
      left--;
      if (result < 0) throw new Error(`system call ${number} failed: ${result}`);
    },
  };
  return (batch) => {
    left = batch;
    for (let i = 0; i < batch; i++) {
      const id = pages.claim();
      pages.call(id, number, argc, 0);
      if (fill !== null) fill(kernel, id, i);
      kernel.post(id, completion);
    }
    while (left > 0) kernel.wait(polls ? 0 : -1);
  };
}

/** The no-op once more, as authors of systems code post it: with an object for each call. */
function* publicApi(plan: TrialPlan): Generator<Figure | SkippedCase> {
  const kernel = register({ share: false, pages: 16, ringEntries: BATCH_MAX });
  keepOff(plan.cpu, kernel.kernel);
  if (kernel.ringRefused !== null) {
    yield { case: 'nop-post', skipped: kernel.ringRefused };
  } else {
    const calls: PostedCall[] = new Array(BATCH_MAX);
    const run = (batch: number) => {
      for (let i = 0; i < batch; i++) calls[i] = kernel.post('nop');
      while (kernel.inFlight > 0) kernel.wait();
      for (let i = 0; i < batch; i++)
        if (calls[i].number !== 0) throw new Error('a no-op returned something');
    };
    for (let posted = 0; posted < WARM_CALLS; posted += 64) run(64);
    for (const batch of plan.batches)
      yield { case: 'nop-post', batch, ns: measure(run, batch, plan) };
  }
  kernel.close();
}

/** Nanoseconds per call in the fastest round. */
function measure(run: (batch: number) => void, batch: number, plan: TrialPlan): number {
  for (let i = 0; i < 20; i++) run(batch);
  let fastest = Number.POSITIVE_INFINITY;
  for (let round = 0; round < plan.rounds; round++) {
    const started = performance.now();
    let calls = 0;
    let tookMs = 0;
    while (tookMs < plan.roundMs) {
      for (let i = 0; i < 8; i++) run(batch);
      calls += 8 * batch;
      tookMs = performance.now() - started;
    }
    fastest = Math.min(fastest, (tookMs * 1e6) / calls);
  }
  return fastest;
}
