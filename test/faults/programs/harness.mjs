/**
 * What the programs in this folder share. Each is run plain and under trapless, on the ring and
 * on the crew alone, and prints what it saw: the test compares.
 *
 *   await report(async (dir) => { …; return anything JSON can hold; });
 *
 * `dir` is an empty directory of its own, removed afterwards.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** trapless' kernel in this thread, if the program runs under it and has made a call. */
export const kernel = () => process[Symbol.for('trapless')]?.kernel ?? null;

/** Bytes that are all different for a while; `from` continues the same row. */
export function pattern(size, from = 0) {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i < size; i++) bytes[i] = ((i + from) * 7 + ((i + from) >> 8)) & 0xff;
  return bytes;
}

/** An error as far as a program can tell. */
export function errorSeen(error, dir = '\0') {
  const { name, message, code, errno, syscall, path, dest } = error;
  const within = (text) => text?.replaceAll(dir, '<dir>');
  return {
    name,
    message: within(message),
    code,
    errno,
    syscall,
    path: within(path),
    dest: within(dest),
  };
}

/** A promise's value, or its error. */
export async function outcome(promise, dir) {
  try {
    const value = await promise;
    return Buffer.isBuffer(value) ? `${value.length} bytes` : (value ?? 'done');
  } catch (error) {
    return errorSeen(error, dir);
  }
}

/** `callback => …` as a promise of [error, ...results]. */
export const called = (start) => new Promise((resolve) => start((...results) => resolve(results)));
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Waits until a condition holds; the test's own time limit ends it otherwise. */
export async function until(condition) {
  while (!(await condition())) await sleep(2);
}

export function makeFifo(dir, name = 'fifo') {
  const path = join(dir, name);
  execFileSync('mkfifo', [path]);
  return path;
}

/** Opens a FIFO for writing (and reading, so that it never waits for anybody). */
export const openFifo = (path) => fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);

export const descriptors = () => fs.readdirSync('/proc/self/fd').length;
export const threads = () => fs.readdirSync('/proc/self/task').length;
export const mappings = () => fs.readFileSync('/proc/self/maps', 'latin1').split('\n').length;

/** What trapless still holds: all of it 0 when nothing is in flight. */
function held() {
  const own = kernel();
  if (own === null) return null;
  const { entriesInUse } = own.statistics();
  return { entriesInUse, blocks: own.pool.taken, inFlight: own.inFlight };
}

export async function report(body) {
  const dir = fs.mkdtempSync(join(tmpdir(), 'trapless-fault-'));
  process.on('exit', () => fs.rmSync(dir, { recursive: true, force: true }));
  const value = await body(dir);
  await until(() => (kernel()?.inFlight ?? 0) === 0);
  const tier = process[Symbol.for('trapless')]?.tier?.().name ?? 'plain';
  fs.writeSync(1, `${JSON.stringify({ value: value ?? null, held: held(), tier })}\n`);
}
