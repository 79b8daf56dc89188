/**
 * The addon's tests of sockets (sockets_binding.c), on io_uring and on readiness: arguments, what
 * stays readable, and what a kernel, or a worker, that ends leaves behind. addon.mjs runs them.
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import {
  collectGarbage,
  descriptors,
  kibibytes,
  load,
  NUMBERS,
  Program,
} from './addon-program.mjs';

const ENTRIES = 64;
const BUFFERS = 8;
const BUFFER = 4096;
const SLOTS = 1024;
const BUFFERS_AT = 4096 + SLOTS * 4;
const ARENA = BUFFERS_AT + BUFFERS * BUFFER;
const GETEVENTS = 1;
const OP = { accept: 13, close: 19, recv: 27 };
const MULTISHOT = { accept: 1 << 16, recv: (1 << 13) | (2 << 16) };
const KIND_ACCEPT = 1 << 18;
const EBADF = 9;

/** The words of a kernel's sockets. */
class Queue {
  constructor(native, ring) {
    this.native = native;
    const mapped = native.socketsOpen(ring, ENTRIES, BUFFERS, SLOTS, ARENA);
    this.mapped = mapped;
    this.words = new Int32Array(mapped.rings, 0, mapped.rings.byteLength >> 2);
    this.sqes = new Int32Array(mapped.sqes);
    this.descriptors = new Int32Array(mapped.arena, mapped.descriptors, SLOTS);
    const entries = new DataView(mapped.arena);
    for (let i = 0; i < BUFFERS; i++) {
      entries.setBigUint64(i * 16, mapped.arenaAddress + BigInt(BUFFERS_AT + i * BUFFER), true);
      entries.setUint32(i * 16 + 8, BUFFER, true);
      entries.setUint16(i * 16 + 12, i, true);
    }
    Atomics.store(new Uint16Array(mapped.arena, 0, 8), 7, BUFFERS);
  }

  get(name) {
    return Atomics.load(this.words, this.mapped[name] >> 2);
  }

  put(op, fd, userData) {
    const tail = this.get('sqTail');
    const at = (tail & (this.mapped.sqEntries - 1)) * 16;
    this.sqes.fill(0, at, at + 16);
    this.sqes[at] = op;
    this.sqes[at + 1] = fd;
    this.sqes[at + 8] = userData;
    Atomics.store(this.words, this.mapped.sqTail >> 2, tail + 1);
    return this.native.socketsEnter(1, GETEVENTS);
  }

  /** Results of this user_data, as they come. */
  async next(userData) {
    for (let tries = 0; tries < 2000; tries++) {
      const head = this.get('cqHead');
      if (head !== this.get('cqTail')) {
        const at = (this.mapped.cqes >> 2) + (head & (this.mapped.cqEntries - 1)) * 4;
        const [found, result] = [this.words[at], this.words[at + 2]];
        Atomics.store(this.words, this.mapped.cqHead >> 2, head + 1);
        if (found === userData) return result;
        continue;
      }
      await pause(1);
      this.native.socketsEnter(0, GETEVENTS);
    }
    throw new Error(`${userData} never completed`);
  }

  note(slot, fd) {
    Atomics.store(this.descriptors, slot, fd + 1);
  }
}

/** A call made at once. */
function call(program, name, ...args) {
  program.fill(0, NUMBERS[name], ...args);
  program.native.trap(0);
  return program.result(0);
}

/** A listener that no libuv accepts from. */
function listening(program) {
  const name = new DataView(program.native.pool, 0, 32);
  const at = program.native.poolAddress;
  name.setUint16(0, 2, true); // AF_INET, any port, 127.0.0.1
  name.setUint32(4, 0x7f000001);
  name.setUint32(16, 16, true);
  const fd = call(program, 'socket', 2, 1 | 0o2000000 | 0o4000, 0);
  assert.equal(call(program, 'bind', fd, at, 16), 0);
  assert.equal(call(program, 'listen', fd, 64), 0);
  assert.equal(call(program, 'getsockname', fd, at, at + 16n), 0);
  return { fd, port: name.getUint16(2) };
}

const connected = async (port) => {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
};

async function bothTiers(body) {
  for (const ring of [true, false]) {
    const program = new Program(load());
    try {
      await body(program, ring);
    } finally {
      program.native.close();
      await turn();
    }
  }
}

/** Accepts `count` connections and leaves a receive standing on each. */
async function acceptAll(queue, { fd, port }, count) {
  const clients = [];
  queue.put(OP.accept | MULTISHOT.accept, fd, KIND_ACCEPT);
  for (let i = 0; i < count; i++) {
    clients.push(await connected(port));
    const accepted = await queue.next(KIND_ACCEPT);
    assert.ok(accepted >= 0, `${accepted}`);
    queue.note(1 + i, accepted);
    queue.put(OP.recv | MULTISHOT.recv, accepted, 7);
  }
  return clients;
}

