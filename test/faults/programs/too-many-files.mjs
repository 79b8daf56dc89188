/** More files than may be open (run with a low `ulimit -n`): all at once, and with none left. */
import fs from 'node:fs';
import { join } from 'node:path';
import { called, outcome, pattern, report } from './harness.mjs';

const p = fs.promises;

await report(async (dir) => {
  const seen = {};
  const file = join(dir, 'file');
  await p.writeFile(file, pattern(5000));
  const small = Array.from({ length: 5000 });

  // Files that are closed again: Node keeps them open in between, and runs out of descriptors.
  const read = await Promise.allSettled(small.map(() => p.readFile(file)));
  const written = await Promise.allSettled(
    small.map((_, i) => p.writeFile(join(dir, `w${i % 50}`), 'x')),
  );
  const failures = [...read, ...written].flatMap(({ reason }) => reason ?? []);
  const closedAgain = {
    read: read.filter(({ value }) => value?.equals(pattern(5000))).length,
    written: written.filter(({ status }) => status === 'fulfilled').length,
    failed: failures.length,
    strange: failures.filter(({ code, syscall }) => code !== 'EMFILE' || syscall !== 'open').length,
  };

  // Files that stay open do not fit.
  const opened = await Promise.all(small.map(() => called((done) => fs.open(file, done))));
  const errors = opened.map(([error]) => error).filter(Boolean);
  const fds = opened.flatMap(([error, fd]) => (error ? [] : [fd]));
  seen.open = [
    errors.length > 4000,
    errors.every(
      ({ code, syscall, path }) => code === 'EMFILE' && syscall === 'open' && path === file,
    ),
    new Set(fds).size === fds.length,
  ];
  // Whatever a few descriptors more or less: none is left.
  for (;;) {
    try {
      fds.push(fs.openSync('/dev/null'));
    } catch {
      break;
    }
  }
  const size = (promise) =>
    outcome(
      promise.then((stats) => stats.size ?? 'done'),
      dir,
    );
  seen['with none left'] = {
    open: await outcome(
      p.open(file).then(() => 'opened'),
      dir,
    ),
    readFile: await outcome(p.readFile(file), dir),
    writeFile: await outcome(p.writeFile(file, 'x'), dir),
    appendFile: await outcome(p.appendFile(join(dir, 'new'), 'x'), dir),
    truncate: await outcome(p.truncate(file), dir),
    copyFile: await outcome(p.copyFile(file, join(dir, 'copy')), dir),
    readdir: await outcome(p.readdir(dir), dir),
    opendir: await outcome(p.opendir(dir), dir),
    stat: await size(p.stat(file)),
    'stat of another': await size(p.stat(join(dir, 'w1'))),
    lstat: await size(p.lstat(join(dir, 'w2'))),
    access: await outcome(p.access(join(dir, 'w3')), dir),
    mkdir: await outcome(p.mkdir(join(dir, 'd')), dir),
    rename: await outcome(p.rename(join(dir, 'w4'), join(dir, 'w0')), dir),
    symlink: await outcome(p.symlink('w5', join(dir, 'link')), dir),
    readlink: await outcome(p.readlink(join(dir, 'link')), dir),
    chmod: await outcome(p.chmod(file, 0o600), dir),
    utimes: await outcome(p.utimes(file, 1, 1), dir),
    unlink: await outcome(p.unlink(join(dir, 'w6')), dir),
  };
  for (const fd of fds) fs.closeSync(fd);
  seen['with many again'] = [
    await outcome(p.readFile(file), dir),
    (await p.readdir(dir)).length,
    await outcome(
      p.open(file).then((handle) => handle.close()),
      dir,
    ),
  ];
  return { seen, closedAgain };
});
