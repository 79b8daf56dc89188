/**
 * Runs the C tests of native/ (native/test/): plain, under AddressSanitizer with UBSan, and under
 * ThreadSanitizer; then the addon's own tests in Node. Prints what failed, what was skipped and
 * why; the exit code says whether all is well. A compiler or a sanitizer that is not there is a
 * skip, not a failure.
 *
 *   node scripts/native-tests.mjs [--plain] [--verbose] [FILTER]
 *
 * --plain: no sanitizers (the quick look). FILTER: only tests whose name contains it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const testDir = join(root, 'native', 'test');
const args = process.argv.slice(2);
const plain = args.includes('--plain');
const verbose = args.includes('--verbose');
const filter = args.find((arg) => !arg.startsWith('--')) ?? '';
const compiler = process.env.CC ?? 'cc';
const TIME_LIMIT_MS = 180_000;

const totals = { passed: 0, failed: 0, skipped: 0 };
const skips = [];

/** Whether a program with this sanitizer is built and runs here; otherwise the reason. */
function sanitizerMissing(sanitizer) {
  const dir = mkdtempSync(join(tmpdir(), 'trapless-sanitizer-'));
  try {
    const source = join(dir, 'try.c');
    writeFileSync(
      source,
      '#include <pthread.h>\nstatic void *f(void *a) { return a; }\nint main(void) { pthread_t t; return pthread_create(&t, 0, f, 0) || pthread_join(t, 0); }\n',
    );
    const program = join(dir, 'try');
    const flags = [`-fsanitize=${sanitizer}`, '-pthread', source, '-o', program];
    for (const step of [spawnSync(compiler, flags), spawnSync(program)]) {
      if (step.error) return step.error.message;
      if (step.status !== 0)
        return (
          `${step.stderr}`.trim().split('\n')[0] || `exit status ${step.status ?? step.signal}`
        );
    }
    return null;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function run(command, parameters, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, parameters, { cwd: root, timeout: TIME_LIMIT_MS, ...options });
    let output = '';
    child.stdout.on('data', (data) => {
      output += data;
    });
    child.stderr.on('data', (data) => {
      output += data;
    });
    child.on('error', (error) => resolve({ output: `${output}${error.message}\n`, status: 1 }));
    child.on('close', (status, signal) => resolve({ output, status: status ?? signal }));
  });
}

/** Reads "ok", "skip" and "not ok" lines; what a test printed stands above its line. */
function tally(suite, { output, status }) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  let above = [];
  for (const line of output.split('\n')) {
    const verdict = /^(ok|skip|not ok) +(\S+)/.exec(line);
    if (verdict === null) {
      above = line.startsWith('# ') ? [] : [...above, line];
      continue;
    }
    if (verdict[1] === 'ok') counts.passed++;
    if (verdict[1] === 'skip') {
      counts.skipped++;
      const reason = above.join(' ').replace(/.*skipped: /, '');
      skips.push(`${suite}: ${verdict[2]}: ${reason.trim()}`);
    }
    if (verdict[1] === 'not ok') {
      counts.failed++;
      console.log(`${suite}: ${line}\n${above.join('\n')}`);
    } else if (verbose) console.log([...above, line].join('\n'));
    above = [];
  }
  if (status !== 0 && counts.failed === 0) {
    counts.failed++;
    console.log(`${suite}: ended with ${status}\n${output.slice(-4000)}`);
  }
  for (const key of Object.keys(totals)) totals[key] += counts[key];
  return counts;
}

function skipSuite(suite, reason) {
  skips.push(`${suite}: all of it: ${reason}`);
  totals.skipped++;
}

async function suite(name, command, parameters, options) {
  const started = performance.now();
  const result = await run(command, parameters, options);
  const { passed, failed, skipped } = tally(name, result);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${name}: ${passed} passed, ${failed} failed, ${skipped} skipped (${seconds} s)`);
}

async function cTests(name, sanitizer) {
  const parameters = ['-s', '-k', '-C', testDir, 'check', `SAN=${sanitizer}`, `CC=${compiler}`];
  if (filter) parameters.push(`FILTER=${filter}`);
  await suite(name, 'make', parameters);
}

async function cSuites() {
  const missing = ['make', compiler].find((tool) => spawnSync(tool, ['--version']).error);
  if (missing) return skipSuite('C tests', `${missing} is not installed`);
  await cTests('plain', 'none');
  if (plain) return;
  for (const [name, sanitizer] of [
    ['address and undefined', 'address,undefined'],
    ['thread', 'thread'],
  ]) {
    const reason = sanitizerMissing(sanitizer);
    if (reason) skipSuite(name, reason);
    else await cTests(name, sanitizer);
  }
}

async function addonSuite() {
  const addon = join(root, 'native', 'build', 'Release', 'trapless.node');
  const file = join(testDir, 'addon.mjs');
  if (!existsSync(addon)) return skipSuite('addon', `${addon} is not built (npm run build)`);
  await suite('addon', process.execPath, ['--expose-gc', file, filter]);
}

if (process.platform === 'linux') {
  // The tests mostly sleep, but they are about time: no more than two programs at once.
  if (availableParallelism() > 1) await Promise.all([cSuites(), addonSuite()]);
  else {
    await cSuites();
    await addonSuite();
  }
} else skipSuite('native', 'needs Linux');

for (const skip of skips) console.log(`skipped: ${skip}`);
console.log(`native: ${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exitCode = totals.failed > 0 ? 1 : 0;
