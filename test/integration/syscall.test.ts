/**
 * trapless/syscall on every backend: does a posted call do exactly what the system call does,
 * once, and is every state it can be in seen and left again?
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { constants as os, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { AT_FDCWD, O_RDONLY, S_IFIFO } from '../../src/abi/structs.ts';
import { syscallNumber } from '../../src/abi/syscalls.ts';
import {
  type PostedCall,
  register,
  type SyscallKernel,
  SystemCallError,
  unsafeInteger,
} from '../../src/syscall.ts';
import { onBackend, onEveryBackend, until } from '../support/backends.ts';

let folder: string;
before(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'trapless-syscall-'));
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

let names = 0;
const fresh = (what: string) => join(folder, `${what}-${names++}`);

/** The number that a call returns. */
async function value(call: PostedCall): Promise<number> {
  return Number(await call.promise());
}

function fileWith(content: string | Buffer): string {
  const path = fresh('file');
  fs.writeFileSync(path, content);
  return path;
}

async function open(kernel: SyscallKernel, path: string, flags = O_RDONLY): Promise<number> {
  return value(kernel.post('openat', AT_FDCWD, path, flags, 0o600));
}

/** A FIFO: opening it for reading blocks until somebody opens it for writing. */
async function fifo(kernel: SyscallKernel): Promise<string> {
  const path = fresh('fifo');
  await kernel.post('mknodat', AT_FDCWD, path, S_IFIFO | 0o600, 0).promise();
  return path;
}

/** Opens for writing without waiting for anybody; a reader that waits gets to go on. */
function openWriter(path: string): number {
  return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
}

async function pipe(kernel: SyscallKernel): Promise<[number, number]> {
  const fds = Buffer.alloc(8);
  await kernel.post('pipe2', fds, 0).promise();
  return [fds.readInt32LE(0), fds.readInt32LE(4)];
}

function isDetached(view: Uint8Array): boolean {
  return view.buffer.byteLength === 0;
}

/* --- Results ------------------------------------------------------------------------------ */

onEveryBackend('a call by name and by number', async (open) => {
  const kernel = open();
  assert.equal(await value(kernel.post('getppid')), process.ppid);
  assert.equal(await value(kernel.post(syscallNumber('getpid'))), process.pid);
  assert.equal(await value(kernel.post('nop')), 0);
  const name = Buffer.alloc(390);
  await kernel.post('uname', name).promise();
  assert.ok(name.toString('latin1').startsWith('Linux\0'));
});

onEveryBackend('a file is written, read back, looked at and removed', async (openKernel) => {
  const kernel = openKernel();
  const path = fresh('größe ✓');
  const { O_CREAT, O_RDWR } = fs.constants;
  const fd = await open(kernel, path, O_CREAT | O_RDWR);
  const text = Buffer.from('exception-less');
  assert.equal(await value(kernel.post('pwrite64', fd, text, text.length, 3)), text.length);
  assert.deepEqual(fs.readFileSync(path), Buffer.concat([Buffer.alloc(3), text]));

  const buffer = Buffer.alloc(100, 7);
  assert.equal(await value(kernel.post('pread64', fd, buffer, 50, 3)), text.length);
  assert.equal(buffer.toString('utf8', 0, text.length), 'exception-less');
  assert.ok(
    buffer.subarray(text.length).every((byte) => byte === 7),
    'nothing beyond',
  );

  const first = Buffer.alloc(3);
  const second = Buffer.alloc(200);
  const list = [first, second] as const;
  assert.equal(await value(kernel.post('preadv', fd, list, 2, 0)), 3 + text.length);
  assert.equal(second.toString('utf8', 0, text.length), 'exception-less');
  const parts = [Buffer.from('ab'), Buffer.alloc(0), new Uint8Array([99])];
  assert.equal(await value(kernel.post('pwritev', fd, parts, 3, 0)), 3);
  assert.equal(fs.readFileSync(path, 'latin1').slice(0, 4), 'abce');

  const status = Buffer.alloc(256);
  await kernel.post('statx', AT_FDCWD, path, 0, 0xfff, status).promise();
  assert.equal(status.readBigUInt64LE(40), 17n);
  await kernel.post('close', fd).promise();
  const moved = fresh('moved');
  await kernel.post('renameat2', AT_FDCWD, path, AT_FDCWD, moved, 0).promise();
  await kernel.post('unlinkat', AT_FDCWD, moved, 0).promise();
  assert.ok(!fs.existsSync(path) && !fs.existsSync(moved));
});

