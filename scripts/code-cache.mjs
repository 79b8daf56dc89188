/**
 * Makes V8's code cache of the runtime (see src/node/code-cache.ts) for the Node that runs this:
 *
 *   node scripts/code-cache.mjs       after the bundles; build.mjs does
 *
 * The functions that a program's first calls need are in it, because they are called here first.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';

const dist = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist');
const file = join(dist, 'trapless.cjs');
const source = readFileSync(file);
if (source.some((byte) => byte > 127)) throw new Error(`${file} must be plain ASCII`);

const head = '(function (exports, require, module, __filename, __dirname) { ';
const script = new Script(`${head}${source.latin1Slice()}\n})`, { filename: file });
const module = { exports: {} };
script.runInThisContext()(module.exports, createRequire(file), module, file, dist);

const fs = module.exports.fs();
const { promises } = fs;
const called = (name, ...args) =>
  new Promise((resolve, reject) =>
    fs[name](...args, (error, value) => (error ? reject(error) : resolve(value))),
  );
const folder = await promises.mkdtemp(join(tmpdir(), 'trapless-cache-'));
try {
  const path = join(folder, 'file');
  for (let i = 0; i < 2; i++) {
    await promises.writeFile(path, 'text');
    await called('writeFile', path, Buffer.from('text'));
    await promises.readFile(path, 'utf8');
    await called('readFile', path);
    await promises.stat(path);
    await called('lstat', path);
    await called('access', path);
    await promises.readdir(folder, { withFileTypes: true });
    await called('readdir', folder);
    await promises.mkdir(join(folder, `${i}`, 'deep'), { recursive: true });
    const handle = await promises.open(path);
    await handle.read();
    await handle.close();
    const fd = await called('open', path, 'r');
    await called('read', fd, Buffer.alloc(8), 0, 8, 0);
    await called('fstat', fd);
    await called('close', fd);
    await promises.stat(join(folder, 'missing')).catch(() => {});
    await Promise.all(Array.from({ length: 64 }, () => promises.stat(path)));
    await promises.rename(path, `${path}2`);
    await promises.unlink(`${path}2`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

for (const name of readdirSync(dist)) if (name.endsWith('.cache')) rmSync(join(dist, name));
const length = Buffer.alloc(4);
length.writeUInt32LE(source.length);
writeFileSync(
  file.replace(/\.cjs$/, `.${process.versions.v8}.${process.arch}.cache`),
  Buffer.concat([length, source, script.createCachedData()]),
);
