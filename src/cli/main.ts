/**
 * The command line (dist/cli.cjs): finds the command and leaves its exit code.
 *
 *   main(['doctor', '--json']);
 *
 * Each command is a module with `help` and `run(argv): Promise<number>`, loaded when asked for.
 * `run` itself does not come here but in its errors and its help (see bin/trapless.cjs).
 */

import { nearMiss } from '../abi/near-miss.ts';
import { packageVersion } from '../report/package-root.ts';
import { run as runProgram } from '../start.ts';
import { runHelp } from './run-help.ts';

export { formatStatistics } from '../report/call-statistics.ts';
export { runHelp, unknownRunOption } from './run-help.ts';

interface Command {
  readonly help: string;
  run(argv: readonly string[]): Promise<number>;
}

interface Entry {
  readonly what: string;
  readonly load: () => Promise<Command>;
}

const COMMANDS: Readonly<Record<string, Entry>> = {
  run: {
    what: 'run a program with its file-system calls on syscall pages',
    load: async () => ({ help: runHelp, run: runHere }),
  },
  doctor: {
    what: 'what this machine offers, what trapless uses of it, and what to do',
    load: () => import('./doctor.ts'),
  },
  demo: {
    what: 'an unmodified little site, plain and under trapless, under the same load',
    load: () => import('./demo.ts'),
  },
  bench: {
    what: 'measurements against node, newer node and Bun, on this machine',
    load: () => import('./bench.ts'),
  },
  lab: {
    what: 'experiments with locks on preempted virtual CPUs (I-Spinlock)',
    load: () => import('./lab.ts'),
  },
};

const help = `trapless runs the file-system calls of a Node.js program without a trap for each: they are written
to pages shared with threads that execute them in batches, and on Linux's io_uring. The program is
not changed.

Usage: trapless COMMAND [options]

${Object.entries(COMMANDS)
  .map(([name, { what }]) => `  ${name.padEnd(8)}${what}`)
  .join('\n')}
  help     this text, or that of a command: trapless help run

First steps
  trapless doctor                 is this machine ready?
  trapless run --stats app.js     your program; on exit, where its calls went
  node --import trapless/register app.js     the same without this command

trapless --version tells which one this is. Documentation: README.md, docs/LIMITS.md (when not to
use it).
`;

async function runHere(argv: readonly string[]): Promise<number> {
  runProgram(argv);
  return 0;
}

/** Exit status for a mistake on the command line. */
const MISTAKE = 2;

export function main(argv: readonly string[]): void {
  dispatch(argv).then(
    (code) => {
      if (code !== 0) process.exitCode = code;
    },
    (error: unknown) => {
      // Commands explain their own failures; this is a bug.
      process.stderr.write(`trapless: ${(error as Error)?.stack ?? error}\n`);
      process.exitCode = 1;
    },
  );
}

async function dispatch([name, ...rest]: readonly string[]): Promise<number> {
  if (name === undefined) {
    process.stderr.write(help);
    return MISTAKE;
  }
  if (name === '--version' || name === '-v') {
    process.stdout.write(`${packageVersion()}\n`);
    return 0;
  }
  if (name === '--help' || name === '-h' || name === 'help') return explain(rest[0]);
  if (!Object.hasOwn(COMMANDS, name)) return unknown(name);
  const command = await COMMANDS[name].load();
  return command.run(rest);
}

async function explain(name: string | undefined): Promise<number> {
  if (name === undefined || name === 'help') {
    process.stdout.write(help);
    return 0;
  }
  if (!Object.hasOwn(COMMANDS, name)) return unknown(name);
  process.stdout.write(`${(await COMMANDS[name].load()).help.trimEnd()}\n`);
  return 0;
}

function unknown(name: string): number {
  const names = [...Object.keys(COMMANDS), 'help'];
  const meant = nearMiss(name, names);
  let hint = `Commands: ${names.join(', ')}; \`trapless help\` explains them.`;
  if (meant !== undefined) hint = `Did you mean \`trapless ${meant}\`?`;
  else if (/\.[cm]?[jt]s$|\//.test(name)) hint = `To run it: \`trapless run ${name}\``;
  process.stderr.write(`trapless: there is no command '${name}'. ${hint}\n`);
  return MISTAKE;
}
