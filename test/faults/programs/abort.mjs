/** An AbortSignal in every state of a call: before, right after, in flight, at its end. */
import fs from 'node:fs';
import { join } from 'node:path';
import { called, makeFifo, openFifo, outcome, pattern, report, sleep, turn } from './harness.mjs';

const p = fs.promises;
const LARGE = 3_000_000;

/** When the signal comes, counted from the call. */
const MOMENTS = {
  before: null,
  'right after': (abort) => abort(),
  'in the next tick': (abort) => process.nextTick(abort),
  'as a promise job': (abort) => Promise.resolve().then(abort),
};

function failure({ name, code, message, cause }) {
  return { name, code, message, cause: cause?.message };
}

await report(async (dir) => {
  const seen = {};
  const file = join(dir, 'file');
  fs.writeFileSync(file, pattern(LARGE));
  const calls = {
    'promises.readFile': (signal) => p.readFile(file, { signal }),
    'promises.writeFile': (signal) => p.writeFile(join(dir, 'new'), pattern(LARGE), { signal }),
    'promises.appendFile': (signal) => p.appendFile(join(dir, 'new'), pattern(10), { signal }),
    readFile: (signal) =>
      called((done) => fs.readFile(file, { signal }, done)).then(([error, data]) => {
        if (error) throw error;
        return data;
      }),
    writeFile: (signal) =>
      called((done) => fs.writeFile(join(dir, 'new'), pattern(LARGE), { signal }, done)).then(
        ([error]) => {
          if (error) throw error;
        },
      ),
  };
  for (const [name, call] of Object.entries(calls))
    for (const [moment, when] of Object.entries(MOMENTS)) {
      const controller = new AbortController();
      const abort = () => controller.abort(new Error('enough'));
      if (when === null) abort();
      let promise;
      try {
        promise = call(controller.signal);
      } catch (error) {
        seen[`${name}, ${moment}`] = ['threw', failure(error)];
        continue;
      }
      when?.(abort);
      seen[`${name}, ${moment}`] = await promise.then(() => 'done', failure);
    }

  // In flight, wherever it happens to be: aborted, or whole. Never anything in between.
  let between = 0;
  for (let i = 0; i < 60; i++) {
    const controller = new AbortController();
    const reading = p.readFile(file, { signal: controller.signal });
    const writing = p.writeFile(join(dir, `w${i}`), pattern(LARGE), { signal: controller.signal });
    for (let turns = i % 12; turns > 0; turns--) await turn();
    controller.abort();
    const [read, written] = await Promise.allSettled([reading, writing]);
    const aborted = ({ reason }) => reason?.name === 'AbortError' && reason.code === 'ABORT_ERR';
    if (!aborted(read) && !read.value?.equals(pattern(LARGE))) between++;
    const there = fs.existsSync(join(dir, `w${i}`))
      ? fs.readFileSync(join(dir, `w${i}`))
      : pattern(0);
    if (!there.equals(pattern(there.length))) between++;
    if (!aborted(written) && there.length !== LARGE) between++;
  }
  seen['neither aborted nor whole'] = between;

  // A call that blocks in Linux goes on; the abort shows when it is back.
  const fifo = makeFifo(dir);
  const controller = new AbortController();
  const blocked = p.readFile(fifo, { signal: controller.signal }).then(() => 'done', failure);
  await sleep(30);
  controller.abort();
  const writer = openFifo(fifo);
  fs.writeSync(writer, 'x');
  await sleep(30);
  fs.closeSync(writer);
  seen['blocked in open'] = await blocked;

  // After the end it is too late, and nobody listens any more.
  const late = new AbortController();
  seen['at its end'] = await outcome(p.readFile(file, { signal: late.signal }));
  late.abort();
  const stream = fs.createReadStream(file, { signal: AbortSignal.abort() });
  seen.stream = await new Promise((resolve) => stream.on('error', ({ name }) => resolve(name)));
  return seen;
});
