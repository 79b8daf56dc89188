/**
 * Several kernels in one thread: a callback of one posts to another, which had its turn in the
 * loop already, or was made just now. How many answers came only because a timer woke the loop.
 */
import fs from 'node:fs';
import { register } from 'trapless/syscall';
import { report, sleep } from './harness.mjs';

const WAKES_EVERY_MS = 1500;

await report(async () => {
  const waker = setInterval(() => {}, WAKES_EVERY_MS);
  const late = [];
  async function answer(name, kernel) {
    const begin = performance.now();
    await kernel.post('getpid').promise();
    if (performance.now() - begin > WAKES_EVERY_MS / 3) late.push(name);
  }
  await fs.promises.stat('.'); // the thread's own kernel is one more
  const first = register();
  for (let round = 0; round < 3; round++) {
    await sleep(5);
    await answer('first', first);
    const second = register();
    await answer('made just now', second);
    await sleep(5);
    for (const [name, kernel] of Object.entries({ first, second }))
      for (const [nextName, next] of Object.entries({ first, second })) {
        await answer(name, kernel);
        await answer(`${nextName} after ${name}`, next);
      }

    // In the middle of the first one's turn, a second one sleeps and is woken: one answer is left.
    await answer('first', first);
    const ms50 = Buffer.from(new BigInt64Array([0n, 50_000_000n]).buffer);
    const slow = second.post('nanosleep', ms50, null);
    second.post('getpid');
    second.wait();
    const begin = performance.now();
    await slow.promise();
    if (performance.now() - begin > WAKES_EVERY_MS / 3) late.push('left after wait()');

    // What closes itself leaves the others to be looked after.
    const third = register();
    await answer('third', third);
    third.close();
    await answer('second, after the third closed', second);
    second.close();
  }
  clearInterval(waker);
  first.close();
  return late;
});
