#!/usr/bin/env node
// Node's own tests as the judge of transparency: what passes on plain Node must pass under trapless.
//
// 1. Plain Node is the oracle. Files that pass there, without skipping, are what we are measured on.
// 2. Each mode runs those files again with `--import dist/register.mjs`, everything else unchanged.
// 3. A file that fails beside others is tried again alone: passing then makes it *flaky*, else *lost*.
//
// The checkout is an argument and nothing of it is copied. `--help` says how to get one.

import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const compatibilityFile = join(root, 'docs', 'COMPATIBILITY.md');
const exceptionsMarker = '<!-- node-tests exceptions -->';
const exceptionsMax = 4;
const attemptsMax = 3;
const outputBytesMax = 256 * 1024;

const help = `Run Node's own tests with and without trapless.

  node scripts/node-tests.mjs PATH_OF_NODE_TEST_CHECKOUT [options]

The checkout is Node's repository, or anything that holds its test/ folder, of the version to
compare with. To get one:

  git clone --depth 1 --branch v20.11.1 https://github.com/nodejs/node /tmp/node
  node scripts/node-tests.mjs /tmp/node

What is run
  --filter GLOBS   files of test/parallel, comma-separated, * and ? allowed  ['test-fs-*']
  --list FILE      only the files named in FILE, one a line; # starts a comment
  --mode MODES     plain, ring, crew, comma-separated                  [plain,ring,crew]
                     plain  Node alone: the oracle, always needed (see --oracle)
                     ring   node --import dist/register.mjs
                     crew   the same with TRAPLESS_RING=0
  --node PATH      the Node to test                                    [the one running this]
  --register FILE  the module to import                                [dist/register.mjs]

How
  --jobs N         tests at a time                                     [number of CPUs]
  --timeout SEC    for one test; its whole process group is killed     [60]
  --oracle FILE    take plain results from a former --json FILE instead of running plain again
  --json FILE      write every result, with the output of failures
  -v, --verbose    one line for each test, and the whole output of the lost ones

Words in the table
  pass     passes, and passed on plain Node
  flaky    failed beside other tests, passed when tried again alone (at most ${attemptsMax - 1} times)
  lost     passed on plain Node, never passed here; one that skips itself only here is lost too
  failed on plain, skipped on plain: no measure of us, left out
Some tests skip themselves as root, and some can only pass as root: run both for the whole picture.

Exceptions are the rows \`| file | reason |\` of the table that follows
${exceptionsMarker} in docs/COMPATIBILITY.md: at most ${exceptionsMax}.
Exit status: 0 nothing lost but exceptions, 1 something lost, 2 it could not be measured.

Examples
  First the oracle alone, kept; then only what we change, as often as needed:
    node scripts/node-tests.mjs /tmp/node --mode plain --json plain.json
    node scripts/node-tests.mjs /tmp/node --mode ring,crew --oracle plain.json
  One test, everything it prints:
    node scripts/node-tests.mjs /tmp/node --filter test-fs-opendir --mode ring -v
`;

/** @typedef {'plain' | 'ring' | 'crew'} Mode */
/** @typedef {'pass' | 'flaky' | 'skip' | 'fail'} Outcome */
/**
 * @typedef {object} Attempt one run of one file
 * @property {'pass' | 'skip' | 'fail'} outcome
 * @property {string} reason empty for a pass
 * @property {string} output stdout and stderr, as they came
 * @property {number} ms
 */
/**
 * @typedef {object} Result what all attempts at one file say
 * @property {Outcome} outcome
 * @property {string} reason of the skip, or of the first failure
 * @property {string} output of that attempt; empty for a pass
 * @property {number} ms of the last attempt
 * @property {number} attempts
 */
/** @typedef {Map<string, Result>} Results by file name */

/** A mistake of the caller or of the surroundings: reported without a stack, exit status 2. */
class UsageError extends Error {}

/** @param {string} message @returns {never} */
function usage(message) {
  throw new UsageError(message);
}

