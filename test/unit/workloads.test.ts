/**
 * Do the workloads of the lock experiments do their work, alone and with two threads, and do they
 * notice when it is wrong? A failure means that an experiment could report figures of a lock that
 * does not exclude, or of work that was not done.
 *
 * Threads run free here, without a hypervisor. Nothing depends on how fast they are.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runInChild } from '../../src/lab/locks/children.ts';
import { type PointPlan, runPoint } from '../../src/lab/locks/run-point.ts';
import { findCompiler, moduleSource, stripped } from '../../src/lab/workloads/compiler.ts';
import { ebizzy, Heap } from '../../src/lab/workloads/ebizzy.ts';
import { WORKLOADS, type WorkloadName } from '../../src/lab/workloads/index.ts';
import { kernbench } from '../../src/lab/workloads/kernbench.ts';
import { micro } from '../../src/lab/workloads/micro.ts';
import { gaussLegendre, machin, neighbour } from '../../src/lab/workloads/neighbour.ts';
import { bucketOf, bucketPercentile, HoldTimer } from '../../src/lab/workloads/observers.ts';
import { pbzip2 } from '../../src/lab/workloads/pbzip2.ts';
import { RingQueue } from '../../src/lab/workloads/ring-queue.ts';
import { VoidRun, type Workload, type WorkloadPlan } from '../../src/lab/workloads/workload.ts';
import { LOCKS } from '../../src/locks/index.ts';
import { freeVcpu } from '../../src/share-info/vcpu.ts';

const folder = mkdtempSync(join(tmpdir(), 'workloads-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Small amounts of work, of every workload. */
const SIZES: Record<WorkloadName, number> = {
  micro: 2000,
  kernbench: 12,
  pbzip2: 9,
  ebizzy: 300,
  neighbour: 2,
};
const NAMES = Object.keys(WORKLOADS) as WorkloadName[];

function planOf(size: number, more: Partial<WorkloadPlan> = {}): WorkloadPlan {
  return { vcpus: 1, seconds: 3600, seed: 7, size, directory: folder, vm: 0, ...more };
}

/** In this thread, under ticket locks. */
async function alone<S>(workload: Workload<S>, plan: WorkloadPlan) {
  const memory = workload.prepare(plan);
  const state = await workload.load(plan, memory);
  const vcpu = freeVcpu();
  const locks = Array.from({ length: workload.locks }, () =>
    LOCKS.ticket.create(new Int32Array(new SharedArrayBuffer(4 * 64)), vcpu),
  );
  const site = { plan, memory, vcpu, index: 0, locks, over: () => false };
  return { memory, outcome: workload.work(site, state), locks };
}

for (const name of NAMES) {
  test(`${name}, one thread`, async () => {
    const workload = WORKLOADS[name];
    const plan = planOf(SIZES[name]);
    const { memory, outcome, locks } = await alone(workload, plan);
    const units = name === 'neighbour' ? 1000 : 1;
    assert.equal(outcome.done, units * SIZES[name]);
    assert.equal(workload.check(plan, memory, [outcome]), undefined);
    if (workload.finished) assert.equal(workload.finished(plan, memory), true);
    for (const { stats } of locks) assert.ok(stats.acquisitions > 0);
  });

  test(`${name}, two threads`, async () => {
    const { vms, notes } = await runPoint(pointOf(name, SIZES[name]));
    assert.deepEqual(notes, []);
    const [vm] = vms;
    assert.equal(vm.threadSeconds.length, 2);
    assert.ok(vm.done >= SIZES[name]);
    assert.notEqual(vm.finished, false);
    assert.equal(vm.locks.acquisitions > 0, WORKLOADS[name].locks > 0);
  });
}

function pointOf(workload: WorkloadName, size: number, more: Partial<PointPlan> = {}): PointPlan {
  const vms = [{ workload, vcpus: 2, size }];
  return { lock: 'ticket', vms, pcpus: 0, seconds: 3600, seed: 7, ...more };
}

