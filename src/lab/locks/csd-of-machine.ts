/**
 * The csd that `trapless lab csd` found on this machine: the default of the experiments after it.
 *
 *   saveCsd(1250);
 *   savedCsd();          // { csdNs: 1250, … }, or null: never measured, or by another Node
 *
 * It lies in `$XDG_CACHE_HOME/trapless/csd.json` (or `~/.cache/trapless/csd.json`); delete that file
 * to go back to the paper's 2^14 cycles.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, homedir } from 'node:os';
import { dirname, join } from 'node:path';

export interface SavedCsd {
  readonly csdNs: number;
  /** Critical sections are code of this engine on this processor. */
  readonly node: string;
  readonly processor: string;
  readonly measured: string;
}

function file(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'trapless', 'csd.json');
}

function here(): Pick<SavedCsd, 'node' | 'processor'> {
  return { node: process.version, processor: cpus()[0]?.model ?? 'unknown' };
}

/** False where there is no place to keep it. */
export function saveCsd(csdNs: number): boolean {
  const saved: SavedCsd = { csdNs, ...here(), measured: new Date().toISOString() };
  try {
    mkdirSync(dirname(file()), { recursive: true });
    writeFileSync(file(), `${JSON.stringify(saved)}\n`);
    return true;
  } catch {
    return false;
  }
}

export function savedCsd(): SavedCsd | null {
  try {
    const saved = JSON.parse(readFileSync(file(), 'utf8')) as SavedCsd;
    const { node, processor } = here();
    const valid = Number.isFinite(saved.csdNs) && saved.csdNs > 0;
    return valid && saved.node === node && saved.processor === processor ? saved : null;
  } catch {
    return null;
  }
}