function readOptions() {
  const { values, positionals } = (() => {
    try {
      return parseArgs({
        allowPositionals: true,
        options: {
          filter: { type: 'string', default: 'test-fs-*' },
          list: { type: 'string' },
          mode: { type: 'string', default: 'plain,ring,crew' },
          node: { type: 'string', default: process.execPath },
          register: { type: 'string', default: join(root, 'dist', 'register.mjs') },
          jobs: { type: 'string', default: String(availableParallelism()) },
          timeout: { type: 'string', default: '60' },
          oracle: { type: 'string' },
          json: { type: 'string' },
          verbose: { type: 'boolean', short: 'v', default: false },
          help: { type: 'boolean', short: 'h', default: false },
        },
      });
    } catch (error) {
      return usage(/** @type {Error} */ (error).message);
    }
  })();
  if (values.help) {
    process.stdout.write(help);
    process.exit(0);
  }
  if (positionals.length !== 1) usage('exactly one checkout of Node must be given');

  /** @param {string} name @param {string} text */
  const positive = (name, text) => {
    const number = Number(text);
    if (!(number > 0)) usage(`--${name} must be a positive number, not '${text}'`);
    return number;
  };
  const known = ['plain', 'ring', 'crew'];
  const modes = values.mode.split(',').filter(Boolean);
  for (const mode of modes) {
    if (!known.includes(mode)) usage(`--mode '${mode}' is none of ${known.join(', ')}`);
  }

  const checkout = resolve(positionals[0]);
  const tests = [join(checkout, 'test'), checkout].find(
    (folder) => existsSync(join(folder, 'parallel')) && existsSync(join(folder, 'common')),
  );
  if (!tests) usage(`no test/parallel and test/common in ${checkout}`);

  const node = values.node.includes('/') ? resolve(values.node) : values.node;
  const version = spawnSync(node, ['-p', '[process.version, process.execPath].join()'], {
    encoding: 'utf8',
    env: environment(),
  });
  if (version.status !== 0)
    usage(`--node ${node} does not run: ${version.error ?? version.stderr}`);
  const [nodeVersion, nodePath] = version.stdout.trim().split(',');

  return {
    tests: realpathSync(tests),
    filter: values.filter,
    list: values.list,
    modes: /** @type {Mode[]} */ (modes),
    nodePath,
    nodeVersion,
    register: resolve(values.register),
    jobs: Math.max(1, Math.floor(positive('jobs', values.jobs))),
    timeoutMs: positive('timeout', values.timeout) * 1000,
    oracle: values.oracle,
    json: values.json,
    verbose: values.verbose,
  };
}
/** @typedef {ReturnType<typeof readOptions>} Options */

/** Added to every test's environment: see knowGlobals. */
/** @type {NodeJS.ProcessEnv} */
const added = {};

/** The environment tests get: ours without what would change Node, or switch trapless off. */
function environment() {
  /** @type {NodeJS.ProcessEnv} */
  const env = { ...added };
  for (const [name, value] of Object.entries(process.env)) {
    if (!/^(NODE_|TRAPLESS|UV_|TEST_)/.test(name)) env[name] = value;
  }
  return env;
}

/**
 * A newer Node has globals that an older checkout takes for leaks, in every file. Then, and only
 * then, its check is off; with the Node of the checkout it also guards against globals of ours.
 * @param {Options} options
 */
function knowGlobals(options) {
  const script = `require(${JSON.stringify(join(options.tests, 'common'))})`;
  const { status, stderr } = spawnSync(options.nodePath, ['-e', script], {
    encoding: 'utf8',
    env: environment(),
  });
  if (status !== 0 && stderr.includes('Unexpected global')) added.NODE_TEST_KNOWN_GLOBALS = '0';
}