test('a lock that does nothing makes the run void', async () => {
  await assert.rejects(runPoint(pointOf('micro', 300_000, { lock: 'broken' })), (error: Error) => {
    assert.ok(error instanceof VoidRun, String(error));
    assert.match(error.message, /in the critical section \d+ times|were counted as/);
    return true;
  });
});

test('a run that does not end, or whose process dies, is void and not waited for', async () => {
  // A thousand hours of work, and a second to do it.
  const late = await runInChild('psp', pointOf('micro', 1e15), 1);
  assert.deepEqual(late, { void: 'it had not ended after 1 s' });
  const wrong = await runInChild('psp', pointOf('micro', 1, { lock: 'futex' as 'ticket' }));
  assert.ok('void' in wrong && /^error: /.test(wrong.void), JSON.stringify(wrong));
  const fine = await runInChild('psp', pointOf('micro', 10));
  assert.ok('vms' in fine && fine.vms[0].done === 20, JSON.stringify(fine));
});

test('micro: lost counts, unequal pairs and intruders are seen', async () => {
  const plan = planOf(10, { length: 3 });
  for (const [word, pattern] of [
    [0, /10 accesses were counted as 11/],
    [1, /the pair is 11 and 10 after 10 accesses/],
    [2, /the pair is 10 and/],
    [3, /in the critical section 1 times/],
  ] as const) {
    const { memory, outcome } = await alone(micro, plan);
    new Int32Array(memory.words)[word]++;
    assert.throws(() => micro.check(plan, memory, [outcome]), pattern);
  }
});

test('micro: an intruder inside the section is seen, whenever it comes', async () => {
  const plan = planOf(1, { length: 3 });
  const memory = micro.prepare(plan);
  const words = new Int32Array(memory.words);
  // As if another thread were in its middle: its word is written, the complement not yet.
  words[1] = 1;
  const lock = LOCKS.ticket.create(new Int32Array(new SharedArrayBuffer(256)), freeVcpu());
  const site = { plan, memory, vcpu: freeVcpu(), index: 0, locks: [lock], over: () => false };
  const outcome = micro.work(site);
  assert.throws(() => micro.check(plan, memory, [outcome]), /two threads were/);
});

test('kernbench: a wrong result, a lost job and a lost count are seen', async () => {
  const plan = planOf(5);
  const { memory, outcome } = await alone(kernbench, plan);
  assert.throws(() => kernbench.check(plan, memory, [{ done: 4 }]), /4 compilations were counted/);
  RingQueue.fromBuffer(memory.queue).put(3);
  assert.throws(
    () => kernbench.check(plan, memory, [outcome]),
    /5 were done, 0 abandoned and 1 are still/,
  );
  new Uint8Array(memory.output).fill(32);
  assert.throws(() => kernbench.check(plan, memory, [outcome]), /job 0 was compiled to something/);
});

test('kernbench: time may end in the middle of a job', async () => {
  const plan = planOf(5);
  const memory = kernbench.prepare(plan);
  const compiler = await kernbench.load(plan, memory);
  const vcpu = freeVcpu();
  const locks = [0, 1, 2].map(() =>
    LOCKS.ticket.create(new Int32Array(new SharedArrayBuffer(256)), vcpu),
  );
  let asked = 0;
  const site = { plan, memory, vcpu, index: 0, locks, over: () => ++asked > 150 };
  const outcome = kernbench.work(site, compiler);
  assert.ok(outcome.done > 0 && outcome.done < 5, String(outcome.done));
  assert.equal(kernbench.check(plan, memory, [outcome]), undefined);
  assert.equal(kernbench.finished?.(plan, memory), false);
  const claimed = { done: outcome.done };
  assert.throws(() => kernbench.check(plan, memory, [claimed]), /0 abandoned and/);
});

test('kernbench without typescript says so, and still compiles', () => {
  const compiler = findCompiler(['/nowhere']);
  assert.match(compiler.missing ?? '', /typescript is not installed.*npm install/);
  assert.equal(compiler.compile('// a\nlet  x = "b" /* c */ + y;'), 'let x="b"+y;');
  const source = moduleSource(3);
  assert.notEqual(source, moduleSource(4));
  assert.ok(stripped(source).length < source.length);
  assert.doesNotMatch(stripped(source), /generated/);
});

