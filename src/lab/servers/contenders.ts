/**
 * Who takes part in a server benchmark: runtimes with an API each, and the C limit.
 *
 *   await gatherContenders({ ours: …, peers: { node: 'node:http', … }, limit: ['http'] }, options);
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { childProgram, packageRoot, packageVersion } from '../../report/package-root.ts';
import { installPeer, type RuntimeName } from '../peers.ts';
import { compileBench } from './load.ts';
import type { GatherOptions } from './suite.ts';
import type { Contender } from './trial.ts';

/** What is served by the cases with a file. */
const FILE_BYTES = 1024;

export interface ContenderPlan {
  /** What the child is to be; with `register`, an unmodified program under trapless/register. */
  readonly api: string;
  readonly what: string;
  readonly runtime: 'this' | RuntimeName;
  readonly register?: boolean;
  /** The module of ours that has the api. */
  readonly module?: string;
  /** Files, too, are read by a module of ours. */
  readonly files?: boolean;
  readonly env?: NodeJS.ProcessEnv;
}

export async function gatherContenders(
  plans: Readonly<Record<string, ContenderPlan>>,
  limit: (name: string, file: string) => readonly string[],
  { scratch, tier, peers, peersDirectory, skipped, progress }: GatherOptions,
): Promise<Contender[]> {
  const dist = join(packageRoot(), 'dist');
  const register = join(dist, 'register.mjs');
  if (!existsSync(register))
    throw new Error(`${register} is missing: trapless is not built; run \`npm run build\` first`);
  const file = join(scratch, 'file.txt');
  writeFileSync(file, 'x'.repeat(FILE_BYTES));
  const child = childProgram('server-child.mjs');
  const onInstall = (name: string) => progress.note(`installing ${name} into ${peersDirectory}`);

  const contenders: Contender[] = [];
  for (const [name, plan] of Object.entries(plans)) {
    if (name !== 'ours' && !peers.includes(name)) continue;
    if (tier === 'crew' && plan.env === WITHOUT_RING) continue; // as another one is by then
    const isOurs = plan.register || plan.module !== undefined;
    const urlOf = (module: string) => pathToFileURL(join(dist, module)).href;
    const trapless = plan.module && urlOf(plan.module);
    const fs = plan.files ? urlOf('fs-promises.mjs') : undefined;
    let program = process.execPath;
    let version = isOurs ? `trapless ${packageVersion()}` : `Node ${process.version}`;
    if (plan.runtime !== 'this') {
      const peer = await installPeer(plan.runtime, { directory: peersDirectory, onInstall });
      if ('reason' in peer) {
        skipped.set(name, peer.reason);
        continue;
      }
      program = peer.path;
      version = `${RUNTIMES[plan.runtime]}${peer.version}`;
    }
    const before = plan.register ? ['--import', pathToFileURL(register).href] : [];
    const verb = plan.runtime === 'deno' ? ['run'] : [];
    if (plan.runtime === 'deno') before.push('--allow-all', '--quiet');
    contenders.push({
      name,
      what: plan.what,
      version,
      env: {
        ...environment(isOurs),
        ...(isOurs && tier === 'crew' ? WITHOUT_RING : {}),
        ...plan.env,
      },
      command: (which) => {
        const told = { api: plan.api, case: which, file, fs, trapless };
        const flags = which === 'idle-memory' ? COLLECTING[plan.runtime] : [];
        return [program, [...verb, ...flags, ...before, child, JSON.stringify(told)]];
      },
    });
  }
  if (!peers.includes('limit')) return contenders;
  const server = await compileBench('server', scratch);
  if ('reason' in server) skipped.set('limit', server.reason);
  else
    contenders.push({
      name: 'limit',
      what: 'C and epoll: what the kernel leaves to be won',
      version: 'native/bench/server.c',
      env: environment(false),
      command: (which) => [server.path, limit(which, file)],
    });
  return contenders;
}

export const WITHOUT_RING = { TRAPLESS_RING: '0' };

/** So that a program can collect its garbage. */
const COLLECTING: Readonly<Record<ContenderPlan['runtime'], readonly string[]>> = {
  this: ['--expose-gc'],
  node: ['--expose-gc'],
  deno: ['--v8-flags=--expose-gc'],
  bun: [],
};

const RUNTIMES: Readonly<Record<RuntimeName, string>> = {
  node: 'Node v',
  bun: 'Bun ',
  deno: 'Deno ',
};

/**
 * Peers run without anything of ours; what the user has set for trapless (TRAPLESS_RING, say) is
 * what they want measured.
 */
function environment(ours: boolean | undefined): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of Object.keys(env)) {
    const foreign = name === 'NODE_OPTIONS' || name === 'UV_USE_IO_URING' || name === 'TRAPLESS';
    if (foreign || (!ours && name.startsWith('TRAPLESS'))) delete env[name];
  }
  return env;
}
