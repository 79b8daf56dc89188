/**
 * Syscall pages in the event loop: do completions come as Node's own would, does the loop live
 * exactly as long as something is in flight, and is nothing left when a kernel, a worker or the
 * process ends in the middle of calls?
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { NUMBER_NOP } from '../../src/abi/entry.ts';
import { syscallNumber } from '../../src/abi/syscalls.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import type { SyscallKernel } from '../../src/syscall.ts';
import { BACKENDS, onEveryBackend, until } from '../support/backends.ts';
import { runProgram } from '../support/run-program.ts';

/* --- Order, as Node's ----------------------------------------------------------------------- */

/** Calls back when a getppid (or a no-op, on the ring) is done. */
function callBack(
  kernel: SyscallKernel,
  done: () => void,
  number = syscallNumber('getppid'),
): void {
  const { pages } = kernel.kernel;
  const id = pages.claim();
  pages.call(id, number, 0, 0);
  kernel.kernel.post(id, {
    done(machine: Kernel, at: number) {
      machine.pages.free(at);
      done();
    },
  });
}

/** What three callbacks of one kind do to the queues, in the order in which it happens. */
function traceCallbacks(begin: (done: () => void) => void): Promise<string[]> {
  const trace: string[] = [];
  let next = 0;
  return new Promise((resolve) => {
    for (let i = 0; i < 3; i++) {
      begin(() => {
        const n = next++; // in the order of completion
        trace.push(`callback ${n}`);
        process.nextTick(() => {
          trace.push(`tick ${n}`);
          queueMicrotask(() => trace.push(`microtask of tick ${n}`));
        });
        Promise.resolve().then(() => {
          trace.push(`microtask ${n}`);
          process.nextTick(() => trace.push(`tick of microtask ${n}`));
        });
        if (n === 2) setTimeout(() => resolve(trace), 20);
      });
    }
  });
}

/** The same for reactions of promises. */
function traceReactions(begin: () => Promise<unknown>): Promise<string[]> {
  return traceCallbacks((done) => begin().then(done));
}

onEveryBackend('each completion is a macrotask of its own, as in node:fs', async (open) => {
  const kernel = open();
  const expected = await traceCallbacks((done) => fs.access('/', done));
  assert.equal(expected.length, 15);
  assert.deepEqual(await traceCallbacks((done) => callBack(kernel, done)), expected);
  assert.deepEqual(await traceCallbacks((done) => callBack(kernel, done, NUMBER_NOP)), expected);
});

onEveryBackend('promises react one completion at a time, as in node:fs/promises', async (open) => {
  const kernel = open();
  const expected = await traceReactions(() => fs.promises.access('/'));
  assert.equal(expected.length, 15);
  assert.deepEqual(await traceReactions(() => kernel.post('getppid').promise()), expected);
  const path = () => kernel.post('faccessat', -100, '/', 0).promise();
  assert.deepEqual(await traceReactions(path), expected);
});

onEveryBackend('immediates and timers get their turn in a chain of calls', async (open) => {
  const kernel = open();
  let immediates = 0;
  let timers = 0;
  let stop = false;
  const count = () => {
    immediates++;
    if (!stop) setImmediate(count);
  };
  setImmediate(count);
  const timer = setInterval(() => timers++, 1);
  let calls = 0;
  while (immediates < 20 || timers < 5) {
    await kernel.post('getppid').promise();
    assert.ok(calls++ < 1e6, 'a chain of awaits starves the loop');
  }
  stop = true;
  clearInterval(timer);
});

onEveryBackend('a completion may wait(), which delivers what is behind it', async (open) => {
  const kernel = open();
  const order: number[] = [];
  for (let i = 0; i < 6; i++) {
    callBack(kernel, () => {
      order.push(order.length);
      if (order.length === 2) while (kernel.kernel.inFlight > 0) kernel.kernel.wait();
    });
  }
  await until(() => order.length >= 6, 'all delivered');
  assert.deepEqual(order, [0, 1, 2, 3, 4, 5]);
});

onEveryBackend('a completion may close the kernel', async (open) => {
  const kernel = open();
  const calls = Array.from({ length: 100 }, () => kernel.post('getppid'));
  let delivered = 0;
  const outcomes = calls.map((call, i) =>
    call.promise().then(
      () => {
        delivered++;
        if (i === 10) kernel.close();
      },
      (error) => assert.equal(error.code, 'ECANCELED'),
    ),
  );
  await Promise.all(outcomes);
  assert.ok(delivered >= 11);
});

/* --- Errors in callbacks ---------------------------------------------------------------------- */

