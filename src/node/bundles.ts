/**
 * The other bundles, loaded when they are needed: starting a program must not pay for them.
 *
 *   runtime().fs()          dist/trapless.cjs: kernel, operations and all, at the first call
 *   httpServers().takeOver  dist/http-server.cjs: HTTP servers, when the first one listens
 *   commandLine().runHelp   dist/cli.cjs: tables and help
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { packageRoot } from '../native/addon.ts';
import { loadCached } from './code-cache.ts';

/** Where the bundles lie; so does the one that this file is part of. */
export const dist = typeof __dirname === 'string' ? __dirname : join(packageRoot(), 'dist');

const load = (name: string): unknown => createRequire(join(dist, name))(join(dist, name));

export function runtime(): typeof import('../bundle.ts') {
  const cached = loadCached(join(dist, 'trapless.cjs'));
  return (cached ?? load('trapless.cjs')) as typeof import('../bundle.ts');
}

export function httpServers(): typeof import('../http/server/server.ts') {
  return load('http-server.cjs') as typeof import('../http/server/server.ts');
}

export function commandLine(): typeof import('../cli/main.ts') {
  return load('cli.cjs') as typeof import('../cli/main.ts');
}
