/**
 * `trapless bench net`: TCP, messages that are sent back, by an unmodified node:net program.
 */
import { type ContenderPlan, gatherContenders, WITHOUT_RING } from './servers/contenders.ts';
import { runSuite } from './servers/run.ts';
import { IDLE_CASES, type Suite } from './servers/suite.ts';

const plans: Readonly<Record<string, ContenderPlan>> = {
  ours: {
    api: 'node:net',
    what: 'an unmodified node:net program under trapless/register',
    runtime: 'this',
    register: true,
  },
  crew: {
    api: 'node:net',
    what: 'the same without the ring (TRAPLESS_RING=0)',
    runtime: 'this',
    register: true,
    env: WITHOUT_RING,
  },
  module: {
    api: 'trapless/net',
    what: 'the same program with trapless/net',
    runtime: 'this',
    module: 'net.mjs',
  },
  node: { api: 'node:net', what: 'node:net', runtime: 'this' },
  newest: { api: 'node:net', what: 'node:net of the newest Node', runtime: 'node' },
  bun: { api: 'node:net', what: "Bun's node:net", runtime: 'bun' },
  deno: { api: 'node:net', what: "Deno's node:net", runtime: 'deno' },
};

const { ours: _, ...others } = plans;

/** Bytes of a message. */
const sizes: Readonly<Record<string, number>> = {
  '64B': 64,
  '1K': 1024,
  '16K': 16_384,
  '64K': 65_536,
};

const ECHO_BYTES = 64;

export const suite: Suite = {
  name: 'net',
  what: 'Measures TCP servers on one core: a message comes, and is sent back.',
  cases: {
    ...Object.fromEntries(
      Object.entries(sizes).map(([name, bytes]) => [name, `messages of ${bytes} bytes`]),
    ),
    echo: `messages of ${ECHO_BYTES} bytes, by socket.pipe(socket)`,
    ...IDLE_CASES,
  },
  kind: 'tcp',
  asks: (name) => String(sizes[name] ?? ECHO_BYTES),
  peers: {
    ...Object.fromEntries(Object.entries(others).map(([name, { what }]) => [name, what])),
    limit: 'C and epoll (native/bench/server.c)',
  },
  gather: (options) => gatherContenders(plans, () => ['tcp'], options),
};

export const run = (argv: readonly string[]): Promise<number> => runSuite(suite, argv);
