/**
 * `trapless doctor`: which syscall threads are in use here, why, and what to do for more.
 *
 *   process.exitCode = await run(['--json']);
 *
 * It looks; it changes nothing. `--measure` takes the figures behind the routing table anew.
 */
import { parseArgs } from 'node:util';
import type { Route } from '../kernel/routes.ts';
import { measureRoutes, ROUTE_NAMES, type RouteRow } from '../lab/measure-routes.ts';
import { type Tier, tier } from '../node/environment-kernel.ts';
import { packageVersion } from '../report/package-root.ts';
import { Progress } from '../report/progress.ts';
import { formatNumber, formatTable } from '../report/table.ts';
import { type Check, examine } from './doctor-checks.ts';
import { explainFailure } from './failure.ts';

export const help = `Usage: trapless doctor [options]

Says which tier trapless uses here, why, and what to do for a better one.
  ring         io_uring and native threads
  crew         native threads alone: somewhat slower
  passthrough  nothing: programs run as plain Node runs them

Options
  --json      one JSON object
  --measure   measure what a call costs on each route (on the spot, ring, crew), and say where the
              built-in table would choose otherwise on this machine; takes about 10 seconds
  --dir DIR   where --measure reads and writes files (default: the temporary directory)
  --help      this text

Exit code: 0 if programs are accelerated, 1 if they are not, 2 for a mistake in the options.
`;

/** A route must be this much faster than the chosen one to be worth a word: below is noise. */
const WORTH = 1.3;

export function run(argv: readonly string[]): Promise<number> {
  return explainFailure('doctor', () => command(argv));
}

async function command(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      measure: { type: 'boolean', default: false },
      dir: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const inUse = tier();
  const checks = await examine(inUse);
  let rows: RouteRow[] | undefined;
  if (values.measure && inUse.name !== 'passthrough') {
    const progress = new Progress({ silent: values.json });
    try {
      rows = measureRoutes({ directory: values.dir, progress });
    } finally {
      progress.finish();
    }
  }
  process.stdout.write(values.json ? json(inUse, checks, rows) : text(inUse, checks, rows));
  return inUse.name === 'passthrough' ? 1 : 0;
}

function json(inUse: Tier, checks: readonly Check[], rows: readonly RouteRow[] | undefined) {
  const measured = rows?.map((row) => ({ ...row, better: better(row) }));
  return `${JSON.stringify({ trapless: packageVersion(), tier: inUse, checks, measured }, null, 2)}\n`;
}

function text(inUse: Tier, checks: readonly Check[], rows: readonly RouteRow[] | undefined) {
  const lines = [`trapless ${packageVersion()}: tier ${inUse.name}`, `  ${inUse.reason}`];
  if (inUse.advice !== undefined && inUse.name !== 'ring') lines.push(`  do: ${inUse.advice}`);
  lines.push('');
  for (const { status, what, detail, advice } of checks) {
    lines.push(`${status.padEnd(5)} ${what}: ${detail}`);
    if (advice !== undefined) lines.push(`      do: ${advice}`);
  }
  if (rows !== undefined) lines.push('', measured(rows));
  return `${lines.join('\n')}\n`;
}

function measured(rows: readonly RouteRow[]): string {
  const table = formatTable(
    ['us per call, batches of 64', ...ROUTE_NAMES.map(titleOf), 'table says', 'faster here'],
    rows.map((row) => [
      row.call,
      ...ROUTE_NAMES.map((route) => (row.us[route] === null ? '-' : formatNumber(row.us[route]))),
      titleOf(row.chosen),
      better(row) === null ? '' : titleOf(better(row)!),
    ]),
  );
  const other = rows.filter((row) => better(row) !== null);
  const verdict =
    other.length === 0
      ? 'The built-in table chooses as these figures would.'
      : `By these figures the table would choose otherwise for ${other.map((row) => row.call).join('; ')}.\n` +
        'It stays as it is: the time above is that of a whole batch; on the spot it is spent by the\n' +
        'program itself, on the crew by another core, if there is one.';
  return `${table}\n- : not possible on that route, or not without blocking\n\n${verdict}`;
}

const titleOf = (route: Route): string => (route === 'spot' ? 'on the spot' : route);

/** The route that beats the chosen one by enough to matter; null if none does. */
export function better(row: RouteRow): Route | null {
  const chosen = row.us[row.chosen] ?? Number.POSITIVE_INFINITY;
  let best: Route | null = null;
  for (const route of ROUTE_NAMES) {
    const us = row.us[route];
    if (us === null || us * WORTH > chosen) continue;
    if (best === null || us < row.us[best]!) best = route;
  }
  return best;
}
