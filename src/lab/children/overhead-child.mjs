/**
 * One process of the benchmark `overhead`: every batch size of one way of calling.
 *
 *   node overhead-child.mjs '{"way":"ring","calls":["nop"],"batches":[1,64],"roundMs":20,"rounds":9}'
 *
 * Prints one JSON line per call and batch: {call, batch, ns} (nanoseconds per call: the median of
 * the rounds; min, max). SQPOLL and the crew's cores are settings of a process: hence one each.
 */
import { openSync, readSync, unlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const { syscall, syscallNumber, loadAddon } = require('../trapless.cjs');
const { way, calls, batches, roundMs, rounds, core } = JSON.parse(process.argv[2]);

const READ = 1024;
const NOP = 0xfff;
const path = join(tmpdir(), `trapless-overhead-${process.pid}`);
writeFileSync(path, Buffer.alloc(64 * 1024, 7));
const fd = openSync(path, 'r');
unlinkSync(path);

const options = {
  ring: { ring: true },
  spot: { ring: false, share: false },
  sqpoll: { ring: true, sqpollCore: core, sqpollIdleMs: 1000 },
  crew: { ring: false, cores: [core], spinUs: 1000 },
}[way];
const route = { ring: 'ring', sqpoll: 'ring', spot: 'spot', crew: 'crew' }[way];

/** Runs `batch()` for about a round's time, as often as there are rounds. */
function measure(call, batch, perBatch) {
  for (let warm = performance.now() + roundMs; performance.now() < warm; ) batch();
  const ns = [];
  for (let round = 0; round < rounds; round++) {
    const started = process.hrtime.bigint();
    let batchesRun = 0;
    const until = started + BigInt(Math.round(roundMs * 1e6));
    do {
      for (let i = 0; i < 20; i++) batch();
      batchesRun += 20;
    } while (process.hrtime.bigint() < until);
    ns.push(Number(process.hrtime.bigint() - started) / batchesRun / perBatch);
  }
  ns.sort((a, b) => a - b);
  const line = { call, batch: perBatch, ns: ns[ns.length >> 1], min: ns[0], max: ns.at(-1) };
  console.log(JSON.stringify(line));
}

function synchronous() {
  const { addon } = loadAddon();
  const getppid = syscallNumber('getppid');
  const buffer = Buffer.alloc(READ);
  for (const call of calls) {
    if (call === 'getppid') measure(call, () => addon.systemCall(getppid), 1);
    if (call === 'read-1k') measure(call, () => readSync(fd, buffer, 0, READ, 0), 1);
  }
}

function exceptionLess() {
  const { kernel } = syscall.register(options);
  if ((way === 'ring' || way === 'sqpoll') && kernel.ring === null) {
    console.log(JSON.stringify({ skipped: kernel.ringRefused }));
    return;
  }
  const { pages, pool } = kernel;
  let left = 0;
  const completion = {
    done(_kernel, id) {
      const result = pages.result(id);
      pages.free(id);
      left--;
      if (result < 0) throw new Error(`${way}: result ${result}`);
    },
  };
  const block = pool.take(READ);
  const numbers = {
    nop: NOP,
    getppid: syscallNumber('getppid'),
    'read-1k': syscallNumber('pread64'),
  };
  for (const call of calls) {
    const number = numbers[call];
    kernel.reroute(number, route);
    const read = call === 'read-1k';
    /** Posts `size` calls and waits for all of them. */
    const batchOf = (size) => {
      for (let i = 0; i < size; i++) {
        const id = pages.claim();
        if (read) {
          pages.call(id, number, 4, 0);
          pages.setInt(id, 0, fd);
          pages.setAddress(id, 1, pool.addressLow + block, pool.addressHigh);
          pages.setInt(id, 2, READ);
          pages.setInt(id, 3, 0);
        } else {
          pages.call(id, number, 0, 0);
        }
        kernel.post(id, completion);
      }
      left = size;
      while (left > 0) kernel.wait();
    };
    // V8 compiles what is hot: before the first figure, not during it.
    for (const warm = performance.now() + 150; performance.now() < warm; ) batchOf(64);
    for (const size of batches) measure(call, () => batchOf(size), size);
  }
}

if (way === 'sync') synchronous();
else exceptionLess();
process.exit(0);
