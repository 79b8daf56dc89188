/**
 * One trial of a server benchmark: a fresh server process on its core, loaded from another core,
 * first to warm it, then to measure.
 *
 *   const figures = await runTrial(contender, { case: 'hello', load }, setting);
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { type Cores, cpuOf, onCore } from './cores.ts';
import type { Clients, Load } from './load.ts';

export interface Contender {
  readonly name: string;
  readonly what: string;
  readonly version: string;
  readonly env: NodeJS.ProcessEnv;
  /** The command that becomes the server of a case. */
  command(name: string): readonly [program: string, args: readonly string[]];
}

export interface Setting {
  readonly clients: Clients;
  readonly cores: Cores;
  readonly warmSeconds: number;
  readonly seconds: number;
  /** How often, a second apart, garbage is collected before memory is looked at. */
  readonly collections: number;
  /** Servers that run now, for whoever has to end them. */
  readonly running: Set<ChildProcess>;
}

/** Of one trial. Microseconds of the server's core per request, and what the clients saw. */
export interface Figures {
  readonly user: number;
  readonly kernel: number;
  readonly total: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

/** A runtime takes 0.1 s to start. */
const START_TIMEOUT_MS = 20_000;

/** A server that listens. */
export interface Running {
  readonly pid: number;
  readonly port: number;
}

export function runTrial(
  contender: Contender,
  name: string,
  load: Load,
  setting: Setting,
): Promise<Figures> {
  return withServer(contender, name, setting, async (server) => {
    await setting.clients.run(load, server.port, setting.warmSeconds, setting.cores.load);
    return measureLoad(server, load, setting);
  });
}

/** A fresh server for as long as `use` takes; what fails there is told with what it said. */
export async function withServer<T>(
  contender: Contender,
  name: string,
  { cores, running }: Setting,
  use: (server: Running) => Promise<T>,
): Promise<T> {
  const [program, args] = contender.command(name);
  const server = spawn(...onCore(cores.server, program, args), {
    env: contender.env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(server);
  let stderr = '';
  server.stderr.on('data', (chunk) => {
    stderr = (stderr + chunk).slice(-4000);
  });
  try {
    const port = await portOf(server);
    return await use({ pid: server.pid!, port });
  } catch (error) {
    const said = stderr.trim().split('\n').slice(-3).join(' | ');
    const reason = `${(error as Error).message}${said === '' ? '' : ` (${said})`}`;
    throw new Error(`${contender.name} (${contender.version}) failed: ${reason}`);
  } finally {
    await ended(server);
    running.delete(server);
  }
}

/** What a server needs and does for a load, when it is warm. */
export async function measureLoad(
  { pid, port }: Running,
  load: Load,
  { clients, cores, seconds }: Setting,
): Promise<Figures> {
  const before = cpuOf(pid);
  const seen = await clients.run(load, port, seconds, cores.load);
  const after = cpuOf(pid);
  if (seen.requests === 0) throw new Error('it answered nothing');
  const user = (after.user - before.user) / seen.requests;
  const kernel = (after.kernel - before.kernel) / seen.requests;
  const { perSecond, p50, p99, p999 } = seen;
  return { user, kernel, total: user + kernel, perSecond, p50, p99, p999 };
}

function portOf(server: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('it does not listen')), START_TIMEOUT_MS);
    const failed = (reason: string) => {
      clearTimeout(late);
      reject(new Error(reason));
    };
    server.once('error', (error) => failed(error.message));
    server.once('exit', (code, signal) => failed(`it ended with ${code ?? signal}`));
    createInterface({ input: server.stdout! }).on('line', (line) => {
      // A runtime may print lines of its own.
      if (!line.startsWith('{')) return;
      clearTimeout(late);
      resolve(JSON.parse(line).port);
    });
  });
}

function ended(server: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (server.exitCode !== null || server.signalCode !== null || server.pid === undefined)
      return resolve();
    server.once('exit', () => resolve());
    server.kill('SIGKILL');
  });
}
