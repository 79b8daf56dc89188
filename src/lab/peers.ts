/**
 * Other runtimes to measure against, installed when first needed, outside of this package.
 *
 *   const peer = await installPeer('bun', { directory });
 *   if ('reason' in peer) ... // skipped, and why
 *
 * They go to `$XDG_CACHE_HOME/trapless/peers` (or `~/.cache/trapless/peers`) and stay there, with
 * the version they had; delete that directory to get newer ones.
 */

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export type RuntimeName = 'node' | 'bun' | 'deno';

export interface Peer {
  readonly path: string;
  readonly version: string;
}

export interface SkippedPeer {
  readonly reason: string;
}

export interface PeerOptions {
  readonly directory: string;
  /** Called before something is downloaded. */
  readonly onInstall?: (packageName: string) => void;
}

/** A download of some 50 MB; beyond this the network is taken to be gone. */
const installTimeoutMs = 300_000;
/** `--version` of a runtime that works takes 50 ms. */
const versionTimeoutMs = 20_000;

export function defaultPeersDirectory(): string {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  return join(cache, 'trapless', 'peers');
}

export async function installPeer(
  name: RuntimeName,
  options: PeerOptions,
): Promise<Peer | SkippedPeer> {
  const chosen = packageOf(name);
  if ('reason' in chosen) return chosen;

  const inside = name === 'deno' ? [name] : ['bin', name];
  const program = join(options.directory, 'node_modules', chosen.packageName, ...inside);
  if (!existsSync(program)) {
    options.onInstall?.(chosen.packageName);
    const problem = await install(chosen.packageName, options.directory);
    if (problem !== null) return { reason: problem };
    if (!existsSync(program)) return { reason: `${chosen.packageName} has no ${inside.join('/')}` };
  }

  const check = await runProgram(program, ['--version'], {
    cwd: options.directory,
    timeoutMs: versionTimeoutMs,
  });
  if (check.code !== 0) return { reason: `${program} does not run: ${lastLine(check.stderr)}` };
  // `v26.0.0`, `1.4.0`, or deno's three lines that begin `deno 2.9.6 (…)`
  const version = /\d+\.\d+\.\S+/.exec(check.stdout)?.[0] ?? check.stdout.trim();
  return { path: program, version };
}

/**
 * The package that holds the program itself for this platform. The packages `node` and `bun` only
 * fetch it in an install script, and npm no longer runs those unasked.
 */
function packageOf(name: RuntimeName): { packageName: string } | SkippedPeer {
  const { platform, arch } = process;
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) {
    return { reason: `no package is known for ${platform} on ${arch}` };
  }
  const musl = isMusl();
  if (name === 'node') {
    if (musl) return { reason: 'npm has no build of Node for musl' };
    return { packageName: `node-linux-${arch}` };
  }
  if (name === 'deno') {
    if (musl) return { reason: 'npm has no build of Deno for musl' };
    return { packageName: `@deno/linux-${arch}-glibc` };
  }
  const cpu = arch === 'arm64' ? 'aarch64' : 'x64';
  // Bun's usual build needs AVX2 and ends with an illegal instruction without it.
  const baseline = arch === 'x64' && !hasAvx2() ? '-baseline' : '';
  return { packageName: `@oven/bun-linux-${cpu}${musl ? '-musl' : ''}${baseline}` };
}

async function install(packageName: string, directory: string): Promise<string | null> {
  try {
    mkdirSync(directory, { recursive: true });
    const manifest = join(directory, 'package.json');
    if (!existsSync(manifest)) writeFileSync(manifest, '{ "private": true }\n');
  } catch (error) {
    return `${(error as Error).message}; choose another place with --peers-dir`;
  }
  const npm = await runProgram(
    'npm',
    [
      'install',
      `${packageName}@latest`,
      '--prefix',
      directory,
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
      // Without a network npm would otherwise try for minutes.
      '--fetch-retries=1',
      '--fetch-retry-mintimeout=1000',
    ],
    { cwd: directory, timeoutMs: installTimeoutMs },
  );
  if (npm.code === 0) return null;
  return `npm could not install ${packageName}: ${npmMessage(npm.stderr)}`;
}

/** Among npm's lines of details the first that is a sentence. */
function npmMessage(stderr: string): string {
  const details = /^(code|syscall|errno|path|dest|Exit handler) |^$/;
  const lines = stderr
    .split('\n')
    .filter((line) => /^npm (error|ERR!)/.test(line))
    .map((line) => line.replace(/^npm (error|ERR!) ?/, ''));
  return lines.find((line) => !details.test(line)) ?? lastLine(stderr);
}

interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function runProgram(
  program: string,
  args: readonly string[],
  options: { cwd: string; timeoutMs: number },
): Promise<Finished> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: environmentOfNpm(),
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('error', (error) => resolve({ code: null, stdout, stderr: error.message }));
    child.on('close', (code, signal) => {
      const killed = signal === null ? '' : `\nended by ${signal}`;
      resolve({ code, stdout, stderr: stderr + killed });
    });
  });
}

/** Under `npx` or `npm run` npm would take the outer project for the place to install to. */
function environmentOfNpm(): NodeJS.ProcessEnv {
  const env = { ...process.env, TRAPLESS: '0' };
  for (const name of ['npm_config_local_prefix', 'npm_config_prefix', 'npm_config_global']) {
    delete (env as NodeJS.ProcessEnv)[name];
  }
  return env;
}

function isMusl(): boolean {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report?.header?.glibcVersionRuntime === undefined;
}

function hasAvx2(): boolean {
  try {
    return / avx2\b/.test(readFileSync('/proc/cpuinfo', 'utf8'));
  } catch {
    return true;
  }
}

function lastLine(text: string): string {
  return text.trim().split('\n').pop() || 'no message';
}
