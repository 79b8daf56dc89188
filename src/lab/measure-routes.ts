/**
 * What a call costs on each route, measured here: the figures behind src/kernel/routes.ts.
 *
 *   const rows = measureRoutes({ directory: tmpdir() });
 *   rows[0]    // { call: 'nop', chosen: 'ring', us: { spot: 0.05, ring: 0.12, crew: 0.8 } }
 *
 * Each call is posted in batches of 64, as under load, and waited for without an event loop. The
 * time is that until the batch is done: on the spot the program's thread spends it itself, a ring
 * shares it, the crew leaves the thread free if there is another core.
 */
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { FLAG, NUMBER_NOP } from '../abi/entry.ts';
import { STATX_MASK } from '../abi/structs.ts';
import { Kernel } from '../kernel/kernel.ts';
import { ROUTES, type Route } from '../kernel/routes.ts';
import { number, putCwd, putPath } from '../ops/call.ts';
import { claimChain, fillClose, following, putBlock } from '../ops/chain.ts';
import { fillOpen } from '../ops/open.ts';
import { SLOT_RESULT } from '../page/pages.ts';
import type { Progress } from '../report/progress.ts';
import { median } from '../report/statistics.ts';

export interface RouteRow {
  readonly call: string;
  /** What the table says; without a ring, its share goes to the crew. */
  readonly chosen: Route;
  /** Microseconds for each call; null: this route cannot do it (or would block). */
  readonly us: Readonly<Record<Route, number | null>>;
}

export interface MeasureOptions {
  /** Where files are read and written. Default: the temporary directory. */
  readonly directory?: string;
  /** For each call and route; the disk decides how many batches that are. */
  readonly milliseconds?: number;
  readonly progress?: Progress;
}

const BATCH = 64;
/** Fewest batches: fsync of a real disk takes milliseconds. */
const BATCHES_MIN = 5;
const BATCHES_MAX = 2000;
const BYTES = 1024;
/** Times a measurement is begun anew when not every call took the route that is measured. */
const ATTEMPTS = 4;
const SPOT_PAUSE_MS = 1100;
export const ROUTE_NAMES: readonly Route[] = ['spot', 'ring', 'crew'];

interface Files {
  readonly path: string;
  readonly readFd: number;
  readonly writeFd: number;
}

interface Case {
  readonly call: string;
  /** The entry of ROUTES that decides. */
  readonly key: keyof typeof ROUTES;
  /** Claims and fills the entries of one call; returns the first. */
  fill(kernel: Kernel, files: Files, block: number): number;
}

function claim(kernel: Kernel): number {
  const id = kernel.pages.claim();
  if (id === -1) throw new Error('trapless: no free entry');
  return id;
}

const CASES: readonly Case[] = [
  {
    call: 'nop',
    key: 'nop',
    fill(kernel) {
      const id = claim(kernel);
      kernel.pages.call(id, NUMBER_NOP, 0, 0);
      return id;
    },
  },
  {
    call: 'getppid',
    key: 'getppid',
    fill(kernel) {
      const id = claim(kernel);
      kernel.pages.call(id, number('getppid'), 0, 0);
      return id;
    },
  },
  {
    call: 'statx',
    key: 'statx',
    fill(kernel, { path }) {
      const id = claim(kernel);
      kernel.pages.call(id, number('statx'), 5, 0);
      putCwd(kernel, id, 0);
      putPath(kernel, id, 1, path);
      kernel.pages.setInt(id, 2, 0);
      kernel.pages.setInt(id, 3, STATX_MASK);
      kernel.pages.setSlot(id, 4, SLOT_RESULT);
      return id;
    },
  },
  {
    call: 'openat + close',
    key: 'openat',
    fill(kernel, { path }) {
      const id = claimChain(kernel, 2);
      fillOpen(kernel, id, path, 0, 0, FLAG.link);
      fillClose(kernel, following(kernel, id), 0);
      return id;
    },
  },
  { call: 'pread64, 1 KiB', key: 'pread64', fill: transfer('pread64') },
  { call: 'pwrite64, 1 KiB', key: 'pwrite64', fill: transfer('pwrite64') },
  {
    call: 'fsync',
    key: 'fsync',
    fill(kernel, { writeFd }) {
      const id = claim(kernel);
      kernel.pages.call(id, number('fsync'), 1, 0);
      kernel.pages.setInt(id, 0, writeFd);
      return id;
    },
  },
];

