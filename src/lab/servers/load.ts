/**
 * The clients of the server benchmarks: wrk for HTTP where it is installed, else our own closed
 * loop in C (native/bench/load.c), which is also the one for TCP and UDP.
 *
 *   const clients = await findClients(scratch.path);
 *   const result = await clients.run({ kind: 'http', port, connections: 64, seconds: 2, … }, core);
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../report/package-root.ts';
import { onCore } from './cores.ts';

export interface Load {
  readonly kind: 'http' | 'tcp' | 'udp';
  readonly connections: number;
  /** http: a path; tcp: bytes of a message; udp: a name to ask for. */
  readonly what: string;
}

export interface LoadResult {
  readonly requests: number;
  readonly perSecond: number;
  /** Microseconds; null where the client does not tell. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number | null;
}

export interface Clients {
  /** Which client a kind of load is made by. */
  nameOf(kind: Load['kind']): string;
  run(load: Load, port: number, seconds: number, core: number): Promise<LoadResult>;
}

const COMPILE_TIMEOUT_MS = 60_000;

export interface Finished {
  readonly stdout: string;
  readonly problem: string | null;
}

export function execute(
  program: string,
  args: readonly string[],
  timeout: number,
): Promise<Finished> {
  return new Promise((resolve) => {
    execFile(program, [...args], { timeout, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      const line = stderr.split('\n').find((text) => /error|load:|server:/.test(text));
      resolve({ stdout, problem: error === null ? null : (line ?? error.message) });
    });
  });
}

/** A program of native/bench/, compiled; or why that is impossible. */
export async function compileBench(
  name: string,
  directory: string,
): Promise<{ path: string } | { reason: string }> {
  const source = join(packageRoot(), 'native', 'bench', `${name}.c`);
  if (!existsSync(source)) return { reason: `${source} is not there: only the repository has it` };
  const path = join(directory, name);
  const compiler = process.env.CC || 'cc';
  const args = ['-O2', '-std=c11', source, '-o', path];
  const { problem } = await execute(compiler, args, COMPILE_TIMEOUT_MS);
  return problem === null ? { path } : { reason: `${compiler}: ${problem}` };
}

export async function findClients(directory: string): Promise<Clients> {
  const wrk = (await execute('wrk', ['-v'], 5000)).stdout.startsWith('wrk');
  const own = await compileBench('load', directory);
  return {
    nameOf: (kind) =>
      kind === 'http' && wrk ? 'wrk' : "trapless's own closed loop (native/bench/load.c)",
    async run(load, port, seconds, core) {
      if (load.kind === 'http' && wrk) return runWrk(load, port, seconds, core);
      if ('reason' in own) throw new Error(`there is no client for the load: ${own.reason}`);
      const args = [load.kind, port, load.connections, seconds, load.what].map(String);
      const { stdout, problem } = await execute(
        ...onCore(core, own.path, args),
        seconds * 1000 + 30_000,
      );
      if (problem !== null) throw new Error(problem);
      const told = JSON.parse(stdout);
      return { ...told, perSecond: told.requests / told.seconds };
    },
  };
}

async function runWrk(
  load: Load,
  port: number,
  seconds: number,
  core: number,
): Promise<LoadResult> {
  const url = `http://127.0.0.1:${port}${load.what}`;
  const args = ['-t1', `-c${load.connections}`, `-d${Math.ceil(seconds)}s`, '--latency', url];
  const { stdout, problem } = await execute(...onCore(core, 'wrk', args), seconds * 1000 + 30_000);
  if (problem !== null) throw new Error(`wrk: ${problem}`);
  return parseWrk(stdout);
}

/** What wrk prints with --latency. */
export function parseWrk(text: string): LoadResult {
  const failed = /Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)/.exec(text);
  if (failed !== null) throw new Error(`wrk: ${failed[0]}`);
  const requests = /(\d+) requests in/.exec(text);
  const perSecond = /Requests\/sec:\s+([\d.]+)/.exec(text);
  if (requests === null || perSecond === null) throw new Error(`wrk said: ${text.slice(0, 200)}`);
  const at = (share: number) => {
    const found = new RegExp(`\\b${share}%\\s+([\\d.]+)(us|ms|s)`).exec(text);
    if (found === null) throw new Error(`wrk told no ${share}th percentile: ${text.slice(0, 200)}`);
    return Number(found[1]) * { us: 1, ms: 1000, s: 1_000_000 }[found[2] as 'us' | 'ms' | 's'];
  };
  return {
    requests: Number(requests[1]),
    perSecond: Number(perSecond[1]),
    p50: at(50),
    p99: at(99),
    p999: null,
  };
}