onEveryBackend('64 bits are exact, both ways', async (open) => {
  const kernel = open();
  const fd = await value(kernel.post('memfd_create', 'sparse', 0));
  const far = 2n ** 53n + 1n;
  await kernel.post('ftruncate', fd, far + 3n).promise();
  const seek = kernel.post('lseek', fd, far, 0);
  assert.equal(await seek.promise(), far);
  assert.equal(seek.result, far);
  assert.throws(() => seek.number, /lseek returned 9007199254740993: read call\.result/);
  assert.equal(await kernel.post('lseek', fd, 2 ** 53 - 1, 0).promise(), 2n ** 53n - 1n);

  assert.equal(await value(kernel.post('pwrite64', fd, Buffer.from('x'), 1, far)), 1);
  const around = Buffer.alloc(4, 1);
  assert.equal(await value(kernel.post('pread64', fd, around, 4, far - 1n)), 4);
  assert.deepEqual([...around], [0, 120, 0, 0]);
  assert.equal(await value(kernel.post('pread64', fd, around, 4, far + 3n)), 0);
  await assert.rejects(kernel.post('lseek', fd, -1, 0).promise(), { code: 'EINVAL' });
  await kernel.post('close', fd).promise();
});

onEveryBackend('failures are errors with code, errno, syscall and path', async (open) => {
  const kernel = open();
  const call = kernel.post('openat', AT_FDCWD, '/no/such/file', O_RDONLY, 0);
  await assert.rejects(call.promise(), (error: SystemCallError) => {
    assert.ok(error instanceof SystemCallError && error instanceof Error);
    assert.equal(error.name, 'SystemCallError');
    assert.equal(error.code, 'ENOENT');
    assert.equal(error.errno, -os.errno.ENOENT);
    assert.equal(error.syscall, 'openat');
    assert.equal(error.path, '/no/such/file');
    assert.equal(error.message, "ENOENT: no such file or directory, openat '/no/such/file'");
    return true;
  });
  assert.throws(() => call.result, { code: 'ENOENT' });
  assert.throws(() => call.number, { code: 'ENOENT' });
  const bad = kernel.post('pread64', 1_000_000, Buffer.alloc(1), 1, 0);
  assert.equal(await bad.settled(), bad);
  assert.throws(() => bad.result, {
    code: 'EBADF',
    message: 'EBADF: bad file descriptor, pread64',
  });
  // A result that only looks like an error is none.
  const fd = await value(kernel.post('memfd_create', 'large', 0));
  await kernel.post('lseek', fd, 2n ** 32n - 5n, 0).promise();
  assert.equal(await kernel.post('lseek', fd, 0, 1).promise(), 2n ** 32n - 5n);
  await kernel.post('close', fd).promise();
});

/* --- Statuses ----------------------------------------------------------------------------- */

onEveryBackend('every status is seen', async (openKernel) => {
  const kernel = openKernel({ pages: 1, pagesMax: 1 });
  const [reader, writer] = await pipe(kernel);
  const byte = Buffer.alloc(1);
  const read = kernel.post('read', reader, byte, 1);
  const nops = Array.from({ length: 63 }, () => kernel.post('nop'));
  const waiting = kernel.post('nop');
  assert.equal(read.status, 'submitted');
  assert.equal(waiting.status, 'waiting');
  assert.equal(waiting.done || read.done, false);
  assert.throws(() => read.result, /read is submitted: await call\.promise\(\), or kernel\.wait/);

  while (!nops.every((call) => call.done)) kernel.wait(1);
  await until(() => read.status === 'busy', 'a syscall thread has it');
  assert.equal(read.done, false);
  assert.equal(nops[0].status, 'done');
  assert.equal(nops[0].result, 0n);
  assert.equal(nops[0].status, 'free');
  assert.equal(nops[0].result, 0n);
  await waiting.promise();
  assert.equal(waiting.status, 'free');

  fs.writeSync(writer, 'w');
  await read.promise();
  assert.equal(read.status, 'free');
  assert.equal(byte.toString(), 'w');
  const gone = kernel.post('nop');
  assert.equal(gone.abandon(), true);
  assert.equal(gone.status, 'abandoned');
  await until(() => kernel.statistics().entriesInUse === 0, 'its entry is free');
  fs.closeSync(reader);
  fs.closeSync(writer);
});

