/**
 * The command line of the benchmarks of servers.
 *
 *   export const run = (argv) => runSuite(suite, argv);
 */
import { parseArgs } from 'node:util';
import { Progress } from '../../report/progress.ts';
import { chosenFrom, listed, wholeNumber } from '../../report/usage.ts';
import { defaultPeersDirectory } from '../peers.ts';
import { formatJson, formatReport, sectionNames } from './report.ts';
import { defaults, measure, type Suite, type SuiteOptions, TIERS } from './suite.ts';

/** Each is a descriptor on both sides. */
const CONNECTIONS_MAX = 1024;
const IDLE_MAX = 60_000;
const RATE_MAX = 1_000_000;

export async function runSuite(suite: Suite, argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      cases: { type: 'string' },
      peers: { type: 'string' },
      tier: { type: 'string' },
      connections: { type: 'string' },
      idle: { type: 'string' },
      rate: { type: 'string' },
      trials: { type: 'string' },
      seconds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      show: { type: 'string' },
      'peers-dir': { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    console.log(helpOf(suite));
    return 0;
  }
  const whole = (option: string, text: string | undefined, max: number) =>
    text === undefined ? {} : { [option]: wholeNumber(`--${option}`, text, max) };
  const peerNames = Object.keys(suite.peers);
  const tiers =
    values.tier === undefined ? ['ring' as const] : chosenFrom('--tier', values.tier, TIERS);
  const show = chosenFrom('--show', values.show, sectionNames);
  const options: SuiteOptions = {
    ...(values.quick ? defaults.quick : {}),
    cases: chosenFrom('--cases', values.cases, Object.keys(suite.cases)),
    peers: values.peers === 'none' ? [] : chosenFrom('--peers', values.peers, peerNames),
    ...(values.connections === undefined
      ? {}
      : {
          connections: listed('--connections', values.connections).map((text) =>
            wholeNumber('--connections', text, CONNECTIONS_MAX),
          ),
        }),
    ...whole('idle', values.idle, IDLE_MAX),
    ...whole('rate', values.rate, RATE_MAX),
    ...whole('trials', values.trials, 1000),
    ...whole('seconds', values.seconds, 3600),
    ...(values['peers-dir'] === undefined ? {} : { peersDirectory: values['peers-dir'] }),
  };
  let missing = false;
  for (const tier of tiers) {
    const progress = new Progress({ silent: values.json });
    try {
      const report = await measure(suite, { ...options, tier, progress });
      progress.finish();
      console.log(values.json ? formatJson(report) : formatReport(report, show));
      missing ||= !report.contenders.some(({ name }) => name === 'ours');
    } finally {
      progress.finish();
    }
  }
  return missing ? 1 : 0;
}

function helpOf(suite: Suite): string {
  const rows = (of: Readonly<Record<string, string>>) =>
    Object.entries(of)
      .map(([name, what]) => `                      ${name.padEnd(11)} ${what}`)
      .join('\n');
  const { idle } = defaults;
  return `Usage: trapless bench ${suite.name} [options]

${suite.what}
The server has one core, its load another one; the figure is the CPU time of the server per
request, in user mode and in the kernel, because loopback and the client are part of any other.
Peers that are not on this machine are installed by npm on first use; clients other than our own
by scripts/install-clients.sh.

Options
  --cases LIST        some of these, separated by commas (default: all):
${rows(suite.cases)}
  --connections LIST  at once, each with one request in flight (default ${defaults.connections})
  --idle N            silent connections, in cases that have them (default ${idle['idle-memory']} for
                      memory, ${idle['idle-busy']} beside busy ones)
  --rate N            requests a second at fixed moments, the same for everybody, by our own client
                      (default: as many as are answered)
  --peers LIST        whom to compare with (default: all), or none:
${rows(suite.peers)}
  --tier LIST         ring, crew or both: what is ours with io_uring, or without (default ring)
  --trials N          processes per contender, taking turns (default ${defaults.trials})
  --seconds N         of one measurement (default ${defaults.seconds})
  --quick             ${defaults.quick.trials} trials of ${defaults.quick.seconds} s
  --show LIST         which tables: ${sectionNames.join(', ')} (default: all)
  --peers-dir DIR     where peers are installed (default ${defaultPeersDirectory()})
  --json              one JSON object per line instead of tables; no progress

A ratio is the peer's CPU time per request divided by ours: above 1 trapless costs less.
`;
}
