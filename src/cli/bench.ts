/**
 * `trapless bench SUITE`: finds the suite and runs it.
 */

import { explainFailure } from './failure.ts';

/** Each suite is loaded only when asked for; it parses its own options. */
const suites = {
  overhead: {
    what: 'cost of one exception-less call against batch size, beside the synchronous call and C',
    load: () => import('../lab/bench-overhead.ts'),
  },
  fs: {
    what: 'file-system calls of an unmodified program, against Node, newest Node and Bun',
    load: () => import('../lab/bench-fs.ts'),
  },
  start: {
    what: 'what trapless costs a program that hardly uses it: start-up, memory while idle',
    load: () => import('../lab/bench-start.ts'),
  },
  http: {
    what: 'HTTP servers: CPU per request against Node, newest Node, Bun, Deno and C',
    load: () => import('../lab/bench-http.ts'),
  },
  express: {
    what: 'an Express program, unmodified: CPU per request against Node, newest Node and Bun',
    load: () => import('../lab/bench-express.ts'),
  },
  net: {
    what: 'TCP servers, likewise',
    load: () => import('../lab/bench-net.ts'),
  },
  dns: {
    what: 'DNS over UDP, likewise',
    load: () => import('../lab/bench-dns.ts'),
  },
} as const;

type SuiteName = keyof typeof suites;

export const help = `Usage: trapless bench SUITE [options]

Suites
${Object.entries(suites)
  .map(([name, suite]) => `  ${name.padEnd(9)} ${suite.what}`)
  .join('\n')}

Each prints the environment it ran in, medians and spreads; with --json, one object per line:
  {"suite","case","unit","ours","peer","peerName","ratio"}   ratio above 1: trapless is faster

  trapless bench SUITE --help    that suite's own options
  trapless bench fs --quick      a first impression in about a minute
`;

export async function run(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    console.log(help);
    return name === undefined ? 2 : 0;
  }
  if (!Object.hasOwn(suites, name)) {
    console.error(`trapless bench: there is no suite '${name}'\n\n${help}`);
    return 2;
  }
  return explainFailure(`bench ${name}`, async () => {
    const suite = await suites[name as SuiteName].load();
    return suite.run(rest);
  });
}
