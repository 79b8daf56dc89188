/**
 * The limit of the overhead benchmark: the same calls in C (native/bench/overhead.c), compiled
 * when it is asked for. Where that is impossible (the published package has no sources, a machine
 * no compiler) there is a reason instead, and the benchmark goes without.
 *
 *   const limit = await compileLimit(scratch.path);
 *   if ('reason' in limit) …
 *   else for (const { case, batch, ns } of await limit.run({ cpu: 1, quick: true })) …
 */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../report/package-root.ts';

export interface LimitFigure {
  readonly case: string;
  readonly batch: number;
  /** Nanoseconds per call in the fastest round. */
  readonly ns: number;
}

export interface Limit {
  /** `quick`: five rounds of 4 ms instead of fifteen of 20 ms. `only`: cases that begin so. */
  run(options: { cpu: number; quick: boolean; only?: string }): Promise<LimitFigure[]>;
}

/** What belongs to Node's side of the addon, and needs its headers. */
const NODE_SIDE = [
  'addon.c',
  'hypervisor_binding.c',
  'kernel.c',
  'loop.c',
  'napi_util.c',
  'sockets_binding.c',
];
const COMPILE_TIMEOUT_MS = 60_000;
/** The whole of it takes 25 s on an idle machine. */
const RUN_TIMEOUT_MS = 300_000;

export async function compileLimit(directory: string): Promise<Limit | { reason: string }> {
  const native = join(packageRoot(), 'native');
  const source = join(native, 'bench', 'overhead.c');
  if (!existsSync(source)) return { reason: `${source} is not there: only the repository has it` };
  const parts = readdirSync(native)
    .filter((name) => name.endsWith('.c') && !NODE_SIDE.includes(name))
    .map((name) => join(native, name));
  const binary = join(directory, 'overhead-limit');
  const flags = ['-O2', '-std=c11', '-pthread', `-I${native}`];
  const compiler = process.env.CC || 'cc';
  const args = [...flags, source, ...parts, '-o', binary];
  const compiled = await execute(compiler, args, COMPILE_TIMEOUT_MS);
  if (compiled.problem !== null) return { reason: `${compiler}: ${compiled.problem}` };

  return {
    async run({ cpu, quick, only }) {
      const options = ['--cpu', String(cpu)];
      if (quick) options.push('--quick');
      if (only !== undefined) options.push('--only', only);
      const { stdout, problem } = await execute(binary, options, RUN_TIMEOUT_MS, directory);
      if (problem !== null) throw new Error(`the C limit failed: ${problem}`);
      return stdout
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
        .filter((line) => line.skipped === undefined)
        .map((line) => ({ case: line.case, batch: line.batch, ns: line.min }));
    },
  };
}

function execute(
  program: string,
  args: readonly string[],
  timeout: number,
  temporary?: string,
): Promise<{ stdout: string; problem: string | null }> {
  const env = temporary === undefined ? process.env : { ...process.env, TMPDIR: temporary };
  return new Promise((resolve) => {
    execFile(program, args, { timeout, env, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      if (error === null) return resolve({ stdout, problem: null });
      const line = stderr.split('\n').find((text) => /error/.test(text)) ?? stderr.trim();
      resolve({ stdout, problem: line || error.message });
    });
  });
}