const THROWING = `
import fs from 'node:fs';
import { openOn } from '#test/support/backends.ts';
const begin = process.argv[2] === 'node'
  ? (done) => fs.access('/', done)
  : callBackOn(openOn(process.argv[2]));

function callBackOn(kernel) {
  const { pages } = kernel.kernel;
  return (done) => {
    const id = pages.claim();
    pages.call(id, kernel.kernel.ring ? 0xfff : ${syscallNumber('getppid')}, 0, 0);
    kernel.kernel.post(id, { done(machine, at) { machine.pages.free(at); done(); } });
  };
}

let n = 0;
process.on('uncaughtException', (error) => console.log('uncaught', error.message));
process.on('unhandledRejection', (error) => console.log('unhandled', error.message));
process.on('exit', () => console.log('exit', n));
for (let i = 0; i < 10; i++) {
  begin(() => {
    const mine = n++;
    console.log('callback', mine);
    process.nextTick(() => {
      console.log('tick', mine);
      if (mine === 6) throw new Error('in tick');
    });
    if (mine === 2) throw new Error('in callback');
    if (mine === 4) Promise.reject(new Error('in promise'));
  });
}
// All complete before the loop looks: Node runs the ticks of a callback that threw after the next
// callback if that is there already, else before it.
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
`;

for (const backend of BACKENDS) {
  test(`an exception in a completion is uncaught, and the rest is delivered [${backend}]`, async () => {
    const [expected, actual] = await Promise.all([
      runProgram(THROWING, ['node']),
      runProgram(THROWING, [backend]),
    ]);
    assert.equal(expected.code, 0, expected.stderr);
    assert.ok(expected.lines.includes('uncaught in callback'));
    assert.ok(expected.lines.includes('uncaught in tick'));
    assert.deepEqual(actual.lines, expected.lines, actual.stderr);
    assert.equal(actual.code, 0);
  });
}

test('an exception that nobody catches ends the process, calls in flight or not', async () => {
  const { code, lines, stderr } = await runProgram(`
    import { register } from '#src/syscall.ts';
    const kernel = register();
    const time = Buffer.alloc(16);
    time.writeBigInt64LE(1000n);
    for (let i = 0; i < 20; i++) kernel.post('nanosleep', time, null);
    const { pages } = kernel.kernel;
    const id = pages.claim();
    pages.call(id, ${syscallNumber('getppid')}, 0, 0);
    kernel.kernel.post(id, { done() { throw new Error('nobody catches this'); } });
    process.on('exit', (code) => console.log('exit', code));
  `);
  assert.match(stderr, /Error: nobody catches this/);
  assert.deepEqual(lines, ['exit 1']);
  assert.equal(code, 1);
});

/* --- How long the loop lives -------------------------------------------------------------------- */

const onBackends = (title: string, body: (backend: string) => Promise<void>) => {
  for (const backend of BACKENDS) test(`${title} [${backend}]`, () => body(backend));
};

onBackends('the process ends when nothing is in flight, not before', async (backend) => {
  const { code, lines, stderr } = await runProgram(
    `
    import { openOn } from '#test/support/backends.ts';
    const kernel = openOn(process.argv[2]);
    const time = Buffer.alloc(16);
    time.writeBigInt64LE(30_000_000n, 8);
    const sleep = kernel.post('nanosleep', time, null);
    let again = 0;
    process.on('beforeExit', () => {
      console.log('beforeExit', sleep.done, kernel.inFlight);
      if (again++ === 0) kernel.post('getppid').promise().then(() => console.log('posted again'));
    });
    process.on('exit', () => console.log('exit', sleep.number));
  `,
    [backend],
  );
  assert.deepEqual(lines, ['beforeExit true 0', 'posted again', 'beforeExit true 0', 'exit 0']);
  assert.equal(code, 0, stderr);
});

onBackends(
  'room() is told when there is room, not when something else happens',
  async (backend) => {
    const { lines, stderr } = await runProgram(
      `
    import { openOn } from '#test/support/backends.ts';
    const kernel = openOn(process.argv[2], { pages: 1, pagesMax: 1, share: false });
    const timerMs = 4000;
    setTimeout(() => process.exit(), timerMs);
    for (let i = 0; i < 64; i++) kernel.post('getppid');
    const started = performance.now();
    await kernel.room();
    console.log(performance.now() - started < timerMs / 2 ? 'at once' : 'with the timer');
    process.exit();
  `,
      [backend],
    );
    assert.deepEqual(lines, ['at once'], stderr);
  },
);

onBackends(
  'what a crew thread finishes is noticed while descriptors begin to be watched',
  async (backend) => {
    // A kernel's first turn: libuv has not yet told epoll of its eventfd.
    const { lines, stderr } = await runProgram(
      `
    import { openOn } from '#test/support/backends.ts';
    const kernel = openOn(process.argv[2]);
    const time = Buffer.alloc(16);
    time.writeBigInt64LE(30_000_000n, 8);
    const timerMs = 6000;
    setTimeout(() => process.exit(), timerMs);
    const started = performance.now();
    await kernel.post('nanosleep', time, null).promise();
    console.log(performance.now() - started < timerMs / 2 ? 'noticed' : 'with the timer');
    process.exit();
  `,
      [backend],
    );
    assert.deepEqual(lines, ['noticed'], stderr);
  },
);

