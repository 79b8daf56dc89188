/**
 * Is the simulated machine one that locks can be compared on? Method: what must hold of any machine
 * (time adds up, shares follow weights, one holder at a time, the same seed gives the same run), a
 * few cases that can be computed by hand, and the paper's main findings as inequalities. Simulated
 * time only: nothing here depends on how fast the tests run.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { EngineLock } from '../../src/lab/sim/engine-lock.ts';
import { DONE, HALT, type LockName, NEXT } from '../../src/lab/sim/lock-model.ts';
import { NEVER, type Vcpu } from '../../src/lab/sim/machine-state.ts';
import { LOCK_NAMES } from '../../src/lab/sim/models.ts';
import { MUTANTS } from '../../src/lab/sim/mutants.ts';
import { OVER, type Priority, Scheduler, UNDER } from '../../src/lab/sim/scheduler.ts';
import { type SimulationOptions, simulate } from '../../src/lab/sim/simulate.ts';

const pair = (lock: LockName, vcpus: number, more: Partial<SimulationOptions> = {}) =>
  simulate({ lock, pcpus: 2, vms: [{ vcpus }, { vcpus }], seconds: 0.3, ...more });

test('the same seed gives the same run, another seed another one', () => {
  assert.deepEqual(pair('pv-ticket', 4), pair('pv-ticket', 4));
  const other = pair('pv-ticket', 4, { seed: 2 });
  assert.notDeepEqual(pair('pv-ticket', 4).vms, other.vms);
});

for (const lock of LOCK_NAMES) {
  test(`${lock}: every thread of two VMs gets through, one at a time`, () => {
    // Little patience, so that the paravirtual locks halt; oticket has 2^17 times as much and more.
    const result = pair(lock, 4, {
      acquisitions: 200,
      seconds: 30,
      pcpus: 4,
      sliceUs: 100,
      parameters: { spinThreshold: lock === 'oticket' ? 1e-4 : 20 },
    });
    assert.equal(result.acquisitions, 2 * 4 * 200);
    for (const vm of result.vms) {
      assert.deepEqual(vm.acquisitionsPerVcpu, [200, 200, 200, 200]);
      assert.equal(
        vm.halts > 0,
        ['pv-ticket', 'oticket', 'pv-qspinlock', 'js-mutex'].includes(lock),
      );
    }
  });
}

test('a lock that lets two in is found: the run is void', () => {
  const split = MUTANTS.find(({ name }) => name === 'ticket not taken atomically');
  assert.ok(split);
  const run = () => pair('ticket', 8, { pcpus: 8, model: split.create });
  assert.throws(run, /mutual exclusion: vCPU \d+ got the lock/);
});

test('a lost wake-up is found', () => {
  const run = () =>
    simulate({
      lock: 'pv-ispinlock',
      pcpus: 2,
      vms: [{ vcpus: 2 }],
      seconds: 0.3,
      model: MUTANTS.find(
        ({ of, name }) => of === 'pv-ispinlock' && name === 'an incapable thread halts',
      )?.create,
    });
  assert.throws(run, /lost wake-up: everybody sleeps/);
});

test('one thread alone: think, lock, work, unlock, and nothing else', () => {
  const costs = { localNs: 0, atomicNs: 0, transferNs: 0 };
  const { vms, spinShare, pspPer1000 } = simulate({
    lock: 'ticket',
    pcpus: 1,
    vms: [{ vcpus: 1 }],
    seconds: 0.01,
    sliceUs: 1_000_000,
    thinkNs: 600,
    criticalNs: 400,
    distribution: 'fixed',
    costs,
  });
  assert.ok(Math.abs(vms[0].acquisitions - 10_000) <= 5, `${vms[0].acquisitions}`);
  assert.equal(spinShare, 0);
  assert.equal(pspPer1000, 0);
});

test('processor time adds up: what ran and what switching took is all there was', () => {
  const { vms, seconds } = pair('ticket', 4);
  const ranNs = vms.reduce((sum, vm) => sum + vm.runNs + vm.switches * 2_000, 0);
  assert.ok(Math.abs(ranNs / (2 * seconds * 1e9) - 1) < 0.001, `${ranNs} ns`);
  for (const vm of vms) assert.ok(vm.spinNs <= vm.runNs);
});

test('LHP, counted as the paper does and as time: a holder that is off every other slice', () => {
  // Ten slices of work in the lock, one processor shared with a neighbour: off half of the time,
  // and always released in another slice.
  const vms = [{ vcpus: 1 }, { vcpus: 1, workload: 'cpu' }] as const;
  const { vms: results } = simulate({
    lock: 'ticket',
    pcpus: 1,
    vms,
    seconds: 20,
    scheduler: 'round-robin',
    sliceUs: 10_000,
    thinkNs: 1e6,
    criticalNs: 100e6,
    distribution: 'fixed',
  });
  const { lhpPer1000, lwp, holderPreemptedNs, heldNs } = results[0];
  assert.equal(lhpPer1000, 1000);
  assert.equal(lwp, 0);
  assert.ok(Math.abs(holderPreemptedNs / heldNs - 0.5) < 0.05, `${holderPreemptedNs / heldNs}`);
});

test('LWP, counted and as time: ticket has it, and it costs nearly all of the run', () => {
  const [vm] = pair('ticket', 24, { pcpus: 12 }).vms;
  assert.ok(vm.lwp > 0);
  assert.ok(vm.waiterPreemptedNs > 0.5 * 0.3e9, `${vm.waiterPreemptedNs} ns`);
  assert.ok(vm.waiterPreemptedNs <= 0.3e9);
});

for (const scheduler of ['credit', 'round-robin'] as const) {
  test(`${scheduler}: equal vCPUs get equal time`, () => {
    const vms = [
      { vcpus: 4, workload: 'cpu' },
      { vcpus: 4, workload: 'cpu' },
    ] as const;
    const run = simulate({ lock: 'ticket', pcpus: 2, vms, seconds: 2, scheduler });
    for (const ns of run.vms.flatMap((vm) => vm.runNsPerVcpu))
      assert.ok(Math.abs(ns / 0.5e9 - 1) < 0.1, `${ns} ns of 0.5 s`);
  });
}

test('credit: time follows weight', () => {
  const vms = [
    { vcpus: 4, weight: 256, workload: 'cpu' },
    { vcpus: 4, weight: 512, workload: 'cpu' },
  ] as const;
  const [light, heavy] = simulate({ lock: 'ticket', pcpus: 2, vms, seconds: 4 }).vms;
  assert.ok(Math.abs(heavy.runNs / light.runNs - 2) < 0.2, `${heavy.runNs / light.runNs}`);
});

test('a spinning vCPU costs no events', () => {
  const { spinShare, events } = pair('ticket', 24, { pcpus: 12 });
  assert.ok(spinShare > 0.9, `${spinShare}`);
  assert.ok(events < 200_000, `${events} events`);
});

test('I-Spinlock 5.3: PSP is 20 times rarer than with ticket, and does not grow', () => {
  const short = { pcpus: 12, seconds: 0.1 };
  const ticket = pair('ticket', 24, short);
  for (const lock of ['hvm-ispinlock', 'pv-ispinlock'] as const) {
    const informed = pair(lock, 24, short);
    assert.ok(informed.pspPer1000 * 20 <= ticket.pspPer1000, `${informed.pspPer1000}`);
    assert.ok(informed.acquisitionsPerS >= 5 * ticket.acquisitionsPerS);
  }
});

test('what jitter does to the informed locks: a convoy for the paper’s form, none for ours', () => {
  // Slices end up to twice the margin early, or late.
  const jitter = { costs: { jitterNs: 200_000 }, seconds: 1, pcpus: 12 };
  const paper = pair('pv-ispinlock-paper', 24, jitter);
  const told = pair('pv-ispinlock-paper', 24, { seconds: 0.1, pcpus: 12 });
  assert.ok(paper.acquisitionsPerS < 0.1 * told.acquisitionsPerS, `${paper.acquisitionsPerS}`);
  // Without hypercalls the preempted one is waited for, with them it is let run.
  for (const [lock, times] of [
    ['hvm-ispinlock', 2],
    ['pv-ispinlock', 5],
  ] as const) {
    const ours = pair(lock, 24, { ...jitter, seconds: 0.3 });
    assert.ok(ours.acquisitionsPerS > times * paper.acquisitionsPerS, `${ours.acquisitionsPerS}`);
    assert.ok(ours.pspPer1000 * 2 < paper.pspPer1000, `${ours.pspPer1000}`);
  }
});

test('the margin is room for what is shorter: then there is no PSP', () => {
  const within = { costs: { jitterNs: 90_000 }, pcpus: 12, seconds: 0.1 };
  assert.equal(pair('pv-ispinlock', 24, within).pspPer1000, 0);
  assert.ok(pair('pv-ispinlock', 24, { ...within, marginUs: 0 }).pspPer1000 > 0);
});

test('delays that nobody foresees: a processor stands still, and share_info does not say so', () => {
  const costs = { delaysNs: [50_000, 1_000_000], delayEveryNs: 20e6 };
  const [paper, ours] = (['pv-ispinlock-paper', 'pv-ispinlock'] as const).map((lock) =>
    pair(lock, 8, { costs, seconds: 2 }),
  );
  assert.ok(ours.pspPer1000 > 0, 'no delay came at a bad moment');
  assert.ok(ours.acquisitionsPerS > 1.2 * paper.acquisitionsPerS, `${paper.acquisitionsPerS}`);
  // Time that passes is the same: 5 % or so of it is lost.
  const [still] = [{ vcpus: 1 }].map((vm) =>
    simulate({ lock: 'ticket', pcpus: 1, vms: [vm], seconds: 2, costs }),
  );
  const calm = simulate({ lock: 'ticket', pcpus: 1, vms: [{ vcpus: 1 }], seconds: 2 });
  const lost = 1 - still.acquisitions / calm.acquisitions;
  assert.ok(Math.abs(lost - 0.525 / 20.5) < 0.01, `${lost}`);
});

test('I-Spinlock 4.2.2: told the ratelimit, threads are incapable sooner', () => {
  const slice = pair('pv-ispinlock', 4);
  const ratelimit = pair('pv-ispinlock', 4, { publish: 'ratelimit' });
  assert.ok(ratelimit.vms[0].yields > 3 * slice.vms[0].yields);
});

test('shorter slices cost the CPU-bound neighbour', () => {
  const vms = [{ vcpus: 4 }, { vcpus: 4, workload: 'cpu' }] as const;
  const [long, short] = [30_000, 300].map(
    (sliceUs) => simulate({ lock: 'ticket', pcpus: 2, vms, seconds: 1, sliceUs }).vms[1].workNs,
  );
  assert.ok(short < 0.98 * long, `${short} against ${long}`);
});

test('paravirtual locks halt and are kicked; the others never ask the hypervisor', () => {
  const pv = pair('pv-ticket', 8).vms[0];
  assert.ok(pv.halts > 0 && pv.kicks > 0);
  const plain = pair('ticket', 8).vms[0];
  assert.deepEqual([plain.halts, plain.kicks, plain.yields], [0, 0, 0]);
});

test('a kick before the halt is not lost', () => {
  // Each thread kicks itself, then halts: nobody else would wake it.
  const run = simulate({
    lock: 'ticket',
    pcpus: 1,
    vms: [{ vcpus: 1 }],
    acquisitions: 10,
    model: () => ({
      name: 'ticket',
      fifo: false,
      words: 1,
      lock(t, s) {
        if (t.pc === 2) return DONE;
        if (t.pc === 0) s.kick(t.id);
        t.pc += 1;
        return t.pc === 1 ? NEXT : HALT;
      },
      unlock(_t, s) {
        s.released();
        return DONE;
      },
    }),
  });
  assert.equal(run.vms[0].halts, 10);
});

test('delays at the end of slices: a processor hangs until the slice is over', () => {
  // A millisecond of every slice, at its end.
  const hang = { endDelaysNs: [1_000_000] };
  const alone = { lock: 'ticket', pcpus: 1, vms: [{ vcpus: 1 }], seconds: 1 } as const;
  const lost = 1 - simulate({ ...alone, costs: hang }).acquisitions / simulate(alone).acquisitions;
  assert.ok(Math.abs(lost - 1 / 30) < 0.005, `${lost}`);
  const paper = pair('pv-ispinlock-paper', 4, { costs: { endDelaysNs: [0, 1_000_000] } });
  assert.ok(paper.pspPer1000 > 0);
});

test('drain: threads end when they are through, and the run with the last of them', () => {
  const run = pair('ticket', 4, { drain: true, seconds: 0.1 });
  const [vm] = run.vms;
  assert.ok(run.seconds >= 0.1);
  assert.equal(run.seconds, Math.max(...run.vms.flatMap((one) => one.finishedNsPerVcpu)) / 1e9);
  for (const count of vm.acquisitionsPerVcpu) assert.ok(count >= 1);
});

function creditScheduler(creditsNs: readonly number[], uniform = () => 0) {
  const vcpus = creditsNs.map((creditNs, index) => ({
    index,
    vm: 0,
    weight: 256,
    creditNs,
    overdraftNs: 0,
    priority: UNDER as Priority,
    active: false,
  }));
  const options = { scheduler: 'credit', boost: true, pcpus: 1, sliceNs: 1e7, uniform } as const;
  return { vcpus, scheduler: new Scheduler(vcpus, options) };
}

test('a yield puts a vCPU behind those without credit, until the next accounting', () => {
  const { vcpus, scheduler } = creditScheduler([1e6, -1e6, -1e6]);
  const [rich, ...poor] = vcpus;
  for (const one of [rich, ...poor]) scheduler.ran(one, 0);
  scheduler.add(poor[0]);
  scheduler.add(rich);
  assert.equal(scheduler.take(), rich);
  scheduler.yielded(rich);
  scheduler.add(rich);
  scheduler.add(poor[1]);
  assert.deepEqual([scheduler.take(), scheduler.take()], [poor[0], rich]);
  scheduler.add(rich);
  scheduler.account(1e7);
  assert.equal(rich.priority, UNDER);
});

test('towards the end of a quantum up to a third of the queue is overtaken, by chance', () => {
  // Random numbers: what may be owed (none), then how many are overtaken.
  const numbers = [0, 0.99, 0, 0];
  const { vcpus, scheduler } = creditScheduler(
    [0, 0, 0, 0, 0, 0, 0, 0],
    () => numbers.shift() ?? 0,
  );
  for (const one of vcpus.slice(0, 6)) scheduler.add(one);
  scheduler.addShuffled(vcpus[6]);
  scheduler.addShuffled(vcpus[7]);
  const order = Array.from(vcpus, () => vcpus.indexOf(scheduler.take() as (typeof vcpus)[number]));
  assert.deepEqual(order, [0, 1, 2, 3, 6, 4, 5, 7]);
});

test('then a vCPU may owe up to a quantum, by chance, and still count as UNDER', () => {
  const { vcpus, scheduler } = creditScheduler([-6e6, -6e6], () => 0.5);
  scheduler.add(vcpus[0]);
  scheduler.addShuffled(vcpus[1]);
  scheduler.account(1);
  assert.deepEqual(
    vcpus.map(({ priority }) => priority),
    [OVER, OVER],
  );
  vcpus[1].creditNs = -4e6;
  scheduler.account(1);
  assert.deepEqual(
    vcpus.map(({ priority }) => priority),
    [OVER, UNDER],
  );
});

test('options that make no sense are refused', () => {
  assert.throws(() => pair('tickets' as LockName, 4), /no lock is called 'tickets'/);
  assert.throws(() => pair('ticket', 0), /vcpus must be a whole number from 1, not 0/);
  assert.throws(() => pair('ticket', 4, { sliceUs: 0 }), /sliceUs must be more than 0, not 0/);
});

test('V8 has one lock around all futexes: others stand still while its owner is off', () => {
  const lock = new EngineLock();
  const [a, b] = [{}, {}] as unknown as [Vcpu, Vcpu];
  const told: number[] = [];
  const call = (nowNs: number) => ({
    nowNs,
    callNs: 100,
    later: (doneNs: number) => void told.push(doneNs),
  });
  assert.equal(lock.take(a, call(0)), 100);
  assert.equal(lock.take(b, call(40)), 200, 'one after the other');
  lock.off(a, 150);
  assert.equal(lock.take(a, call(210)), 310, 'a had done with it');
  lock.off(a, 250);
  assert.equal(lock.take(b, call(260)), NEVER);
  lock.back(b, 300);
  assert.deepEqual(told, []);
  lock.back(a, 1_000);
  assert.deepEqual(told, [1_160]);
});
