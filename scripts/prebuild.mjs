/**
 * Prebuilt addons for the published package: prebuilds/linux-x64 and linux-arm64.
 *
 *   node scripts/prebuild.mjs                 this machine's, and the other with a cross compiler
 *   node scripts/prebuild.mjs --require-all   fail when one is missing (before publishing)
 *
 * One file serves every Node from 20 on: the addon is C on Node-API, libuv and libc alone. The
 * other architecture needs Debian's gcc-aarch64-linux-gnu (or gcc-x86-64-linux-gnu).
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const ARCHITECTURES = {
  x64: 'x86_64-linux-gnu-gcc',
  arm64: 'aarch64-linux-gnu-gcc',
};

function place(arch) {
  const folder = join(root, 'prebuilds', `linux-${arch}`);
  mkdirSync(folder, { recursive: true });
  return join(folder, 'trapless.node');
}

function copyOwn(arch) {
  const built = join(root, 'native', 'build', 'Release', 'trapless.node');
  if (!existsSync(built)) throw new Error('no addon: run npm run build first');
  copyFileSync(built, place(arch));
}

/** The headers node-gyp used for this machine's addon: they are the same for both. */
function nodeHeaders() {
  const candidates = [
    process.env.npm_config_nodedir && join(process.env.npm_config_nodedir, 'include', 'node'),
    join(dirname(dirname(process.execPath)), 'include', 'node'),
    join(process.env.HOME ?? '', '.cache', 'node-gyp', process.versions.node, 'include', 'node'),
  ];
  return candidates.find((path) => path && existsSync(join(path, 'node_api.h')));
}

function crossBuild(arch, compiler) {
  const headers = nodeHeaders();
  if (!headers) return 'no Node headers found';
  const sources = readdirSync(join(root, 'native')).filter((name) => name.endsWith('.c'));
  const { status, error, stderr } = spawnSync(
    compiler,
    [
      ...['-std=c11', '-O2', '-fPIC', '-shared', '-pthread', '-fvisibility=hidden', '-s'],
      ...['-Wall', '-Wextra', '-Werror', '-Wconversion', `-I${headers}`],
      ...['-o', place(arch), ...sources],
    ],
    { cwd: join(root, 'native'), encoding: 'utf8' },
  );
  if (error) return `${compiler} is not installed`;
  return status === 0 ? undefined : stderr;
}

let missing = 0;
for (const [arch, compiler] of Object.entries(ARCHITECTURES)) {
  let reason;
  if (arch === process.arch) copyOwn(arch);
  else reason = crossBuild(arch, compiler);
  console.log(reason ? `linux-${arch}: skipped (${reason})` : `linux-${arch}: ok`);
  if (reason) missing++;
}
if (missing > 0 && process.argv.includes('--require-all')) process.exitCode = 1;
