/**
 * `trapless bench net`: TCP, messages that are sent back, by an unmodified node:net program.
 */
import { type ContenderPlan, gatherContenders } from './servers/contenders.ts';
import { runSuite, type Suite } from './servers/suite.ts';

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
    env: { TRAPLESS_RING: '0' },
  },
  node: { api: 'node:net', what: 'node:net', runtime: 'this' },
  newest: { api: 'node:net', what: 'node:net of the newest Node', runtime: 'node' },
  bun: { api: 'node:net', what: "Bun's node:net", runtime: 'bun' },
  deno: { api: 'node:net', what: "Deno's node:net", runtime: 'deno' },
};

const { ours: _, ...others } = plans;

const sizes: Readonly<Record<string, number>> = {
  '64B': 64,
  '1K': 1024,
  '16K': 16_384,
  '64K': 65_536,
};

export const suite: Suite = {
  name: 'net',
  what: 'Measures TCP servers on one core: a message comes, and is sent back.',
  cases: Object.fromEntries(
    Object.entries(sizes).map(([name, bytes]) => [name, `messages of ${bytes} bytes`]),
  ),
  kind: 'tcp',
  asks: (name) => String(sizes[name]),
  peers: {
    ...Object.fromEntries(Object.entries(others).map(([name, { what }]) => [name, what])),
    limit: 'C and epoll (native/bench/server.c)',
  },
  gather: (options) => gatherContenders(plans, () => ['tcp'], options),
};

export const run = (argv: readonly string[]): Promise<number> => runSuite(suite, argv);
