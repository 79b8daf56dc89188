#!/usr/bin/env node
// The test suites of projects that servers are made of, plain and under trapless: every test that
// passes plain must pass here. `--help` says how to get them; nothing of them is kept in here.
//
//   suites/catalog.mjs   which projects, and how each runs its tests
//   suites/prepare.mjs   a copy with what it depends on
//   suites/run.mjs       its files, by its own runner, in one mode
//   suites/results.mjs   what that said, and the comparison

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { suites } from './suites/catalog.mjs';
import { PrepareError, prepare, versionIn } from './suites/prepare.mjs';
import { redisMissing, redisVersion, startRedis } from './suites/redis.mjs';
import { compare, count, glob } from './suites/results.mjs';
import { environment, killAll, runFiles } from './suites/run.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const attemptsMax = 3;
const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');

const help = `Run the test suites of server frameworks and clients with and without trapless.

  node scripts/framework-suites.mjs [SUITE...] [options]

Suites: ${suites.map(({ name }) => name).join(', ')}   [all]

Most packages come without their tests, so they need a checkout (others are taken from npm):

${suites
  .map(({ name, tag, repository, packed }) =>
    packed
      ? `  (${name} comes from npm)`
      : `  git clone --depth 1 --branch ${tag} ${repository} DIR/${name}`,
  )
  .join('\n')}

ioredis also needs a \`redis-server\` in PATH and port 6379 free: one of our own is started there.

What is run
  --checkout NAME=DIR  a suite from a checkout; may be repeated. It is copied, not changed
  --checkouts DIR      the same for every suite that DIR has a folder for, by its name
  --mode MODES         ring, crew, comma-separated; plain is the oracle   [ring,crew]
  --filter TEXT        only files whose path has TEXT in it
  --register FILE      what NODE_OPTIONS=--require= names                 [dist/register.cjs]

How
  --work DIR           where copies and their node_modules are kept
                       [${join('$XDG_CACHE_HOME', 'trapless', 'suites')}]
  --jobs N             files at a time, with node:test                    [number of CPUs]
  --timeout SEC        for one file; ten times as long for a whole suite  [180]
  --test-timeout SEC   for one test, with mocha and vitest; projects allow less, which on a busy
                       machine says nothing of us                         [30]
  --oracle FILE        take plain results from a former --json FILE
  --json FILE          write every result
  -v, --verbose        also what fails plain, and the whole message of what is lost

Words in the table
  passed   tests that pass plain, and in this mode
  flaky    did not pass beside others, did when their file was run again alone
  unsteady lost, but it does not pass every time on plain Node either
  lost     passes plain, never here (${attemptsMax} attempts); skipping itself only here is lost, too
Tests that fail or skip themselves plain are no measure of us.
Exit status: 0 nothing lost, 1 something lost, 2 it could not be measured.
`;

/** @typedef {import('./suites/results.d.mts').Results} Results */
/** @typedef {import('./suites/run.mjs').Mode} Mode */
/** @typedef {import('./suites/catalog.mjs').Suite} Suite */

/** A mistake of the caller: told without a stack, exit status 2. */
class UsageError extends Error {}

/** @param {string} message @returns {never} */
function usage(message) {
  throw new UsageError(message);
}

const note = (/** @type {string} */ text) => process.stderr.write(`${text}\n`);

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        checkout: { type: 'string', multiple: true, default: [] },
        checkouts: { type: 'string' },
        mode: { type: 'string', default: 'ring,crew' },
        filter: { type: 'string', default: '' },
        register: { type: 'string', default: join(root, 'dist', 'register.cjs') },
        work: { type: 'string', default: join(cache, 'trapless', 'suites') },
        jobs: { type: 'string', default: String(availableParallelism()) },
        timeout: { type: 'string', default: '180' },
        'test-timeout': { type: 'string', default: '30' },
        oracle: { type: 'string' },
        json: { type: 'string' },
        verbose: { type: 'boolean', short: 'v', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    return usage(error.message);
  }
}

