/**
 * Do the framework suites' reporters and comparison tell a lost test from all the rest?
 *
 * The reporters run for real where their runner is at hand (node:test), and on a fake of mocha's
 * events otherwise. A failure would mean that a test lost under trapless may go unseen.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  compare,
  count,
  glob,
  parseLines,
  parseVitest,
  type Result,
  type Results,
} from '../../scripts/suites/results.mjs';

const scripts = fileURLToPath(new URL('../../scripts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'trapless-suites-test-'));
after(() => rmSync(folder, { recursive: true }));

function outcomes(results: Results): Record<string, string> {
  return Object.fromEntries([...results].map(([name, { outcome }]) => [name, outcome]));
}

function resultsOf(tests: Record<string, Result['outcome'] | Partial<Result>>): Results {
  return new Map(
    Object.entries(tests).map(([name, given]) => {
      const result = typeof given === 'string' ? { outcome: given } : given;
      const file = name.split(' › ')[0];
      return [name, { outcome: 'pass', suite: false, message: '', file, ...result }];
    }),
  );
}

test("node:test's reporter names tests by those around them", () => {
  const file = join(folder, 'some.test.js');
  const lines = join(folder, 'lines');
  writeFileSync(
    file,
    `const { describe, it, test } = require('node:test');
     describe('a', () => {
       it('one', () => {});
       it('one', () => {});
       describe('b', () => it('two', () => { throw new Error('no'); }));
     });
     test('parent', async (t) => { await t.test('child', () => {}); });
     test('skipped', { skip: 'why' }, () => {});
     test('later', { todo: true }, () => {});`,
  );
  const env = { ...process.env };
  delete env.NODE_TEST_CONTEXT; // or it would report to the runner of this very test
  const reporter = `--test-reporter=${join(scripts, 'suites', 'node-test-reporter.mjs')}`;
  const args = ['--test', reporter, `--test-reporter-destination=${lines}`, file];
  spawnSync(process.execPath, args, { env });

  const { results, ended } = parseLines(readFileSync(lines, 'utf8'), folder);
  assert.equal(ended, true);
  assert.deepEqual(outcomes(results), {
    'some.test.js › a › one': 'pass',
    'some.test.js › a › one (2)': 'pass',
    'some.test.js › a › b › two': 'fail',
    'some.test.js › a › b': 'fail',
    'some.test.js › a': 'fail',
    'some.test.js › parent › child': 'pass',
    'some.test.js › parent': 'pass',
    'some.test.js › skipped': 'skip',
    'some.test.js › later': 'skip',
  });
  assert.match(results.get('some.test.js › a › b › two')!.message, /no/);
  // Suites are compared, and not counted.
  assert.equal(count(results, 'pass'), 4);
  assert.equal(count(results, 'fail'), 1);
});

test("mocha's reporter writes each test as it ends", () => {
  const lines = join(folder, 'mocha-lines');
  process.env.SUITE_RESULTS = lines;
  const Reporter = createRequire(import.meta.url)(join(scripts, 'suites', 'mocha-reporter.cjs'));
  assert.equal(process.env.SUITE_RESULTS, undefined, 'tests do not inherit it');
  const listeners: Record<string, (...args: unknown[]) => void> = {};
  Reporter({
    on: (event: string, listener: (...args: unknown[]) => void) => (listeners[event] = listener),
  });
  const testOf = (title: string, type = 'test') => ({
    file: join(folder, 'sub', 'm.js'),
    type,
    titlePath: () => ['suite', title],
  });
  listeners.pass(testOf('good'));
  listeners.fail(testOf('bad'), new Error('why'));
  listeners.fail(testOf('"before each" hook', 'hook'), 'thrown text');
  listeners.pending(testOf('later'));

  const before = parseLines(readFileSync(lines, 'utf8'), folder);
  assert.equal(before.ended, false);
  listeners.end();
  const { results, ended } = parseLines(readFileSync(lines, 'utf8'), folder);
  assert.equal(ended, true);
  assert.deepEqual(outcomes(results), {
    'sub/m.js › suite › good': 'pass',
    'sub/m.js › suite › bad': 'fail',
    'sub/m.js › suite › "before each" hook': 'fail',
    'sub/m.js › suite › later': 'skip',
  });
  assert.match(results.get('sub/m.js › suite › bad')!.message, /why/);
  assert.equal(results.get('sub/m.js › suite › "before each" hook')!.suite, true);
});

test('a report that breaks off keeps what came before', () => {
  const line = { file: '/x/a.js', path: ['a'], outcome: 'pass', suite: false, message: '' };
  const text = JSON.stringify(line);
  const lingering = parseLines(`${text}\n{"end":true}\n{"lingers":true}\n`, '/x');
  assert.deepEqual([lingering.ended, lingering.lingers], [true, true]);
  const { results, ended, lingers } = parseLines(`${text}\n{"file":"/x/a`, '/x');
  assert.equal(ended, false);
  assert.equal(lingers, false);
  assert.deepEqual(outcomes(results), { 'a.js › a': 'pass' });
});

test('vitest: tests, and files that do not load', () => {
  const report = {
    testResults: [
      {
        name: '/x/test/a.test.ts',
        status: 'failed',
        message: '',
        assertionResults: [
          { ancestorTitles: ['s'], title: '\u001b[31mred\u001b[39m', status: 'passed' },
          { ancestorTitles: [], title: 'b', status: 'failed', failureMessages: ['m1', 'm2'] },
          { ancestorTitles: [], title: 'c', status: 'todo' },
        ],
      },
      { name: '/x/test/b.test.ts', status: 'failed', message: 'no load', assertionResults: [] },
    ],
  };
  const { results, ended } = parseVitest(JSON.stringify(report), '/x');
  assert.equal(ended, true);
  assert.deepEqual(outcomes(results), {
    'test/a.test.ts › s › red': 'pass',
    'test/a.test.ts › b': 'fail',
    'test/a.test.ts › c': 'skip',
    'test/b.test.ts › (the file)': 'fail',
  });
  assert.equal(results.get('test/a.test.ts › b')!.message, 'm1\nm2');
  assert.equal(parseVitest('', '/x').ended, false);
});

test('lost: what passes plain and fails, is missing or skips itself here', () => {
  const plain = resultsOf({ a: 'pass', b: 'pass', c: 'pass', d: 'pass', e: 'fail', f: 'skip' });
  const here = resultsOf({ a: 'pass', b: 'fail', c: 'skip', e: 'fail', f: 'fail' });
  assert.deepEqual(compare(plain, here), { passed: 1, lost: ['b', 'c', 'd'] });
  assert.deepEqual(compare(plain, plain), { passed: 4, lost: [] });
});

test('lost: a failure that plain Node knows nothing of, such as of a hook', () => {
  const plain = resultsOf({ a: 'pass' });
  const here = resultsOf({ a: 'pass', 'a hook': { outcome: 'fail', suite: true }, more: 'pass' });
  assert.deepEqual(compare(plain, here), { passed: 1, lost: ['a hook'] });
});

test('a suite is lost by itself only if none of its tests is', () => {
  const suite = (outcome: Result['outcome']) => ({ outcome, suite: true });
  const plain = resultsOf({ 'f › s': suite('pass'), 'f › s › t': 'pass', 'g › s': suite('pass') });
  const here = resultsOf({ 'f › s': suite('fail'), 'f › s › t': 'fail', 'g › s': suite('fail') });
  assert.deepEqual(compare(plain, here), { passed: 0, lost: ['f › s › t', 'g › s'] });
});

test('globs: a star stays in its folder, two do not', () => {
  const matches = (pattern: string, ...files: string[]) =>
    files.filter((file) => glob(pattern).test(file));
  const files = ['test/a.js', 'test/b/a.js', 'test/b/c/a.js', 'test/aXjs', 'more/test/a.js'];
  assert.deepEqual(matches('test/*.js', ...files), ['test/a.js']);
  assert.deepEqual(matches('test/**/*.js', ...files), files.slice(0, 3));
});

test('a suite that cannot be had is told of, with what to do', () => {
  const script = join(scripts, 'framework-suites.mjs');
  const args = ['koa', '--work', join(folder, 'work')];
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args, '--mode', ''], {
    encoding: 'utf8',
  });
  assert.equal(status, 2);
  assert.match(stdout, /koa: not run, its package ships no tests: --checkout koa=DIR/);
  assert.match(stderr, /no suite could be run/);
  const help = execFileSync(process.execPath, [script, '--help'], { encoding: 'utf8' });
  assert.match(help, /git clone --depth 1 --branch v\S+ \S+\/koa /);
});
