/**
 * Each run in a process of its own: a vCPU that is preempted inside V8 or libc takes at most its
 * own process with it, and a run that hangs is ended and void.
 *
 *   const result = await runInChild('psp', plan);
 *   if ('void' in result) console.error(result.void);
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '../../report/package-root.ts';
import { VoidRun } from '../workloads/workload.ts';
import { type PointPlan, type PointResult, runPoint } from './run-point.ts';
import { type Probed, type ProbePlan, runProbes } from './sim/probe-run.ts';

export interface VoidPoint {
  /** Why there is no result. */
  readonly void: string;
}

/** Loading some dozens of threads, each with a compiler, on a busy machine. */
const START_SECONDS_MAX = 60;
/** A run that takes this many times as long as meant is not going to end. */
const TIMES_AS_LONG = 10;

/**
 * V8 compiles and collects garbage on threads of its own. They are no vCPUs: Linux would give them
 * a core while the vCPU that is on it holds a lock, as if a pCPU had another hypervisor below it.
 */
const ENGINE = ['--single-threaded'];

const running = new Set<ChildProcess>();

/** Ends what still runs; when the command itself is ended. */
export function killRunning(): void {
  for (const child of running) child.kill('SIGKILL');
}

export function runInChild<Plan extends PointPlan | ProbePlan>(
  experiment: string,
  plan: Plan,
  limitSeconds = START_SECONDS_MAX + TIMES_AS_LONG * plan.seconds,
): Promise<(Plan extends ProbePlan ? Probed : PointResult) | VoidPoint> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, childArguments(experiment, JSON.stringify(plan)), {
      env: childEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(child);
    let stdout = '';
    let stderr = '';
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, limitSeconds * 1000);
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
      // The result is all that is wanted: a thread that cannot end must not keep us waiting.
      if (stdout.includes('\n')) child.kill('SIGKILL');
    });
    child.stderr.on('data', (chunk) => {
      stderr = (stderr + chunk).slice(-4000);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      const end = stdout.indexOf('\n');
      if (end !== -1) resolve(JSON.parse(stdout.slice(0, end)));
      else if (late) resolve({ void: `it had not ended after ${limitSeconds} s` });
      else resolve({ void: `its process ended with ${code ?? signal}: ${lastLine(stderr)}` });
    });
  });
}

/** The child's part: one line. */
export async function runAsChild(plan: PointPlan | ProbePlan): Promise<number> {
  let line: PointResult | Probed | VoidPoint;
  try {
    line = 'probes' in plan ? await runProbes(plan) : await runPoint(plan);
  } catch (error) {
    const { message, stack } = error as Error;
    line = { void: error instanceof VoidRun ? message : `error: ${message}` };
    if (process.env.TRAPLESS_DEBUG) process.stderr.write(`${stack}\n`);
  }
  // At once and whole: the parent ends this process when it has read it.
  writeSync(1, `${JSON.stringify(line)}\n`);
  return 0;
}

function childEnvironment(): NodeJS.ProcessEnv {
  const env = { ...process.env };
  // Those of a program under trapless, or of a test runner around us.
  for (const name of Object.keys(env))
    if (/^NODE_(OPTIONS|TEST_CONTEXT)$/.test(name)) delete env[name];
  return env;
}

/** The same program once more: from what is built, or in a checkout's tests from the sources. */
function childArguments(experiment: string, plan: string): string[] {
  const root = packageRoot();
  const built = join(root, 'bin', 'trapless.cjs');
  if (typeof __dirname === 'string' && existsSync(built))
    return [...ENGINE, built, 'lab', experiment, '--point', plan];
  const self = pathToFileURL(join(root, 'src', 'lab', 'locks', 'children.ts')).href;
  const script = `import { runAsChild } from ${JSON.stringify(self)}; await runAsChild(${plan});`;
  return [...ENGINE, '--import', 'tsx', '--input-type=module', '-e', script];
}

function lastLine(text: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return lines.find((line) => /Error:/.test(line))?.trim() ?? lines.at(-1) ?? 'no message';
}