/** @param {Options} options */
function selectFiles(options) {
  const globs = options.filter.split(',').filter(Boolean);
  const patterns = globs.map((glob) => {
    const body = glob.replace(/[.+^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '.*');
    return new RegExp(`^${body.replace(/\?/g, '.')}(\\.m?js)?$`);
  });
  let files = readdirSync(join(options.tests, 'parallel')).filter((name) => /\.m?js$/.test(name));
  if (options.list) {
    const lines = readFileSync(options.list, 'utf8').split('\n');
    const wanted = new Set(lines.map((line) => line.replace(/#.*/, '').trim()).filter(Boolean));
    for (const name of wanted) {
      if (!files.includes(name)) usage(`--list ${options.list}: test/parallel has no '${name}'`);
    }
    files = files.filter((name) => wanted.has(name));
  } else {
    files = files.filter((name) => patterns.some((pattern) => pattern.test(name)));
  }
  if (files.length === 0) usage(`no file of test/parallel matches '${options.filter}'`);
  return files.sort();
}

/** The `// Flags:` header, read as Node's tools/test.py reads it. @param {string} file */
function flagsOf(file) {
  const header = /\/\/\s+Flags:(.*)/.exec(readFileSync(file, 'utf8'));
  return header ? header[1].split(/\s+/).filter(Boolean) : [];
}

// Runs of this process, so that an interrupt leaves neither processes nor files behind.
/** @type {Set<number>} */
const groupsAlive = new Set();
let scratch = '';
let serial = 0;

/** @param {number} group */
function killGroup(group) {
  try {
    process.kill(-group, 'SIGKILL');
  } catch {
    // Nobody is left in the group.
  }
}

function leave() {
  for (const group of groupsAlive) killGroup(group);
  if (scratch) rmSync(scratch, { recursive: true, force: true, maxRetries: 3 });
}

/**
 * One file, once, in its own process group and its own temporary directory.
 * @param {Options} options @param {Mode} mode @param {string} name
 * @returns {Promise<Attempt>}
 */
function attempt(options, mode, name) {
  const file = join(options.tests, 'parallel', name);
  const flags = flagsOf(file);
  if (mode !== 'plain') flags.push('--import', options.register);

  // test/common/tmpdir.js makes NODE_TEST_DIR/.tmp.TEST_THREAD_ID; TEST_PARALLEL guards common.PORT.
  const id = String(serial++);
  const testDir = join(scratch, id);
  mkdirSync(testDir);
  const env = { ...environment(), NODE_TEST_DIR: testDir, TEST_THREAD_ID: id, TEST_PARALLEL: '1' };
  if (mode === 'crew') Object.assign(env, { TRAPLESS_RING: '0' });

  return new Promise((done) => {
    const started = performance.now();
    const child = spawn(options.nodePath, [...flags, file], {
      cwd: dirname(options.tests),
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const group = child.pid;
    if (group !== undefined) groupsAlive.add(group);

    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        if (output.length < outputBytesMax) output += text;
      });
    }
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      if (group !== undefined) killGroup(group);
    }, options.timeoutMs);

    /** @param {string} failure empty if it ended well */
    const finish = (failure) => {
      clearTimeout(timer);
      if (group !== undefined) groupsAlive.delete(group);
      rmSync(testDir, { recursive: true, force: true, maxRetries: 3 });
      const skipped = /^1\.\.0 # Skipped:?\s*(.*)/im.exec(output);
      const ms = Math.round(performance.now() - started);
      if (failure) done({ outcome: 'fail', reason: failure, output, ms });
      else if (skipped) done({ outcome: 'skip', reason: skipped[1], output, ms });
      else done({ outcome: 'pass', reason: '', output, ms });
    };
    child.once('error', (error) => finish(error.message));
    // A grandchild that outlives its test would hold the pipes open, and 'close' back.
    child.once('exit', () => group !== undefined && killGroup(group));
    child.once('close', (code, signal) => {
      if (timedOut) finish(`timed out after ${options.timeoutMs / 1000} s`);
      else if (signal) finish(`killed by ${signal}`);
      else finish(code === 0 ? '' : `exit status ${code}`);
    });
  });
}

/**
 * A pass says so itself; anything else is judged against what plain Node did.
 * @param {Mode} mode @param {Attempt} one
 */
function isGood(mode, one) {
  return one.outcome === 'pass' || (mode === 'plain' && one.outcome === 'skip');
}

/**
 * All files in one mode: side by side, then the failed ones again, alone.
 * @param {Options} options @param {Mode} mode @param {string[]} names
 */
async function runMode(options, mode, names) {
  /** @type {Results} */
  const results = new Map();
  const progress = new Progress(mode, names.length, options.verbose);

  let next = 0;
  const worker = async () => {
    while (next < names.length) {
      const name = names[next++];
      const { outcome, ...rest } = await attempt(options, mode, name);
      results.set(name, { outcome, ...rest, attempts: 1 });
      progress.done(name, isGood(mode, { outcome, ...rest }), rest.ms);
    }
  };
  await Promise.all(Array.from({ length: Math.min(options.jobs, names.length) }, worker));

  const failed = names.filter((name) => !isGood(mode, /** @type {any} */ (results.get(name))));
  for (const [index, name] of failed.entries()) {
    const first = /** @type {Result} */ (results.get(name));
    for (let attempts = 2; attempts <= attemptsMax; attempts++) {
      progress.note(`alone again ${index + 1}/${failed.length}: ${name}`);
      const again = await attempt(options, mode, name);
      // The first failure is kept, as the reason for calling it flaky.
      const outcome = again.outcome === 'pass' ? 'flaky' : first.outcome;
      results.set(name, { ...first, outcome, ms: again.ms, attempts });
      if (isGood(mode, again)) break;
    }
  }
  progress.end();
  for (const result of results.values()) if (result.outcome === 'pass') result.output = '';
  return new Map([...results].sort());
}

/** One line that rewrites itself on a terminal; without one, a line every tenth of the way. */
class Progress {
  /** @param {Mode} mode @param {number} total @param {boolean} verbose */
  constructor(mode, total, verbose) {
    this.mode = mode;
    this.total = total;
    this.verbose = verbose;
    this.count = 0;
    this.failed = 0;
    this.started = performance.now();
  }

  /** @param {string} text */
  write(text) {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text.slice(0, 100)}`);
    else process.stderr.write(`${text}\n`);
  }

  /** @param {string} name @param {boolean} good @param {number} ms */
  done(name, good, ms) {
    this.count++;
    if (!good) this.failed++;
    if (this.verbose) {
      this.write(`${this.mode} ${good ? 'ok  ' : 'FAIL'} ${String(ms).padStart(6)} ms ${name}\n`);
    }
    const step = Math.ceil(this.total / 10);
    if (process.stderr.isTTY || this.count % step === 0 || this.count === this.total) {
      const seconds = Math.round((performance.now() - this.started) / 1000);
      const failed = this.failed ? `, ${this.failed} to try again` : '';
      this.write(`${this.mode} ${this.count}/${this.total}${failed}, ${seconds} s  ${name}`);
    }
  }

  /** @param {string} text */
  note(text) {
    this.write(`${this.mode} ${text}`);
  }

  end() {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  }
}

/** Some tests skip themselves as root, some can only pass as root. */
function userKind() {
  return process.getuid?.() === 0 ? 'root' : 'an ordinary user';
}

/** @param {Options} options @returns {Results} */
function readOracle(options) {
  const file = /** @type {string} */ (options.oracle);
  const saved = JSON.parse(readFileSync(file, 'utf8'));
  if (!saved.results?.plain) usage(`--oracle ${file} holds no plain results`);
  if (saved.node !== options.nodeVersion) {
    usage(`--oracle ${file} was made by Node ${saved.node}, this is ${options.nodeVersion}`);
  }
  if (saved.user !== userKind()) {
    usage(`--oracle ${file} was made as ${saved.user}, this is ${userKind()}: other tests skip`);
  }
  return new Map(Object.entries(saved.results.plain));
}

/** @returns {Map<string, string>} reason by file */
function readExceptions() {
  /** @type {Map<string, string>} */
  const exceptions = new Map();
  if (!existsSync(compatibilityFile)) return exceptions;
  const text = readFileSync(compatibilityFile, 'utf8');
  const start = text.indexOf(exceptionsMarker);
  if (start < 0) return exceptions;
  const lines = text
    .slice(start + exceptionsMarker.length)
    .trimStart()
    .split('\n');
  for (const line of lines) {
    if (!line.trim().startsWith('|')) break;
    const [file, reason] = line
      .trim()
      .replace(/^\||\|$/g, '')
      .split('|')
      .map((cell) => cell.trim());
    if (file.toLowerCase() === 'file' || /^:?-+:?$/.test(file)) continue;
    if (!reason) usage(`docs/COMPATIBILITY.md: the exception '${file}' has no reason`);
    exceptions.set(file.replace(/`/g, ''), reason);
  }
  return exceptions;
}

