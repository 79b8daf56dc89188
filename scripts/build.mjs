/**
 * Builds trapless: the addon (native/build/), the bundles and their ESM and CommonJS entry
 * points (dist/), and the types (dist/types/, with an entry point beside each bundle's).
 *
 *   node scripts/build.mjs            everything that is out of date
 *   node scripts/build.mjs --no-types leave the types (the slowest part) alone
 *   node scripts/build.mjs --no-native  TypeScript only
 *
 * One bundle holds the whole runtime: the state of a thread (its kernel) exists once, however it is
 * imported. A second, small one is all that a program's start has to read. V8's code cache makes
 * loading the first one quick, with the Node that built it (scripts/code-cache.mjs).
 */
import { spawnSync } from 'node:child_process';
import dgram from 'node:dgram';
import fs, { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const args = new Set(process.argv.slice(2));

function run(what, command, parameters) {
  const { status, stdout, stderr } = spawnSync(command, parameters, {
    cwd: root,
    encoding: 'utf8',
  });
  if (status === 0) return;
  console.error(`${what} failed:\n${stdout}${stderr}`);
  process.exit(1);
}

function buildNative() {
  if (process.platform !== 'linux') {
    console.log('native: skipped (Linux only); trapless will pass everything through to Node');
    return;
  }
  const configured = existsSync(join(root, 'native', 'build', 'Makefile'));
  const gyp = join(root, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  run('the addon (needs a C compiler, make and python3)', process.execPath, [
    gyp,
    configured ? 'build' : 'rebuild',
    '-C',
    'native',
  ]);
}

async function bundle() {
  const common = {
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    legalComments: 'none',
    logOverride: { 'empty-import-meta': 'silent' },
  };
  await build({
    ...common,
    entryPoints: [join(root, 'src', 'bundle.ts')],
    outfile: join(dist, 'trapless.cjs'),
  });
  // All that is read when a program starts: loaded with every program, so it is kept small.
  await build({
    ...common,
    entryPoints: [join(root, 'src', 'start.ts')],
    outfile: join(dist, 'start.cjs'),
  });
  // What is measured must be compiled as the runtime is: in the command line's bundle, where modules
  // are loaded late, its constants would be variables (15 % slower).
  await build({
    ...common,
    entryPoints: [join(root, 'src', 'lab', 'overhead-trial.ts')],
    outfile: join(dist, 'overhead-trial.cjs'),
  });
  // The program of a vCPU's thread, which does not load the command line around it.
  await build({
    ...common,
    entryPoints: [join(root, 'src', 'lab', 'workloads', 'worker-entry.ts')],
    outfile: join(dist, 'lab-worker.cjs'),
  });
  await build({
    ...common,
    entryPoints: [join(root, 'src', 'vcpus.ts')],
    outfile: join(dist, 'vcpus.cjs'),
  });
  // HTTP is on the runtime's kernel and sockets, of which there are one set per thread.
  const onTheRuntime = {
    name: 'on-the-runtime',
    setup(it) {
      const parts =
        /\/(node\/(environment-kernel|net\/net|net\/stream|net\/file-pipe)|native\/addon|sockets\/index)\.ts$/;
      it.onResolve({ filter: parts }, () => ({ path: './trapless.cjs', external: true }));
      const server = /\/http\/server\/server\.ts$/;
      it.onResolve({ filter: server }, ({ kind }) =>
        kind === 'entry-point' ? undefined : { path: './http-server.cjs', external: true },
      );
    },
  };
  // Apart from the rest of HTTP: all that a program under register needs of it.
  for (const [entry, name] of [
    [join('http', 'server', 'server.ts'), 'http-server'],
    ['servers.ts', 'servers'],
  ])
    await build({
      ...common,
      entryPoints: [join(root, 'src', entry)],
      outfile: join(dist, `${name}.cjs`),
      plugins: [onTheRuntime],
    });
  await build({
    ...common,
    entryPoints: [join(root, 'src', 'cli', 'main.ts')],
    outfile: join(dist, 'cli.cjs'),
    plugins: [
      {
        // The command line shares the other bundles instead of carrying copies of them.
        name: 'one-runtime',
        setup(it) {
          const bundles = {
            bundle: './trapless.cjs',
            start: './start.cjs',
            'overhead-trial': './overhead-trial.cjs',
            vcpus: './vcpus.cjs',
          };
          it.onResolve({ filter: /\/(bundle|start|overhead-trial|vcpus)\.ts$/ }, ({ path }) => ({
            path: bundles[path.match(/([\w-]+)\.ts$/)[1]],
            external: true,
          }));
        },
      },
    ],
  });
  const bundled = [
    'trapless',
    'start',
    'overhead-trial',
    'lab-worker',
    'vcpus',
    'http-server',
    'servers',
    'cli',
  ];
  for (const name of bundled) lighten(join(dist, `${name}.cjs`));
  const children = join(root, 'src', 'lab', 'children');
  if (existsSync(children)) cpSync(children, join(dist, 'children'), { recursive: true });
}

/**
 * Two things that make loading a bundle slow:
 * - For `import fs from 'node:fs'` esbuild copies every property of the module, as a getter. All
 *   that is imported so are Node's modules: an object with the module behind it does as well.
 * - A character beyond ASCII makes V8 keep the whole text in two bytes each. esbuild leaves such
 *   characters in comments only.
 */
function lighten(file) {
  const helper = /^var __toESM = \(mod, isNodeMode, target\) => \(.*?\n\)\);$/ms;
  let text = readFileSync(file, 'utf8');
  if (text.includes('= __toESM(')) {
    if (!helper.test(text)) throw new Error(`${file}: esbuild's __toESM looks different now`);
    text = text.replace(helper, 'var __toESM = (mod) => ({ __proto__: mod, default: mod });');
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII begins with them
  writeFileSync(file, text.replace(/[^\x00-\x7f]/g, '-'));
}

/** Names of later Node versions, for `import { glob } from 'trapless/fs'`. */
const LATER_FS = ['glob', 'globSync', 'mkdtempDisposableSync'];
const LATER_PROMISES = ['glob', 'mkdtempDisposable'];

function writeEntry(name, expression, names, bundled = 'trapless') {
  writeFileSync(
    join(dist, `${name}.cjs`),
    `'use strict';\nmodule.exports = require('./${bundled}.cjs').${expression};\n`,
  );
  const list = [...new Set(names)].filter((key) => /^[a-zA-Z_$][\w$]*$/.test(key));
  writeFileSync(
    join(dist, `${name}.mjs`),
    `import api from './${name}.cjs';\nexport default api;\n` +
      list.map((key) => `export const ${key} = api.${key};\n`).join(''),
  );
}

/**
 * The types of the entry points: `.d.cts` for require, `.d.mts` for import. What they name is in
 * dist/types/ as CommonJS, which either may import. trapless/fs has the types of Node's own fs.
 */
function writeTypeEntries() {
  const write = (name, required, imported) => {
    const nodeTypes = '/// <reference types="node" />\n';
    writeFileSync(join(dist, `${name}.d.cts`), nodeTypes + required);
    writeFileSync(join(dist, `${name}.d.mts`), nodeTypes + imported);
  };
  const all = (module) => `export * from '${module}';\n`;
  const same = (module) => `import api = require('${module}');\nexport = api;\n`;
  const both = (module) => `import * as api from '${module}';\nexport default api;\n${all(module)}`;
  writeFileSync(join(dist, 'types', 'package.json'), '{ "type": "commonjs" }\n');
  for (const name of ['index', 'syscall', 'share-info', 'hypervisor', 'locks', 'http'])
    write(name, all(`./types/${name}.js`), both(`./types/${name}.js`));
  write('fs', same('node:fs'), both('node:fs'));
  write('fs-promises', same('node:fs/promises'), both('node:fs/promises'));
  write('dgram', same('node:dgram'), both('node:dgram'));
  write('net', same('node:net'), both('node:net'));
  write('register', 'export {};\n', 'export {};\n');
}

async function writeEntries() {
  const { createRequire } = await import('node:module');
  const runtime = createRequire(import.meta.url)(join(dist, 'trapless.cjs'));
  writeEntry('index', 'index', Object.keys(runtime.index));
  writeEntry('syscall', 'syscall', Object.keys(runtime.syscall));
  writeEntry('fs', 'fs()', [...Object.keys(fs), ...LATER_FS]);
  writeEntry('dgram', 'dgram()', Object.keys(dgram));
  writeEntry('net', 'net()', Object.keys(net));
  writeEntry('fs-promises', 'fs().promises', [...Object.keys(fs.promises), ...LATER_PROMISES]);
  const vcpus = createRequire(import.meta.url)(join(dist, 'vcpus.cjs'));
  writeEntry('share-info', 'shareInfo', Object.keys(vcpus.shareInfo), 'vcpus');
  writeEntry('hypervisor', 'hypervisor', Object.keys(vcpus.hypervisor), 'vcpus');
  writeEntry('locks', 'locks', Object.keys(vcpus.locks), 'vcpus');
  const servers = createRequire(import.meta.url)(join(dist, 'servers.cjs'));
  writeEntry('http', 'http', Object.keys(servers.http), 'servers');
  writeFileSync(join(dist, 'register.cjs'), `'use strict';\nrequire('./start.cjs').register();\n`);
  writeFileSync(join(dist, 'register.mjs'), `import './register.cjs';\n`);
}

if (!args.has('--no-native')) buildNative();
if (!args.has('--no-types')) rmSync(join(dist, 'types'), { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
await bundle();
await writeEntries();
if (process.platform === 'linux')
  run('the code cache', process.execPath, [join(root, 'scripts', 'code-cache.mjs')]);
if (!args.has('--no-types')) {
  run('the types', process.execPath, [
    join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
    '-p',
    'tsconfig.types.json',
  ]);
  writeTypeEntries();
}
