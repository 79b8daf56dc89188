/**
 * Directories for tests, and what the process has open.
 */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export function temporaryDirectory(name: string): string {
  return fs.mkdtempSync(join(tmpdir(), `trapless-${name}-`));
}

/** Removes a directory, whatever permissions a test left in it. */
export function removeTree(dir: string): void {
  try {
    fs.rmSync(dir, { recursive: true, force: true });
  } catch {
    openUp(dir);
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

function openUp(dir: string): void {
  fs.chmodSync(dir, 0o700);
  for (const entry of fs.readdirSync(dir, { withFileTypes: true }))
    if (entry.isDirectory()) openUp(join(dir, entry.name));
}

/** What this process has open below `dir`, removed files too: `number -> path`. */
export function openDescriptors(dir: string): string[] {
  const open: string[] = [];
  for (const number of fs.readdirSync('/proc/self/fd')) {
    try {
      const path = fs.readlinkSync(`/proc/self/fd/${number}`);
      if (path.startsWith(dir)) open.push(`${number} -> ${path}`);
    } catch {
      // it was the one that read the list
    }
  }
  return open.sort();
}
