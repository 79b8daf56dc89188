/**
 * `trapless run [options] app.js [args]`: the program, in this process, as `node app.js args`
 * would run it, with trapless registered.
 *
 *   run(['--stats', 'app.js', 'arg']);      // the arguments behind `trapless run`
 *
 * This is on the path of every start: nothing here is loaded that the program may not need.
 * Choices are left in the environment (TRAPLESS_…), where workers and children find them too.
 */
import { readFileSync } from 'node:fs';
import Module from 'node:module';
import { resolve } from 'node:path';
import { kernelOptions, parseCores } from './kernel/options.ts';
import { commandLine } from './node/bundles.ts';
import { register } from './register.ts';

/** Exit status for a mistake on the command line. */
const MISTAKE = 2;

/** Options with a value, and the variable that carries it. */
const VALUES: Readonly<Record<string, string>> = {
  '--sqpoll': 'TRAPLESS_SQPOLL',
  '--cores': 'TRAPLESS_CORES',
  '--order': 'TRAPLESS_ORDER',
};

const SWITCHES: Readonly<Record<string, readonly [variable: string, value: string]>> = {
  '--ring': ['TRAPLESS_RING', '1'],
  '--no-ring': ['TRAPLESS_RING', '0'],
  '--no-http': ['TRAPLESS_HTTP', '0'],
  '--stats': ['TRAPLESS_STATS', '1'],
};

export function run(argv: readonly string[]): void {
  let at = 0;
  for (; at < argv.length && argv[at].startsWith('-') && argv[at] !== '-'; at++) {
    const [option, inline] = split(argv[at]);
    if (option === '--') {
      at++;
      break;
    }
    if (option === '--help' || option === '-h') {
      process.stdout.write(commandLine().runHelp);
      return;
    }
    const isSwitch = Object.hasOwn(SWITCHES, option);
    if (isSwitch && inline === undefined) {
      const [variable, value] = SWITCHES[option];
      process.env[variable] = value;
    } else if (Object.hasOwn(VALUES, option)) {
      const value = inline ?? argv[++at];
      if (value === undefined) return mistake(`${option} needs a value`);
      if (!accepted(option, value)) return;
    } else {
      return mistake(
        isSwitch
          ? `${option} takes no value`
          : commandLine().unknownRunOption(argv[at], [
              ...Object.keys(SWITCHES),
              ...Object.keys(VALUES),
              '--help',
            ]),
      );
    }
  }
  const app = argv[at];
  if (app === undefined) return mistake('which program? `trapless run app.js`');
  if (app === '-') return mistake('a program from standard input cannot be run; give it a file');
  try {
    register({ descendants: true });
  } catch (error) {
    // A TRAPLESS_… of the environment.
    if (error instanceof RangeError) return mistake(error.message.replace(/^trapless: /, ''));
    throw error;
  }
  start(app, argv.slice(at + 1));
}

function split(argument: string): [option: string, value: string | undefined] {
  const equals = argument.indexOf('=');
  if (equals === -1 || !argument.startsWith('--')) return [argument, undefined];
  return [argument.slice(0, equals), argument.slice(equals + 1)];
}

/** Leaves the value in the environment, where the kernel's own check reads it. */
function accepted(option: string, value: string): boolean {
  process.env[VALUES[option]] = value;
  try {
    if (value === '') throw new RangeError('an empty value');
    const { sqpollCore, cores } = kernelOptions({});
    checkOnline(sqpollCore === null ? cores : [sqpollCore, ...cores]);
    return true;
  } catch (error) {
    const text = (error as Error).message.replace(/^trapless: /, '');
    mistake(text.replace(VALUES[option], option));
    return false;
  }
}

/** Linux would refuse a ring, or not pin a thread, without a word to anybody. */
function checkOnline(cores: readonly number[]): void {
  let online: number[];
  try {
    online = parseCores(readFileSync('/sys/devices/system/cpu/online', 'latin1'));
  } catch {
    return;
  }
  const missing = cores.find((core) => !online.includes(core));
  if (missing !== undefined)
    throw new RangeError(`there is no core ${missing}; online: ${online.join(', ')}`);
}

function mistake(text: string): void {
  process.stderr.write(`trapless run: ${text}\n\`trapless run --help\` shows what there is.\n`);
  process.exitCode = MISTAKE;
}

/** Errors and their causes whose stacks are put right: more nobody reads. */
const CAUSES_MAX = 8;

interface Loader {
  /** What Node calls for the program on its own command line. */
  runMain(main?: string): void;
  _cache: Record<string, unknown>;
}

/** Hands over as if Node had been started with `app`: our own main module never was. */
function start(app: string, args: readonly string[]): void {
  const loader = Module as unknown as Loader;
  const own = process.mainModule?.filename;
  if (own !== undefined) delete loader._cache[own];
  Reflect.deleteProperty(process, 'mainModule');
  process.argv.splice(1, process.argv.length, resolve(app), ...args);

  try {
    loader.runMain(process.argv[1]);
  } finally {
    // Not `catch`: throwing again would move the place that Node's message points to.
    hideOurFrames(bottomFrame());
  }
}

/** Node's own first frame, the last of every stack. */
function bottomFrame(): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 100;
  const stack = new Error().stack ?? '';
  Error.stackTraceLimit = limit;
  return stack.slice(stack.lastIndexOf('\n') + 1);
}

/**
 * An error of the program's first turn has a stack that ends in us. If nobody catches it, it is
 * printed now, or when that turn's rejections are looked at: let it end as Node's own does.
 */
function hideOurFrames(bottom: string): void {
  const onFatal = (error: unknown): void => {
    let at = error;
    for (let depth = 0; depth < CAUSES_MAX && at instanceof Error; depth++, at = at.cause) {
      const lines = String(at.stack).split('\n');
      const ours = lines.findIndex(
        (line, i) =>
          line.includes(__filename) && lines[i - 1]?.includes('internal/modules/run_main'),
      );
      if (ours === -1) continue;
      // On a frozen error this does nothing.
      Reflect.set(at, 'stack', [...lines.slice(0, ours), bottom].join('\n'));
    }
  };
  process.prependListener('uncaughtExceptionMonitor', onFatal);
  setImmediate(() => process.off('uncaughtExceptionMonitor', onFatal)).unref();
}
