/**
 * A server program under measurement: start it, read what /proc tells of it, end it.
 *
 *   const server = await startServer('node', ['server.mjs', '--port', '0'], env);
 *   const before = readUsage(server.pid);
 *   ...
 *   await server.stop();
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

export interface RunningServer {
  readonly pid: number;
  readonly port: number;
  /** Ends it the polite way and waits; throws if it does not leave cleanly. */
  stop(): Promise<void>;
  /** Ends it at once; for clean-up after errors. */
  kill(): void;
}

/** Start-up is 50 ms; a machine under load may need a hundred times that, not more. */
const startTimeoutMs = 15_000;
/** Open connections are gone by then, so the server has nothing to wait for. */
const stopTimeoutMs = 5_000;

export function startServer(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<RunningServer> {
  return new Promise((resolve, reject) => {
    const command = [program, ...args].join(' ');
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const messages = collect(child);
    const fail = (problem: string) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      reject(new Error(`\`${command}\` ${problem}${messages()}`));
    };
    const timer = setTimeout(
      () => fail(`did not listen within ${startTimeoutMs / 1000} s`),
      startTimeoutMs,
    );
    child.once('error', (error) => fail(`did not start: ${error.message}`));
    child.once('exit', (code, signal) => fail(`ended at once (${code ?? signal})`));

    createInterface({ input: child.stdout! }).on('line', (line) => {
      const port = Number(/listening on http:\/\/127\.0\.0\.1:(\d+)\//.exec(line)?.[1]);
      if (!port) return;
      clearTimeout(timer);
      child.removeAllListeners('exit');
      resolve({
        pid: child.pid!,
        port,
        stop: () => stop(child, command, messages),
        kill: () => child.kill('SIGKILL'),
      });
    });
  });
}

function stop(child: ChildProcess, command: string, messages: () => string): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (code: number | null, signal: NodeJS.Signals | null) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else reject(new Error(`\`${command}\` ended with ${code ?? signal}${messages()}`));
    };
    const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
    if (child.exitCode !== null || child.signalCode !== null) {
      end(child.exitCode, child.signalCode);
      return;
    }
    child.once('exit', end);
    child.kill('SIGTERM');
  });
}

/** The end of what a child writes to standard error, for messages. */
export function collect(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.on('data', (chunk) => {
    text = (text + chunk).slice(-2000);
  });
  return () => (text.trim() === '' ? '' : `:\n${text.trim()}`);
}

export interface Usage {
  /** Time on a CPU, in the program and in the kernel, all threads. */
  readonly userMs: number;
  readonly systemMs: number;
  /** Times a thread left its CPU: because it waited, or because another was due. */
  readonly switches: number;
}

/** /proc counts in ticks of USER_HZ, which is 100 on every Linux that Node runs on. */
const tickMs = 10;

/** What a process and its descendants have used so far; null where /proc does not tell. */
export function readUsage(pid: number): Usage | null {
  let userMs = 0;
  let systemMs = 0;
  let switches = 0;
  try {
    for (const one of processTree(pid)) {
      const stat = readFileSync(`/proc/${one}/stat`, 'utf8');
      // The second field is the name, in brackets, and may hold spaces: count from behind it.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      userMs += Number(fields[11]) * tickMs; // utime, field 14 of proc(5)
      systemMs += Number(fields[12]) * tickMs; // stime
      for (const thread of readdirSync(`/proc/${one}/task`)) switches += switchesOf(one, thread);
    }
  } catch {
    return null;
  }
  return { userMs, systemMs, switches };
}

function switchesOf(pid: number, thread: string): number {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
  } catch {
    return 0; // Threads come and go.
  }
  const counts = status.matchAll(/^(?:non)?voluntary_ctxt_switches:\s+(\d+)$/gm);
  return [...counts].reduce((sum, match) => sum + Number(match[1]), 0);
}

/** A process and all below it: `trapless run` may have started the program as a child. */
export function processTree(pid: number): number[] {
  const tree = [pid];
  for (const one of tree) {
    let threads: string[] = [];
    try {
      threads = readdirSync(`/proc/${one}/task`);
    } catch {
      // It has ended since.
    }
    for (const thread of threads) {
      try {
        const children = readFileSync(`/proc/${one}/task/${thread}/children`, 'utf8');
        tree.push(...children.split(' ').filter(Boolean).map(Number));
      } catch {
        // Not every kernel has this file; then the process itself is all we know.
      }
    }
  }
  return tree;
}
