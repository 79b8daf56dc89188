/**
 * `trapless bench express`: an unmodified Express program, under trapless/register and without.
 * Express is a development dependency: only a checkout has it.
 */
import { type ContenderPlan, gatherContenders, WITHOUT_RING } from './servers/contenders.ts';
import { runSuite } from './servers/run.ts';
import type { Suite } from './servers/suite.ts';

const plans: Readonly<Record<string, ContenderPlan>> = {
  ours: { api: 'express', what: 'under trapless/register', runtime: 'this', register: true },
  crew: {
    api: 'express',
    what: 'the same without the ring (TRAPLESS_RING=0)',
    runtime: 'this',
    register: true,
    env: WITHOUT_RING,
  },
  node: { api: 'express', what: 'on plain Node', runtime: 'this' },
  newest: { api: 'express', what: 'on the newest Node', runtime: 'node' },
  bun: { api: 'express', what: 'on Bun', runtime: 'bun' },
};

const { ours: _, ...others } = plans;

export const suite: Suite = {
  name: 'express',
  what: 'Measures an unmodified Express program on one core.',
  cases: {
    hello: 'a fixed text of five bytes, by response.send()',
    static: 'a file of 1 KiB, by express.static()',
  },
  kind: 'http',
  asks: (name) => (name === 'static' ? '/file.txt' : '/'),
  peers: Object.fromEntries(Object.entries(others).map(([name, { what }]) => [name, what])),
  gather: (options) => gatherContenders(plans, () => [], options),
};

export const run = (argv: readonly string[]): Promise<number> => runSuite(suite, argv);
