/**
 * Do the locks exclude each other's threads? Four workers, more than there may be cores, count with
 * plain loads and stores in shared memory, under each lock: without a hypervisor, and with slices
 * that come and go and halts that only a kick ends. A lost wake-up is a test that never ends, which
 * the deadline turns into a failure that says where the threads are.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { SHARE_INFO, VCPU_STATE } from '../../src/abi/share-info.ts';
import {
  freeVcpu,
  LOCKS,
  type LockName,
  type LockOptions,
  type LockStats,
  type Vcpu,
  wordsOf,
} from '../../src/locks.ts';
import { ShareInfo } from '../../src/share-info/share-info.ts';

const THREADS = 4;
/** Rounds with a holder that sleeps now and then, so that the others wait; and all in all. */
const SLEEPY_ROUNDS = 200;
const ROUNDS = 20_000;
/** Who goes on after the sleepy rounds: no more than cores, so that they collide. */
const HOT_THREADS = 2;
const ACQUISITIONS = THREADS * SLEEPY_ROUNDS + HOT_THREADS * (ROUNDS - SLEEPY_ROUNDS);
const DEADLINE_MS = 90_000;
const NAMES = Object.keys(LOCKS) as LockName[];

/** Shared words; then the lock's memory. */
const RUN = 0; // which run is on
const COUNT = 1;
const MIRROR = 2; // the complement of COUNT while nobody is in the critical section
const VIOLATIONS = 3;
const NEVER = 4; // slept on
const READY = 5; // threads that ever came to a run
const TOKENS = 6; // one word per thread: kicked
const WORDS = TOKENS + THREADS;

interface Run {
  name: LockName;
  options?: LockOptions;
  /** Tickets start near the wrap-around. */
  tickets?: number;
  sliced?: boolean;
}

/** Even: paravirtual tickets go up by two. */
const NEAR_THE_END = 2 ** 31 - 200;

const RUNS: Run[] = [
  ...NAMES.map((name) => ({ name })),
  // Halts from the first contention on: the paths with wake-ups to lose.
  ...(['pv-ticket', 'oticket', 'pv-qspinlock'] as const).map((name) => ({
    name,
    sliced: true,
    options: { spinThreshold: name === 'oticket' ? 2 ** -17 : 4 },
  })),
  ...(['pts', 'pts'] as const).map((name, i) => ({
    name,
    options: { shift: 2, spinBy: (['iterations', 'time'] as const)[i] },
  })),
  ...NAMES.filter((name) => name.includes('ticket') || name === 'pts').map((name) => ({
    name,
    tickets: NEAR_THE_END,
  })),
  ...NAMES.filter((name) => name.includes('ispinlock')).map((name) => ({
    name,
    sliced: true,
    tickets: NEAR_THE_END,
  })),
];
const wordsFor = ({ name }: Run) => wordsOf(LOCKS[name], THREADS);
const offsetOf = (run: number) =>
  4 * RUNS.slice(0, run).reduce((sum, it) => sum + wordsFor(it), WORDS);

interface Data {
  memory: SharedArrayBuffer;
  info: SharedArrayBuffer;
  index: number;
}

/** With slices that the main thread makes up, and halts that only a kick ends. */
class SlicedVcpu implements Vcpu {
  readonly first = 0;
  readonly count = THREADS;
  readonly info: ShareInfo;
  readonly id: number;
  private readonly words: Int32Array;
  private readonly free = freeVcpu();

  constructor(id: number, info: SharedArrayBuffer, words: Int32Array) {
    this.id = id;
    this.info = new ShareInfo(info);
    this.words = words;
  }
  nowNs(): number {
    return this.free.nowNs();
  }
  relax(iterations: number): void {
    this.free.relax(iterations);
  }
  yield(): void {
    this.free.halt();
  }
  halt(): void {
    while (Atomics.exchange(this.words, TOKENS + this.id, 0) === 0)
      Atomics.wait(this.words, TOKENS + this.id, 0);
  }
  kick(vcpu: number): void {
    Atomics.store(this.words, TOKENS + vcpu, 1);
    Atomics.notify(this.words, TOKENS + vcpu);
  }
}

function work({ memory, info, index }: Data, run: number): LockStats {
  const words = new Int32Array(memory, 0, WORDS);
  const { name, options, sliced } = RUNS[run];
  const vcpu = sliced ? new SlicedVcpu(index, info, words) : freeVcpu(index, THREADS);
  const lock = LOCKS[name].create(
    new Int32Array(memory, offsetOf(run), wordsFor(RUNS[run])),
    vcpu,
    options,
  );
  // All at once: a run is soon over.
  Atomics.add(words, READY, 1);
  Atomics.notify(words, READY);
  const everybody = THREADS * (run + 1);
  for (let now = Atomics.load(words, READY); now < everybody; now = Atomics.load(words, READY))
    Atomics.wait(words, READY, now);
  const rounds = index < HOT_THREADS ? ROUNDS : SLEEPY_ROUNDS;
  for (let i = 0; i < rounds; i++) {
    if (i % 5 !== 0 || !lock.tryLock()) lock.lock();
    const count = words[COUNT];
    if (words[MIRROR] !== ~count) words[VIOLATIONS]++;
    words[COUNT] = count + 1;
    if (i < SLEEPY_ROUNDS && i % 50 === 0) Atomics.wait(words, NEVER, 0, 0.05);
    if (words[COUNT] !== count + 1) words[VIOLATIONS]++;
    words[MIRROR] = ~(count + 1);
    lock.unlock();
  }
  return lock.stats;
}