function readOptions() {
  const { values, positionals } = parse();
  if (values.help) {
    process.stdout.write(help);
    process.exit(0);
  }
  const known = suites.map(({ name }) => name);
  const suiteOf = (/** @type {string} */ name) =>
    known.includes(name) ? name : usage(`'${name}' is none of ${known.join(', ')}`);
  const positive = (/** @type {'jobs' | 'timeout' | 'test-timeout'} */ name) => {
    const number = Number(values[name]);
    return number > 0 ? number : usage(`--${name} must be a positive number`);
  };
  /** @type {Map<string, string>} */
  const checkouts = new Map();
  for (const name of values.checkouts ? known : []) {
    const folder = resolve(values.checkouts, name);
    if (existsSync(folder)) checkouts.set(name, folder);
  }
  for (const pair of values.checkout) {
    const [, name, folder] = /^([^=]+)=(.+)$/.exec(pair) ?? usage('--checkout takes NAME=DIR');
    checkouts.set(suiteOf(name), resolve(folder));
  }
  const modes = values.mode.split(',').filter((mode) => mode && mode !== 'plain');
  for (const mode of modes) {
    if (mode !== 'ring' && mode !== 'crew') usage(`--mode '${mode}' is none of ring, crew`);
  }
  const names = positionals.length > 0 ? positionals.map(suiteOf) : known;
  return {
    ...values,
    suites: suites.filter(({ name }) => names.includes(name)),
    checkouts,
    modes: /** @type {Mode[]} */ (modes),
    register: resolve(values.register),
    work: resolve(values.work),
    jobs: Math.ceil(positive('jobs')),
    timeoutMs: positive('timeout') * 1000,
    testTimeoutMs: positive('test-timeout') * 1000,
  };
}
/** @typedef {ReturnType<typeof readOptions>} Options */

/** Passing proves nothing if trapless never took over. @param {Options} options */
function assertRegistered({ register, modes }) {
  if (!existsSync(register)) usage(`${register} does not exist; build it first: npm run build`);
  const script = 'process.stdout.write(String(require("fs").stat))';
  const [plain, ...here] = ['plain', ...modes].map((mode) =>
    spawnSync(process.execPath, ['-e', script], {
      encoding: 'utf8',
      env: environment(mode, register),
    }),
  );
  for (const { status, stdout, stderr } of here) {
    if (status !== 0) usage(`${register} does not load:\n${stderr}`);
    if (stdout === plain.stdout)
      usage(`${register} leaves fs as it was: \`trapless doctor\` says why`);
  }
}

/** @param {Suite} suite @param {string} folder @param {string} filter */
function filesOf(suite, folder, filter) {
  const patterns = suite.files.map(glob);
  const all = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return all
    .filter((file) => !file.startsWith('node_modules/') && file.includes(filter))
    .filter((file) => patterns.some((pattern) => pattern.test(file)))
    .sort();
}

/** @param {Suite} suite @param {string} folder @param {Options} options */
function runner(suite, folder, options) {
  const always = filesOf({ ...suite, files: suite.always ?? [] }, folder, '');
  const alone = { jobs: 1, timeoutMs: options.timeoutMs };
  const whole = {
    jobs: options.jobs,
    timeoutMs: options.timeoutMs * (suite.runner === 'node:test' ? 1 : 10),
  };
  /** @param {Mode} mode @param {string[]} files @param {typeof alone} how */
  const run = async (mode, files, how) => {
    const redis = suite.redis ? await startRedis() : null;
    let done = 0;
    const onFile = () => {
      if (++done % 50 === 0) note(`  ${mode} ${done} of ${files.length} files`);
    };
    try {
      const job = { suite, folder, mode, files: [...always, ...files], onFile, ...how };
      const { register, testTimeoutMs } = options;
      return await runFiles({ ...job, register, testTimeoutMs });
    } finally {
      await redis?.stop();
    }
  };
  return {
    all: (/** @type {Mode} */ mode, /** @type {string[]} */ files) => run(mode, files, whole),
    again: (/** @type {Mode} */ mode, /** @type {string} */ file) => run(mode, [file], alone),
  };
}

/** @param {string[]} names @param {Results[]} results @param {string[]} files */
function filesWith(names, results, files) {
  const wanted = names.flatMap((name) => results.map((each) => each.get(name)?.file));
  return files.filter((file) => wanted.includes(file));
}

