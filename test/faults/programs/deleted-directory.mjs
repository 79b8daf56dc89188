/** The working directory is gone: what still works there, and what does not. */
import fs from 'node:fs';
import { join } from 'node:path';
import { outcome, report } from './harness.mjs';

const p = fs.promises;

await report(async (dir) => {
  const gone = join(dir, 'gone');
  fs.mkdirSync(gone);
  const handle = await p.open(gone, 'r');
  process.chdir(gone);
  fs.rmdirSync(gone);
  const seen = {};
  const look = async (what, promise) => {
    seen[what] = await outcome(promise, dir);
  };
  await look(
    'stat .',
    p.stat('.').then(({ nlink }) => nlink),
  );
  await look(
    'lstat ..',
    p.lstat('..').then((stats) => stats.isDirectory()),
  );
  await look('readdir .', p.readdir('.'));
  await look('readdir . with types', p.readdir('.', { withFileTypes: true }));
  await look('readdir recursive', p.readdir('.', { recursive: true }));
  await look('readdir path', p.readdir(gone));
  await look('readFile', p.readFile('file'));
  await look('writeFile', p.writeFile('file', 'x'));
  await look('appendFile', p.appendFile('file', 'x'));
  await look('mkdir', p.mkdir('new'));
  await look(
    'mkdtemp',
    p.mkdtemp('new-').catch(({ code }) => code),
  );
  await look('symlink', p.symlink('x', 'link'));
  await look('rename', p.rename('a', 'b'));
  await look('unlink', p.unlink('a'));
  await look('rmdir', p.rmdir('.'));
  await look('access', p.access('.'));
  await look('access for writing', p.access('.', fs.constants.W_OK));
  await look('realpath', p.realpath('.'));
  await look(
    'open .',
    p.open('.', 'r').then((own) => own.close()),
  );
  await look(
    'handle.stat',
    handle.stat().then(({ nlink }) => nlink),
  );
  await look(
    'opendir',
    p.opendir('.').then(async (opened) => {
      const names = [];
      for await (const { name } of opened) names.push(name);
      return names;
    }),
  );
  await look('cp', p.copyFile('a', 'b'));
  await look('absolute', p.writeFile(join(dir, 'file'), 'x'));
  await handle.close();
  process.chdir(dir);
  await look('afterwards', p.readFile('file', 'utf8'));
  return seen;
});
