/**
 * Workers and forked children of an accelerated program are accelerated too.
 *
 *   const preload = adoptArguments();   // how did we get into this thread?
 *   descend(preload);
 *
 * Node hands its own preloads on: a worker inherits the options of its parent, fork() passes
 * process.execArgv. That is not enough for `trapless run`, which gives Node no option, for a
 * worker with its own execArgv, nor for `--import` and a worker made of code; and a child with
 * `--import` loses messages. There a `--require …/register.cjs` is added on the way: to the
 * worker's options, to the child's command line. The descendant takes it out of its process.execArgv again (adoptArguments).
 *
 * Children of spawn() and exec() are programs of their own: not accelerated.
 */
import { subscribe } from 'node:diagnostics_channel';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import threads, { type WorkerOptions } from 'node:worker_threads';
import { dist } from './bundles.ts';

/** Which of Node's options brought us here; null: none, it was `trapless run` or the program. */
export type Preload = 'require' | 'import' | null;

// Taken now: a program may replace it later.
const accessNow = accessSync;

/** What descendants preload. */
const registerFile = join(dist, 'register.cjs');

/** A program may give its child what is no string; Node makes one of it. */
function namesRegister(argument: unknown): boolean {
  if (typeof argument !== 'string') return false;
  return /(^|=)trapless\/register$/.test(argument) || argument.includes(join(dist, 'register.'));
}

function findPreload(execArgv: readonly string[]): Preload {
  const options = [...(process.env.NODE_OPTIONS?.split(/\s+/) ?? []), ...execArgv];
  let found: Preload = null;
  for (const [i, option] of options.entries()) {
    if (!namesRegister(option)) continue;
    const flag = option.startsWith('-') ? option : options[i - 1];
    if (/^(-r|--require)/.test(flag)) return 'require';
    if (/^--import/.test(flag)) found = 'import';
  }
  return found;
}

/** What this thread was started with, our own additions included. */
let ownArguments: readonly string[] | undefined;
let ownPreload: Preload = null;

/** Finds out how we were loaded, and takes what a parent added out of process.execArgv. */
export function adoptArguments(): Preload {
  if (ownArguments) return ownPreload;
  restoreOptions();
  ownArguments = [...process.execArgv];
  ownPreload = findPreload(ownArguments);
  const at = process.execArgv.indexOf(registerFile);
  if (at > 0 && process.execArgv[at - 1] === '--require') process.execArgv.splice(at - 1, 2);
  return ownPreload;
}

/** NODE_OPTIONS as they were before a parent took our --import out of them (withoutImport). */
const SAVED_OPTIONS = 'TRAPLESS_NODE_OPTIONS';

function restoreOptions(): void {
  const saved = process.env[SAVED_OPTIONS];
  if (saved === undefined) return;
  process.env.NODE_OPTIONS = saved;
  delete process.env[SAVED_OPTIONS];
}

export function descend(preload: Preload): void {
  accelerateWorkers(preload);
  accelerateForks();
}

/** It may not be, after setuid(): then the descendant would die of it. */
function readable(): boolean {
  try {
    accessNow(registerFile, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/* --- Workers ------------------------------------------------------------------------------- */

/** A proxy, not a subclass: name, statics, prototype and instanceof stay what they were. */
function accelerateWorkers(preload: Preload): void {
  const Worker = new Proxy(threads.Worker, {
    construct(target, args, newTarget) {
      for (const execArgv of executions(preload, args)) {
        const options = Object.create(args[1] ?? null, { execArgv: { value: execArgv } });
        try {
          return Reflect.construct(target, [args[0], options, ...args.slice(2)], newTarget);
        } catch (error) {
          const { code, message } = error as NodeJS.ErrnoException;
          if (code !== 'ERR_WORKER_INVALID_EXEC_ARGV') throw error;
          refused = message.slice(message.lastIndexOf(': ') + 2).split(', ');
        }
      }
      return Reflect.construct(target, args, newTarget);
    },
  });
  Worker.prototype.constructor = Worker;
  threads.Worker = Worker;
}

/** Options of ours that Node refuses to give to a worker: those of V8 and the whole process. */
let refused: readonly string[] = [];

/** The execArgv to try for a worker, one after the other; none: leave the options alone. */
function* executions(preload: Preload, args: readonly unknown[]): Generator<readonly string[]> {
  const options = args[1] as WorkerOptions | null | undefined;
  const given = options?.execArgv;
  // What is not as it should be is for Node to complain about.
  if (args.length === 0 || options === null || (given && !Array.isArray(given))) return;
  // Inherited options run us already; but --import is not run in a worker made of code.
  if (!given && (preload === 'require' || (preload === 'import' && !options?.eval))) return;
  if (given?.some((argument) => namesRegister(argument)) || !readable()) return;
  const ours = ['--require', registerFile];
  if (given) {
    yield [...given, ...ours];
    return;
  }
  const inherited = () => ownArguments!.filter((argument) => !refused.includes(argument));
  yield [...inherited(), ...ours];
  yield [...inherited(), ...ours]; // by now we know which are refused
}

/* --- Forked children ------------------------------------------------------------------------ */

interface SpawnOptions {
  readonly file?: unknown;
  args?: unknown;
  envPairs?: unknown;
  readonly stdio?: unknown;
  readonly uid?: unknown;
}
interface ChildProcess {
  spawn(options: SpawnOptions): unknown;
}

/** Node announces a ChildProcess before it spawns it: child_process need not be loaded for this. */
function accelerateForks(): void {
  subscribe('child_process', (message) => {
    const child = (message as { process: ChildProcess }).process;
    const { spawn } = child;
    child.spawn = (options) => {
      Reflect.deleteProperty(child, 'spawn');
      if (isFork(options) && readable()) preloadByRequire(options);
      return spawn.call(child, options);
    };
  });
}

/** This very Node, with a channel to us. Under another user our file may be out of reach. */
function isFork({ file, args, stdio, uid }: SpawnOptions): boolean {
  const channel = Array.isArray(stdio) && stdio.includes('ipc');
  return file === process.execPath && channel && uid === undefined && Array.isArray(args);
}

/**
 * Not by --import: while it waits for one, Node reads the channel, and what the parent sends at
 * once would come before the program listens, and be lost (all of cluster's messages are).
 */
function preloadByRequire(options: SpawnOptions): void {
  const [program, ...rest] = withoutImport(options.args as readonly string[]);
  const ours = rest.some(namesRegister) ? [] : ['--require', registerFile];
  options.args = [program, ...ours, ...rest];
  if (Array.isArray(options.envPairs)) options.envPairs = options.envPairs.flatMap(optionsWithout);
}

/** args[0] is the program's name, as in exec(3). */
function withoutImport(args: readonly string[]): readonly string[] {
  const at = args.findIndex(namesRegister);
  const first = args[at - 1] === '--import' ? at - 1 : at;
  if (!args[first]?.startsWith('--import')) return args;
  return [...args.slice(0, first), ...args.slice(at + 1)];
}

const IMPORT = /(?:^|(?<=\s))--import(?:=|\s+)("[^"]*"|\S+)/g;

/** Of a `name=value` that is NODE_OPTIONS with our --import, two. */
function optionsWithout(pair: string): readonly string[] {
  if (!pair.startsWith('NODE_OPTIONS=')) return [pair];
  const saved = pair.slice('NODE_OPTIONS='.length);
  const rest = saved.replace(IMPORT, (option, value: string) =>
    namesRegister(value.replaceAll('"', '')) ? '' : option,
  );
  return rest === saved ? [pair] : [`NODE_OPTIONS=${rest}`, `${SAVED_OPTIONS}=${saved}`];
}
