// Runs files of a suite by the project's own runner, plain or under trapless.
//
//   const results = await runFiles({ suite, folder, mode: 'ring', files, jobs, ... });
//
// trapless comes by NODE_OPTIONS=--require=…/register.cjs: the runner has it, and so has every
// process that a test starts. node:test runs each file in a process of its own anyway, so here
// each is a run of its own; mocha and vitest get all files at once, as the projects do it.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseLines, parseVitest } from './results.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const OUTPUT_BYTES_MAX = 64 * 1024;

/** @typedef {'plain' | 'ring' | 'crew'} Mode */
/** @typedef {import('./results.d.mts').Results} Results */
/**
 * @typedef {object} Job
 * @property {import('./catalog.mjs').Suite} suite
 * @property {string} folder
 * @property {Mode} mode
 * @property {string[]} files relative to folder
 * @property {number} jobs files at a time, with node:test
 * @property {number} timeoutMs for one process
 * @property {number} testTimeoutMs for one test, with mocha and vitest
 * @property {string} register
 * @property {(file: string) => void} [onFile]
 */

/** The environment of a run: ours, without what would change Node, trapless, or the tests. */
export function environment(mode, register) {
  /** @type {NodeJS.ProcessEnv} */
  const env = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (!/^(NODE_|TRAPLESS|UV_|npm_|FORCE_COLOR|NO_COLOR|CI$)|_proxy$/i.test(name))
      env[name] = value;
  }
  if (mode !== 'plain') env.NODE_OPTIONS = preload(register);
  if (mode === 'crew') env.TRAPLESS_RING = '0';
  return env;
}

/** Node splits NODE_OPTIONS at spaces that are not quoted. @param {string} register */
function preload(register) {
  if (!/[\s"\\]/.test(register)) return `--require=${register}`;
  return `"--require=${register.replace(/["\\]/g, '\\$&')}"`;
}

const alive = new Set();

/** @param {number} group */
function killGroup(group) {
  try {
    process.kill(-group, 'SIGKILL');
  } catch {
    // Nobody is left in the group.
  }
}

/** Ends what still runs; for the script's own end. */
export function killAll() {
  for (const group of alive) killGroup(group);
}

/**
 * One process, in a group of its own.
 * @returns {Promise<{failure: string, output: string}>}
 */
function execute(args, { cwd, env, timeoutMs }) {
  return new Promise((done) => {
    const child = spawn(process.execPath, args, {
      cwd,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const group = child.pid;
    alive.add(group);
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => {
        output = (output + text).slice(-OUTPUT_BYTES_MAX);
      });
    let timedOut = false;
    // Counted, not looked up: time in which this machine or we were stopped was not theirs.
    let seconds = 0;
    const timer = setInterval(() => {
      timedOut = ++seconds * 1000 >= timeoutMs;
      if (timedOut) killGroup(group);
    }, 1000);
    // A grandchild that outlives the run would hold the pipes open, and 'close' back.
    child.once('exit', () => killGroup(group));
    child.once('close', (code, signal) => {
      clearInterval(timer);
      alive.delete(group);
      const failure = timedOut
        ? `timed out after ${timeoutMs / 1000} s`
        : signal
          ? `killed by ${signal}`
          : code
            ? `exit status ${code}`
            : '';
      done({ failure, output });
    });
  });
}

/** @param {Job} job @param {string[]} files @param {string} report */
function commandOf({ suite, folder, testTimeoutMs }, files, report) {
  const args = suite.args ?? [];
  switch (suite.runner) {
    case 'node:test': {
      const reporter = `--test-reporter=${join(here, 'node-test-reporter.mjs')}`;
      return [...args, '--test', reporter, `--test-reporter-destination=${report}`, ...files];
    }
    case 'mocha': {
      const mocha = join(folder, 'node_modules', 'mocha', 'bin', 'mocha');
      const reporter = ['--reporter', join(here, 'mocha-reporter.cjs')];
      return [mocha, ...args, ...reporter, '--timeout', String(testTimeoutMs), ...files];
    }
    case 'vitest': {
      const vitest = join(folder, 'node_modules', 'vitest', 'vitest.mjs');
      const limits = ['testTimeout', 'hookTimeout'].map((name) => `--${name}=${testTimeoutMs}`);
      const reporter = ['--reporter=json', `--outputFile=${report}`];
      return [vitest, 'run', ...args, ...reporter, ...limits, ...files];
    }
    default:
      throw new Error(`no such runner: ${suite.runner}`);
  }
}

/** @param {Job} job @param {string[]} files @returns {Promise<Results>} */
async function runOnce(job, files) {
  const { suite, folder, mode, register, timeoutMs } = job;
  const scratch = mkdtempSync(join(tmpdir(), 'trapless-suites-'));
  const report = join(scratch, 'report');
  const env = { ...environment(mode, register), ...suite.env, SUITE_RESULTS: report };
  if (suite.runner !== 'mocha') delete env.SUITE_RESULTS;
  const { failure, output } = await execute(commandOf(job, files, report), {
    cwd: folder,
    env,
    timeoutMs,
  });
  const parse = suite.runner === 'vitest' ? parseVitest : parseLines;
  const parsed = parse(readReport(report), folder);
  const { results } = parsed;
  rmSync(scratch, { recursive: true, force: true, maxRetries: 3 });

  // With node:test the exit status also tells of what happened outside of tests. The status of
  // mocha and vitest is the number of failures, or that there are some.
  const single = suite.runner === 'node:test';
  const bad = single ? failure : complaint(parsed, failure);
  const file = single ? files[0] : '(run)';
  results.set(`${file} › (the whole)`, {
    outcome: bad ? 'fail' : 'pass',
    suite: true,
    file,
    message: bad ? `${bad}\n${output}` : '',
  });
  return results;
}

/**
 * What is wrong with a run of all files, its tests apart.
 * @param {import('./results.d.mts').Parsed} parsed @param {string} failure
 */
function complaint({ results, ended, lingers }, failure) {
  if (!ended) return failure || 'it did not end';
  const failed = [...results.values()].some(({ outcome }) => outcome === 'fail');
  return lingers && !failed ? 'something keeps it alive after its last test' : '';
}

/** @param {string} file */
function readReport(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // It ended before its reporter began.
  }
}

/** @param {Job} job @returns {Promise<Results>} */
export async function runFiles(job) {
  const { suite, files } = job;
  if (suite.runner !== 'node:test') return runOnce(job, files);
  /** @type {Results} */
  const all = new Map();
  let next = 0;
  const worker = async () => {
    while (next < files.length) {
      const file = files[next++];
      const results = await runOnce(job, [file]);
      for (const [name, result] of results) all.set(name, { ...result, file });
      job.onFile?.(file);
    }
  };
  await Promise.all(Array.from({ length: Math.min(job.jobs, files.length) }, worker));
  return all;
}
