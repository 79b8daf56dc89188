/** Paths and names at Linux's limits, and at those of an entry's slot. */
import fs from 'node:fs';
import { join } from 'node:path';
import { outcome, report } from './harness.mjs';

const p = fs.promises;

/** A path of exactly `length` bytes below `dir`, made of existing directories. */
function deepPath(dir, length) {
  let path = dir;
  while (length - path.length > 202) path += `/${'d'.repeat(100)}`;
  fs.mkdirSync(path, { recursive: true });
  return `${path}/${'f'.repeat(length - path.length - 1)}`;
}

async function look(path, dir) {
  const other = `${path.slice(0, -1)}g`;
  return [
    await outcome(p.writeFile(path, 'content'), dir),
    await outcome(p.readFile(path, 'utf8'), dir),
    await outcome(
      p.stat(path).then(({ size }) => size),
      dir,
    ),
    await outcome(p.access(path), dir),
    await outcome(p.rename(path, other), dir),
    await outcome(p.symlink(other, path), dir),
    await outcome(
      p.readlink(path).then((target) => target === other),
      dir,
    ),
    await outcome(p.unlink(path), dir),
    await outcome(p.copyFile(other, path), dir),
    await outcome(p.rm(path), dir),
    await outcome(p.readdir(path), dir),
    await outcome(
      p.mkdir(`${path}/a/b`, { recursive: true }).then((made) => made?.length),
      dir,
    ),
    await outcome(
      new Promise((resolve, reject) =>
        fs.open(path, (error, fd) => (error ? reject(error) : resolve(fs.closeSync(fd)))),
      ),
      dir,
    ),
    await outcome(p.rm(path, { recursive: true, force: true }), dir),
  ].map((it) => (it.message ? { ...it, message: it.message.length, path: it.path?.length } : it));
}

await report(async (dir) => {
  const seen = {};
  for (const length of [500, 540, 543, 544, 545, 700, 764, 767, 768, 769, 1000, 4094, 4095, 4096])
    seen[length] = await look(deepPath(dir, length), dir);
  seen['5000 in short names'] = await look(join(dir, 'x/'.repeat(2490)).slice(0, 5000), dir);
  seen['5000 in one name'] = await look(`${dir}/${'x'.repeat(5000 - dir.length - 1)}`, dir);
  for (const length of [254, 255, 256])
    seen[`name of ${length}`] = await look(`${dir}/${'n'.repeat(length)}`, dir);
  // Three bytes each: 255 bytes are fewer characters.
  for (const count of [85, 86])
    seen[`${count} x 語`] = await look(`${dir}/${'語'.repeat(count)}`, dir);
  return seen;
});
