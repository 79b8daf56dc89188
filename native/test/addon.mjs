/**
 * The addon's tests in Node: what a kernel's life does to a process. Each test is a process of
 * its own, run with --expose-gc; its name is the argument.
 *
 *   node --expose-gc native/test/addon.mjs [FILTER]     prints ok / not ok / skip lines
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import {
  addonPath,
  collectGarbage,
  descriptors,
  emptyPipe,
  kibibytes,
  load,
  NUMBERS,
  Program,
} from './addon-program.mjs';
import { socketsInWorker, socketTests } from './addon-sockets.mjs';

const file = fileURLToPath(import.meta.url);

function worker(name, data = {}) {
  return new Worker(file, { workerData: { name, ...data }, execArgv: [] });
}

function ended(thread) {
  return new Promise((resolve, reject) => {
    thread.once('error', reject);
    thread.once('exit', resolve);
  });
}

/** What the workers of the tests below do. */
const inWorker = {
  ...socketsInWorker,
  async crewCall() {
    const program = new Program(load());
    program.fill(0, NUMBERS.getppid);
    program.post(0);
    await program.done(0);
    assert.equal(program.result(0), process.ppid);
  },
  async thousandInFlight() {
    const { parentPort } = await import('node:worker_threads');
    const program = new Program(load(), { pages: 16 });
    program.native.ref(true);
    program.blockOn(await emptyPipe(), Array(1000).keys());
    parentPort.postMessage('posted');
    setInterval(() => {}, 1000);
  },
  async ringInFlight() {
    const { parentPort } = await import('node:worker_threads');
    const program = new Program(load());
    try {
      program.native.ringOpen(64, -1, 10);
    } catch {
      parentPort.postMessage('no ring');
      return;
    }
    parentPort.postMessage('ready');
    setInterval(() => {}, 1000);
  },
};

