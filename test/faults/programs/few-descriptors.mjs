/** Thousands of calls that open, work and close (run with a low `ulimit -n`): how many failed. */
import fs from 'node:fs';
import { join } from 'node:path';
import { pattern, report } from './harness.mjs';

const p = fs.promises;

await report(async (dir) => {
  const small = join(dir, 'small');
  const large = join(dir, 'large');
  fs.writeFileSync(small, pattern(500));
  fs.writeFileSync(large, pattern(400_000));
  const to = (name, i) => join(dir, `${name}${i % 50}`);
  const kinds = {
    'read, small': () => p.readFile(small),
    'read, large': () => p.readFile(large),
    'read, large, again': () => p.readFile(large),
    'write, small': (i) => p.writeFile(to('a', i), 'x'),
    'write, large': (i) => p.writeFile(to('b', i), pattern(100_000)),
    'write nothing': (i) => p.writeFile(to('c', i), ''),
    append: (i) => p.appendFile(to('d', i), 'x'),
    'copy, small': (i) => p.copyFile(small, to('e', i)),
    'copy, large': (i) => p.copyFile(large, to('f', i)),
  };
  const failed = {};
  for (const [kind, call] of Object.entries(kinds)) {
    const calls = await Promise.allSettled(Array.from({ length: 2000 }, (_, i) => call(i)));
    failed[kind] = calls.filter(({ status }) => status === 'rejected').length;
  }
  return { failed, appended: fs.statSync(to('d', 0)).size, copied: fs.statSync(to('f', 1)).size };
});
