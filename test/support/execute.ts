/**
 * Real programs in processes of their own, plain and under trapless as it is built (dist/).
 *
 *   const folder = scratch('app.cjs', 'console.log(1)');
 *   const { stdout, code } = await execute(underRun(join(folder, 'app.cjs')));
 */
import { type SpawnOptions, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../src/native/addon.ts';

export const root = packageRoot();
export const bin = join(root, 'bin', 'trapless.cjs');
export const registerCjs = join(root, 'dist', 'register.cjs');
export const registerMjs = join(root, 'dist', 'register.mjs');

if (!existsSync(join(root, 'dist', 'start.cjs')))
  throw new Error('these tests run what is built: npm run build');

export interface Result {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that takes longer hangs. */
const TIMEOUT_MS = 30_000;

/** Environment of a child: ours, without anything of trapless or of the test runner. */
export function cleanEnvironment(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env))
    if (!/^(TRAPLESS|NODE_|TSX_)/.test(name)) env[name] = value;
  return { ...env, ...more };
}

export interface ExecuteOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Written to standard input, which then ends. */
  readonly input?: string;
  readonly command?: string;
  readonly timeoutMs?: number;
}

/** Runs `node ...args` to its end. */
export function execute(args: readonly string[], options: ExecuteOptions = {}): Promise<Result> {
  const { env, cwd, input = '', command = process.execPath, timeoutMs = TIMEOUT_MS } = options;
  const spawnOptions: SpawnOptions = { cwd, env: cleanEnvironment(env), stdio: 'pipe' };
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], spawnOptions);
    let stdout = '';
    let stderr = '';
    child.stdout?.on('data', (data) => (stdout += data));
    child.stderr?.on('data', (data) => (stderr += data));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`hangs: ${[command, ...args].join(' ')}\n${stdout}${stderr}`));
    }, timeoutMs);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr });
    });
    child.stdin?.on('error', () => {}); // it may have ended without reading
    child.stdin?.end(input);
  });
}

export const underRun = (...args: string[]): string[] => [bin, 'run', ...args];
export const underImport = (...args: string[]): string[] => ['--import', registerMjs, ...args];
export const underRequire = (...args: string[]): string[] => ['--require', registerCjs, ...args];

const folders: string[] = [];
process.on('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A new folder with files in it: name, text, name, text … */
export function scratch(...files: string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'trapless-test-'));
  folders.push(folder);
  for (let i = 0; i < files.length; i += 2) {
    const file = join(folder, files[i]);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, files[i + 1]);
  }
  return folder;
}
