/**
 * Where this package lies on disk, from the bundles in `dist/` and from the sources alike.
 *
 *   join(packageRoot(), 'dist', 'register.mjs');
 */

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

let found: string | undefined;

/** The directory whose package.json is trapless's own. */
export function packageRoot(): string {
  if (found !== undefined) return found;
  // A CommonJS bundle has __dirname and no import.meta.url; sources are the other way round.
  const here = typeof __dirname === 'string' ? __dirname : dirname(fileURLToPath(import.meta.url));
  for (let folder = here; ; folder = dirname(folder)) {
    if (packageName(folder) === 'trapless') {
      found = folder;
      return folder;
    }
    if (folder === dirname(folder)) {
      throw new Error(`no package.json of trapless above ${here}: is the installation complete?`);
    }
  }
}

export function packageVersion(): string {
  return manifest(packageRoot())?.version ?? 'unknown';
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

function packageName(folder: string): string | undefined {
  return manifest(folder)?.name;
}

function manifest(folder: string): { name?: string; version?: string } | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  } catch {
    return undefined;
  }
}
