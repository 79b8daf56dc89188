/** Buffers that are transferred away while a call works in them. */
import fs from 'node:fs';
import { join } from 'node:path';
import { called, makeFifo, openFifo, pattern, report, sleep, turn } from './harness.mjs';

/** The memory of a buffer, in other hands. */
const transfer = (buffer) =>
  Buffer.from(structuredClone(buffer.buffer, { transfer: [buffer.buffer] }));
/** What nobody read is taken out of the FIFO. */
function empty(fd) {
  try {
    while (fs.readSync(fd, Buffer.alloc(65_536)) > 0);
  } catch (error) {
    if (error.code !== 'EAGAIN') throw error;
  }
}
const own = (size) => Buffer.from(new ArrayBuffer(size));

await report(async (dir) => {
  const seen = {};
  const fifo = makeFifo(dir);
  const writer = openFifo(fifo);
  const handle = await fs.promises.open(fifo, 'r');

  const reads = {
    'fs.read': (buffer) => called((done) => fs.read(handle.fd, buffer, 0, 100, null, done)),
    'handle.read': (buffer) => handle.read(buffer, 0, 100, null).then((it) => [null, it.bytesRead]),
    'fs.readv': (buffer) => called((done) => fs.readv(handle.fd, [buffer], done)),
  };
  for (const [name, read] of Object.entries(reads))
    for (const moment of ['at once', 'later']) {
      const buffer = own(100);
      const reading = read(buffer);
      if (moment === 'later') await sleep(30);
      const moved = transfer(buffer);
      await sleep(10);
      fs.writeSync(writer, 'hello');
      const [error, bytes] = await reading;
      empty(writer);
      seen[`${name}, ${moment}`] = [error?.code ?? null, bytes, buffer.length];
      // Not ours any more: nothing may be written there. (Node does.)
      seen.untouched = (seen.untouched ?? true) && moved.every((byte) => byte === 0);
    }

  // A whole program's worth of them, with collections in between.
  for (let i = 0; i < 200; i++) {
    const buffer = own(5000);
    const reading = called((done) => fs.read(handle.fd, buffer, 0, 5000, null, done));
    if (i % 3 === 0) await turn();
    transfer(buffer);
    globalThis.gc?.();
    fs.writeSync(writer, pattern(5000));
    const [error, bytes] = await reading;
    empty(writer);
    if (error || bytes !== 5000) seen.many = [i, error?.code, bytes];
  }

  // Written before it was transferred, or not at all: no junk, and no error kept quiet.
  const file = join(dir, 'file');
  const strange = [];
  for (const moment of ['at once', 'a turn later'])
    for (const size of [100, 60_000, 500_000]) {
      const buffer = own(size);
      pattern(size).copy(buffer);
      const fd = fs.openSync(file, 'w');
      const writing = called((done) => fs.write(fd, buffer, 0, size, null, done));
      if (moment === 'a turn later') await turn();
      transfer(buffer).fill(0xee);
      const [error, bytes] = await writing;
      fs.closeSync(fd);
      const there = fs.readFileSync(file);
      const right = error ? error.code === 'EFAULT' : bytes === size && there.equals(pattern(size));
      if (!right) strange.push([moment, size, error?.code, bytes]);
    }
  for (const turns of [0, 1, 2, 5])
    for (const size of [100, 60_000, 100_000, 3_000_000]) {
      const buffer = own(size);
      pattern(size).copy(buffer);
      const writing = fs.promises.writeFile(file, buffer).then(
        () => null,
        (error) => error,
      );
      for (let i = 0; i < turns; i++) await turn();
      transfer(buffer).fill(0xee);
      const error = await writing;
      if (error === null && !fs.readFileSync(file).equals(pattern(size)))
        strange.push(['writeFile', turns, size]);
    }
  seen.strange = strange;
  await handle.close();
  fs.closeSync(writer);
  return seen;
});
