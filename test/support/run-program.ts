/**
 * Small programs run in processes of their own: for what cannot be seen from within, as how a
 * process ends.
 *
 *   const { code, lines } = await runProgram(`console.log(process.argv[2])`, ['x']);
 *
 * They are ES modules in TypeScript; `import` paths that begin with `#` lead to the repository.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** A program that hangs is ended after this long; the longest one takes some seconds. */
const PATIENCE_MS = 120_000;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What it wrote to standard output. */
  readonly lines: readonly string[];
  readonly stderr: string;
}

export function runProgram(source: string, args: readonly string[] = []): Promise<Ended> {
  const folder = mkdtempSync(join(tmpdir(), 'trapless-program-'));
  const file = join(folder, 'program.mts');
  writeFileSync(file, source.replaceAll(/from '#/g, `from '${root}`));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', file, ...args], {
      cwd: root,
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