onBackend('crew', 'done is seen in memory before anybody harvests', async (open) => {
  const kernel = open();
  const buffer = Buffer.alloc(8);
  const call = kernel.post('getrandom', buffer, 8, 0);
  while (call.status === 'submitted') kernel.wait(0);
  // From here on only memory is read.
  for (let i = 0; i < 1e9 && !call.done; i++);
  assert.equal(call.status === 'done' || call.status === 'free', true);
  assert.equal(call.number, 8);
  assert.ok(buffer.some((byte) => byte !== 0));
  await until(() => kernel.statistics().entriesInUse === 0, 'the entry is freed');
});

onEveryBackend('a call can be looked at as often as one likes, at any time', async (open) => {
  const kernel = open();
  const call = kernel.post('getppid');
  const promise = call.promise();
  assert.equal(call.promise(), promise);
  assert.equal(await promise, BigInt(process.ppid));
  assert.equal(call.number, process.ppid);
  assert.equal(await call.promise(), BigInt(process.ppid));
  const late = kernel.post('getppid');
  while (!late.done) kernel.wait();
  assert.equal(await late.promise(), BigInt(process.ppid));
  assert.equal('then' in late, false);
});

/* --- Blocking ----------------------------------------------------------------------------- */

onEveryBackend('a call blocked for ever blocks nobody else', async (openKernel) => {
  const kernel = openKernel();
  const path = await fifo(kernel);
  const blocked = Array.from({ length: 12 }, () =>
    kernel.post('openat', AT_FDCWD, path, O_RDONLY, 0),
  );
  for (let round = 0; round < 20; round++) {
    const others = Array.from({ length: 50 }, (_, i) =>
      i % 2 === 0
        ? kernel.post('getppid')
        : kernel.post('faccessat', AT_FDCWD, '/etc/passwd', fs.constants.R_OK),
    );
    await Promise.all(others.map((call) => call.promise()));
  }
  assert.ok(blocked.every((call) => !call.done));
  assert.equal(kernel.inFlight, 12);
  const writer = openWriter(path);
  const fds = await Promise.all(blocked.map((call) => call.promise()));
  assert.equal(new Set(fds).size, 12);
  for (const fd of fds) fs.closeSync(Number(fd));
  fs.closeSync(writer);
});

onBackend('mixed', 'a file that does not know RWF_NOWAIT is read by the crew', async (open) => {
  const kernel = open();
  const fd = fs.openSync('/proc/self/status', 'r');
  const before = kernel.statistics().calls;
  const buffer = Buffer.alloc(5);
  assert.equal(await value(kernel.post('pread64', fd, buffer, 5, 0)), 5);
  assert.equal(buffer.toString(), 'Name:');
  const { calls } = kernel.statistics();
  assert.deepEqual(
    { ring: calls.ring - before.ring, crew: calls.crew - before.crew },
    { ring: 0, crew: 1 },
  );
  fs.closeSync(fd);
});

onBackend('crew', 'the queue is handed on when its thread sits in a call', async (open) => {
  const kernel = open();
  const path = await fifo(kernel);
  const blocked = Array.from({ length: 20 }, () =>
    kernel.post('openat', AT_FDCWD, path, O_RDONLY, 0),
  );
  const behind = kernel.post('getppid');
  assert.equal(await value(behind), process.ppid);
  await until(() => blocked.every((call) => call.status === 'busy'), 'all of them have begun');
  assert.ok(kernel.statistics().crew.handoffs >= 18);
  fs.closeSync(openWriterAfter(path));
  for (const call of blocked) fs.closeSync(await value(call));
});

/** A writer that stays until the readers are in. */
function openWriterAfter(path: string): number {
  return openWriter(path);
}

/* --- How often, in what order ------------------------------------------------------------- */

