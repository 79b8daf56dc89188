/** Closing with reads in flight: they end rightly, the descriptor is closed once, and after them. */
import fs from 'node:fs';
import { join } from 'node:path';
import { called, makeFifo, openFifo, outcome, pattern, report, sleep } from './harness.mjs';

const p = fs.promises;

function isOpen(fd) {
  try {
    fs.fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

await report(async (dir) => {
  const seen = {};
  const file = join(dir, 'file');
  fs.writeFileSync(file, pattern(100_000));

  // A FileHandle waits for what is in flight.
  for (const count of [1, 5, 64, 500]) {
    const handle = await p.open(file, 'r');
    const { fd } = handle;
    const reads = Array.from({ length: count }, (_, i) => {
      const buffer = Buffer.alloc(1000);
      return handle
        .read(buffer, 0, 1000, i * 100)
        .then(({ bytesRead }) => bytesRead === 1000 && buffer.equals(pattern(1000, i * 100)));
    });
    const closing = handle.close();
    const whole = await Promise.all(reads);
    await closing;
    seen[`${count} reads`] = [whole.every(Boolean), isOpen(fd), handle.fd];
    seen[`${count} reads, then`] = await outcome(handle.read(Buffer.alloc(1), 0, 1, 0));
  }

  // Also when they block; meanwhile its number is nobody else's.
  const fifo = makeFifo(dir);
  const writer = openFifo(fifo);
  const handle = await p.open(fifo, 'r');
  const { fd } = handle;
  const buffer = Buffer.alloc(10);
  let settled = 0;
  const reading = handle.read(buffer, 0, 10, null).finally(() => settled++);
  const closing = handle.close().finally(() => settled++);
  await sleep(50);
  const others = [fs.openSync(file), fs.openSync(file)];
  seen.blocked = [settled, isOpen(fd), others.includes(fd)];
  fs.writeSync(writer, 'hello');
  seen['its read'] = [(await reading).bytesRead, buffer.toString('latin1', 0, 5)];
  await closing;
  seen.closed = isOpen(fd);
  const reused = fs.openSync(file);
  seen['its number'] = reused === fd;
  await sleep(20);
  seen['closed once'] = isOpen(reused);
  for (const other of [...others, reused, writer]) fs.closeSync(other);

  // Numbers: opened, read and closed again and again, none is closed under another's feet.
  let wrong = 0;
  await Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      const own = join(dir, `own${i}`);
      fs.writeFileSync(own, pattern(2000, i * 31));
      for (let round = 0; round < 20; round++) {
        const handle = await p.open(own, 'r');
        const reads = [0, 500, 1000].map((at) => {
          const buffer = Buffer.alloc(500);
          return handle
            .read(buffer, 0, 500, at)
            .then(() => buffer.equals(pattern(500, i * 31 + at)));
        });
        const closing = handle.close();
        if (!(await Promise.all(reads)).every(Boolean)) wrong++;
        await closing;
      }
    }),
  );
  seen['other files read'] = wrong;

  // The same with plain descriptors: reads that were asked for first are answered.
  for (const count of [1, 30, 100]) {
    const fd = fs.openSync(file);
    const reads = Array.from({ length: count }, (_, i) => {
      const buffer = Buffer.alloc(100);
      return called((done) => fs.read(fd, buffer, 0, 100, i * 10, done)).then(
        ([error, bytes]) =>
          error?.code === 'EBADF' || (bytes === 100 && buffer.equals(pattern(100, i * 10))),
      );
    });
    const [error] = await called((done) => fs.close(fd, done));
    seen[`fs.close after ${count} reads`] = [error, (await Promise.all(reads)).every(Boolean)];
  }
  const twice = fs.openSync(file);
  const results = await Promise.all([
    called((done) => fs.close(twice, done)),
    called((done) => fs.close(twice, done)),
  ]);
  seen['closed twice'] = results.map(([error]) => error?.code ?? 'closed').sort();
  return seen;
});
