/** Files that grow, shrink or are replaced while they are read: what is read was once there. */
import fs from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { pattern, report } from './harness.mjs';

const ROUNDS = 150;

/** In a worker, with synchronous calls, so that it changes the file at any moment. */
const WRITER = `
  const fs = require('node:fs');
  const { workerData: { path, kind, small, large, state } } = require('node:worker_threads');
  const fd = fs.openSync(path, 'r+');
  let at = small.length;
  while (Atomics.load(state, 0) === 0) {
    if (kind === 'grows') {
      if (at >= large.length) fs.ftruncateSync(fd, at = small.length);
      at += fs.writeSync(fd, large, at, Math.min(7777, large.length - at), at);
    } else if (kind === 'shrinks') {
      fs.writeSync(fd, large, 0, large.length, 0);
      for (let size = large.length; size > small.length; size -= 9999) fs.ftruncateSync(fd, size);
    } else {
      fs.writeFileSync(path + '.new', Atomics.add(state, 1, 1) % 2 ? small : large);
      fs.renameSync(path + '.new', path);
    }
  }
`;

await report(async (dir) => {
  const seen = {};
  for (const kind of ['grows', 'shrinks', 'is replaced'])
    for (const [low, high] of [
      [3000, 20_000],
      [50_000, 90_000],
      [200_000, 900_000],
    ]) {
      const path = join(dir, 'file');
      const [small, large] = [pattern(low), pattern(high)];
      fs.writeFileSync(path, small);
      const state = new Int32Array(new SharedArrayBuffer(8));
      const workerData = { path, kind, small, large, state };
      const worker = new Worker(WRITER, { eval: true, workerData, execArgv: [] });
      await new Promise((resolve) => worker.on('online', resolve));
      let wrong = 0;
      let cut = 0;
      for (let i = 0; i < ROUNDS; i++) {
        const data = await (i % 2
          ? fs.promises.readFile(path)
          : fs.promises.readFile(path, 'latin1').then((text) => Buffer.from(text, 'latin1')));
        // Always the beginning of the same row of bytes, and never less than there always is.
        // (Linux zeroes the end of a page that is cut off while somebody reads it.)
        if (!data.every((byte, at) => byte === large[at] || byte === 0)) wrong++;
        if (data.length < small.length) cut++;
        if (kind === 'is replaced' && data.length !== low && data.length !== high) cut++;
      }
      Atomics.store(state, 0, 1);
      await new Promise((resolve) => worker.on('exit', resolve));
      seen[`${kind}, ${low} to ${high}`] = { wrong, cut };
    }
  return seen;
});