onEveryBackend('100,000 calls run exactly once each', async (open) => {
  const kernel = open();
  const counter = await value(kernel.post('eventfd2', 0, 0));
  const one = kernel.arena.alloc(8);
  one.bytes.writeBigUInt64LE(1n);
  const total = 100_000;
  let settled = 0;
  const calls: Promise<unknown>[] = [];
  for (let i = 0; i < total; i++) {
    if (i % 64 === 0) await kernel.room();
    const call = kernel.post('write', counter, one, 8);
    calls.push(call.promise().then((written) => (settled += written === 8n ? 1 : 0)));
  }
  await Promise.all(calls);
  const sum = Buffer.alloc(8);
  await kernel.post('read', counter, sum, 8).promise();
  assert.equal(Number(sum.readBigUInt64LE()), total);
  assert.equal(settled, total);
  one.free();
  await kernel.post('close', counter).promise();
});

onEveryBackend('100,000 calls posted at once all get their turn', async (open) => {
  const kernel = open({ pages: 1, pagesMax: 4 });
  const total = 100_000;
  const calls = Array.from({ length: total }, () => kernel.post('getppid'));
  assert.equal(calls[0].status, 'submitted');
  assert.equal(calls[256].status, 'waiting');
  assert.equal(kernel.inFlight, total);
  const results = await Promise.all(calls.map((call) => call.promise()));
  assert.ok(results.every((result) => result === BigInt(process.ppid)));
  assert.equal(kernel.statistics().pages, 4);
});

onEveryBackend('room() tells when a call gets an entry at once', async (open) => {
  const kernel = open({ pages: 1, pagesMax: 1 });
  await kernel.room();
  const calls = Array.from({ length: 64 }, () => kernel.post('getppid'));
  let rooms = 0;
  const room = kernel.room().then(() => rooms++);
  await Promise.resolve();
  assert.equal(rooms, 0);
  await room;
  assert.equal(kernel.post('getppid').status, 'submitted');
  await Promise.all(calls.map((call) => call.promise()));
  while (kernel.inFlight > 0) kernel.wait();
});

onEveryBackend('what was awaited has happened', async (openKernel) => {
  const kernel = openKernel();
  const path = fileWith('');
  const fd = await open(kernel, path, fs.constants.O_RDWR | fs.constants.O_APPEND);
  for (let i = 0; i < 200; i++) {
    const line = Buffer.from(`${i}\n`);
    assert.equal(await value(kernel.post('write', fd, line, line.length)), line.length);
    assert.equal(fs.fstatSync(fd).size, Number(await kernel.post('lseek', fd, 0, 2).promise()));
  }
  const lines = Array.from({ length: 200 }, (_, i) => `${i}\n`).join('');
  assert.equal(fs.readFileSync(path, 'latin1'), lines);
  await kernel.post('close', fd).promise();
});

onEveryBackend('a descriptor is closed after its calls in flight', async (open) => {
  const kernel = open();
  const [reader, writer] = await pipe(kernel);
  const buffer = Buffer.alloc(4);
  const read = kernel.post('read', reader, buffer, 4);
  kernel.wait(0);
  while (read.status !== 'busy') kernel.wait(1);
  const close = kernel.post('close', reader);
  for (let i = 0; i < 20; i++) kernel.wait(1);
  assert.equal(close.done, false);
  fs.writeSync(writer, 'late');
  await close.promise();
  assert.equal(read.number, 4);
  assert.equal(buffer.toString(), 'late');
  assert.throws(() => fs.fstatSync(reader), { code: 'EBADF' });
  fs.closeSync(writer);
});

/* --- Memory ------------------------------------------------------------------------------- */

onEveryBackend('a buffer transferred away in mid-call is not written', async (open) => {
  const kernel = open();
  const [reader, writer] = await pipe(kernel);
  const buffer = new Uint8Array(new ArrayBuffer(16));
  const read = kernel.post('read', reader, buffer, 16);
  while (read.status !== 'busy') kernel.wait(1);
  const moved = structuredClone(buffer, { transfer: [buffer.buffer] });
  assert.ok(isDetached(buffer));
  fs.writeSync(writer, 'secret');
  assert.equal(await value(read), 6);
  assert.ok(moved.every((byte) => byte === 0));

  // The same while it waits for an entry: then there is nothing to read into any more.
  const small = open({ pages: 1, pagesMax: 1 });
  const nops = Array.from({ length: 64 }, () => small.post('nop'));
  const second = new Uint8Array(new ArrayBuffer(16));
  const late = small.post('read', reader, second, 16);
  assert.equal(late.status, 'waiting');
  structuredClone(second, { transfer: [second.buffer] });
  await assert.rejects(late.promise(), { code: 'EFAULT' });
  await Promise.all(nops.map((call) => call.promise()));
  fs.closeSync(reader);
  fs.closeSync(writer);
});

