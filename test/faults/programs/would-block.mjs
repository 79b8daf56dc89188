/** O_NONBLOCK descriptors of the program's own: EAGAIN is for it to see. Short reads and writes. */
import fs from 'node:fs';
import { called, makeFifo, openFifo, outcome, pattern, report } from './harness.mjs';

await report(async (dir) => {
  const seen = {};
  const path = makeFifo(dir);
  const fd = openFifo(path);
  const settled = (start) =>
    outcome(
      called(start).then(([error, ...results]) => {
        if (error) throw error;
        return results[0];
      }),
    );
  const buffer = Buffer.alloc(100_000);
  seen['read, empty'] = await settled((done) => fs.read(fd, buffer, 0, 10, null, done));
  seen['readv, empty'] = await settled((done) => fs.readv(fd, [buffer], done));
  seen['read at a position'] = await settled((done) => fs.read(fd, buffer, 0, 10, 5, done));
  seen['write, more than fits'] = await settled((done) => fs.write(fd, pattern(100_000), done));
  seen['write, full'] = await settled((done) => fs.write(fd, pattern(10), done));
  seen['writev, full'] = await settled((done) => fs.writev(fd, [pattern(10)], done));
  seen['write at a position'] = await settled((done) => fs.write(fd, pattern(10), 0, 10, 5, done));
  seen['writeFile, full'] = await settled((done) => fs.writeFile(fd, 'x', done));
  seen['read, more than there is'] = await settled((done) =>
    fs.read(fd, buffer, 0, 100_000, null, done),
  );
  seen['what was read'] = buffer.subarray(0, 65_536).equals(pattern(65_536));
  seen['read, empty again'] = await settled((done) => fs.read(fd, buffer, done));
  seen.fsync = await settled((done) => fs.fsync(fd, done));
  seen.ftruncate = await settled((done) => fs.ftruncate(fd, 5, done));
  seen.fstat = await settled((done) =>
    fs.fstat(fd, (error, stats) => done(error, stats?.isFIFO())),
  );
  const handle = await fs.promises.open(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  seen['handle.read'] = await outcome(handle.read(buffer, 0, 10, null));
  seen['handle.write'] = await outcome(
    handle.write('abc').then(({ bytesWritten }) => bytesWritten),
  );
  seen['handle.read, short'] = await outcome(
    handle.read(buffer, 0, 10, null).then(({ bytesRead }) => bytesRead),
  );
  await handle.close();
  fs.closeSync(fd);
  seen['read, closed'] = await settled((done) => fs.read(fd, buffer, done));
  // Files that are shorter than what is asked for, and that say they are empty.
  const status = await fs.promises.readFile('/proc/self/status', 'latin1');
  seen['/proc'] = status.startsWith('Name:\tnode') && status.endsWith('\n');
  seen['/dev/null'] = await outcome(fs.promises.readFile('/dev/null'));
  fs.writeFileSync(`${dir}/short`, pattern(10));
  const short = fs.openSync(`${dir}/short`, 'r');
  for (const [from, length] of [
    [0, 100_000],
    [5, 100],
    [9, 1],
    [10, 1],
    [1000, 5],
  ])
    seen[`${length} from ${from} of 10`] = await settled((done) =>
      fs.read(short, buffer, 0, length, from, done),
    );
  fs.closeSync(short);
  return seen;
});