/**
 * Passing proves nothing if trapless never took over: ask whether it changed anything at all.
 * @param {Options} options
 */
function assertRegistered(options) {
  if (!existsSync(options.register)) {
    usage(`${options.register} does not exist; build it first: npm run build`);
  }
  const script = `const fs = require('fs'); process.stdout.write(
    String([fs.stat, fs.readFile, fs.promises.stat, fs.promises.readFile]))`;
  const [plain, registered] = [[], ['--import', options.register]].map((flags) =>
    spawnSync(options.nodePath, [...flags, '-e', script], { encoding: 'utf8', env: environment() }),
  );
  if (registered.status !== 0) usage(`${options.register} does not load:\n${registered.stderr}`);
  if (plain.stdout === registered.stdout) {
    console.log(`WARNING: ${options.register} leaves fs as it was; the results say nothing.\n`);
  }
}

/** The lines of a failure that tell what is wrong. @param {Result} result */
function excerpt(result) {
  const lines = result.output.split('\n').filter((line) => line.trim());
  const at = lines.findIndex((line) =>
    /(^|\s|\[)\w*(Error|Exception)\b.*:|^Mismatched|FATAL|Sanitizer|Assertion|^# Fatal/.test(line),
  );
  const picked = at < 0 ? lines.slice(0, 8) : lines.slice(at, at + 8);
  const text = picked.map((line) => `      ${line.slice(0, 140)}`).join('\n');
  return `    ${result.reason || 'skipped here only'}${text ? `\n${text}` : ''}`;
}

/** @param {string[][]} rows the first is the head; all columns but the first are numbers */
function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (/** @type {string[]} */ row) =>
    row.map((c, i) => (i ? c.padStart(widths[i]) : c.padEnd(widths[i]))).join('  ');
  return [line(rows[0]), widths.map((w) => '-'.repeat(w)).join('  '), ...rows.slice(1).map(line)];
}