onEveryBackend('a slice is used in place, and stays until its calls are done', async (open) => {
  const kernel = open();
  const [reader, writer] = await pipe(kernel);
  const slice = kernel.arena.alloc(4096);
  const read = kernel.post('read', reader, slice, 4096);
  while (read.status !== 'busy') kernel.wait(1);
  slice.free();
  assert.equal(kernel.arena.used, 4096);
  assert.throws(() => kernel.post('read', reader, slice, 1), /slice was freed; alloc\(\) another/);
  const other = kernel.arena.alloc(4096);
  assert.notEqual(other.bytes.byteOffset, slice.bytes.byteOffset);
  fs.writeSync(writer, 'in place');
  while (!read.done) kernel.wait();
  assert.equal(slice.bytes.toString('utf8', 0, 8), 'in place');
  assert.equal(other.bytes[0], 0);
  await until(() => kernel.arena.used === 4096, 'the slice was given back');
  other.free();
  fs.closeSync(reader);
  fs.closeSync(writer);
});

onEveryBackend('the arena cannot be given to another thread', async (open) => {
  const kernel = open();
  const slice = kernel.arena.alloc(16);
  const arena = slice.bytes.buffer as ArrayBuffer;
  const { port1 } = new MessageChannel();
  // Node refuses to, or copies: such memory of an addon's is marked by Node itself.
  for (const give of [
    () => structuredClone(arena, { transfer: [arena] }),
    () => port1.postMessage(arena, [arena]),
  ])
    try {
      give();
    } catch (error) {
      assert.equal((error as Error).name, 'DataCloneError');
    }
  assert.ok(arena.byteLength > 0);
  slice.free();
  port1.close();
});

onEveryBackend('lists of buffers and slices, longer than what is read', async (openKernel) => {
  const kernel = openKernel();
  const fd = await open(kernel, fileWith('0123456789'));
  const [a, b, c] = [Buffer.alloc(3, 46), kernel.arena.alloc(4), Buffer.alloc(9)];
  assert.equal(await value(kernel.post('readv', fd, [a, b, c], 3)), 10);
  assert.equal(Buffer.concat([a, b.bytes, c]).toString('latin1'), '0123456789\0\0\0\0\0\0');
  b.free();
  await kernel.post('close', fd).promise();
});

onEveryBackend(
  'when the arena is full calls wait for those in flight, or are refused',
  async (open) => {
    const kernel = open({ arenaBytes: 64 * 1024 });
    const [reader, writer] = await pipe(kernel);
    const large = Buffer.alloc(64 * 1024);
    const first = kernel.post('read', reader, large, large.length);
    const second = kernel.post('getrandom', Buffer.alloc(1000), 1000, 0);
    assert.deepEqual([first.status, second.status], ['submitted', 'waiting']);
    fs.writeSync(writer, 'x');
    assert.equal(await value(first), 1);
    assert.equal(await value(second), 1000);

    const held = kernel.arena.alloc(64 * 1024);
    assert.throws(
      () => kernel.post('getrandom', Buffer.alloc(8), 8, 0),
      /getrandom needs 64 bytes of the arena, which has 65536 and 65536 in use; free\(\) slices/,
    );
    held.free();
    const huge = Buffer.alloc(65 * 1024);
    assert.throws(() => kernel.post('getrandom', huge, huge.length, 0), RangeError);
    assert.equal(await value(kernel.post('getrandom', Buffer.alloc(8), 8, 0)), 8);
    fs.closeSync(reader);
    fs.closeSync(writer);
  },
);

onEveryBackend('calls nobody looks at again leave nothing behind', async (open) => {
  const kernel = open();
  for (let i = 0; i < 20_000; i++) {
    if (i % 256 === 0) await kernel.room();
    kernel.post('pread64', 1_000_000, Buffer.alloc(10), 10, 0);
  }
  await until(() => kernel.inFlight === 0, 'all done');
  assert.equal(kernel.statistics().entriesInUse, 0);
  assert.equal(kernel.arena.used, 0);
});

/* --- Giving up ---------------------------------------------------------------------------- */

