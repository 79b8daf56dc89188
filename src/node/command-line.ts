/**
 * The other bundle, dist/cli.cjs: what a program under trapless needs at most once and late, such
 * as tables and help, so that starting it stays cheap.
 *
 *   commandLine().main(['help', 'run']);
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { packageRoot } from '../native/addon.ts';

export type CommandLine = typeof import('../cli/main.ts');

export function commandLine(): CommandLine {
  const root = packageRoot();
  return createRequire(join(root, 'package.json'))(join(root, 'dist', 'cli.cjs')) as CommandLine;
}
