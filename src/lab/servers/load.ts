/**
 * The clients of the server benchmarks: wrk for HTTP where it is installed, else our own closed
 * loop in C (native/bench/load.c), which is also the one for TCP, UDP, fixed rates, and for
 * connections that are only kept.
 *
 *   const clients = await findClients(scratch.path);
 *   const result = await clients.run({ kind: 'http', connections: 64, what: '/' }, port, 2, core);
 *   const idle = await clients.keep(load, 10_000, port, core); … await idle.end();
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../report/package-root.ts';
import { onCore } from './cores.ts';

export interface Load {
  readonly kind: 'http' | 'tcp' | 'udp';
  readonly connections: number;
  /** http: a path; tcp: bytes of a message; udp: a name to ask for. */
  readonly what: string;
  /** http: every request on a connection of its own. */
  readonly short?: boolean;
  /** Requests a second, at fixed moments; undefined: as soon as the one before is answered. */
  readonly rate?: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly perSecond: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

/** Connections that have had one exchange each and are silent. */
export interface IdleConnections {
  end(): Promise<void>;
}

const NO_SHORT = 'short connections need wrk: scripts/install-clients.sh';

export interface Clients {
  /** Why there can be no short connections, or null. */
  readonly noShort: string | null;
  /** Which client a kind of load is made by. */
  nameOf(kind: Load['kind'], rate?: number): string;
  run(load: Load, port: number, seconds: number, core: number): Promise<LoadResult>;
  keep(load: Load, count: number, port: number, core: number): Promise<IdleConnections>;
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
  const script = join(directory, 'wrk.lua');
  writeFileSync(script, WRK_SCRIPT);
  const own = await compileBench('load', directory);
  const ownPath = () => {
    if ('reason' in own) throw new Error(`there is no client for the load: ${own.reason}`);
    return own.path;
  };
  const isWrk = (kind: Load['kind'], rate?: number) => kind === 'http' && wrk && !rate;
  return {
    noShort: wrk ? null : NO_SHORT,
    nameOf: (kind, rate) =>
      isWrk(kind, rate) ? 'wrk' : "trapless's own client (native/bench/load.c)",
    async run(load, port, seconds, core) {
      if (isWrk(load.kind, load.rate)) return runWrk(load, port, seconds, core, script);
      const { kind, connections, what, rate, short } = load;
      if (short) throw new Error(NO_SHORT);
      const args = [kind, port, connections, seconds, what, ...(rate ? [rate] : [])].map(String);
      const { stdout, problem } = await execute(
        ...onCore(core, ownPath(), args),
        seconds * 1000 + 30_000,
      );
      if (problem !== null) throw new Error(problem);
      if (!stdout.endsWith('}\n')) throw new Error(`the client said only '${stdout}'`);
      const told = JSON.parse(stdout);
      return { ...told, perSecond: told.requests / told.seconds };
    },
    async keep({ kind, what }, count, port, core) {
      return keepIdle(...onCore(core, ownPath(), [kind, `${port}`, `${count}`, 'idle', what]));
    },
  };
}

const IDLE_TIMEOUT_MS = 60_000;

/** Resolved when all are open; ended by the end of the client's input. */
function keepIdle(program: string, args: readonly string[]): Promise<IdleConnections> {
  const client = spawn(program, [...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<void>((resolve) => void client.once('close', () => resolve()));
  let stderr = '';
  client.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => client.kill('SIGKILL'), IDLE_TIMEOUT_MS);
    client.once('error', reject);
    client.stdout.once('data', () => {
      clearTimeout(late);
      resolve({
        async end() {
          client.stdin.end();
          await ended;
        },
      });
    });
    void ended.then(() => {
      clearTimeout(late);
      reject(new Error(`idle connections: ${stderr.trim() || 'they did not open in time'}`));
    });
  });
}

/** wrk's own summary ends at the 99th percentile. */
const WRK_SCRIPT = `done = function(summary, latency)
  io.write(string.format("    99.9%%  %dus\\n", latency:percentile(99.9)))
end
`;

async function runWrk(
  load: Load,
  port: number,
  seconds: number,
  core: number,
  script: string,
): Promise<LoadResult> {
  const url = `http://127.0.0.1:${port}${load.what}`;
  const args = ['-t1', `-c${load.connections}`, `-d${Math.ceil(seconds)}s`, '--latency'];
  if (load.short) args.push('-H', 'Connection: close');
  const { stdout, problem } = await execute(
    ...onCore(core, 'wrk', [...args, '-s', script, url]),
    seconds * 1000 + 30_000,
  );
  if (problem !== null) throw new Error(`wrk: ${problem}`);
  return parseWrk(stdout);
}

/** What wrk prints with --latency and our script. */
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
    p999: at(99.9),
  };
}
