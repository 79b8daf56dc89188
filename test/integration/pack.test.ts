/**
 * Does the published package work? `npm pack` is installed into an empty project, without scripts
 * and without a network, and used there by require, by import, through the command line, and by
 * the TypeScript compiler.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { packageRoot } from '../../src/native/addon.ts';

const root = packageRoot();
const project = mkdtempSync(join(tmpdir(), 'trapless-pack-'));
const installed = join(project, 'node_modules', 'trapless');

function run(command: string, args: string[], cwd = project): string {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function node(source: string, name: string): string {
  writeFileSync(join(project, name), source);
  return run(process.execPath, [name]).trim();
}

before(() => {
  run(process.execPath, ['scripts/prebuild.mjs'], root);
  run('npm', ['pack', '--ignore-scripts', '--pack-destination', project], root);
  const tarball = readdirSync(project).find((name) => name.endsWith('.tgz')) as string;
  writeFileSync(join(project, 'package.json'), '{"name":"app","version":"1.0.0"}');
  run('npm', ['install', '--ignore-scripts', '--offline', '--no-audit', `./${tarball}`]);
});

after(() => rmSync(join(root, 'prebuilds'), { recursive: true, force: true }));
after(() => rmSync(project, { recursive: true, force: true }));

test('nothing is installed but the package, and no script is needed', () => {
  assert.deepEqual(
    readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.')),
    ['trapless'],
  );
  assert.ok(existsSync(join(installed, 'prebuilds', `linux-${process.arch}`, 'trapless.node')));
  assert.ok(!existsSync(join(installed, 'native')), 'sources of the addon are not published');
});

test('require and import, of every entry point', () => {
  const required = node(
    `const fs = require('trapless/fs'); const syscall = require('trapless/syscall');
     const { tier } = require('trapless');
     require('trapless/fs/promises').readFile(__filename, 'utf8').then((text) =>
       fs.stat(__filename, (error, stats) =>
         console.log(stats.size === text.length, typeof syscall.register, tier().name)));`,
    'required.cjs',
  );
  assert.match(required, /^true function (ring|crew)$/);
  const imported = node(
    `import fs, { readFile } from 'trapless/fs'; import { stat } from 'trapless/fs/promises';
     import { register } from 'trapless/syscall';
     readFile(new URL(import.meta.url), async (error, data) => {
       const { size } = await stat(new URL(import.meta.url));
       console.log(data.length === size, typeof register, fs.readFile === readFile); });`,
    'imported.mjs',
  );
  assert.equal(imported, 'true function true');
});

test('the command line and register run an unmodified program', () => {
  writeFileSync(
    join(project, 'app.js'),
    `require('fs').readFile(__filename, (error, data) =>
       console.log(data.length, process.argv.slice(2).join(), require.main === module));`,
  );
  const plain = run(process.execPath, ['app.js', 'a', 'b']);
  assert.equal(run('npx', ['--offline', 'trapless', 'run', 'app.js', 'a', 'b']), plain);
  assert.equal(run(process.execPath, ['--import', 'trapless/register', 'app.js', 'a', 'b']), plain);
});

test('the types compile in a strict project', () => {
  writeFileSync(
    join(project, 'use.mts'),
    `import fs, { promises } from 'trapless/fs';
     import { stat } from 'trapless/fs/promises';
     import { register } from 'trapless/syscall';
     import { tier } from 'trapless';
     const kernel = register({ pages: 4 });
     export const size: number = (await stat('.')).size;
     export const name: string = tier().name;
     export const text: string = await promises.readFile('x', 'utf8');
     fs.readFile('x', (error: NodeJS.ErrnoException | null, data: Buffer) => data.length);
     kernel.close();`,
  );
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const types = join(root, 'node_modules', '@types');
  run(process.execPath, [
    ...[tsc, '--strict', '--noEmit', '--module', 'nodenext', '--target', 'es2022'],
    ...['--typeRoots', types, '--types', 'node', 'use.mts'],
  ]);
});

test('publint finds nothing wrong with the manifest', () => {
  const publint = join(root, 'node_modules', '.bin', 'publint');
  run(publint, ['run', installed, '--strict']);
});
