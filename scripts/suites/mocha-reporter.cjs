// A reporter of mocha, of any version: the lines of node-test-reporter.mjs, in the file named by
// SUITE_RESULTS. Mocha's own JSON comes only at the end, and, in old versions, among the output.
//
//   SUITE_RESULTS=FILE mocha --reporter ./mocha-reporter.cjs test.js

// Taken now: tests replace functions of fs.
const { appendFileSync, writeFileSync } = require('node:fs');
const file = process.env.SUITE_RESULTS;
delete process.env.SUITE_RESULTS;
/** How long the process may live after the last test; only what keeps it alive makes it wait. */
const LINGER_MS_MAX = 20_000;

/** @param {any} runner */
module.exports = function Reporter(runner) {
  writeFileSync(file, '');
  const line = (record) => appendFileSync(file, `${JSON.stringify(record)}\n`);
  const test = (outcome) => (test, error) =>
    line({
      file: test.file ?? test.parent?.file ?? '',
      path: test.titlePath(),
      outcome,
      suite: test.type === 'hook',
      message: error ? String(error.stack ?? error.message ?? error) : '',
    });
  runner.on('pass', test('pass'));
  runner.on('fail', test('fail'));
  runner.on('pending', test('skip'));
  runner.on('end', () => {
    line({ end: true });
    // A server that a failed test left open keeps mocha alive. If every test passed, it is a loss.
    setTimeout(() => {
      line({ lingers: true });
      process.exit(1);
    }, LINGER_MS_MAX).unref();
  });
};