/**
 * Plain Node: what fails is tried again alone, once; passing then is passing.
 * @param {ReturnType<typeof runner>} run @param {string[]} files
 */
async function oracle(run, files) {
  const results = await run.all('plain', files);
  const failing = () => [...results].filter(([, { outcome }]) => outcome === 'fail');
  const names = failing().map(([name]) => name);
  for (const file of filesWith(names, [results], files)) {
    const again = await run.again('plain', file);
    for (const [name, { outcome }] of failing()) {
      const result = again.get(name);
      if (outcome === 'fail' && result) results.set(name, result);
    }
  }
  return results;
}

/**
 * One mode, against plain: see the words of --help.
 * @param {ReturnType<typeof runner>} run @param {Mode} mode @param {string[]} files
 * @param {Results} plain
 */
async function judge(run, mode, files, plain) {
  const results = await run.all(mode, files);
  const first = compare(plain, results);
  let lost = first.lost;
  /** @type {Map<string, string>} */
  const messages = new Map(lost.map((name) => [name, messageOf(results, name)]));
  for (let attempt = 2; attempt <= attemptsMax && lost.length > 0; attempt++)
    lost = await stillFailing(run, mode, lost, [plain, results], files);
  const flaky = first.lost.filter((name) => !lost.includes(name));

  let steady = lost.filter((name) => plain.has(name));
  for (let attempt = 2; attempt <= attemptsMax && steady.length > 0; attempt++) {
    const failing = await stillFailing(run, 'plain', steady, [plain, results], files);
    steady = steady.filter((name) => !failing.includes(name));
  }
  const unsteady = lost.filter((name) => plain.has(name) && !steady.includes(name));
  lost = lost.filter((name) => !unsteady.includes(name));
  const recovered = flaky.filter((name) => plain.get(name)?.suite === false).length;
  return { passed: first.passed + recovered, flaky, unsteady, lost, messages, results };
}

/** @param {Results} results @param {string} name */
function messageOf(results, name) {
  const result = results.get(name);
  if (!result) return 'it did not run';
  return result.outcome === 'skip' ? 'skipped here only' : result.message;
}

/**
 * Those of `names` that do not pass when their files are run alone.
 * @param {ReturnType<typeof runner>} run @param {Mode} mode @param {string[]} names
 * @param {Results[]} known @param {string[]} files
 */
async function stillFailing(run, mode, names, known, files) {
  /** @type {Set<string>} */
  const passing = new Set();
  for (const file of filesWith(names, known, files)) {
    note(`  ${mode}, alone: ${file}`);
    const again = await run.again(mode, file);
    for (const name of names) {
      const isHere = known.some((results) => results.get(name)?.file === file);
      const wasExpected = known[0].has(name);
      const outcome = again.get(name)?.outcome ?? (wasExpected ? 'fail' : 'pass');
      if (isHere && outcome === 'pass') passing.add(name);
    }
  }
  return names.filter((name) => !passing.has(name));
}

/** Why a suite cannot be run; '' if it can. @param {Suite} suite @param {Options} options */
async function obstacle(suite, options) {
  if (!suite.packed && !options.checkouts.has(suite.name))
    return `its package ships no tests: --checkout ${suite.name}=DIR (see --help)`;
  return suite.redis ? redisMissing() : '';
}

/** @param {Suite} suite @param {Options} options @param {any} saved */
async function runSuite(suite, options, saved) {
  const why = await obstacle(suite, options);
  if (why) return { name: suite.name, skipped: why };
  const { work, checkouts, filter } = options;
  const folder = prepare(suite, { checkout: checkouts.get(suite.name), work, note });
  const version = versionIn(folder);
  const files = filesOf(suite, folder, filter);
  const run = runner(suite, folder, options);
  note(`${suite.name} ${version}: plain, ${files.length} files`);
  const former = saved?.[suite.name];
  const plain = former?.version === version ? new Map(former.plain) : await oracle(run, files);
  /** @type {Map<Mode, Awaited<ReturnType<typeof judge>>>} */
  const modes = new Map();
  for (const mode of options.modes) {
    note(`${suite.name} ${version}: ${mode}`);
    modes.set(mode, await judge(run, mode, files, plain));
  }
  return { name: suite.name, version, plain, modes };
}

