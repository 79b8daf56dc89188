/** Workers that end with 1,000 calls in flight: what the process has is as it was before. */
import fs from 'node:fs';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import {
  descriptors,
  kernel,
  makeFifo,
  mappings,
  pattern,
  report,
  threads,
  turn,
  until,
} from './harness.mjs';

const ROUNDS = 20;
const WAYS = ['terminate', 'exit', 'throw', 'end'];

/** 1,000 calls; with a FIFO, most of them block for ever. */
function callAll({ dir, fifo, blocking }) {
  const file = join(dir, 'file');
  const nothing = () => {};
  for (let i = 0; i < 1000; i++) {
    if (blocking && i % 10 === 0) fs.open(fifo, nothing);
    else if (blocking && i % 10 === 1) fs.readFile(fifo, nothing);
    else if (i % 10 === 2) fs.promises.readFile(file).then(nothing);
    else if (i % 10 === 3)
      fs.promises.writeFile(join(dir, `w${i % 7}`), pattern(5000)).then(nothing);
    else if (i % 10 === 4) fs.promises.readdir(dir).then(nothing);
    else if (i % 10 === 5)
      fs.promises.open(file, 'r').then((handle) => handle.read(Buffer.alloc(100)));
    else fs.stat(file, nothing);
  }
}

async function work() {
  const { way, blocking } = workerData;
  await fs.promises.stat('.'); // the kernel is there
  callAll(workerData);
  if (blocking) await turn(); // issued
  parentPort.postMessage('in flight');
  if (way === 'exit') process.exit(0);
  if (way === 'throw') throw new Error('on purpose');
}

async function oneWorker(dir, fifo, way, blocking) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { dir, fifo, way, blocking } });
  const ended = new Promise((resolve) => worker.on('exit', resolve));
  worker.on('error', () => {});
  if (way === 'terminate') {
    await new Promise((resolve) => worker.on('message', resolve));
    await worker.terminate();
  }
  await ended;
}

if (isMainThread)
  await report(async (dir) => {
    fs.writeFileSync(join(dir, 'file'), pattern(20_000));
    const fifo = makeFifo(dir);
    await fs.promises.stat(dir);
    const few = threads();
    const rounds = async (count) => {
      for (let i = 0; i < count; i++) {
        const way = WAYS[i % WAYS.length];
        // A worker that waits for its calls would wait for ever.
        await oneWorker(dir, fifo, way, i % 3 === 0 && way !== 'end');
      }
    };
    // Crew threads without work end after some seconds, all but two.
    const idle = () => threads() <= few + 2;
    await rounds(6); // what Node and libc keep for good
    await until(idle);
    const before = { descriptors: descriptors(), mappings: mappings() };
    await rounds(ROUNDS);
    await until(idle);
    const after = { descriptors: descriptors(), mappings: mappings() };
    return {
      before,
      after,
      works: (await fs.promises.readFile(join(dir, 'file'))).length,
      kernel: kernel() !== null,
    };
  });
else await work();
