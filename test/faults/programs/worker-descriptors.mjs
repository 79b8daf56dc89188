/**
 * What a worker leaves open at its end, however it opened it and however it ends: the files' names.
 * Meanwhile the main thread opens files of its own, which get the numbers that the worker gave
 * back, and must keep them.
 */
import fs from 'node:fs';
import { basename, join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { called, kernel, report, turn } from './harness.mjs';

const WAYS = ['terminate', 'exit', 'throw', 'end'];
/** Kept from being collected: then Node would close them earlier, and say so. */
const kept = [];

const STEPS = {
  async 'opened by a callback, left'(file) {
    await called((done) => fs.open(file('callback'), 'w', done));
    await called((done) => fs.open(file('missing', 'in'), 'r', done));
  },
  'opened at once, left'(file) {
    fs.openSync(file('sync'), 'w');
  },
  async 'opened by a promise, left'(file) {
    kept.push(await fs.promises.open(file('promise'), 'w'));
    kept.push(await fs.promises.open(file('promise2'), 'w')); // the first one is Node's
  },
  async 'directories, left'() {
    kept.push(await fs.promises.opendir(workerData.dir));
    kept.push(await called((done) => fs.opendir(workerData.dir, done)));
  },
  async 'streams, left'(file) {
    const writing = fs.createWriteStream(file('writing'));
    await called((done) => writing.write('x', done));
    const reading = fs.createReadStream(join(workerData.dir, 'long'));
    await called((done) => reading.once('readable', done));
    kept.push(writing, reading);
  },
  async 'opened by a callback, closed at once'(file) {
    const [, fd] = await called((done) => fs.open(file('a'), 'w', done));
    fs.closeSync(fd);
    return codeOf(() => fs.closeSync(fd));
  },
  async 'opened at once, closed by a callback'(file) {
    const fd = fs.openSync(file('b'), 'w');
    const first = await called((done) => fs.close(fd, done));
    const [error] = await called((done) => fs.close(fd, done));
    return [first[0], error?.code];
  },
  async 'closed as it was opened'(file) {
    const [, fd] = await called((done) => fs.open(file('c'), 'w', done));
    await called((done) => fs.close(fd, done));
    fs.closeSync(fs.openSync(file('d'), 'w'));
    for (const name of ['e', 'f']) await (await fs.promises.open(file(name), 'w')).close();
    const directory = await fs.promises.opendir(workerData.dir);
    directory.closeSync();
  },
  async 'reads before a close'() {
    const fd = fs.openSync(join(workerData.dir, 'long'));
    const reads = Array.from({ length: 20 }, (_, i) =>
      called((done) => fs.read(fd, Buffer.alloc(1000), 0, 1000, i * 1000, done)),
    );
    const closed = called((done) => fs.close(fd, done));
    const results = await Promise.all(reads);
    return [results.map(([error, bytes]) => error?.code ?? bytes), (await closed)[0]];
  },
};

function codeOf(call) {
  try {
    return call();
  } catch (error) {
    return `${error.code} ${error.syscall}`;
  }
}

/** Whatever becomes of them, nobody hears of it. */
async function inFlight(file) {
  const nothing = () => {};
  const long = join(workerData.dir, 'long');
  for (let i = 0; i < 60; i++) {
    fs.open(file(`o${i}`), 'w', nothing);
    fs.readFile(long, nothing);
    fs.writeFile(file(`w${i}`), 'x'.repeat(100_000), nothing);
    fs.open(file(`c${i}`), 'w', (_error, fd) => fs.close(fd, nothing));
    fs.readdir(workerData.dir, nothing);
  }
  for (let i = 0; i < workerData.turns; i++) await turn();
}

async function work() {
  const { dir, way, flight } = workerData;
  const warnings = [];
  process.on('warning', ({ message }) => warnings.push(message.replace(/\d+/g, 'N')));
  const file = (name, from = 'out') => join(dir, from, name);
  const results = {};
  await fs.promises.stat(dir);
  if (flight) await inFlight(file);
  else for (const [name, step] of Object.entries(STEPS)) results[name] = await step(file);
  await turn();
  parentPort.postMessage({ results, warnings, used: kernel() !== null });
  if (flight && way === 'terminate') for (;;);
  await new Promise((resolve) => parentPort.once('message', resolve));
  if (way === 'exit') process.exit(0);
  if (way === 'throw') throw new Error('on purpose');
}

/** Names of the files under `dir` that are open, in order. */
function openFiles(dir) {
  const names = [];
  for (const fd of fs.readdirSync('/proc/self/fd')) {
    try {
      const name = fs.readlinkSync(`/proc/self/fd/${fd}`);
      if (name.startsWith(dir)) names.push(basename(name));
    } catch {
      // that was readdirSync's own
    }
  }
  return names.sort();
}

const inodeOf = (fd) => fs.fstatSync(fd).ino;

async function oneWorker(dir, options) {
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { dir, ...options },
    trackUnmanagedFds: options.tracked,
  });
  const ended = new Promise((resolve) => worker.on('exit', resolve));
  worker.on('error', () => {});
  const told = await new Promise((resolve) => worker.on('message', resolve));
  const mine = Array.from({ length: 40 }, (_, i) => fs.openSync(join(dir, 'mine', `${i}`), 'w'));
  const inodes = mine.map(inodeOf);
  if (options.way === 'terminate') await worker.terminate();
  else worker.postMessage('go on');
  await ended;
  const lost = mine.filter((fd, i) => codeOf(() => inodeOf(fd)) !== inodes[i]).length;
  for (const fd of mine) codeOf(() => fs.closeSync(fd));
  const { used, ...seen } = told;
  const left = openFiles(dir);
  for (const fd of fs.readdirSync('/proc/self/fd').map(Number))
    if (left.includes(basename(codeOf(() => fs.readlinkSync(`/proc/self/fd/${fd}`)) ?? '')))
      codeOf(() => fs.closeSync(fd));
  return { ...seen, lost, left };
}

if (isMainThread)
  await report(async (dir) => {
    for (const name of ['in', 'out', 'mine']) fs.mkdirSync(join(dir, name));
    fs.writeFileSync(join(dir, 'long'), Buffer.alloc(300_000, 'long'));
    const outcomes = {};
    for (const tracked of [true, false])
      for (const way of WAYS)
        outcomes[`${way}${tracked ? '' : ', untracked'}`] = await oneWorker(dir, { way, tracked });
    const flight = [];
    for (let turns = 0; turns < 12; turns++) {
      const { lost, left } = await oneWorker(dir, {
        way: 'terminate',
        tracked: true,
        flight: true,
        turns,
      });
      flight.push({ lost, left });
    }
    const mainFd = (await called((done) => fs.open(join(dir, 'long'), done)))[1];
    fs.closeSync(mainFd);
    return { outcomes, flight, main: openFiles(dir) };
  });
else await work();
