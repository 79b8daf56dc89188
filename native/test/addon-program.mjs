/**
 * A program's side of a kernel, as small as it can be, and what the addon's tests count.
 *
 *   const program = new Program(load());
 *   program.fill(0, NUMBERS.getppid); program.post(0); await program.done(0);
 *   program.native.close();
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const addonPath = join(
  dirname(fileURLToPath(import.meta.url)),
  '..',
  'build',
  'Release',
  'trapless.node',
);
export const load = () => createRequire(import.meta.url)(addonPath);

export const NUMBERS = {
  x64: { read: 0, getppid: 110, close: 3, socket: 41, bind: 49, listen: 50, getsockname: 51 },
  arm64: {
    read: 63,
    getppid: 173,
    close: 57,
    socket: 198,
    bind: 200,
    listen: 201,
    getsockname: 204,
  },
}[process.arch];
const SUBMITTED = 1;
const DONE = 3;
const ENTRY = 64;

export class Program {
  constructor(addon, { pages = 1, attach = true, drain = () => this.harvest() } = {}) {
    const layout = addon.layout;
    this.layout = layout;
    this.native = addon.open(pages, 65536, drain, attach);
    this.entries = new Int32Array(this.native.desk, this.native.entries);
    this.control = new Int32Array(this.native.desk, this.native.control, 64);
    this.descs = new Int32Array(this.native.desk, this.native.descs, (layout.descSize / 4) * pages);
    this.spotList = new Uint16Array(this.native.desk, this.native.spotList);
    this.control[layout.pagesInUse / 4] = pages;
  }

  fill(id, number, ...args) {
    const at = (id * ENTRY) / 4;
    this.entries.fill(0, at, at + ENTRY / 4);
    this.entries[at + 1] = number;
    args.forEach((arg, i) => {
      const value = BigInt.asUintN(64, BigInt(arg));
      this.entries[at + 2 + i * 2] = Number(BigInt.asIntN(32, value));
      this.entries[at + 3 + i * 2] = Number(BigInt.asIntN(32, value >> 32n));
    });
    Atomics.store(this.entries, at, SUBMITTED);
  }

  post(id) {
    const at = ((id >> 6) * this.layout.descSize + this.layout.descReady) / 4 + ((id >> 5) & 1);
    Atomics.or(this.descs, at, 1 << (id & 31));
    if (Atomics.load(this.control, this.layout.awake / 4) === 0) this.native.wake();
  }

  /** Looks at nothing, but says that it has looked. */
  harvest() {
    const { bell, bellSeen } = this.layout;
    this.control[bellSeen / 4] = Atomics.load(this.control, bell / 4);
    return 0;
  }

  status(id) {
    return Atomics.load(this.entries, (id * ENTRY) / 4);
  }

  result(id) {
    return this.entries[(id * ENTRY) / 4 + 14];
  }

  async done(id) {
    for (let i = 0; this.status(id) !== DONE; i++) {
      assert.ok(i < 10_000, `entry ${id} was never done`);
      await pause(1);
    }
  }

  /** Reads that never end, on a pipe nobody writes to. */
  blockOn(fd, ids) {
    for (const id of ids) {
      this.fill(id, NUMBERS.read, fd, this.native.poolAddress, 1);
      this.post(id);
    }
  }
}

/** The read end of a FIFO that stays empty. */
export async function emptyPipe() {
  const fs = await import('node:fs');
  const dir = mkdtempSync(join(tmpdir(), 'trapless-addon-'));
  spawnSync('mkfifo', [join(dir, 'fifo')]);
  const fd = fs.openSync(join(dir, 'fifo'), 'r+');
  rmSync(dir, { recursive: true });
  return fd;
}

export async function collectGarbage() {
  for (let i = 0; i < 5; i++) {
    globalThis.gc();
    await turn();
    await pause(1);
  }
}

export const descriptors = () => readdirSync('/proc/self/fd').length;
export const kibibytes = (name) =>
  Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))[1]);
