/**
 * Does the command line answer what it is asked, and does the doctor tell the truth about what is
 * in use? A failure means that users are sent the wrong way.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { bin, type ExecuteOptions, execute, root, scratch } from '../support/execute.ts';

const trapless = (args: readonly string[], options: ExecuteOptions = {}) =>
  execute([bin, ...args], options);

interface Report {
  trapless: string;
  tier: { name: string; reason: string; advice?: string };
  checks: { what: string; status: string; detail: string; advice?: string }[];
  measured?: { call: string; chosen: string; us: Record<string, number | null>; better: unknown }[];
}

async function report(env: NodeJS.ProcessEnv = {}, args: readonly string[] = []) {
  const result = await trapless(['doctor', '--json', ...args], { env });
  assert.equal(result.stderr, '');
  return { ...(JSON.parse(result.stdout) as Report), code: result.code };
}

const statusOf = ({ checks }: Report, what: string) =>
  checks.find((check) => check.what === what)?.status;

test('a machine with everything', async (t) => {
  const found = await report();
  if (found.tier.name !== 'ring') return t.skip(`no ring here: ${found.tier.reason}`);
  assert.equal(found.code, 0);
  assert.match(found.tier.reason, /^io_uring, one kernel entry per batch \(\d+ entries\)$/);
  for (const what of ['Node.js', 'native addon', 'crew threads', 'io_uring', 'cached stat'])
    assert.equal(statusOf(found, what), 'ok', what);
  for (const { status, advice } of found.checks)
    assert.equal(advice !== undefined, status !== 'ok', 'an advice where something is amiss');
});

test('the crew alone', async () => {
  const found = await report({ TRAPLESS_RING: '0' });
  assert.equal(found.code, 0);
  assert.equal(found.tier.name, 'crew');
  assert.equal(found.tier.reason, 'TRAPLESS_RING=0');
  assert.equal(statusOf(found, 'io_uring'), 'warn');
  assert.equal(statusOf(found, 'crew threads'), 'ok');
});

test('switched off', async () => {
  const found = await report({ TRAPLESS: '0' });
  assert.equal(found.code, 1);
  assert.equal(found.tier.name, 'passthrough');
  assert.equal(statusOf(found, 'switch'), 'fail');
});

test('no addon', async () => {
  const found = await report({ TRAPLESS_ADDON: '/not/there' });
  assert.equal(found.code, 1);
  assert.equal(found.tier.name, 'passthrough');
  const check = found.checks.find(({ what }) => what === 'native addon');
  assert.equal(check?.status, 'fail');
  assert.match(check?.advice ?? '', /npm run build/);
});

test('an addon of another layout', async () => {
  const folder = scratch(
    'addon.cjs',
    'module.exports = { layout: { abiVersion: 0 }, crewCores() {}, crewSpin() {} };',
  );
  const found = await report({ TRAPLESS_ADDON: join(folder, 'addon.cjs') });
  assert.equal(found.code, 1);
  assert.match(found.tier.reason, /layout differs .* npm run build/);
});

test("Node's permission model", async () => {
  const major = Number.parseInt(process.versions.node, 10);
  const flag = major < 23 ? '--experimental-permission' : '--permission';
  const { stdout, code } = await execute(
    [flag, '--no-warnings', '--allow-addons', '--allow-fs-read=*', bin, 'doctor'],
    {},
  );
  assert.equal(code, 1);
  assert.match(stdout, /^trapless \S+: tier passthrough\n {2}Node's permission model is on/);
  assert.match(stdout, /^fail {2}permission model: on/m);
});

test('text for people', async () => {
  const { stdout, stderr, code } = await trapless(['doctor'], { env: { TRAPLESS_RING: '0' } });
  assert.equal(code, 0);
  assert.equal(stderr, '');
  assert.match(stdout, /^trapless \d+\.\d+\.\d+: tier crew\n {2}TRAPLESS_RING=0\n {2}do: unset/);
  assert.match(stdout, /^ok {4}Node\.js: v\d+/m);
  assert.match(stdout, /^warn {2}io_uring: switched off/m);
});

test('--measure: every call on every route that can do it', async () => {
  const folder = scratch();
  const found = await report({}, ['--measure', '--dir', folder]);
  const rows = found.measured ?? [];
  assert.deepEqual(
    rows.map(({ call }) => call),
    ['nop', 'getppid', 'statx', 'openat + close', 'pread64, 1 KiB', 'pwrite64, 1 KiB', 'fsync'],
  );
  for (const { call, us, chosen } of rows) {
    assert.ok(us.crew !== null && us.crew > 0 && us.crew < 100_000, `${call} on the crew`);
    for (const value of Object.values(us)) assert.ok(value === null || value > 0.01, call);
    if (found.tier.name === 'ring') assert.notEqual(us[chosen], null, `${call}: ${chosen}`);
  }
  const byCall = new Map(rows.map((row) => [row.call, row.us]));
  assert.notEqual(byCall.get('getppid')?.spot, null);
  assert.equal(byCall.get('getppid')?.ring, null, 'io_uring has no getppid');
  assert.equal(byCall.get('fsync')?.spot, null, 'fsync blocks');
  const crew = await trapless(['doctor', '--measure', '--dir', folder], {
    env: { TRAPLESS_RING: '0' },
  });
  assert.match(crew.stdout, /^us per call, batches of 64 +on the spot +ring +crew/m);
  assert.match(crew.stdout, /^fsync +- +- +[\d.]+ +crew$/m);
});

test('a directory that cannot be measured in', async () => {
  const { code, stderr } = await trapless(['doctor', '--measure', '--dir', '/not/there']);
  assert.equal(code, 1);
  assert.match(stderr, /^trapless doctor: ENOENT/);
});

/* --- The commands --------------------------------------------------------------------------- */