function runWorker(data: Data): void {
  const words = new Int32Array(data.memory, 0, WORDS);
  for (let run = 0; run < RUNS.length; run++) {
    for (let now = Atomics.load(words, RUN); now <= run; now = Atomics.load(words, RUN))
      Atomics.wait(words, RUN, now);
    parentPort!.postMessage({ run, stats: work(data, run) });
  }
}

function runTests(): void {
  describe('locks exclude each other', () => {
    const memory = new SharedArrayBuffer(offsetOf(RUNS.length));
    const words = new Int32Array(memory, 0, WORDS);
    const info = new SharedArrayBuffer(SHARE_INFO.size * THREADS);
    const lines = new DataView(info);
    const clock = freeVcpu();
    const workers: Worker[] = [];
    const stats = RUNS.map((): LockStats[] => []);
    let failure: Error | null = null;

    const folder = mkdtempSync(join(tmpdir(), 'trapless-locks-'));

    before(async () => {
      // Workers do not inherit the loader of TypeScript: they get this file as a bundle.
      const file = join(folder, 'locks.mjs');
      const { buildSync } = await import('esbuild');
      buildSync({
        entryPoints: [fileURLToPath(import.meta.url)],
        bundle: true,
        platform: 'node',
        format: 'esm',
        external: ['esbuild'],
        outfile: file,
      });
      for (let index = 0; index < THREADS; index++) {
        const data: Data = { memory, info, index };
        const worker = new Worker(file, { workerData: data });
        worker.on('message', (message) => stats[message.run].push(message.stats));
        worker.on('error', (error: Error) => {
          failure = error;
        });
        workers.push(worker);
      }
    });
    after(async () => {
      await Promise.all(workers.map((worker) => worker.terminate()));
      rmSync(folder, { recursive: true });
    });

    /** Every vCPU another slice: 1 ms, of which the informed locks give away the end. */
    function nextSlices(): void {
      for (let i = 0; i < THREADS; i++) {
        const line = SHARE_INFO.size * i;
        const slice = lines.getUint32(line + SHARE_INFO.sliceId, true);
        lines.setFloat64(line + SHARE_INFO.preemptionNs, clock.nowNs() + 1e6, true);
        lines.setUint32(line + SHARE_INFO.sliceId, slice + 1, true);
        lines.setInt32(line + SHARE_INFO.state, VCPU_STATE.running, true);
      }
    }

    for (const [run, { name, options, tickets, sliced }] of RUNS.entries()) {
      const how = [
        sliced && 'slices',
        tickets && 'wrap-around',
        options && JSON.stringify(options),
      ];
      it([name, ...how.filter(Boolean)].join(', '), async () => {
        const lock = new Int32Array(memory, offsetOf(run), wordsFor(RUNS[run]));
        if (tickets !== undefined) lock[0] = lock[1] = tickets;
        words[COUNT] = -100;
        words[MIRROR] = ~-100;
        words[VIOLATIONS] = 0;
        nextSlices();
        Atomics.store(words, RUN, run + 1);
        Atomics.notify(words, RUN);
        const until = performance.now() + DEADLINE_MS;
        while (stats[run].length < THREADS) {
          await new Promise((resolve) => setTimeout(resolve, 1));
          nextSlices();
          if (failure) throw failure;
          if (performance.now() > until)
            assert.fail(
              `${stats[run].length} of ${THREADS} are through; the lock's words: ${lock}`,
            );
        }
        assert.equal(words[VIOLATIONS], 0);
        assert.equal(words[COUNT], -100 + ACQUISITIONS);
        const sum = (key: keyof LockStats) => stats[run].reduce((all, it) => all + it[key], 0);
        assert.equal(sum('acquisitions'), ACQUISITIONS);
        assert.ok(sum('waits') > 0, 'the threads never met');
        if (options?.spinThreshold) assert.ok(sum('halts') > 0, 'nobody halted');
        if (sliced && name.includes('ispinlock'))
          assert.ok(sum('incapable') > 0, 'all were capable');
        if (tickets !== undefined) assert.equal(lock[0], lock[1]);
      });
    }
  });
}

if (isMainThread) runTests();
else runWorker(workerData);