onBackends('the loop does not wait for what was given up', async (backend) => {
  const { code, signal, lines, stderr } = await runProgram(
    `
    import fs from 'node:fs';
    import { openOn, until } from '#test/support/backends.ts';
    const kernel = openOn(process.argv[2]);
    const fds = Buffer.alloc(8);
    await kernel.post('pipe2', fds, 0).promise();
    const read = kernel.post('read', fds.readInt32LE(0), Buffer.alloc(1), 1);
    await until(() => read.status === 'busy', 'busy');
    read.abandon();
    console.log('abandoned');
  `,
    [backend],
  );
  assert.deepEqual(
    { code, signal, lines },
    { code: 0, signal: null, lines: ['abandoned'] },
    stderr,
  );
});

onBackends('process.exit() does not wait for calls in flight', async (backend) => {
  const { code, lines, stderr } = await runProgram(
    `
    import fs from 'node:fs';
    import { tmpdir } from 'node:os';
    import { openOn, until } from '#test/support/backends.ts';
    const kernel = openOn(process.argv[2]);
    const fds = Buffer.alloc(8);
    await kernel.post('pipe2', fds, 0).promise();
    const reads = Array.from({ length: 100 }, () => kernel.post('read', fds.readInt32LE(0), Buffer.alloc(1), 1));
    await until(() => reads.every((read) => read.status === 'busy'), 'all busy');
    process.on('exit', (code) => console.log('exit', code));
    process.exit(7);
  `,
    [backend],
  );
  assert.deepEqual(lines, ['exit 7'], stderr);
  assert.equal(code, 7);
});

test('nothing runs while nothing is to do', async () => {
  const { lines, stderr } = await runProgram(`
    import fs from 'node:fs';
    import { openOn } from '#test/support/backends.ts';
    const kernels = ['mixed', 'crew'].map((backend) => openOn(backend));
    const switches = () => {
      let sum = 0;
      for (const task of fs.readdirSync('/proc/self/task')) {
        const status = fs.readFileSync('/proc/self/task/' + task + '/status', 'utf8');
        if (!/^Name:\\s*(node|trapless)/m.test(status)) continue;
        sum += Number(/^voluntary_ctxt_switches:\\s*(\\d+)/m.exec(status)[1]);
      }
      return sum;
    };
    for (const kernel of kernels) await kernel.post('getppid').promise();
    // A blocked call is something in flight, but nothing to do either.
    const fds = Buffer.alloc(8);
    await kernels[1].post('pipe2', fds, 0).promise();
    const read = kernels[1].post('read', fds.readInt32LE(0), Buffer.alloc(1), 1);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const before = switches();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    console.log(switches() - before);
    console.log(read.status);
    process.exit();
  `);
  assert.equal(lines[1], 'busy', stderr);
  // The timer itself, and Node's own threads, account for a few. Spinning or polling at 25 us
  // would be 80,000.
  assert.ok(Number(lines[0]) < 60, `${lines[0]} context switches in two idle seconds`);
});

/* --- Ending in mid-call ----------------------------------------------------------------------- */

/** What belongs to a process and must not grow. */
const CENSUS = `
import fs from 'node:fs';
import v8 from 'node:v8';
import vm from 'node:vm';
import { openOn, until } from '#test/support/backends.ts';
v8.setFlagsFromString('--expose-gc');
const gc = vm.runInNewContext('gc');

/** Mappings as large as a desk or a pool, and those of rings; V8's heap comes and goes. malloc's
 *  arenas, at multiples of 64 MiB, are two such mappings each when V8's threads have filled 4 MiB. */
const isOurs = (line) => {
  const [range, access, , , , name] = line.split(/ +/);
  if (/io_uring/.test(name)) return true;
  const [from, to] = range.split('-').map((half) => Number.parseInt(half, 16));
  const isArena = from % (64 << 20) === 0 || access === '---p';
  return !name && !isArena && to - from >= 4 << 20 && to - from < 60 << 20;
};
const census = () => ({
  descriptors: fs.readdirSync('/proc/self/fd').length,
  threads: fs.readdirSync('/proc/self/task').length,
  mappings: fs.readFileSync('/proc/self/maps', 'utf8').split('\\n').filter((line) => line && isOurs(line)).length,
});

/** Runs the cycle often and prints the counts after the second time and at the end. */
async function compare(cycle, times) {
  await cycle();
  await cycle();
  // Threads that are idle end after five seconds.
  let before = census();
  await until(() => {
    gc();
    const now = census();
    const same = JSON.stringify(now) === JSON.stringify(before) && now.threads < 20;
    before = now;
    return same;
  }, 'quiet').catch(() => {});
  for (let i = 0; i < times; i++) await cycle();
  await until(() => {
    gc();
    const now = census();
    return Object.keys(now).every((key) => now[key] <= before[key]);
  }, 'as before').catch(() => {});
  console.log(JSON.stringify([before, census()]));
}
`;

