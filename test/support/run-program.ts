/**
 * Small programs run in processes of their own: for what cannot be seen from within, as how a
 * process ends.
 *
 *   const { code, lines } = await runProgram(`console.log(process.argv[2])`, ['x']);
 *
 * They are ES modules in TypeScript; imports from `#…` lead to the repository. Each is bundled
 * into one plain file, so that workers can run it too: `new Worker(fileURLToPath(import.meta.url))`.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { packageRoot } from '../../src/native/addon.ts';

/** A program that hangs is ended after this long; the longest one takes a minute. */
const PATIENCE_MS = 180_000;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it wrote to standard output. */
  readonly lines: readonly string[];
  readonly stderr: string;
}

export function runProgram(source: string, args: readonly string[] = []): Promise<Ended> {
  const root = packageRoot();
  const folder = mkdtempSync(join(tmpdir(), 'trapless-program-'));
  const file = join(folder, 'program.mjs');
  buildSync({
    stdin: {
      contents: source.replaceAll(/from '#/g, `from '${root}/`),
      resolveDir: root,
      loader: 'ts',
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: 'inline',
    logLevel: 'silent',
    outfile: file,
  });
  const addon = join(root, 'native', 'build', 'Release', 'trapless.node');
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--enable-source-maps', file, ...args], {
      cwd: root,
      env: { ...process.env, TRAPLESS_ADDON: process.env.TRAPLESS_ADDON ?? addon },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: PATIENCE_MS,
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
    child.on('error', reject);
    child.on('close', (code, signal) => {
      rmSync(folder, { recursive: true, force: true });
      resolve({ code, signal, lines: stdout.split('\n').filter(Boolean), stderr });
    });
  });
}