export const socketsInWorker = {
  async socketsInFlight() {
    const program = new Program(load());
    const queue = new Queue(program.native, workerData.ring);
    const listener = listening(program);
    queue.note(0, listener.fd);
    queue.put(OP.accept | MULTISHOT.accept, listener.fd, KIND_ACCEPT);
    for (let i = 0; i < 20; i++) {
      parentPort.postMessage(listener.port);
      const accepted = await queue.next(KIND_ACCEPT);
      queue.note(1 + i, accepted);
      queue.put(OP.recv | MULTISHOT.recv, accepted, 7);
    }
    for (let i = 0; i < 5; i++) parentPort.postMessage(listener.port); // not looked at
    parentPort.postMessage('ready');
    setInterval(() => {}, 1000);
  },
};

export const socketTests = (worker) => ({
  async 'sockets: arguments that make no sense are refused'() {
    const good = [ENTRIES, BUFFERS, SLOTS, ARENA];
    const { NaN: none, POSITIVE_INFINITY: infinite } = Number;
    const bad = [
      [0, -1, 3, 8192, 2 ** 31, 2 ** 40, none, infinite],
      [0, -1, 3, 512, 2 ** 31, 2 ** 40, none, infinite],
      [-1, SLOTS * 10, 2 ** 31],
      [0, -1, -(2 ** 60), 4095, 2 ** 40, 2 ** 80, none, infinite, -infinite, undefined],
    ];
    await bothTiers(async ({ native }, ring) => {
      const before = descriptors();
      for (const [at, values] of bad.entries())
        for (const value of values) {
          const args = good.map((one, i) => (i === at ? value : one));
          assert.throws(() => native.socketsOpen(ring, ...args), /cannot map/, `${at}: ${value}`);
        }
      assert.equal(descriptors(), before);
      const queue = new Queue(native, ring); // and they can still be had
      assert.throws(() => new Queue(native, ring), /cannot map.*already/);
      assert.equal(queue.put(OP.close, -1, 1), 1);
      assert.equal(await queue.next(1), -EBADF);
    });
  },

  async 'sockets: entering before there are any'() {
    await bothTiers(async ({ native }) => {
      assert.equal(native.socketsEnter(1, GETEVENTS), -EBADF);
    });
  },

  async 'trap: an entry that is not there'() {
    await bothTiers(async ({ native }) => {
      for (const id of [64, -1, 2 ** 31 - 1, 100_000])
        assert.throws(() => native.trap(id), RangeError, `${id}`);
    });
  },

  async 'sockets: memory stays readable when the kernel is closed'() {
    await bothTiers(async ({ native }, ring) => {
      const queue = new Queue(native, ring);
      const bytes = new Uint8Array(queue.mapped.arena);
      bytes[ARENA - 1] = 5;
      native.close();
      assert.throws(() => native.socketsEnter(1, GETEVENTS), /this kernel was closed/);
      assert.throws(() => native.trap(0), /this kernel was closed/);
      assert.throws(() => new Queue(native, ring), /this kernel was closed/);
      await collectGarbage();
      assert.equal(bytes[ARENA - 1], 5);
      assert.equal(queue.get('sqTail'), queue.get('sqHead'));
      queue.words.fill(-1);
    });
  },

  async 'sockets: kernels with connections come and go without a trace'() {
    const addon = load();
    const openAndClose = async (times, ring) => {
      for (let i = 0; i < times; i++) {
        const program = new Program(addon);
        const queue = new Queue(program.native, ring);
        const listener = listening(program);
        queue.note(0, listener.fd);
        const clients = await acceptAll(queue, listener, 3);
        const closed = clients.map((one) => new Promise((resolve) => one.once('close', resolve)));
        program.native.close();
        await Promise.all(closed);
        if (i % 10 === 0) await collectGarbage();
      }
      await collectGarbage();
    };
    for (const ring of [true, false]) {
      await openAndClose(10, ring);
      const before = { descriptors: descriptors(), size: kibibytes('VmSize') };
      await openAndClose(50, ring);
      assert.equal(descriptors(), before.descriptors);
      const size = kibibytes('VmSize');
      assert.ok(size < before.size + 20_000, `mapped: ${before.size} -> ${size} KiB`);
    }
  },

  async 'sockets: a worker is terminated with connections in flight'() {
    load();
    const before = descriptors();
    for (const ring of [true, false, true, false]) {
      const clients = [];
      const thread = worker('socketsInFlight', { ring });
      await new Promise((resolve, reject) => {
        thread.once('error', reject);
        thread.on('message', (message) => {
          if (message === 'ready') resolve();
          else clients.push(connected(message));
        });
      });
      const sockets = await Promise.all(clients);
      assert.equal(sockets.length, 25);
      const closed = sockets.map((one) => new Promise((resolve) => one.once('close', resolve)));
      await thread.terminate();
      await Promise.all(closed); // their other ends are closed
    }
    await turn();
    assert.ok(descriptors() <= before + 1, `${before} -> ${descriptors()}`); // + crew
  },
});