function assertNoGrowth(lines: readonly string[], stderr: string): void {
  assert.ok(lines.length > 0, stderr);
  const [before, after] = JSON.parse(lines.at(-1)!);
  for (const what of ['descriptors', 'threads', 'mappings'])
    assert.ok(after[what] <= before[what], `${what} leak: ${lines.at(-1)}`);
}

onBackends('kernels that end in mid-call leave nothing behind', async (backend) => {
  const { code, lines, stderr } = await runProgram(
    `${CENSUS}
    await compare(async () => {
      const kernel = openOn(process.argv[2]);
      const fds = Buffer.alloc(8);
      await kernel.post('pipe2', fds, 0).promise();
      const [reader, writer] = [fds.readInt32LE(0), fds.readInt32LE(4)];
      const reads = Array.from({ length: 30 }, () => kernel.post('read', reader, Buffer.alloc(8), 8));
      for (let i = 0; i < 30; i++) kernel.post('getppid');
      await until(() => reads.every((read) => read.status === 'busy'), 'all busy');
      for (const read of reads) read.promise().catch(() => {});
      kernel.close();
      fs.closeSync(reader);
      fs.closeSync(writer);
    }, 25);
    process.exit();
  `,
    [backend],
  );
  assertNoGrowth(lines, stderr);
  assert.equal(code, 0, stderr);
});

onBackends(
  'a worker terminated with 1,000 calls in flight leaves nothing behind',
  async (backend) => {
    const { code, lines, stderr } = await runProgram(
      `${CENSUS}
    import { once } from 'node:events';
    import { fileURLToPath } from 'node:url';
    import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

    if (isMainThread) {
      const backend = process.argv[2];
      const main = openOn(backend);
      const fifo = fs.mkdtempSync('/tmp/trapless-loop-') + '/fifo';
      await main.post('mknodat', -100, fifo, 0o010600, 0).promise();
      await compare(async () => {
        const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { backend, fifo } });
        const [fds] = await once(worker, 'message');
        const mine = main.post('getppid');
        await worker.terminate();
        // A worker's descriptors are the process's.
        for (const fd of fds) fs.closeSync(fd);
        if ((await mine.promise()) !== BigInt(process.ppid)) throw new Error('main suffers');
      }, 2);
      fs.rmSync(fifo);
      process.exit();
    } else {
      const kernel = openOn(workerData.backend);
      const fds = Buffer.alloc(8);
      await kernel.post('pipe2', fds, 0).promise();
      const time = Buffer.alloc(16);
      time.writeBigInt64LE(1000n);
      const calls = Array.from({ length: 1000 }, (_, i) => {
        if (i % 3 === 0) return kernel.post('openat', -100, workerData.fifo, 0, 0);
        if (i % 3 === 1) return kernel.post('clock_nanosleep', 1, 0, time, null);
        return kernel.post('read', fds.readInt32LE(0), Buffer.alloc(100), 100);
      });
      await until(() => calls.every((call) => call.status === 'busy'), 'all busy');
      parentPort.postMessage([fds.readInt32LE(0), fds.readInt32LE(4)]);
    }
  `,
      [backend],
    );
    assertNoGrowth(lines, stderr);
    assert.equal(code, 0, stderr);
  },
);

test('each worker has kernels of its own, all served by one crew', async () => {
  const { code, lines, stderr } = await runProgram(`
    import { once } from 'node:events';
    import { fileURLToPath } from 'node:url';
    import { isMainThread, parentPort, threadId, Worker } from 'node:worker_threads';
    import { register } from '#src/syscall.ts';
    const kernel = register({ ring: threadId % 2 === 0 });
    let sum = 0n;
    for (let i = 0; i < 2000; i++) sum += await kernel.post('getppid').promise();
    if (!isMainThread) {
      parentPort.postMessage(String(sum));
    } else {
      const workers = Array.from({ length: 4 }, () => new Worker(fileURLToPath(import.meta.url)));
      const sums = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
      await Promise.all(workers.map((worker) => worker.terminate()));
      console.log(sums.every((one) => one === String(sum)), sum === 2000n * BigInt(process.ppid));
    }
  `);
  assert.deepEqual(lines, ['true true'], stderr);
  assert.equal(code, 0);
});
