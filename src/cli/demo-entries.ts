/**
 * How often a process enters the kernel, counted from outside while it serves a load.
 *
 *   const counter = await startCounting(processTree(pid));   // or { reason }
 *   ...
 *   const entries = await counter.stop();
 *
 * `perf stat` counts in the kernel and hardly disturbs; `strace -c` stops the process at every
 * call, so it is the second choice and its runs are used for nothing but the count.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type CountingTool = 'perf stat' | 'strace -c';

export interface Counter {
  readonly tool: CountingTool;
  stop(): Promise<number>;
}

/** Attaching to a dozen threads takes milliseconds; nobody tells when it is done. */
const attachMs = 700;
const stopTimeoutMs = 10_000;

/** A tool that may count here, by trying each on a process of no interest; or why there is none. */
export async function findCountingTool(): Promise<CountingTool | { reason: string }> {
  const reasons: string[] = [];
  for (const tool of ['perf stat', 'strace -c'] as const) {
    const name = tool.split(' ')[0];
    if (spawnSync(name, ['--version']).error) {
      reasons.push(`${name} is not installed`);
      continue;
    }
    const probe = spawn(process.execPath, ['-e', 'setInterval(() => {}, 50)'], { stdio: 'ignore' });
    try {
      const counter = await startCounting(tool, [probe.pid!]);
      if ((await counter.stop()) > 0) return tool;
      reasons.push(`${name} counts nothing here`);
    } catch (error) {
      reasons.push(`${name}: ${(error as Error).message}`);
    } finally {
      probe.kill('SIGKILL');
    }
  }
  return { reason: reasons.join('; ') };
}

export async function startCounting(tool: CountingTool, pids: readonly number[]): Promise<Counter> {
  const folder = mkdtempSync(join(tmpdir(), 'trapless-count-'));
  const output = join(folder, 'counts');
  const child =
    tool === 'perf stat'
      ? spawnTool('perf', [
          ...['stat', '-x', ',', '-o', output],
          ...['-e', 'raw_syscalls:sys_enter', '-p', pids.join(',')],
        ])
      : spawnTool('strace', ['-f', '-c', '-o', output, ...pids.flatMap((pid) => ['-p', `${pid}`])]);
  let stderr = '';
  child.stderr?.on('data', (chunk) => {
    stderr = (stderr + chunk).slice(-2000);
  });

  const failure = () => new Error(stderr.trim().split('\n').pop() || `${tool} ended at once`);
  const stop = async () => {
    try {
      if (child.exitCode !== null) throw failure();
      const exited = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGINT');
      const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
      await exited;
      clearTimeout(timer);
      const text = readFileSync(output, 'utf8');
      return tool === 'perf stat' ? parsePerfStat(text) : parseStrace(text);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };

  await new Promise((resolve) => setTimeout(resolve, attachMs));
  if (child.exitCode !== null) {
    rmSync(folder, { recursive: true, force: true });
    throw failure();
  }
  return { tool, stop };
}

function spawnTool(program: string, args: readonly string[]): ChildProcess {
  // Field separators and decimal points as in the parsers below, whatever the user's language.
  const env = { ...process.env, LC_ALL: 'C' };
  return spawn(program, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
}

/** `1234,,raw_syscalls:sys_enter,...`, or `<not counted>` in place of the number. */
export function parsePerfStat(text: string): number {
  const count = /^(\d+),[^,]*,raw_syscalls:sys_enter/m.exec(text)?.[1];
  return Number(count ?? 0);
}

/** The calls column, which is the fourth: `% time, seconds, usecs/call, calls, errors, name`. */
export function parseStrace(text: string): number {
  let calls = 0;
  for (const line of text.split('\n')) {
    const row = /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$/.exec(line);
    if (row && row[2] !== 'total') calls += Number(row[1]);
  }
  return calls;
}
