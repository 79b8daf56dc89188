/**
 * What `trapless run` says about itself; run.ts asks for it only when it must.
 */
import { nearMiss } from '../abi/near-miss.ts';

export const runHelp = `Usage: trapless run [options] app.js [arguments of app.js]

Runs a program as \`node app.js\` would, in the same process and with the same arguments, exit code,
signals and output, but with its file-system calls on syscall pages. The program is not changed.

Options, before the program
  --ring            use io_uring even in a sandbox (default: where Linux allows it, but not under a
                    seccomp filter, which calls on a ring would pass by)
  --no-ring         native threads only
  --no-http         leave HTTP servers to node:http (their sockets, too)
  --sqpoll CORE     let Linux poll the ring on a core of its own: no kernel entry at all, for the
                    price of that core while there is work
  --cores LIST      cores for the native threads, the first preferred, as in 1,3 or 2-5
  --order ORDER     which waiting call goes first: as-found (default), grouped (by system call) or
                    io-first (reads and writes)
  --stats           on exit, print to standard error where the calls went and how long they took
  --help            this text

The same from the environment, for any way to start
  TRAPLESS=0                     everything off: the program runs as if trapless was not there
  TRAPLESS_RING=0, =1            --no-ring, --ring
  TRAPLESS_HTTP=0                --no-http
  TRAPLESS_SQPOLL, TRAPLESS_CORES, TRAPLESS_ORDER, TRAPLESS_STATS=1

The options are left in the environment, so workers and forked children (cluster, too) share them;
children started by spawn() and exec() run as plain programs.

Options for node itself go to node:
  node --max-old-space-size=4096 --import trapless/register app.js
  NODE_OPTIONS=--enable-source-maps trapless run app.js

Examples
  trapless run server.js --port 8080
  trapless run --stats --no-ring build.mjs
`;

/** What to say about an option that `trapless run` does not have. */
export function unknownRunOption(argument: string, known: readonly string[]): string {
  const option = argument.split('=')[0];
  const meant = nearMiss(option, known);
  if (meant !== undefined) return `there is no option ${option}; did you mean ${meant}?`;
  const hint = process.allowedNodeEnvironmentFlags.has(option)
    ? `that is an option of node: NODE_OPTIONS=${argument} trapless run …`
    : `node's own options go to node: node ${argument} --import trapless/register …`;
  return `there is no option ${option}; ${hint}`;
}
