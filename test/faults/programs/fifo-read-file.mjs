/** readFile of a FIFO: before a writer came, in pieces, more than a pipe holds, and nothing. */
import fs from 'node:fs';
import { called, makeFifo, openFifo, outcome, pattern, report, sleep, until } from './harness.mjs';

/** Writes piece by piece, however little the pipe takes at a time. */
async function feed(fd, bytes, pause) {
  for (let at = 0; at < bytes.length; ) {
    let written = 0;
    try {
      written = fs.writeSync(fd, bytes, at, Math.min(bytes.length - at, 20_000));
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
    at += written;
    if (pause || written === 0) await sleep(1);
  }
}

await report(async (dir) => {
  const seen = {};
  const forms = {
    promise: (path) => fs.promises.readFile(path),
    callback: (path) =>
      called((done) => fs.readFile(path, done)).then(([error, data]) => {
        if (error) throw error;
        return data;
      }),
  };
  const looks = { early: 30, late: 0 };
  let count = 0;
  for (const [form, read] of Object.entries(forms))
    for (const [look, wait] of Object.entries(looks))
      for (const size of [0, 5, 60_000, 70_000, 300_000])
        for (const pause of [true, false]) {
          const path = makeFifo(dir, `fifo${count++}`);
          let reading = look === 'early' ? read(path) : null;
          await sleep(wait);
          // Without the reader's end a writer that went before it came would be forgotten.
          const fd = reading === null ? openFifo(path) : await writerOf(path);
          const first = reading === null ? pattern(size).subarray(0, 1000) : Buffer.alloc(0);
          if (first.length > 0) fs.writeSync(fd, first);
          reading ??= read(path);
          if (first.length > 0) await sleep(20);
          await feed(fd, pattern(size).subarray(first.length), pause);
          if (look === 'late') await sleep(50);
          fs.closeSync(fd);
          const data = await reading.catch((error) => error);
          const what = Buffer.isBuffer(data) && data.equals(pattern(size)) ? 'whole' : data;
          seen[`${form}, ${look}, ${size} bytes, ${pause ? 'slowly' : 'at once'}`] =
            what === 'whole' ? what : await outcome(Promise.resolve(what));
        }
  return seen;
});

/** Opens a FIFO for writing once somebody reads from it. */
async function writerOf(path) {
  let fd = -1;
  await until(() => {
    try {
      fd = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
    } catch (error) {
      if (error.code !== 'ENXIO') throw error;
    }
    return fd !== -1;
  });
  return fd;
}
