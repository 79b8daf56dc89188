/**
 * Does `trapless lab sim` turn measurements into a machine that gives them back, and does it compare
 * as it says? Method: made-up probes and runs, simulated time only.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { Options, Sample } from '../../src/lab/locks/experiment.ts';
import type { PointResult } from '../../src/lab/locks/run-point.ts';
import { at, calibrate, settings } from '../../src/lab/locks/sim/calibrate.ts';
import { compare, compareSections } from '../../src/lab/locks/sim/compare.ts';
import { large, largeSections } from '../../src/lab/locks/sim/large.ts';
import type { Probed } from '../../src/lab/locks/sim/probe-run.ts';
import { type SimulationOptions, simulate } from '../../src/lab/sim/simulate.ts';
import { Progress } from '../../src/report/progress.ts';

const durations = (ns: number) => ({
  count: 100,
  meanNs: ns,
  p50Ns: ns,
  p90Ns: ns,
  p99Ns: ns,
  maxNs: ns,
});

const PROBED: Probed = {
  basics: {
    clockNs: 40,
    pauseNs: 45,
    localNs: 3,
    atomicNs: 9,
    hypercallNs: 20,
    futexNs: 30,
    sectionNs: 300,
    waitNs: 70,
    ticketNs: 8,
  },
  distance: { transferNs: 200, roundNs: 700 },
  kickNs: 30_000,
  futexWakeNs: 20_000,
  notifyNs: 9_000,
  loads: [
    {
      vcpus: 4,
      delaysNs: [20_000, 40_000],
      watchedNs: 60_000_000,
      endsNs: [0, 0, 1_000],
      lateness: durations(25_000),
      switching: durations(60_000),
    },
    {
      vcpus: 24,
      delaysNs: [],
      watchedNs: 60_000_000,
      endsNs: [500_000],
      lateness: durations(30_000),
      switching: durations(90_000),
    },
  ],
  handoff: durations(15_000),
};

const calibration = calibrate(PROBED, {
  alone: new Map([
    ['ticket', 1_400_000],
    ['pv-ispinlock', 1_800_000],
  ]),
  pairs: new Map([['ticket', [{ rate: 1_000_000, distance: { transferNs: 40, roundNs: 400 } }]]]),
});
const silent = new Progress({ silent: true });

test('one thread alone, and two, are simulated as they were measured', () => {
  for (const [lock, vcpus, measured] of [
    ['ticket', 1, 1_400_000],
    ['pv-ispinlock', 1, 1_800_000],
    ['ticket', 2, 1_000_000],
  ] as const) {
    const machine = { pcpus: vcpus, vms: [{ vcpus }], seconds: 1, seed: 7 };
    const there = at(calibration, { transferNs: 40, roundNs: 400 });
    const { acquisitionsPerS } = simulate({ lock, ...machine, ...settings(there, lock, vcpus) });
    assert.ok(Math.abs(acquisitionsPerS / measured - 1) < 0.02, `${acquisitionsPerS}`);
  }
});

test('costs are the probes’, and delays come as often as they were seen', () => {
  const { costs, criticalNs } = settings(calibration, 'ticket', 5) as Required<SimulationOptions>;
  assert.deepEqual([costs.clockNs, costs.pauseNs, costs.switchNs], [40, 45, 60_000]);
  assert.equal(costs.transferNs, 100);
  assert.equal(costs.wakeNs, 15_000);
  assert.equal(costs.delayEveryNs, 30_000_000);
  assert.ok(criticalNs > 300 && Number(costs.coldSectionNs) > 0);
  const many = settings(calibration, 'mcs', 48).costs;
  assert.deepEqual([many?.delayEveryNs, many?.switchNs], [Number.POSITIVE_INFINITY, 90_000]);
  assert.deepEqual(many?.endDelaysNs, [500_000]);
});

test('one processor: what takes two keeps its default', () => {
  const single = { ...PROBED, distance: null, kickNs: null, futexWakeNs: null, notifyNs: null };
  const { costs } = calibrate(single, { alone: new Map(), pairs: new Map() });
  assert.deepEqual([costs.transferNs, costs.coldSectionNs, costs.wakeNs], [60, 0, 2_000]);
});

const OPTIONS: Options = {
  locks: ['ticket', 'pv-ispinlock'],
  workloads: ['micro'],
  vcpus: [4],
  vms: 2,
  pcpus: 2,
  seconds: 0.2,
  repeats: 1,
  scheduler: 'credit',
  lockOptions: {},
};

/** A lock's run as if it had been so fast. */
function sample(lock: 'ticket' | 'pv-ispinlock', perS: number): Sample {
  const half = { locks: { acquisitions: (perS * OPTIONS.seconds) / 2 } };
  const starts = [7, 6, 5, 4, 3, 2, 1, 0].map((vcpu) => ({ vcpu, atNs: 1e4, leftNs: 2e7 }));
  const distances = [
    { transferNs: 40, roundNs: 400 },
    { transferNs: 200, roundNs: 900 },
  ];
  const result = { vms: [half, half], starts, distances, notes: [] } as unknown as PointResult;
  const place = { workload: 'micro', lock, vcpus: 4, vms: 2, pcpus: 2 };
  return { ...place, metrics: new Map(), unit: 'accesses', voids: [], results: [result] };
}

test('compare: error against reality, and locks that come in another order', () => {
  const asItIs = compare([sample('pv-ispinlock', 1)], OPTIONS, calibration, silent).rows[0];
  const real = asItIs.simulated.median;
  const good = [sample('ticket', 1000), sample('pv-ispinlock', real / 1.2)];
  const compared = compare(good, OPTIONS, calibration, silent);
  assert.ok(Math.abs(compared.rows[1].error - 0.2) < 0.001);
  assert.match(compareSections(compared).join('\n'), /\+20 % +floor/);
  assert.match(compareSections(compared).join('\n'), /Of 1 pairs .* 1 come in the same order\./);
  const swapped = compare([sample('ticket', 1e9), good[1]], OPTIONS, calibration, silent);
  assert.match(compareSections(swapped).join('\n'), /0 come in .*; not: ticket and pv-ispinlock/);
  assert.deepEqual(
    compared.points.slice(0, 3).map(({ metric }) => metric),
    ['real_per_s', 'simulated_per_s', 'error'],
  );
});

test('larger machines: a table and a plot each', () => {
  const result = large({ ...OPTIONS, seconds: 0.01 }, calibration, silent);
  assert.equal(result.rows.length, 2 * 5 * 2);
  assert.equal(result.points.length, 3 * result.rows.length);
  const text = largeSections(result).join('\n');
  for (const word of ['12 pCPUs', '24 pCPUs', 'PSP per 1,000', '└──', '96'])
    assert.ok(text.includes(word), word);
});
