/**
 * Calls of every sort, LEAK_CALLS of them: what the process holds before and after. Before is after
 * a warm-up of the same calls.
 *
 * Each round makes them 1, 4, 16 or 64 at a time of each sort. Needs --expose-gc.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { register } from 'trapless/syscall';
import {
  called,
  descriptors,
  kernel,
  makeFifo,
  mappings,
  openFifo,
  pattern,
  report,
  sleep,
  threads,
  turn,
  until,
} from './harness.mjs';

const CALLS = Number(process.env.LEAK_CALLS ?? 200_000);
const WARM_UP = Math.min(400_000, Math.max(60_000, CALLS / 10));
const AT_A_TIME = [1, 4, 16, 64];
const AT_FDCWD = -100;
const p = fs.promises;
const ignore = () => {};

/** What ended, and how: every sort must end as it does the first time. */
const unexpected = new Set();
async function fails(code, promise) {
  try {
    await promise;
    unexpected.add(`no ${code}`);
  } catch (error) {
    if (error.code !== code) unexpected.add(`${code}: ${error.stack}`);
  }
}
const failsBack = (code, start) =>
  called(start).then(([error]) => error?.code === code || unexpected.add(`no ${code} back`));

/** Each makes this many calls, of fs or posted: [calls, (i) => promise]. */
function sorts(dir, posting) {
  const file = join(dir, 'file');
  const large = join(dir, 'large');
  const none = join(dir, 'none');
  const some = pattern(3000);
  const much = pattern(150_000);
  const { arena } = posting;
  return {
    stat: [3, () => Promise.all([p.stat(file), p.lstat(file), called((f) => fs.stat(dir, f))])],
    access: [2, () => Promise.all([p.access(file), called((done) => fs.exists(none, done))])],
    'no such file': [
      5,
      () =>
        Promise.all([
          fails('ENOENT', p.stat(none)),
          fails('ENOENT', p.readFile(none)),
          fails('ENOENT', p.open(none)),
          failsBack('ENOENT', (done) => fs.readdir(none, done)),
          failsBack('ENOENT', (done) => fs.open(none, 'r', done)),
        ]),
    ],
    'other errors': [
      4,
      () =>
        Promise.all([
          fails('EISDIR', p.readFile(dir)),
          fails('ENOTDIR', p.stat(join(file, 'x'))),
          fails('EEXIST', p.mkdir(dir)),
          failsBack('EBADF', (done) => fs.fstat(19_999, done)),
        ]),
    ],
    readFile: [
      3,
      () => Promise.all([p.readFile(file), p.readFile(file, 'utf8'), p.readFile(large)]),
    ],
    writeFile: [
      3,
      async (i) => {
        await p.writeFile(join(dir, `written${i}`), some);
        await p.appendFile(join(dir, `written${i}`), 'more');
        await called((done) => fs.writeFile(join(dir, `written${i}`), some, done));
      },
    ],
    'open, read, write, close': [
      4,
      async (i) => {
        const [, fd] = await called((done) => fs.open(join(dir, `opened${i}`), 'w+', done));
        await called((done) => fs.write(fd, some, 0, 3000, 0, done));
        if (i === 0) await called((done) => fs.fsync(fd, done));
        await called((done) => fs.read(fd, Buffer.alloc(3000), 0, 3000, 0, done));
        await called((done) => fs.close(fd, done));
      },
    ],
    FileHandle: [
      5,
      async (i) => {
        const handle = await p.open(join(dir, `handled${i}`), 'w+');
        await handle.writev([some, some], 0);
        if (i === 0) await handle.datasync();
        await handle.read(Buffer.alloc(100), 0, 100, 50);
        await handle.stat();
        await handle.close();
      },
    ],
    'FileHandle, closed in flight': [
      3,
      async () => {
        const handle = await p.open(large);
        const read = handle.read(Buffer.alloc(100_000), 0, 100_000, 0).catch(ignore);
        await Promise.all([handle.close(), read]);
      },
    ],
    names: [
      6,
      async (i) => {
        const [from, to] = [join(dir, `from${i}`), join(dir, `to${i}`)];
        await p.mkdir(from);
        await p.rename(from, to);
        await p.rmdir(to);
        await p.symlink('file', to);
        await p.readlink(to);
        await p.unlink(to);
      },
    ],
    readdir: [
      3,
      async () => {
        await p.readdir(join(dir, 'many'));
        await p.readdir(join(dir, 'many'), { withFileTypes: true });
        for await (const _ of await p.opendir(join(dir, 'many'))) ignore();
      },
    ],
    aborted: [
      4,
      async (i) => {
        const controllers = Array.from({ length: 3 }, () => new AbortController());
        const [before, after, late] = controllers;
        before.abort();
        const reads = controllers.map(({ signal }) =>
          fails('ABORT_ERR', p.readFile(large, { signal })),
        );
        after.abort();
        process.nextTick(() => late.abort());
        const { signal } = late;
        const write = p.writeFile(join(dir, `aborted${i}`), much, { signal }).catch(ignore);
        await Promise.all([...reads, write]);
      },
    ],
    streams: [
      12,
      async (i) => {
        await pipeline(fs.createReadStream(large), fs.createWriteStream(join(dir, `streamed${i}`)));
        const stream = fs.createReadStream(large, { highWaterMark: 1000 });
        stream.once('data', () => stream.destroy());
        await new Promise((resolve) => stream.once('close', resolve));
      },
    ],
    posted: [
      5,
      async () => {
        const fd = await posting.post('openat', AT_FDCWD, file, 0, 0).promise();
        const slice = arena.alloc(1000);
        await Promise.all([
          posting.post('pread64', fd, slice, 1000, 0).promise(),
          posting.post('pread64', fd, Buffer.alloc(500), 500, 0).promise(),
        ]);
        slice.free();
        await posting.post('close', fd).promise();
        await fails('ENOENT', posting.post('unlinkat', AT_FDCWD, none, 0).promise());
      },
    ],
    'posted and abandoned': [
      2,
      async () => {
        const post = () => posting.post('readlinkat', AT_FDCWD, none, Buffer.alloc(200), 200);
        post().abandon();
        const call = post();
        await turn();
        call.abandon();
      },
    ],
  };
}

