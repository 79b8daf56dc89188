/** Calls that block while signals come: a change of credentials signals every thread. */
import fs from 'node:fs';
import { called, makeFifo, openFifo, outcome, report, sleep } from './harness.mjs';

await report(async (dir) => {
  process.on('SIGUSR2', () => {});
  const seen = {};
  const path = makeFifo(dir);
  const held = openFifo(path);
  const readers = {
    readFile: () => fs.promises.readFile(path, 'utf8'),
    read: async () => {
      const fd = fs.openSync(path, 'r');
      const buffer = Buffer.alloc(20);
      const [error, bytes] = await called((done) => fs.read(fd, buffer, 0, 20, null, done));
      fs.closeSync(fd);
      if (error) throw error;
      return buffer.toString('utf8', 0, bytes);
    },
    readv: async () => {
      const handle = await fs.promises.open(path, 'r');
      const { bytesRead, buffers } = await handle.readv([Buffer.alloc(3), Buffer.alloc(20)]);
      await handle.close();
      return Buffer.concat(buffers).toString('utf8', 0, bytesRead);
    },
  };
  for (const [name, read] of Object.entries(readers)) {
    const reading = outcome(read());
    await sleep(50);
    for (let i = 0; i < 5; i++) {
      process.setgid(process.getgid());
      process.kill(process.pid, 'SIGUSR2');
      await sleep(10);
    }
    if (name === 'readFile') {
      // Its end is when nobody can write any more.
      const writer = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
      fs.closeSync(held);
      fs.writeSync(writer, 'hello');
      fs.closeSync(writer);
    } else {
      const writer = openFifo(path);
      fs.writeSync(writer, 'hello');
      await reading;
      fs.closeSync(writer);
    }
    seen[name] = await reading;
    if (name === 'readFile') openFifo(path); // for those that follow
  }
  return seen;
});
