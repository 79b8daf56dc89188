// Gets a suite ready to run: a copy of a checkout, or of the package, with what it depends on.
//
//   const folder = prepare(suite, { checkout, work, note });      // null: no tests to be had
//
// Copies stay in `work`, under name, version and where they came from: the next run takes them as
// they are. Scripts of packages are not run (--ignore-scripts): nothing is built here.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const READY = '.trapless-ready';

/** A command that failed, or a folder that is none: told without a stack. */
export class PrepareError extends Error {}

/** @param {string} command @param {string[]} args @param {string} cwd */
function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0)
    throw new PrepareError(`${command} ${args.join(' ')}: ${error ?? stderr.slice(-2000)}`);
  return stdout.trim();
}

/** @param {string} folder */
export function versionIn(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version;
}

/**
 * @param {import('./catalog.mjs').Suite} suite
 * @param {{checkout?: string, work: string, note: (text: string) => void}} where
 */
export function prepare(suite, { checkout, work, note }) {
  if (!checkout && !suite.packed) return null;
  if (checkout && !existsSync(join(checkout, 'package.json')))
    throw new PrepareError(`--checkout ${suite.name}=${checkout}: no package.json there`);
  const version = checkout ? versionIn(checkout) : suite.version;
  const source = createHash('sha256')
    .update(checkout ?? 'package')
    .digest('hex')
    .slice(0, 8);
  const folder = join(work, `${suite.name}-${version}-${source}`);
  if (existsSync(join(folder, READY))) return folder;

  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  if (checkout) copy(checkout, folder);
  else unpack(suite, work, folder);
  note(`${suite.name} ${version}: npm install`);
  run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund'], folder);
  for (const args of suite.before ?? []) run(process.execPath, args, folder);
  writeFileSync(join(folder, READY), '');
  return folder;
}

/** @param {string} from @param {string} to */
function copy(from, to) {
  const filter = (/** @type {string} */ path) =>
    path === from || !['.git', 'node_modules'].includes(basename(path));
  cpSync(from, to, { recursive: true, filter });
}

/** @param {import('./catalog.mjs').Suite} suite @param {string} work @param {string} folder */
function unpack(suite, work, folder) {
  const wanted = `${suite.package}@${suite.version}`;
  const archive = run('npm', ['pack', '--silent', '--pack-destination', work, wanted], work);
  run('tar', ['-xzf', join(work, archive), '-C', folder, '--strip-components=1'], work);
}
