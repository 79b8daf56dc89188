/**
 * `trapless bench dns`: DNS questions over UDP, answered by an unmodified node:dgram program
 * (FlexSC figure 13, BIND, in Node's world).
 */
import { type ContenderPlan, gatherContenders, WITHOUT_RING } from './servers/contenders.ts';
import { runSuite } from './servers/run.ts';
import type { Suite } from './servers/suite.ts';

const plans: Readonly<Record<string, ContenderPlan>> = {
  ours: {
    api: 'node:dgram',
    what: 'an unmodified node:dgram program under trapless/register',
    runtime: 'this',
    register: true,
  },
  crew: {
    api: 'node:dgram',
    what: 'the same without the ring (TRAPLESS_RING=0)',
    runtime: 'this',
    register: true,
    env: WITHOUT_RING,
  },
  node: { api: 'node:dgram', what: 'node:dgram', runtime: 'this' },
  newest: { api: 'node:dgram', what: 'node:dgram of the newest Node', runtime: 'node' },
  bun: { api: 'Bun.udpSocket', what: 'Bun.udpSocket', runtime: 'bun' },
  deno: { api: 'node:dgram', what: "Deno's node:dgram", runtime: 'deno' },
};

const { ours: _, ...others } = plans;

export const suite: Suite = {
  name: 'dns',
  what: 'Measures DNS servers on one core: a question comes, one A record is the answer.',
  cases: { a: 'the address of www.example.com' },
  kind: 'udp',
  asks: () => 'www.example.com',
  peers: {
    ...Object.fromEntries(Object.entries(others).map(([name, { what }]) => [name, what])),
    limit: 'C, recvmmsg and sendmmsg (native/bench/server.c)',
  },
  gather: (options) => gatherContenders(plans, () => ['udp'], options),
};

export const run = (argv: readonly string[]): Promise<number> => runSuite(suite, argv);
