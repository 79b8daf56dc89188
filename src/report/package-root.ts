/**
 * What lies beside the code in this package: its version and the programs that are not bundled.
 *
 *   join(packageRoot(), 'dist', 'register.mjs');
 *   childProgram('fs-child.mjs');
 */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../native/addon.ts';

export { packageRoot };

export function packageVersion(): string {
  return JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).version;
}

/**
 * Programs the benchmarks start in other runtimes. They are not bundled: the build copies
 * `src/lab/children/` to `dist/children/`.
 */
export function childProgram(name: string): string {
  const root = packageRoot();
  const places = [join(root, 'dist', 'children', name), join(root, 'src', 'lab', 'children', name)];
  // Beside the sources they run from the sources: a stale copy in dist would measure the past.
  if (typeof __dirname !== 'string') places.reverse();
  const place = places.find((candidate) => existsSync(candidate));
  if (place === undefined) {
    throw new Error(`${name} is in none of ${places.join(', ')}: build with \`npm run build\``);
  }
  return place;
}