function transfer(name: 'pread64' | 'pwrite64'): Case['fill'] {
  return (kernel, { readFd, writeFd }, block) => {
    const id = claim(kernel);
    kernel.pages.call(id, number(name), 4, 0);
    kernel.pages.setInt(id, 0, name === 'pread64' ? readFd : writeFd);
    putBlock(kernel, id, block, BYTES);
    kernel.pages.setInt(id, 3, 0);
    return id;
  };
}

/** Measures every call on every route. Throws where there is no addon. */
export function measureRoutes(options: MeasureOptions = {}): RouteRow[] {
  const { directory = tmpdir(), milliseconds = 150, progress } = options;
  // Sharing a long batch with the crew would measure two routes at once.
  const kernel = Kernel.register({ share: false });
  const folder = mkdtempSync(join(directory, 'trapless-measure-'));
  const path = join(folder, 'file');
  writeFileSync(path, Buffer.alloc(BYTES, 'x'));
  const files: Files = { path, readFd: openSync(path, 'r'), writeFd: openSync(path, 'r+') };
  try {
    fsyncSync(files.writeFd);
    progress?.expect(CASES.length * ROUTE_NAMES.length);
    return CASES.map((one) => {
      const us: Record<Route, number | null> = { spot: null, ring: null, crew: null };
      for (const route of ROUTE_NAMES) {
        progress?.step(`${one.call} on the ${route}`);
        us[route] = measure(kernel, one, files, route, milliseconds);
      }
      return { call: one.call, chosen: chosen(kernel, one), us };
    });
  } finally {
    kernel.close();
    closeSync(files.readFd);
    closeSync(files.writeFd);
    rmSync(folder, { recursive: true, force: true });
  }
}

function chosen(kernel: Kernel, { key }: Case): Route {
  const route = ROUTES[key]?.first ?? 'crew';
  return route === 'ring' && kernel.ring === null ? 'crew' : route;
}

function measure(
  kernel: Kernel,
  one: Case,
  files: Files,
  route: Route,
  milliseconds: number,
): number | null {
  kernel.reroute(one.key === 'nop' ? NUMBER_NOP : number(one.key), route);
  const taken = () => kernel.statistics().calls[route];
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const before = taken();
    batch(kernel, one, files); // warm, and a look whether the route takes it at all
    if (taken() === before) return null;
    const times: number[] = [];
    const until = performance.now() + milliseconds;
    while (times.length < BATCHES_MIN || (performance.now() < until && times.length < BATCHES_MAX))
      times.push((batch(kernel, one, files) * 1000) / BATCH);
    // On a busy machine the spot may have closed for a second meanwhile (kernel/spot.ts).
    if (taken() - before === (times.length + 1) * BATCH) return median(times);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SPOT_PAUSE_MS);
  }
  return null;
}

/** One batch of 64: milliseconds until the last is done. */
function batch(kernel: Kernel, one: Case, files: Files): number {
  const blocks = Array.from({ length: BATCH }, () => kernel.pool.take(BYTES));
  const completion = {
    done(kernel: Kernel, id: number): void {
      const result = kernel.pages.result(id);
      kernel.pages.free(id);
      if (result < 0) throw new Error(`${one.call} failed: ${errorName(-result)}`);
    },
  };
  const started = performance.now();
  for (const block of blocks) kernel.post(one.fill(kernel, files, block), completion);
  while (kernel.inFlight > 0) kernel.wait();
  const took = performance.now() - started;
  for (const block of blocks) kernel.pool.give(block);
  return took;
}

function errorName(errno: number): string {
  return (
    Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`
  );
}
