/**
 * Runs the programs of programs/ plain and under trapless.
 *
 *   sameAsPlain('a deleted working directory', 'deleted-directory.mjs');
 *   onBothTiers('…', 'program.mjs', {}, (value, plain) => { … assert … });
 *
 * Plain Node is the oracle. Each program is a process of its own; trapless must hold no entry and
 * no block at its end.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ExecuteOptions, execute, registerMjs, root } from '../support/execute.ts';

export type Tier = 'plain' | 'ring' | 'crew';
const ENVIRONMENT: Readonly<Record<Tier, NodeJS.ProcessEnv>> = {
  plain: {},
  ring: { TRAPLESS_RING: '1' },
  crew: { TRAPLESS_RING: '0' },
};

export interface ProgramOptions {
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** For Node itself. */
  readonly nodeOptions?: readonly string[];
  /** What starts Node: `['unshare', '--mount', …]`. */
  readonly through?: readonly string[];
  readonly timeoutMs?: number;
  /** False: Node is not asked. */
  readonly plain?: boolean;
  /** Why it cannot run here, or null. */
  readonly skip?: () => string | null;
}

export interface Report {
  readonly value: unknown;
  readonly tier: string;
  readonly held: Readonly<Record<string, number>> | null;
}

export async function runProgram(
  program: string,
  tier: Tier,
  options: ProgramOptions = {},
): Promise<Report> {
  const { args = [], env, nodeOptions = [], through = [], timeoutMs } = options;
  const node = [process.execPath, ...nodeOptions];
  if (tier !== 'plain') node.push('--import', registerMjs);
  const line = [...through, ...node, join(root, 'test', 'faults', 'programs', program), ...args];
  const executeOptions: ExecuteOptions = {
    command: line[0],
    env: { ...ENVIRONMENT[tier], ...env },
    timeoutMs,
  };
  const { code, signal, stdout, stderr } = await execute(line.slice(1), executeOptions);
  assert.equal(signal ?? code, 0, `${program} on ${tier} ended with ${signal ?? code}:\n${stderr}`);
  const last = stdout.trimEnd().split('\n').at(-1) ?? '';
  return JSON.parse(last) as Report;
}

const plainReports = new Map<string, Promise<Report>>();

/** One run of plain Node serves both tiers. */
function plainReport(program: string, options: ProgramOptions): Promise<Report> {
  const key = JSON.stringify([program, options.args, options.env, options.through]);
  let report = plainReports.get(key);
  if (report === undefined) {
    report = runProgram(program, 'plain', options);
    plainReports.set(key, report);
  }
  return report;
}

type Check = (value: unknown, plain: unknown, t: TestContext) => void;

export function onBothTiers(
  title: string,
  program: string,
  options: ProgramOptions,
  check: Check,
): void {
  for (const tier of ['ring', 'crew'] as const)
    test(`${title} [${tier}]`, async (t) => {
      const reason = options.skip?.() ?? null;
      if (reason !== null) return t.skip(reason);
      const report = await runProgram(program, tier, options);
      if (tier === 'ring' && report.tier === 'crew') return t.skip('Linux refuses a ring here');
      assert.equal(report.tier, tier);
      const plain = options.plain === false ? null : await plainReport(program, options);
      check(report.value, plain?.value, t);
      assert.deepEqual(report.held, { entriesInUse: 0, blocks: 0, inFlight: 0 });
    });
}

export function sameAsPlain(title: string, program: string, options: ProgramOptions = {}): void {
  onBothTiers(title, program, options, (value, plain) => assert.deepEqual(value, plain));
}

/** Why there is no `command` to run, or null. */
export function without(command: string): string | null {
  const paths = (process.env.PATH ?? '').split(':');
  return paths.some((path) => existsSync(join(path, command))) ? null : `needs ${command}`;
}

/** How to run something with a small tmpfs at `/mnt`, or null. */
export function withTmpfs(size: string): { through: string[]; skip: () => string | null } {
  const own = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const script = `mount -t tmpfs -o size=${size} trapless-test /mnt && exec "$@"`;
  const through = ['unshare', ...own, '--mount', 'sh', '-c', script, 'sh'];
  const skip = () => {
    const { status, stderr, error } = spawnSync(through[0], [...through.slice(1), 'true'], {
      encoding: 'utf8',
    });
    return status === 0 ? null : `needs a tmpfs of its own: ${error?.message ?? stderr.trim()}`;
  };
  return { through, skip };
}
