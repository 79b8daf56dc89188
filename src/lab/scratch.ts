/**
 * A directory for the files of one measurement, gone when the process is, however it ends short
 * of SIGKILL.
 *
 *   const scratch = createScratch(options.dir);
 *   try { ... scratch.path ... } finally { scratch.remove(); }
 */

import { accessSync, constants, mkdtempSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Scratch {
  readonly path: string;
  remove(): void;
}

/** Below `parent`, or in memory where the machine offers that, or in the temporary directory. */
export function createScratch(parent: string = defaultParent()): Scratch {
  let stats: ReturnType<typeof statSync>;
  try {
    stats = statSync(parent);
  } catch {
    throw new Error(`${parent} does not exist; give --dir an existing directory`);
  }
  if (!stats?.isDirectory()) throw new Error(`${parent} is not a directory; change --dir`);

  const path = mkdtempSync(join(realpathSync(parent), 'trapless-'));
  const remove = () => rmSync(path, { recursive: true, force: true });
  process.once('exit', remove);
  return {
    path,
    remove() {
      process.removeListener('exit', remove);
      remove();
    },
  };
}

/** Files in memory: what is measured is the calls, not a disk. */
function defaultParent(): string {
  try {
    accessSync('/dev/shm', constants.W_OK | constants.X_OK);
    return '/dev/shm';
  } catch {
    return tmpdir();
  }
}

/**
 * Ctrl-C and SIGTERM end the process by `process.exit`, so that 'exit' listeners clean up; returns
 * the way back.
 */
export function exitOnSignals(before: () => void): () => void {
  const interrupted = () => {
    before();
    process.exit(130); // 128 + SIGINT, what a shell expects.
  };
  const terminated = () => {
    before();
    process.exit(143); // 128 + SIGTERM
  };
  process.on('SIGINT', interrupted);
  process.on('SIGTERM', terminated);
  return () => {
    process.removeListener('SIGINT', interrupted);
    process.removeListener('SIGTERM', terminated);
  };
}
