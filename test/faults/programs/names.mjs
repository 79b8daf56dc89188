/** Names that are not UTF-8: made, listed, read and removed as bytes. */
import fs from 'node:fs';
import { errorSeen, outcome, report } from './harness.mjs';

const NAMES = [
  Buffer.from([0xff, 0xfe, 0x41]),
  Buffer.from([0x80]),
  Buffer.from([0xc3, 0x28]), // a broken sequence
  Buffer.from([0xe2, 0x82]), // a cut one
  Buffer.from('ünï', 'latin1'),
  Buffer.from('日本語'),
  Buffer.from([0x01, 0x7f, 0x0a]),
];

await report(async (dir) => {
  const at = (name) => Buffer.concat([Buffer.from(`${dir}/`), name]);
  const seen = [];
  for (const [i, name] of NAMES.entries()) {
    seen.push(await outcome(fs.promises.writeFile(at(name), `content ${i}`)));
    seen.push(await outcome(fs.promises.readFile(at(name), 'utf8')));
    const { size } = await fs.promises.stat(at(name));
    seen.push(size);
  }
  for (const encoding of ['buffer', 'utf8', 'latin1', 'hex']) {
    const names = await fs.promises.readdir(dir, encoding);
    seen.push(names.map((name) => (Buffer.isBuffer(name) ? name.toString('hex') : name)));
  }
  const entries = await fs.promises.readdir(dir, { withFileTypes: true, encoding: 'buffer' });
  seen.push(entries.map((entry) => [entry.name.toString('hex'), entry.isFile()]));
  await fs.promises.symlink(at(NAMES[0]), at(Buffer.from('link')));
  const target = await fs.promises.readlink(at(Buffer.from('link')), 'buffer');
  seen.push(
    target.equals(at(NAMES[0])),
    await outcome(fs.promises.readFile(at(Buffer.from('link')), 'utf8')),
  );
  await fs.promises.rename(at(NAMES[1]), at(Buffer.from([0x81])));
  seen.push(fs.readdirSync(dir, 'hex'));
  try {
    await fs.promises.readFile(at(NAMES[1]));
  } catch (error) {
    seen.push(errorSeen(error, dir));
  }
  for (const name of fs.readdirSync(dir, 'buffer')) await fs.promises.unlink(at(name));
  seen.push(fs.readdirSync(dir).length);
  return seen;
});