test('pbzip2: a changed byte, a lost block and a hole are seen', async () => {
  const plan = planOf(4);
  const { memory, outcome } = await alone(pbzip2, plan);
  assert.throws(() => pbzip2.check(plan, memory, [{ done: 3 }]), /of 4 blocks 3 were done/);
  const state = new Int32Array(memory.state);
  state[0]--;
  assert.throws(() => pbzip2.check(plan, memory, [outcome]), /4 blocks done, 3 written/);
  state[0]++;
  pbzip2.check(plan, memory, [outcome]);
  assert.ok(existsSync(join(folder, 'output-0.gz')));
  writeFileSync(join(folder, 'output-0.gz'), 'x', { flag: 'r+' });
  assert.throws(() => pbzip2.check(plan, memory, [outcome]), /differs from what one thread/);
});

test('ebizzy: chunks do not overlap and the free list closes again', () => {
  const heap = Heap.create(200);
  const chunks = [40, 50, 30].map((words) => heap.allocate(words));
  assert.ok(chunks.every((at, i) => i === 0 || at >= chunks[i - 1] + [40, 50, 30][i - 1]));
  assert.equal(heap.allocate(100), -1);
  heap.free(chunks[0]);
  heap.free(chunks[2]);
  assert.match(heap.leak() ?? '', /148 of 200 words are free/);
  assert.equal(heap.allocate(40), chunks[0], 'first fit');
  heap.free(chunks[0]);
  heap.free(chunks[1]);
  assert.equal(heap.leak(), undefined);
});

test('ebizzy: a leak and a circle in the free list are seen', () => {
  const plan = planOf(1);
  const memory = ebizzy.prepare(plan);
  const heap = new Heap(memory.heap);
  const at = heap.allocate(10);
  assert.throws(() => ebizzy.check(plan, memory, []), /heap is broken: .* words are free/);
  heap.free(at);
  const words = new Int32Array(memory.heap);
  words[words[0] + 1] = words[0];
  assert.throws(() => ebizzy.check(plan, memory, []), /circle/);
  assert.throws(() => heap.allocate(1e9), /circle/);
});

test('neighbour: two ways to pi', () => {
  assert.equal(machin(60), '314159265358979323846264338327950288419716939937510582097494');
  assert.equal(gaussLegendre(400), machin(400));
  const outcome = { done: 1, proof: machin(1000).replace('58979', '58978') };
  assert.throws(() => neighbour.check(planOf(1), {}, [outcome]), /are not Gauss-Legendre's/);
});

test('ring queue: order, full, empty, past its end', () => {
  const queue = RingQueue.fromBuffer(RingQueue.buffer(3));
  for (let round = 0; round < 5; round++) {
    assert.equal(queue.take(), -1);
    for (const value of [7, 8, 9]) assert.ok(queue.put(value));
    assert.equal(queue.put(10), false);
    assert.deepEqual([queue.take(), queue.take(), queue.take()], [7, 8, 9]);
    queue.put(round);
    assert.equal(queue.length, 1);
    assert.equal(queue.take(), round);
  }
});

test('hold times: every section is counted, in its bucket', () => {
  let nowNs = 0;
  const timer = new HoldTimer(() => nowNs);
  const lock = timer.watch(
    LOCKS.ticket.create(new Int32Array(new SharedArrayBuffer(256)), freeVcpu()),
  );
  for (const ns of [100, 100, 100, 6000]) {
    lock.lock();
    nowNs += ns;
    lock.unlock();
  }
  assert.equal(timer.counts[bucketOf(100)], 3);
  assert.equal(timer.counts[bucketOf(6000)], 1);
  const median = bucketPercentile(timer.counts, 0.5);
  assert.ok(median >= 100 && median < 120, String(median));
  assert.ok(bucketPercentile(timer.counts, 1) >= 6000);
});
