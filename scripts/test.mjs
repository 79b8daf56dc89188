/**
 * Everything: what CI runs.
 *
 *   npm test                    build what is out of date, check, and run every test
 *   npm test -- faults sim      only the folders of test/ named (and no check)
 *
 * Environment: NODE_TESTS=/path/of/node/checkout adds Node's own test-fs-* files;
 * PROPERTY_RUNS and LEAK_CALLS lengthen the property and leak tests.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A file of tests takes two minutes at most; one that hangs fails, and the rest is still run. */
const FILE_LIMIT_MS = 600_000;
/** A step takes ten minutes at most. */
const STEP_LIMIT_MS = 2_400_000;

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const only = process.argv.slice(2);
const failures = [];

function step(name, command, args) {
  console.log(`\n== ${name}`);
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: STEP_LIMIT_MS,
  });
  if (status !== 0) failures.push(name);
}

const script = (name, ...args) => [process.execPath, [join(root, 'scripts', name), ...args]];

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return testFiles(path);
    return entry.name.endsWith('.test.ts') ? [relative(root, path)] : [];
  });
}

const folders = only.length > 0 ? only : ['unit', 'integration', 'property', 'faults'];
step('build', ...script('build.mjs'));
if (only.length === 0) {
  const bin = (name) => join(root, 'node_modules', '.bin', name);
  step('types', bin('tsc'), ['-p', 'tsconfig.json']);
  step('lint', bin('biome'), ['check', '.']);
  step('native tests (plain, ASan + UBSan, TSan)', ...script('native-tests.mjs'));
}
const files = folders
  .map((folder) => join(root, 'test', folder))
  .filter((folder) => existsSync(folder))
  .flatMap(testFiles);
// Two at a time: many of these start processes and count descriptors and threads of their own.
const limits = ['--test-concurrency=2', `--test-timeout=${FILE_LIMIT_MS}`];
step('tests', process.execPath, ['--import', 'tsx', '--test', ...limits, ...files]);
if (process.env.NODE_TESTS && only.length === 0)
  step("Node's own tests", ...script('node-tests.mjs', process.env.NODE_TESTS));

if (failures.length > 0) {
  console.log(`\nFailed: ${failures.join(', ')}`);
  process.exitCode = 1;
} else {
  console.log('\nEverything passed.');
}
