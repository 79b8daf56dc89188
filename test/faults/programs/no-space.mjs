/** A disk of 64 KiB, at /mnt: what fits, what does not, and what is there afterwards. */
import fs from 'node:fs';
import { join } from 'node:path';
import { called, outcome, pattern, report } from './harness.mjs';

const p = fs.promises;
const disk = '/mnt';
const file = join(disk, 'file');

/** How many bytes arrived, and whether they are the right ones. */
function there(path = file) {
  const bytes = fs.readFileSync(path);
  return [bytes.length, bytes.equals(pattern(bytes.length))];
}

async function stream(size) {
  const writing = fs.createWriteStream(file, { highWaterMark: 16_384 });
  for (let at = 0; at < size; at += 10_000) writing.write(pattern(10_000, at));
  writing.end();
  const [error] = await called((done) => writing.on('finish', done).on('error', done));
  return [error?.code ?? 'finished', writing.bytesWritten];
}

await report(async () => {
  const seen = {};
  for (const size of [1000, 60_000, 66_000, 100_000, 600_000]) {
    seen[`writeFile ${size}`] = [await outcome(p.writeFile(file, pattern(size))), there()];
    fs.unlinkSync(file);
    seen[`with callback ${size}`] = await called((done) =>
      fs.writeFile(file, pattern(size), done),
    ).then(([error]) => [error?.code, there()]);
    fs.unlinkSync(file);
    const { signal } = new AbortController();
    seen[`with signal ${size}`] = [
      await outcome(p.writeFile(file, pattern(size), { signal })),
      there(),
    ];
    fs.unlinkSync(file);
    seen[`stream ${size}`] = [await stream(size), there()];
    fs.unlinkSync(file);
  }
  for (const [first, more] of [
    [40_000, 20_000],
    [40_000, 40_000],
    [65_536, 1],
  ]) {
    fs.writeFileSync(file, pattern(first));
    seen[`append ${more} to ${first}`] = [
      await outcome(p.appendFile(file, pattern(more, first))),
      there(),
    ];
    fs.unlinkSync(file);
  }
  const handle = await p.open(file, 'w');
  seen['handle.write'] = await outcome(
    handle.write(pattern(100_000), 0, 100_000).then(({ bytesWritten }) => bytesWritten),
  );
  seen['handle.write, full'] = await outcome(handle.write(pattern(10)));
  seen['handle.writev, full'] = await outcome(handle.writev([pattern(10), pattern(10)]));
  seen['handle.writeFile, full'] = await outcome(handle.writeFile(pattern(10)));
  seen['handle.truncate, longer'] = await outcome(handle.truncate(1_000_000));
  seen['handle.sync'] = await outcome(handle.sync());
  seen['another file'] = await outcome(p.writeFile(join(disk, 'other'), 'x'));
  seen.mkdir = await outcome(p.mkdir(join(disk, 'd')));
  seen['mkdir, recursive'] = await outcome(p.mkdir(join(disk, 'a/b/c'), { recursive: true }));
  seen.symlink = await outcome(p.symlink('x'.repeat(2000), join(disk, 'link')));
  seen.copyFile = await outcome(p.copyFile(file, join(disk, 'copy')));
  seen.copied = fs.existsSync(join(disk, 'copy')) && fs.statSync(join(disk, 'copy')).size;
  await handle.truncate(10);
  seen['room again'] = await outcome(p.writeFile(join(disk, 'again'), pattern(30_000)));
  seen['and whole'] = there(join(disk, 'again'));
  await handle.close();
  seen.statfs = await p.statfs(disk).then(({ blocks, bsize }) => blocks * bsize);
  return seen;
});
