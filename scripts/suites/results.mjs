// What a run of a test suite said, test by test, and how two runs differ. Pure functions.
//
//   const plain = parseLines(text, folder);         // node-test-reporter.mjs, mocha-reporter.cjs
//   const here = parseVitest(text, folder);         // vitest run --reporter=json
//   const { passed, lost } = compare(plain, here);
//
// A test is known by its file and the titles around it: two of one name are numbered.

import { relative } from 'node:path';

/** @typedef {import('./results.d.mts').Result} Result */
/** @typedef {import('./results.d.mts').Results} Results */

/** Colours and the like in a name. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what they begin with
const ESCAPES = /\x1b\[[0-9;]*m/g;

/** @param {Results} results @param {string[]} path @param {Result} result */
function add(results, path, result) {
  const titles = path.map((title) => title.replace(ESCAPES, '').trim());
  const name = [result.file, ...titles].join(' › ');
  let unique = name;
  for (let count = 2; results.has(unique); count++) unique = `${name} (${count})`;
  results.set(unique, result);
}

/** @param {string} folder @param {string} file */
function within(folder, file) {
  return file.startsWith('/') ? relative(folder, file) : file;
}

/** @type {typeof import('./results.d.mts').parseLines} */
export function parseLines(text, folder) {
  /** @type {Results} */
  const results = new Map();
  let ended = false;
  let lingers = false;
  for (const line of text.split('\n')) {
    let record;
    try {
      record = JSON.parse(line);
    } catch {
      continue; // The last one of a run that was killed; `ended` tells.
    }
    if (record.end) {
      ended = true;
      continue;
    }
    if (record.lingers) {
      lingers = true;
      continue;
    }
    const { path, outcome, suite, message } = record;
    add(results, path, { outcome, suite, message, file: within(folder, record.file) });
  }
  return { results, ended, lingers };
}

/** @type {typeof import('./results.d.mts').parseVitest} */
export function parseVitest(text, folder) {
  /** @type {Results} */
  const results = new Map();
  let report;
  try {
    report = JSON.parse(text);
  } catch {
    return { results, ended: false, lingers: false };
  }
  for (const { name, status, message, assertionResults } of report.testResults) {
    const file = within(folder, name);
    for (const test of assertionResults) {
      const outcome = { passed: 'pass', failed: 'fail' }[test.status] ?? 'skip';
      const messages = (test.failureMessages ?? []).join('\n');
      const path = [...test.ancestorTitles, test.title];
      add(results, path, { outcome, suite: false, message: messages, file });
    }
    // A file that cannot be loaded has no tests, and a message of its own.
    if (status === 'failed' && assertionResults.length === 0)
      add(results, ['(the file)'], { outcome: 'fail', suite: true, message, file });
  }
  return { results, ended: true, lingers: false };
}

/** @type {typeof import('./results.d.mts').compare} */
export function compare(plain, here) {
  let passed = 0;
  /** @type {string[]} */
  const lost = [];
  for (const [name, { outcome, suite }] of plain) {
    if (outcome !== 'pass') continue;
    if (here.get(name)?.outcome !== 'pass') lost.push(name);
    else if (!suite) passed++;
  }
  // Failures that plain Node knows nothing of: hooks, or a test that ended twice.
  for (const [name, { outcome }] of here)
    if (outcome === 'fail' && !plain.has(name)) lost.push(name);
  return { passed, lost: withoutEnclosing(lost, plain, here) };
}

/**
 * A suite fails because a test in it does, and is worth a word only if none does.
 * @param {string[]} names @param {Results} plain @param {Results} here
 */
function withoutEnclosing(names, plain, here) {
  const isSuite = (name) => (here.get(name) ?? plain.get(name))?.suite ?? false;
  const fileOf = (name) => (plain.get(name) ?? here.get(name))?.file;
  const tests = names.filter((name) => !isSuite(name));
  return names.filter(
    (name) => !isSuite(name) || !tests.some((test) => fileOf(test) === fileOf(name)),
  );
}

/** @type {typeof import('./results.d.mts').count} */
export function count(results, outcome) {
  let number = 0;
  for (const result of results.values()) if (!result.suite && result.outcome === outcome) number++;
  return number;
}

/** @type {typeof import('./results.d.mts').glob} */
export function glob(pattern) {
  const body = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*\*\/|\*/g, (stars) => (stars === '*' ? '[^/]*' : '(?:.*/)?'));
  return new RegExp(`^${body}$`);
}