/** Blocks in Linux, is aborted, and comes back. */
async function blocked(fifo) {
  const controller = new AbortController();
  const read = fails('ABORT_ERR', p.readFile(fifo, { signal: controller.signal }));
  await turn();
  controller.abort();
  const writer = openFifo(fifo);
  fs.writeSync(writer, 'x');
  await read;
  fs.closeSync(writer);
}

/** A kernel of its own that is closed with calls in flight. */
async function shortLived(file) {
  const own = register({ pages: 1, arenaBytes: 65_536 });
  await own
    .post('openat', AT_FDCWD, file, 0, 0)
    .promise()
    .then((fd) => fs.closeSync(Number(fd)));
  for (let i = 0; i < 10; i++) own.post('readlinkat', AT_FDCWD, file, Buffer.alloc(99), 99);
  own.close();
  return 11;
}

async function makeCalls(least, kinds, { fifo, file }) {
  let made = 0;
  for (let round = 0; made < least; round++) {
    const atATime = AT_A_TIME[round % AT_A_TIME.length];
    const units = [];
    for (const [calls, make] of kinds)
      for (let i = 0; i < atATime; i++, made += calls) units.push(make(i));
    await Promise.all(units);
    if (round % 8 === 0) await blocked(fifo);
    if (round % 8 === 4) made += await shortLived(file);
  }
  return made;
}

async function holds(posting) {
  await until(() => kernel().inFlight === 0 && posting.kernel.inFlight === 0);
  for (let i = 0; i < 4; i++) {
    global.gc();
    await turn();
  }
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
  const entries = [kernel(), posting].map((it) => it.statistics().entriesInUse);
  return {
    descriptors: descriptors(),
    threads: threads(),
    mappings: mappings(),
    entries: entries[0] + entries[1],
    blocks: kernel().pool.taken,
    arena: posting.arena.used,
    rss,
    heapUsed,
    external,
    arrayBuffers,
  };
}

await report(async (dir) => {
  const file = join(dir, 'file');
  fs.writeFileSync(file, pattern(5000));
  fs.writeFileSync(join(dir, 'large'), pattern(150_000));
  fs.mkdirSync(join(dir, 'many'));
  for (let i = 0; i < 40; i++) fs.writeFileSync(join(dir, 'many', `file${i}`), '');
  const fifo = makeFifo(dir);
  const posting = register();
  const kinds = Object.values(sorts(dir, posting));

  await makeCalls(WARM_UP, kinds, { fifo, file });
  const before = await holds(posting);
  const begin = performance.now();
  const calls = await makeCalls(CALLS, kinds, { fifo, file });
  const seconds = (performance.now() - begin) / 1000;
  // Threads that are idle end after some seconds, those Linux made for the ring too.
  for (let i = 0; i < 100 && threads() > before.threads; i++) await sleep(100);
  const after = await holds(posting);
  const by = kernel().statistics().calls;
  posting.close();
  return { calls, seconds, before, after, by, unexpected: [...unexpected] };
});