/** @param {string[][]} rows the first is the head */
function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  return rows.map((row) =>
    row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '),
  );
}

/** @param {string} message @param {boolean} whole */
function excerpt(message, whole) {
  const lines = message.split('\n').filter((line) => line.trim());
  return (whole ? lines : lines.slice(0, 4)).map((line) => `      ${line}`).join('\n');
}

/** @param {any[]} reports @param {boolean} verbose */
function print(reports, verbose) {
  const head = ['suite', 'version', 'passed plain', 'failed', 'skipped'];
  const rows = [[...head, 'mode', 'passed', 'flaky', 'unsteady', 'lost']];
  /** @type {string[]} */
  const details = [];
  for (const { name, version, plain, modes, skipped } of reports) {
    if (skipped) {
      details.push(`${name}: not run, ${skipped}`);
      continue;
    }
    const counts = ['pass', 'fail', 'skip'].map((outcome) => String(count(plain, outcome)));
    if (verbose)
      for (const [test, { outcome, message }] of plain)
        if (outcome === 'fail')
          details.push(`fails plain: ${name}: ${test}`, excerpt(message, false));
    if (modes.size === 0) rows.push([name, version, ...counts, 'plain', '', '', '', '']);
    for (const [mode, { passed, flaky, unsteady, lost, messages }] of modes) {
      const numbers = [passed, flaky.length, unsteady.length, lost.length].map(String);
      rows.push([name, version, ...counts, mode, ...numbers]);
      for (const [word, tests] of Object.entries({ flaky, unsteady, lost }))
        for (const test of tests) {
          details.push(`${word} on ${mode}: ${name}: ${test}`);
          details.push(excerpt(messages.get(test) ?? '', verbose && word === 'lost'));
        }
    }
  }
  console.log(`Node ${process.version}\n`);
  if (rows.length > 1) console.log(`${table(rows).join('\n')}\n`);
  if (details.length > 0) console.log(`${details.filter(Boolean).join('\n')}\n`);
}

/** @param {any[]} reports */
function record(reports) {
  /** @type {Record<string, any>} */
  const all = { node: process.version };
  for (const { name, version, plain, modes, skipped } of reports) {
    if (skipped) all[name] = { skipped };
    else {
      const byMode = [...modes].map(([mode, { results, ...judged }]) => [
        mode,
        { ...judged, messages: Object.fromEntries(judged.messages), results: [...results] },
      ]);
      all[name] = { version, plain: [...plain], modes: Object.fromEntries(byMode) };
    }
  }
  return all;
}

async function main() {
  const options = readOptions();
  if (options.modes.length > 0) assertRegistered(options);
  mkdirSync(options.work, { recursive: true });
  process.on('exit', killAll);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(2));

  const saved = options.oracle ? JSON.parse(readFileSync(options.oracle, 'utf8')) : null;
  if (saved && saved.node !== process.version)
    usage(`--oracle ${options.oracle} was made by Node ${saved.node}`);
  const reports = [];
  for (const suite of options.suites) {
    reports.push(await runSuite(suite, options, saved));
    if (options.json) writeFileSync(options.json, `${JSON.stringify(record(reports), null, 1)}\n`);
  }
  print(reports, options.verbose);
  if (reports.some(({ name, skipped }) => name === 'ioredis' && !skipped))
    console.log(`Redis ${redisVersion()}\n`);

  const run = reports.filter(({ skipped }) => !skipped);
  const lost = run.flatMap(({ modes }) => [...modes.values()].flatMap((mode) => mode.lost));
  if (run.length === 0) usage('no suite could be run');
  console.log(lost.length > 0 ? `${lost.length} lost.` : 'Nothing lost.');
  process.exitCode = lost.length > 0 ? 1 : 0;
}

main().catch((error) => {
  const known = error instanceof UsageError || error instanceof PrepareError;
  console.error(known ? `framework-suites: ${error.message}\nTry --help.` : error);
  process.exitCode = 2;
});