/** @param {Results} results @param {Outcome[]} outcomes */
function namesOf(results, ...outcomes) {
  return [...results].filter(([, result]) => outcomes.includes(result.outcome)).map(([n]) => n);
}

async function main() {
  const options = readOptions();
  const files = selectFiles(options);
  knowGlobals(options);
  const exceptions = readExceptions();
  const modes = /** @type {Mode[]} */ (['ring', 'crew']).filter((m) => options.modes.includes(m));
  if (modes.length > 0) assertRegistered(options);

  scratch = mkdtempSync(join(tmpdir(), 'trapless-node-tests-'));
  chmodSync(scratch, 0o755); // Some tests go on as another user, who must get in.
  process.on('exit', leave);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(2));

  const saved = options.oracle ? readOracle(options) : new Map();
  const unknown = files.filter((name) => !saved.has(name));
  const fresh = unknown.length ? await runMode(options, 'plain', unknown) : new Map();
  const plain = new Map(files.map((name) => [name, saved.get(name) ?? fresh.get(name)]));
  const measured = namesOf(plain, 'pass', 'flaky');

  /** @type {Map<Mode, Results>} */
  const byMode = new Map();
  for (const mode of modes) byMode.set(mode, await runMode(options, mode, measured));

  if (options.json) {
    const all = [['plain', plain], ...byMode].map(([mode, results]) => [
      mode,
      Object.fromEntries(/** @type {Results} */ (results)),
    ]);
    const head = { node: options.nodeVersion, user: userKind(), filter: options.filter };
    const record = { ...head, jobs: options.jobs, results: Object.fromEntries(all) };
    writeFileSync(options.json, `${JSON.stringify(record, null, 1)}\n`);
  }

  const left = { failed: namesOf(plain, 'fail'), skipped: namesOf(plain, 'skip') };
  const head = ['mode', 'pass', 'flaky', 'lost', 'skipped on plain', 'failed on plain', 'of'];
  /** @type {string[][]} */
  const rows = [head];
  /** @param {string} mode @param {Results} results @param {number} lost */
  const addRow = (mode, results, lost) => {
    const counts = [namesOf(results, 'pass').length, namesOf(results, 'flaky').length, lost];
    const rest = [left.skipped.length, left.failed.length, files.length];
    rows.push([mode, ...[...counts, ...rest].map(String)]);
  };
  addRow('plain', plain, 0);

  /** @type {Set<string>} */
  const lostAnywhere = new Set();
  /** @type {string[]} */
  const details = [];
  if (modes.length === 0) {
    for (const name of left.failed) {
      details.push(`  failed on plain: ${name}`, excerpt(/** @type {Result} */ (plain.get(name))));
    }
    for (const name of left.skipped) {
      details.push(`  skipped on plain: ${name}: ${plain.get(name)?.reason}`);
    }
  }
  for (const name of namesOf(plain, 'flaky')) details.push(`  flaky on plain: ${name}`);
  for (const [mode, results] of byMode) {
    // Whoever skips itself only under trapless no longer tests what it tested before.
    const lost = namesOf(results, 'fail', 'skip');
    addRow(mode, results, lost.length);
    for (const name of namesOf(results, 'flaky')) {
      details.push(`  flaky on ${mode}: ${name} (${results.get(name)?.reason})`);
    }
    for (const name of lost) {
      lostAnywhere.add(name);
      const reason = exceptions.get(name);
      const result = /** @type {Result} */ (results.get(name));
      details.push(`  lost on ${mode}: ${name}${reason ? `, excepted: ${reason}` : ''}`);
      details.push(options.verbose ? `${result.reason}\n${result.output}` : excerpt(result));
    }
  }

  console.log(
    `Node ${options.nodeVersion} as ${userKind()}, ${options.jobs} at a time, ${options.tests}\n`,
  );
  console.log(table(rows).join('\n'));
  if (details.length) console.log(`\n${details.join('\n')}`);

  const bad = [...lostAnywhere].filter((name) => !exceptions.has(name));
  if (modes.length > 0 && exceptions.size > 0) {
    const used = [...exceptions.keys()].filter((name) => lostAnywhere.has(name)).length;
    console.log(
      `\n${exceptions.size} excepted in docs/COMPATIBILITY.md, ${used} of them used here`,
    );
  }
  if (exceptions.size > exceptionsMax) {
    console.log(
      `\n${exceptions.size} exceptions in docs/COMPATIBILITY.md; at most ${exceptionsMax}`,
    );
  }
  if (bad.length) console.log(`\n${bad.length} lost: ${bad.join(' ')}`);
  else if (modes.length > 0)
    console.log(`\nNothing lost${lostAnywhere.size ? ' unexcepted' : ''}.`);
  process.exitCode = bad.length > 0 || exceptions.size > exceptionsMax ? 1 : 0;
}

main().catch((error) => {
  const known = error instanceof UsageError;
  console.error(known ? `node-tests: ${error.message}\nTry --help.` : error);
  process.exitCode = 2;
});
