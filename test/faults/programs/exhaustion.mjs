/** 100,000 calls in flight, far more than there are entries: each answered once, and rightly. */
import fs from 'node:fs';
import { join } from 'node:path';
import { pattern, report } from './harness.mjs';

const FILES = 100;

/** Makes `calls` at a time; [answered, wrong, answered twice]. */
function all(calls, start) {
  const answers = new Uint8Array(calls);
  let answered = 0;
  let wrong = 0;
  let twice = 0;
  return new Promise((resolve) => {
    for (let i = 0; i < calls; i++)
      start(i, (right) => {
        if (!right) wrong++;
        if (answers[i]++ > 0) twice++;
        if (++answered === calls) setImmediate(resolve, [answered, wrong, twice]);
      });
  });
}

await report(async (dir) => {
  const path = (i) => join(dir, `file${i % FILES}`);
  for (let i = 0; i < FILES; i++) fs.writeFileSync(path(i), pattern(i * 10));
  const results = {
    stat: await all(100_000, (i, done) =>
      fs.stat(path(i), (error, stats) => done(!error && stats.size === (i % FILES) * 10)),
    ),
    'no such file': await all(100_000, (i, done) =>
      fs.stat(`${path(i)}x`, (error) => done(error?.code === 'ENOENT' && error.path.endsWith('x'))),
    ),
    readFile: await all(20_000, (i, done) =>
      fs.readFile(path(i), (error, data) => done(!error && data.equals(pattern((i % FILES) * 10)))),
    ),
  };
  const handle = await fs.promises.open(path(99), 'r');
  results['handle.read'] = await all(20_000, (i, done) => {
    const buffer = Buffer.alloc(10);
    handle
      .read(buffer, 0, 10, i % 900)
      .then(({ bytesRead }) => done(bytesRead === 10 && buffer.equals(pattern(10, i % 900))));
  });
  await handle.close();
  results['access, promised'] = await all(100_000, (i, done) =>
    fs.promises.access(path(i)).then(
      () => done(true),
      () => done(false),
    ),
  );
  return { results, rssMiB: Math.round(process.memoryUsage().rss / 2 ** 20) };
});