onEveryBackend('giving up, in every state', async (open) => {
  const kernel = open({ pages: 1, pagesMax: 1 });
  const [reader, writer] = await pipe(kernel);
  const buffer = Buffer.alloc(8);

  // busy: Linux goes on, nobody is told, nothing is written
  const busy = kernel.post('read', reader, buffer, 8);
  while (busy.status !== 'busy') kernel.wait(1);
  const rejected = assert.rejects(busy.promise(), { code: 'ECANCELED', syscall: 'read' });
  assert.equal(busy.abandon(), true);
  assert.equal(busy.abandon(), false);
  assert.equal(busy.status, 'abandoned');
  assert.equal(busy.done, false);
  assert.throws(() => busy.result, { code: 'ECANCELED' });
  await rejected;
  assert.equal(kernel.inFlight, 0);
  assert.equal(kernel.statistics().entriesInUse, 1);
  fs.writeSync(writer, 'x');
  await until(() => kernel.statistics().entriesInUse === 0, 'its entry is free');
  assert.ok(buffer.every((byte) => byte === 0));

  // submitted: is not run
  const path = fresh('never');
  const submitted = kernel.post('mkdirat', AT_FDCWD, path, 0o700);
  assert.equal(submitted.abandon(), true);
  // waiting: neither
  const filling = Array.from({ length: 63 }, () => kernel.post('nop'));
  const waiting = kernel.post('mkdirat', AT_FDCWD, fresh('neither'), 0o700);
  assert.equal(waiting.status, 'waiting');
  assert.equal(waiting.abandon(), true);
  await assert.rejects(waiting.promise(), { code: 'ECANCELED' });
  await Promise.all(filling.map((call) => call.promise()));
  await until(() => kernel.statistics().entriesInUse === 0, 'its entry is free');
  assert.ok(!fs.existsSync(path));

  // done and free: too late
  const done = kernel.post('getppid');
  while (!done.done) kernel.wait();
  assert.equal(done.abandon(), false);
  assert.equal(done.number, process.ppid);
  assert.equal(done.abandon(), false);
  assert.equal(done.status, 'free');
  fs.closeSync(reader);
  fs.closeSync(writer);
});

/* --- wait() ------------------------------------------------------------------------------- */

onEveryBackend('wait() is synchronous and says what happened', async (openKernel) => {
  const kernel = openKernel();
  assert.equal(kernel.wait(), false); // nothing in flight
  const call = kernel.post('getppid');
  assert.equal(kernel.wait(), true);
  assert.equal(call.number, process.ppid);
  assert.equal(kernel.wait(0), false);

  const [reader, writer] = await pipe(kernel);
  const read = kernel.post('read', reader, Buffer.alloc(1), 1);
  assert.equal(kernel.wait(0), false);
  assert.equal(kernel.wait(2), false);
  assert.equal(read.done, false);
  fs.writeSync(writer, 'x');
  assert.equal(kernel.wait(), true);
  assert.equal(read.number, 1);
  for (const timeout of [-1, Number.NaN])
    assert.throws(() => kernel.wait(timeout), /milliseconds from 0 on/);
  fs.closeSync(reader);
  fs.closeSync(writer);
});

onEveryBackend('wait() runs none of the program in between', async (open) => {
  const kernel = open();
  const order: string[] = [];
  const call = kernel.post('getppid');
  call.promise().then(() => order.push('promise'));
  process.nextTick(() => order.push('tick'));
  queueMicrotask(() => order.push('microtask'));
  while (!call.done) kernel.wait();
  order.push('waited');
  await call.promise();
  await new Promise(setImmediate);
  assert.equal(order[0], 'waited');
  assert.deepEqual([...order].sort(), ['microtask', 'promise', 'tick', 'waited']);
});

/* --- Ending ------------------------------------------------------------------------------- */

onEveryBackend('close() ends what is in flight', async (openKernel) => {
  const kernel = openKernel({ pages: 1, pagesMax: 1 });
  const path = await fifo(kernel);
  const blocked = Array.from({ length: 64 }, () =>
    kernel.post('openat', AT_FDCWD, path, O_RDONLY, 0),
  );
  const waiting = kernel.post('nop');
  while (!blocked.some((call) => call.status === 'busy')) kernel.wait(1);
  const outcomes = Promise.allSettled([...blocked, waiting].map((call) => call.promise()));
  kernel.close();
  kernel.close();
  assert.ok(kernel.closed);
  for (const outcome of await outcomes) {
    assert.equal(outcome.status, 'rejected');
    assert.match(String((outcome as PromiseRejectedResult).reason.code), /^(ECANCELED|EINTR)$/);
  }
  assert.equal(kernel.inFlight, 0);
  assert.throws(() => kernel.post('nop'), /this kernel was closed; register\(\) a new one/);
  assert.throws(() => kernel.wait(), /closed/);
  await assert.rejects(kernel.room(), /closed/);
});

