// A reporter of node:test: one JSON line for each test, with the names of all tests around it.
//
//   node --test --test-reporter=./node-test-reporter.mjs --test-reporter-destination=FILE test.js
//
// Lines: {file, path, outcome: pass | fail | skip, suite, message}, and {end: true} as the last.
// results.mjs reads them. They are written as tests end, so a crash keeps what came before it.

/** @param {AsyncIterable<any> | Iterable<any>} source */
export default async function* report(source) {
  /** Names by nesting: a test starts before those in it, and ends after them. @type {string[]} */
  const names = [];
  for await (const { type, data } of source) {
    if (type === 'test:start') names[data.nesting] = data.name;
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    names[data.nesting] = data.name;
    const skipped = data.skip !== undefined || data.todo !== undefined;
    const error = data.details?.error;
    yield `${JSON.stringify({
      file: data.file ?? '',
      path: names.slice(0, data.nesting + 1),
      outcome: skipped ? 'skip' : type === 'test:pass' ? 'pass' : 'fail',
      suite: data.details?.type === 'suite',
      message: error ? String(error.cause?.stack ?? error.cause ?? error.message) : '',
    })}\n`;
  }
  yield '{"end":true}\n';
}