const tests = {
  ...socketTests(worker),
  async 'close, then collect before the loop turns'() {
    const addon = load();
    const before = descriptors();
    for (let i = 0; i < 50; i++) {
      new Program(addon).native.close();
      globalThis.gc();
      globalThis.gc();
      await turn();
    }
    await collectGarbage();
    assert.equal(descriptors(), before);
  },

  async 'a method outlives its object'() {
    let wait;
    {
      const program = new Program(load());
      wait = program.native.wait;
      program.native.close();
    }
    await collectGarbage();
    assert.throws(() => wait(0), /this kernel was closed/);
  },

  async 'every method of a closed kernel throws, at once and later'() {
    const program = new Program(load());
    const { native } = program;
    try {
      native.ringOpen(64, -1, 10);
    } catch {}
    program.fill(0, 257, -100, native.poolAddress, 0, 0); // openat
    program.spotList[0] = 0;
    native.close();
    for (let i = 0; i < 2; i++) {
      for (const name of ['spot', 'ref', 'otherWork', 'wait', 'ringOpen', 'ringEnter', 'ringClose'])
        assert.throws(() => native[name](1, 0, []), /this kernel was closed/, name);
      native.close(); // again: nothing happens
      await turn();
    }
  },

  async 'ring memory stays readable after it is closed'() {
    const program = new Program(load());
    let ring;
    try {
      ring = program.native.ringOpen(64, -1, 10);
    } catch (error) {
      return `no io_uring here: ${error.message}`;
    }
    const words = new Int32Array(ring.rings, 0, ring.rings.byteLength >> 2);
    const sqes = new Int32Array(ring.sqes);
    sqes[0] = 1;
    program.native.ringClose();
    assert.equal(Atomics.load(words, ring.cqTail >> 2), 0);
    assert.equal(sqes[0], 0);
    program.native.close();
    await turn();
    words[0] = 1;
  },

  async 'rings come and go without a trace'() {
    const program = new Program(load());
    const openAndClose = async (times) => {
      for (let i = 0; i < times; i++) {
        program.native.ringOpen(4096, -1, 10); // half a mebibyte
        if (i % 2) program.native.ringClose(); // or the next one closes it
        if (i % 20 === 0) await collectGarbage();
      }
      program.native.ringClose();
      await collectGarbage();
    };
    try {
      await openAndClose(40);
    } catch (error) {
      return `no io_uring here: ${error.message}`;
    }
    const before = { descriptors: descriptors(), size: kibibytes('VmSize') };
    await openAndClose(200);
    assert.ok(descriptors() <= before.descriptors, `descriptors ${descriptors()}`);
    const size = kibibytes('VmSize');
    assert.ok(size < before.size + 40_000, `mapped: ${before.size} -> ${size} KiB`);
    program.native.close();
  },

  async 'kernels come and go without a trace'() {
    const addon = load();
    const fd = await emptyPipe();
    const openAndClose = async (times) => {
      for (let i = 0; i < times; i++) {
        const program = new Program(addon);
        try {
          program.native.ringOpen(64, -1, 10);
        } catch {}
        program.blockOn(fd, [0, 1, 2]);
        program.native.close();
        await turn();
        if (i % 20 === 0) await collectGarbage();
      }
      await collectGarbage();
    };
    await openAndClose(40);
    const before = { descriptors: descriptors(), resident: kibibytes('VmRSS') };
    await openAndClose(300);
    assert.equal(descriptors(), before.descriptors);
    const resident = kibibytes('VmRSS');
    assert.ok(resident < before.resident + 16_384, `${before.resident} -> ${resident} KiB`);
  },

  async 'a callback closes its own kernel'() {
    let calls = 0;
    const program = new Program(load(), {
      drain: () => {
        calls++;
        program.native.close();
        return 1;
      },
    });
    program.control[program.layout.wantDrain / 4] = 1;
    program.native.ref(true);
    await pause(20);
    assert.equal(calls, 1);
  },

  async 'arguments out of range are refused'() {
    const addon = load();
    assert.throws(() => addon.open(0, 0, () => 0, true), RangeError);
    assert.throws(() => addon.open(257, 0, () => 0, true), RangeError);
    const before = descriptors();
    assert.throws(() => addon.open(1, 2 ** 39, () => 0, true), /cannot map/);
    assert.throws(() => addon.open(1, 4096, 'no function', true));
    await turn();
    await collectGarbage();
    assert.equal(descriptors(), before);
  },

  /** Node unloads an addon with the last worker that loaded it, our threads still inside. */
  async 'the addon stays when the only worker that loaded it ends'() {
    assert.equal(await ended(worker('crewCall')), 0);
    assert.match(readFileSync('/proc/self/maps', 'utf8'), /trapless\.node/);
    assert.equal(await ended(worker('crewCall')), 0);
  },

  async 'a worker is terminated with 1,000 calls in flight'() {
    load();
    for (let i = 0; i < 3; i++) {
      const thread = worker('thousandInFlight');
      await new Promise((resolve) => thread.once('message', resolve));
      await pause(i * 10);
      const started = performance.now();
      await thread.terminate();
      assert.ok(performance.now() - started < 5000);
    }
    const { threads, idle } = load().crewStatus();
    await pause(10);
    assert.ok(threads - idle <= 1, `${threads} threads, ${idle} idle`);
  },

  async 'a worker is terminated with an open ring'() {
    load();
    const before = descriptors();
    for (let i = 0; i < 5; i++) {
      const thread = worker('ringInFlight');
      const message = await new Promise((resolve) => thread.once('message', resolve));
      await thread.terminate();
      if (message === 'no ring') return message;
    }
    assert.ok(descriptors() <= before + 1);
  },

  async 'the process ends with calls in flight'() {
    const program = new Program(load());
    program.blockOn(await emptyPipe(), Array(60).keys());
    await pause(5);
    // nothing keeps the loop alive: Node ends, through the clean-up hook
  },

  async 'process.exit with calls in flight'() {
    const program = new Program(load());
    program.native.ref(true);
    program.blockOn(await emptyPipe(), Array(60).keys());
    await pause(5);
    process.exit(0);
  },

  async 'an idle kernel costs no time'() {
    const program = new Program(load());
    program.fill(0, NUMBERS.getppid);
    program.post(0);
    await program.done(0);
    await pause(100);
    const switches = () =>
      readdirSync('/proc/self/task').reduce((sum, task) => {
        const name = readFileSync(`/proc/self/task/${task}/comm`, 'utf8');
        if (!name.startsWith('trapless')) return sum;
        const status = readFileSync(`/proc/self/task/${task}/status`, 'utf8');
        return (
          sum +
          Number(/nonvoluntary_ctxt_switches:\s+(\d+)/.exec(status)[1]) +
          Number(/\nvoluntary_ctxt_switches:\s+(\d+)/.exec(status)[1])
        );
      }, 0);
    const before = switches();
    const cpu = process.cpuUsage();
    await pause(1000);
    const used = process.cpuUsage(cpu);
    assert.equal(switches(), before);
    assert.ok(used.user + used.system < 50_000, `${used.user + used.system} us in a second`);
  },
};

if (!isMainThread) {
  await inWorker[workerData.name]();
} else if (process.env.TRAPLESS_ADDON_TEST) {
  const skipped = await tests[process.env.TRAPLESS_ADDON_TEST]();
  if (skipped) {
    console.log(`    skipped: ${skipped}`);
    process.exitCode = 77;
  }
} else {
  assert.ok(statSync(addonPath).isFile());
  let failed = 0;
  const filter = process.argv[2] ?? '';
  for (const name of Object.keys(tests)) {
    if (!name.includes(filter)) continue;
    const child = spawnSync(process.execPath, ['--expose-gc', '--no-warnings', file], {
      env: { ...process.env, TRAPLESS_ADDON_TEST: name },
      encoding: 'utf8',
      timeout: 60_000,
    });
    const verdict = child.status === 0 ? 'ok    ' : child.status === 77 ? 'skip  ' : 'not ok';
    process.stdout.write(child.stdout);
    if (verdict === 'not ok') {
      failed++;
      console.log(`    ${child.signal ?? ''}\n${child.stderr.slice(-2000)}`);
    }
    console.log(`${verdict} ${name.replaceAll(' ', '_')}`);
  }
  process.exitCode = failed > 0 ? 1 : 0;
}
