/**
 * Does `trapless lab` teach, refuse what makes no sense, and print the points it promises? A tiny
 * run of the real thing as it is built; the figures themselves mean nothing here.
 */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bin, execute, scratch } from '../support/execute.ts';

// What `lab csd` finds is kept there.
const cache = scratch('empty', '');
const env = { XDG_CACHE_HOME: cache };
const lab = (...args: string[]) => execute([bin, 'lab', ...args], { env });

const EXPERIMENTS = ['psp', 'csd', 'fairness', 'effectiveness', 'overhead', 'hvm', 'pv'];
const OPTIONS = ['--locks', '--workloads', '--vcpus', '--vms', '--pcpus', '--seconds', '--json'];

const TINY = ['--vcpus', '1', '--vms', '1', '--pcpus', '1', '--seconds', '0.05', '--repeats', '1'];
const KEYS = ['experiment', 'workload', 'lock', 'vms', 'vcpus', 'pcpus', 'metric', 'value', 'unit'];

test('sim: what things cost here, real beside simulated, then larger machines', async () => {
  const args = ['sim', ...TINY, '--locks', 'ticket,js-mutex'];
  const { code, stdout, stderr } = await lab(...args);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /Costs measured here, ns/);
  assert.match(stdout, /Acquisitions per second, real and simulated \(medians\)/);
  assert.match(stdout, /Order of locks, 1 vCPUs per VM/);
  assert.match(stdout, /24 pCPUs: PSP per 1,000 acquisitions/);
  assert.match(stdout, /└──/);
  assert.doesNotMatch(stdout, /NaN|undefined|Void runs/);
  const json = await lab(...args, '--json');
  assert.equal(json.code, 0, json.stderr);
  const [, ...points] = json.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  for (const point of points) assert.deepEqual(Object.keys(point), KEYS);
  for (const metric of ['cost_clockNs', 'real_per_s', 'simulated_per_s', 'error'])
    assert.ok(
      points.some((point) => point.metric === metric && Number.isFinite(point.value)),
      metric,
    );
  assert.ok(points.some(({ pcpus, vcpus }) => pcpus === 24 && vcpus === 96));
});

test('the help names every experiment, option and lock', async () => {
  const help = await lab('--help');
  assert.equal(help.code, 0);
  for (const word of [
    ...EXPERIMENTS,
    'sim',
    ...OPTIONS,
    'pv-ispinlock',
    'kernbench',
    'First steps',
  ])
    assert.ok(help.stdout.includes(word), word);
  assert.equal((await lab('psp', '--help')).stdout, help.stdout);
  assert.equal((await execute([bin, 'help', 'lab'])).stdout, help.stdout);
  for (const line of help.stdout.split('\n')) assert.ok(line.length <= 100, line);
  const nothing = await lab();
  assert.equal(nothing.code, 2);
});

for (const [args, pattern] of [
  [['pps'], /there is no experiment 'pps'. Did you mean `trapless lab psp`\?/],
  [['latency'], /there is no experiment 'latency'. Experiments: psp, csd/],
  [['psp', '--lokcs', 'ticket'], /lab psp: there is no option --lokcs. Did you mean --locks\?/],
  [['psp', '--locks', 'tickt'], /--locks: there is no 'tickt'. Did you mean 'ticket'\?/],
  [['psp', '--locks', 'futex'], /--locks: there is no 'futex'; choose from ticket/],
  [['psp', '--locks', 'ticket,'], /--locks takes a list as in a,b/],
  [['psp', '--workloads', 'kernbensh'], /Did you mean 'kernbench'\?/],
  [['psp', '--vcpus', '4,65'], /--vcpus takes a whole number from 1 to 64, not '65'/],
  [['psp', '--scheduler', 'fifo'], /--scheduler: there is no 'fifo'; choose from credit/],
  [['psp', '--spin-by', 'tme'], /--spin-by: there is no 'tme'. Did you mean 'time'\?/],
  [['psp', '--csd', '0'], /--csd takes a whole number/],
  [['psp', '--seconds', '0'], /--seconds takes a number above 0, up to 3600, not '0'/],
  [['psp', '--pcpus', '1.5'], /--pcpus takes a whole number/],
  [['psp', 'more'], /Unexpected argument 'more'/],
] as const) {
  test(`trapless lab ${args.join(' ')}`, async () => {
    const { code, stdout, stderr } = await lab(...args);
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, pattern);
  });
}

test('--json: the environment, then points', async () => {
  const run = await lab('psp', ...TINY, '--workloads', 'micro', '--locks', 'ticket', '--json');
  assert.equal(run.stderr, '');
  assert.equal(run.code, 0, run.stdout);
  const [head, ...points] = run.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(head.experiment, 'psp');
  assert.ok(head.environment.cpu);
  for (const point of points) {
    assert.deepEqual(Object.keys(point), KEYS);
    const { experiment, workload, lock, vms, vcpus, pcpus } = point;
    const expected = ['psp', 'micro', 'ticket', 1, 1, 1];
    assert.deepEqual([experiment, workload, lock, vms, vcpus, pcpus], expected);
    assert.ok(Number.isFinite(point.value), JSON.stringify(point));
    assert.ok(point.unit.length > 0);
  }
  const metrics = points.map(({ metric }) => metric);
  for (const metric of ['acquisitions_per_s', 'lhp', 'lwp', 'psp_per_1000', 'spin_share'])
    assert.ok(metrics.includes(metric), metric);
  assert.ok(metrics.includes('run_time_s') && metrics.includes('fairness_cv'));
});

test('csd is kept, and is the default of the experiments after it', async () => {
  const micro = [...TINY, '--workloads', 'micro'];
  rmSync(join(cache, 'trapless'), { recursive: true, force: true });
  assert.match((await lab('psp', ...micro)).stdout, /csd 6000 ns \(the paper: 6000\)/);
  assert.match((await lab('csd', ...micro)).stdout, /^csd for this machine: .* Kept: /m);
  const saved = JSON.parse(readFileSync(join(cache, 'trapless', 'csd.json'), 'utf8'));
  assert.ok(saved.csdNs > 0 && saved.csdNs < 6e6, String(saved.csdNs));
  assert.ok((await lab('psp', ...micro)).stdout.includes(`csd ${saved.csdNs} ns`));
  assert.match((await lab('psp', ...micro, '--csd', '77')).stdout, /csd 77 ns/);
  // Another engine's sections are others.
  writeFileSync(join(cache, 'trapless', 'csd.json'), JSON.stringify({ ...saved, node: 'v1.0.0' }));
  assert.match((await lab('psp', ...micro)).stdout, /csd 6000 ns/);
});

for (const name of EXPERIMENTS) {
  test(`${name}: a report with table, plot and the paper beside it`, async () => {
    const { code, stdout, stderr } = await lab(name, ...TINY, '--workloads', 'micro');
    assert.equal(code, 0, stderr);
    assert.match(stdout, new RegExp(`^${name}: .*\n1 virtual machine on 1 pCPUs`, 'm'));
    assert.match(stdout, /workload +(lock +)?vCPUs|lock +workload/);
    assert.match(stdout, /└──/);
    assert.match(stdout, /The paper: .*\nHere: /);
    assert.doesNotMatch(stdout, /NaN|undefined|Void runs/);
  });
}
