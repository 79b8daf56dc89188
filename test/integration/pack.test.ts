/**
 * Does the published package work? `npm pack` is installed into an empty project, without scripts
 * and without a network, and used there by require, by import, through the command line, and by
 * the TypeScript compiler.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { packageRoot } from '../../src/native/addon.ts';

const root = packageRoot();
const project = mkdtempSync(join(tmpdir(), 'trapless-pack-'));
const installed = join(project, 'node_modules', 'trapless');

function run(command: string, args: string[], cwd = project): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  // Compilers say on stdout what is wrong.
  assert.equal(error ?? status, 0, `${command} ${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
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

const USE = {
  'use.mts': `
    import 'trapless/register';
    import fs, { promises, type Stats } from 'trapless/fs';
    import { stat } from 'trapless/fs/promises';
    import { register, SystemCallError, type SyscallKernel } from 'trapless/syscall';
    import trapless, { tier } from 'trapless';
    const kernel: SyscallKernel = register({ pages: 4 });
    export const stats: Stats = await stat('.');
    export const name: 'ring' | 'crew' | 'passthrough' = tier().name;
    export const text: string = await promises.readFile('x', 'utf8');
    export const version: string = trapless.version();
    export const told = (error: unknown) => error instanceof SystemCallError;
    fs.readFile('x', (error, data) => error?.code === 'ENOENT' || data.subarray(1));
    // @ts-expect-error it is a number
    register({ pages: 'four' });
    // @ts-expect-error a path is missing
    fs.readFile((error, data) => data);
    kernel.close();`,
  'use.cts': `
    import fs = require('trapless/fs');
    import promises = require('trapless/fs/promises');
    import trapless = require('trapless');
    import { register } from 'trapless/syscall';
    export const size: Promise<number> = promises.stat('.').then((stats: fs.Stats) => stats.size);
    export const name: string = trapless.tier().name;
    // @ts-expect-error there is no such function
    fs.readFiles('x');
    register().close();`,
};
const MODULES = {
  node16: ['--module', 'node16', '--target', 'es2022'],
  nodenext: ['--module', 'nodenext', '--target', 'esnext'],
  bundler: ['--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'es2022'],
};

for (const [name, options] of Object.entries(MODULES))
  test(`the types compile in a strict project: ${name}`, () => {
    for (const [file, source] of Object.entries(USE)) writeFileSync(join(project, file), source);
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    run(process.execPath, [
      ...[tsc, '--noEmit', '--strict', '--exactOptionalPropertyTypes', ...options],
      ...['--typeRoots', join(root, 'node_modules', '@types'), '--types', 'node'],
      // A bundler takes modules; import = require is CommonJS alone.
      ...Object.keys(USE).filter((file) => name !== 'bundler' || file.endsWith('.mts')),
    ]);
  });

test('publint finds nothing wrong with the manifest', () => {
  const publint = join(root, 'node_modules', '.bin', 'publint');
  run(publint, ['run', installed, '--strict']);
});