onEveryBackend('kernels are independent of each other', async (open) => {
  const first = open();
  const second = open();
  const call = first.post('getppid');
  assert.equal(second.wait(0), false);
  first.close();
  await assert.rejects(call.promise(), { code: 'ECANCELED' });
  assert.equal(await value(second.post('getppid')), process.ppid);
});

/* --- What register() and post() refuse ---------------------------------------------------- */

describe('arguments', () => {
  let kernel: SyscallKernel;
  before(() => {
    kernel = register();
  });
  after(() => kernel.close());

  const refused = (message: RegExp, call: () => unknown, type: unknown = TypeError) =>
    assert.throws(call, (error: Error) => {
      assert.ok(error instanceof (type as ErrorConstructor), error.name);
      assert.match(error.message, /^trapless: /);
      assert.match(error.message, message);
      return true;
    });

  test('a number never becomes an address', () => {
    const buffer = Buffer.alloc(8);
    for (const number of [0, 1, 0x7fff_0000, 140_000_000_000_000, 5n])
      refused(
        /argument 2 of read is memory: pass a Buffer, a slice of kernel\.arena or null, not the number \d+: it would become an address/,
        () => kernel.post('read', 0, number, 8),
      );
    refused(/argument 2 of openat is a string: pass one, not the number 5/, () =>
      kernel.post('openat', AT_FDCWD, 5, 0),
    );
    refused(/argument 2 of openat cannot be null/, () => kernel.post('openat', AT_FDCWD, null, 0));
    refused(/argument 1 of read is an integer: pass a number or a bigint, not a Buffer/, () =>
      kernel.post('read', buffer, buffer, 8),
    );
    refused(/argument 2 of readv is a list: pass an array of buffers, not a Buffer/, () =>
      kernel.post('readv', 0, buffer, 1),
    );
    refused(/argument 2 of readv may be memory|argument 2 of readv/, () =>
      kernel.post('readv', 0, [12345 as never], 1),
    );
    refused(/argument 3 of ioctl may be an address: pass memory, or unsafeInteger\(65536\)/, () =>
      kernel.post('ioctl', 0, 1, 65536),
    );
    refused(/argument 1 of syscall_4000 may be an address/, () => kernel.post(4000, 65536));
    refused(/argument 1 of futex is watched by Linux: pass a slice of kernel\.arena/, () =>
      kernel.post('futex', Buffer.alloc(4), 0, 0, null, null, 0),
    );
  });

  test('memory is as large as the call says', () => {
    const short = (message: RegExp, call: () => unknown) => refused(message, call, RangeError);
    short(/argument 2 of read has 8 bytes, but argument 3 says 9/, () =>
      kernel.post('read', 0, Buffer.alloc(8), 9),
    );
    short(/argument 2 of read has 8 bytes, but argument 3 says -1/, () =>
      kernel.post('read', 0, Buffer.alloc(8), -1),
    );
    short(/argument 5 of statx has 100 bytes, but it needs 256/, () =>
      kernel.post('statx', AT_FDCWD, '/', 0, 0, Buffer.alloc(100)),
    );
    short(/argument 1 of poll has 8 bytes, but argument 2 says 16/, () =>
      kernel.post('poll', Buffer.alloc(8), 2, 0),
    );
    short(/argument 2 of readv has 1 buffers, but argument 3 says 2/, () =>
      kernel.post('readv', 0, [Buffer.alloc(8)], 2),
    );
    const length = Buffer.alloc(4);
    length.writeInt32LE(100);
    short(/argument 4 of getsockopt has 10 bytes, but argument 5 says 100/, () =>
      kernel.post('getsockopt', 0, 0, 0, Buffer.alloc(10), length),
    );
  });

  test('integers fit', () => {
    refused(/argument 1 of close is not an integer: 1\.5/, () => kernel.post('close', 1.5));
    refused(/argument 2 of lseek is not an integer: 9007199254740992; pass a bigint/, () =>
      kernel.post('lseek', 0, 2 ** 53, 0),
    );
    refused(/argument 2 of lseek does not fit 64 bits/, () =>
      kernel.post('lseek', 0, 2n ** 64n, 0),
    );
    refused(/takes a?.*3 arguments, not 2/, () => kernel.post('lseek', 0, 0));
    refused(/getppid takes no arguments, not 1/, () => kernel.post('getppid', 1));
    refused(/openat takes 3 to 4 arguments, not 5/, () =>
      kernel.post('openat', AT_FDCWD, '/', 0, 0, 0),
    );
    assert.throws(() => unsafeInteger(1.5), /1\.5 is not an integer/);
  });

  test('strings end where they should', () => {
    refused(/argument 2 of openat has a NUL in it/, () =>
      kernel.post('openat', AT_FDCWD, '/etc/passwd\0x', 0),
    );
    refused(/argument 2 of openat has no NUL at its end: pass a string/, () =>
      kernel.post('openat', AT_FDCWD, Buffer.from('/etc/passwd'), 0),
    );
  });

  test('a path of bytes', async () => {
    const path = Buffer.from('/etc/passwd\0');
    assert.equal(await value(kernel.post('faccessat', AT_FDCWD, path, 4)), 0);
    const slice = kernel.arena.alloc(20);
    slice.bytes.write('/etc/nothing\0');
    await assert.rejects(kernel.post('faccessat', AT_FDCWD, slice, 4).promise(), {
      code: 'ENOENT',
    });
    slice.free();
  });

  test('what would act on a syscall thread, or wreck the process, is refused', () => {
    const reasons: [string, RegExp][] = [
      ['exit_group', /exit_group cannot be posted: it would end the process.*process\.exit\(\)/],
      ['clone3', /use node:child_process/],
      ['prctl', /acts on the thread that runs it/],
      ['rt_sigprocmask', /acts on the thread that runs it/],
      ['setuid', /use process\.setuid\(\)/],
      ['munmap', /changes the address space/],
      ['sendmsg', /use sendto, recvfrom/],
      ['io_uring_enter', /hold addresses/],
    ];
    for (const [name, message] of reasons) {
      refused(message, () => kernel.post(name as 'nop'));
      refused(message, () => kernel.post(syscallNumber(name as never)));
    }
  });

  test('names and numbers that do not exist', () => {
    assert.throws(() => kernel.post('opnat' as 'nop'), /did you mean "openat"/);
    refused(/no system call number 5000/, () => kernel.post(5000), RangeError);
    refused(/by its name or its number/, () => kernel.post(null as never));
  });

  test('a call that trapless has never heard of is posted all the same', async () => {
    await assert.rejects(kernel.post(4000, 1, Buffer.alloc(8), null).promise(), {
      code: 'ENOSYS',
      syscall: 'syscall_4000',
    });
    await assert.rejects(kernel.post('ioctl', 1_000_000, unsafeInteger(70_000), 3).promise(), {
      code: 'EBADF',
    });
  });

  test("another kernel's slice", () => {
    const other = register();
    const slice = other.arena.alloc(8);
    refused(/another kernel's arena; pass slice\.bytes, which is copied/, () =>
      kernel.post('getrandom', slice, 8, 0),
    );
    slice.free();
    other.close();
  });

  test('options of register()', () => {
    for (const arenaBytes of [0, 1000, 1.5, 2 ** 31])
      assert.throws(() => register({ arenaBytes }), /arenaBytes must be an integer from 65536/);
    assert.throws(() => register({ pages: 0 }), /pages must be an integer from 1 to 64/);
  });

  test('whether there is a ring, and why not', () => {
    const crew = register({ ring: false });
    assert.equal(crew.ring, false);
    assert.match(crew.ringRefused!, /not asked for/);
    crew.close();
    assert.equal(kernel.ring, kernel.ringRefused === null);
  });

  test('counters', async () => {
    const own = register();
    await own.post('getppid').promise();
    const { calls, byName, entriesInUse } = own.statistics();
    assert.equal(calls.spot + calls.ring + calls.crew, 1);
    assert.deepEqual(Object.keys(byName), ['getppid']);
    assert.equal(entriesInUse, 0);
    own.close();
  });
});