test('help, version and mistakes', async () => {
  const { version } = JSON.parse(
    (
      await execute([
        '-p',
        `fs.readFileSync(${JSON.stringify(join(root, 'package.json'))}, 'utf8')`,
      ])
    ).stdout,
  );
  assert.deepEqual((await trapless(['--version'])).stdout, `${version}\n`);
  const help = await trapless(['help']);
  assert.equal(help.code, 0);
  for (const command of ['run', 'doctor', 'demo', 'bench'])
    assert.match(help.stdout, new RegExp(`^  ${command} `, 'm'));
  assert.deepEqual(await trapless(['--help']), help);
  const none = await trapless([]);
  assert.equal(none.code, 2);
  assert.equal(none.stderr, help.stdout);
  for (const command of ['run', 'doctor', 'demo', 'bench']) {
    const one = await trapless(['help', command]);
    assert.equal(one.code, 0);
    assert.match(one.stdout, new RegExp(`^Usage: trapless ${command}`));
    assert.equal((await trapless([command, '--help'])).stdout.trim(), one.stdout.trim());
  }
});

test('a command that does not exist, and what was meant', async () => {
  const mistakes: readonly (readonly [string[], RegExp])[] = [
    [['docter'], /no command 'docter'\. Did you mean `trapless doctor`\?/],
    [['help', 'rum'], /Did you mean `trapless run`\?/],
    [['app.js'], /To run it: `trapless run app\.js`/],
    [['./server/index.mjs', 'x'], /To run it: `trapless run \.\/server\/index\.mjs`/],
    [['frobnicate'], /Commands: run, doctor, demo, bench, lab, help/],
    [['doctor', '--mesure'], /--mesure/],
    [['bench', 'network'], /no suite 'network'/],
  ];
  for (const [args, message] of mistakes) {
    const { code, stdout, stderr } = await trapless(args);
    assert.equal(code, 2, args.join(' '));
    assert.equal(stdout, '');
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /^ {4}at /m);
  }
});
