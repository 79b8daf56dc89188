/**
 * `trapless bench http`: HTTP servers, one request a time on each of a number of connections
 * (FlexSC figures 11 and 12, in Node's world).
 */
import { type ContenderPlan, gatherContenders, WITHOUT_RING } from './servers/contenders.ts';
import { runSuite } from './servers/run.ts';
import { IDLE_CASES, type Suite } from './servers/suite.ts';

const plans: Readonly<Record<string, ContenderPlan>> = {
  ours: {
    api: 'serve',
    what: 'serve of trapless/http, with trapless/fs',
    runtime: 'this',
    module: 'http.mjs',
    files: true,
  },
  crew: {
    api: 'serve',
    what: 'serve without the ring (TRAPLESS_RING=0)',
    runtime: 'this',
    module: 'http.mjs',
    files: true,
    env: WITHOUT_RING,
  },
  run: {
    api: 'node:http',
    what: 'an unmodified node:http program under trapless/register',
    runtime: 'this',
    register: true,
  },
  'run-crew': {
    api: 'node:http',
    what: 'the same without the ring',
    runtime: 'this',
    register: true,
    env: WITHOUT_RING,
  },
  node: { api: 'node:http', what: 'node:http', runtime: 'this' },
  newest: { api: 'node:http', what: 'node:http of the newest Node', runtime: 'node' },
  bun: { api: 'Bun.serve', what: 'Bun.serve', runtime: 'bun' },
  deno: { api: 'Deno.serve', what: 'Deno.serve', runtime: 'deno' },
};

const { ours: _, ...others } = plans;

export const suite: Suite = {
  name: 'http',
  what: 'Measures HTTP servers on one core.',
  cases: {
    hello: 'a fixed text of five bytes',
    json: 'JSON with what one file of 1 KiB holds, read for each request',
    static: 'that file itself, read for each request',
    short: 'hello, on a connection of its own for each request (needs wrk)',
    ...IDLE_CASES,
  },
  kind: 'http',
  asks: () => '/',
  short: 'short',
  peers: {
    ...Object.fromEntries(Object.entries(others).map(([name, { what }]) => [name, what])),
    limit: 'C and epoll (native/bench/server.c)',
  },
  gather: (options) =>
    gatherContenders(
      plans,
      (name, file) => (name === 'json' || name === 'static' ? ['http', file] : ['http']),
      options,
    ),
};

export const run = (argv: readonly string[]): Promise<number> => runSuite(suite, argv);
