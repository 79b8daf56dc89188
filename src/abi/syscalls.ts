/**
 * System calls of the running architecture, by name and by number.
 *
 *   syscallNumber('openat')   257 on x86_64, 56 on arm64; a RangeError with advice if unknown
 *   syscallName(257)          'openat'; 'syscall_999' if no such number is known
 *   SYSCALLS?.get('openat')   the table itself, null where trapless has none; `[...SYSCALLS]` lists it
 *
 * The tables are generated (`scripts/generate-abi.mjs`). This file lies on the start-up path: loading it
 * only picks a string, a name is searched in that string, and the map from number to name is built at
 * the first `syscallName`.
 */
import { nearMiss } from './near-miss.ts';
import type { SYSCALLS_ARM64 } from './syscalls-arm64.ts';
import { SYSCALLS_ARM64_TEXT } from './syscalls-arm64.ts';
import type { SYSCALLS_X64 } from './syscalls-x64.ts';
import { SYSCALLS_X64_TEXT } from './syscalls-x64.ts';

/** Every name known on at least one supported architecture: `open`, say, is x86_64's alone. */
export type SyscallName = keyof typeof SYSCALLS_X64 | keyof typeof SYSCALLS_ARM64;

const TEXT =
  process.platform !== 'linux'
    ? ''
    : process.arch === 'x64'
      ? SYSCALLS_X64_TEXT
      : process.arch === 'arm64'
        ? SYSCALLS_ARM64_TEXT
        : '';

let names: Map<number, string> | undefined;

/** The running architecture's calls: a read-only map from name to number, in the order of numbers. */
export interface SyscallMap extends Iterable<[string, number]> {
  get(name: string): number | undefined;
}

/** The running architecture's calls, or null on an architecture (or system) without a table. */
export const SYSCALLS: SyscallMap | null = TEXT
  ? { get: (name) => find(name), [Symbol.iterator]: list }
  : null;

/** The number of the call `name`; throws a RangeError that says what to write instead. */
export function syscallNumber(name: SyscallName): number {
  return find(name) ?? fail(name);
}

/** The name of the call `number`, or `syscall_<number>`. */
export function syscallName(number: number): string {
  names ??= new Map(Array.from(list(), ([name, nr]) => [nr, name]));
  return names.get(number) ?? `syscall_${number}`;
}

function find(name: string, text = TEXT): number | undefined {
  const key = ` ${name}=`;
  const at = text.indexOf(key);
  // A space in the name could make it match across two calls.
  if (at === -1 || key.indexOf(' ', 1) !== -1) return undefined;
  return Number.parseInt(text.slice(at + key.length, at + key.length + 6), 10);
}

function list(): Iterator<[string, number]> & Iterable<[string, number]> {
  const rows = TEXT.trim().split(' ');
  return rows
    .map((row): [string, number] => [row.split('=')[0], Number(row.split('=')[1])])
    .values();
}

/** Throws the RangeError of `syscallNumber`. */
function fail(name: unknown): never {
  const text = String(name);
  const here = `${process.platform} ${process.arch}`;
  if (SYSCALLS === null) {
    throw new RangeError(
      `system call "${text}" has no known number on ${here}: trapless has tables for linux x64 and ` +
        'linux arm64; elsewhere use node:fs as it is',
    );
  }
  const near = nearest(text);
  const elsewhere = find(text, SYSCALLS_X64_TEXT) ?? find(text, SYSCALLS_ARM64_TEXT);
  throw new RangeError(
    (elsewhere !== undefined
      ? `system call "${text}" does not exist on ${here}: `
      : `unknown system call "${text}": `) +
      (near ? `did you mean "${near}"? ` : 'check the spelling. ') +
      "A call newer than trapless's table can be given by its number",
  );
}

/** The known name most like `wrong`: without a SYS_ prefix, with a usual suffix, or few edits away. */
function nearest(wrong: string): string | undefined {
  const bare = wrong
    .trim()
    .toLowerCase()
    .replace(/^(sys|__nr)_/, '');
  const usual = ['', 'at', '64', '2', '4', '1'].map((suffix) => bare + suffix);
  if (/stat(at)?(64)?$/.test(bare)) usual.push('newfstatat');
  for (const name of usual) if (find(name) !== undefined) return name;
  const names = Array.from(list(), ([name]) => name);
  return nearMiss(bare, names, Math.min(2, Math.floor(bare.length / 3)));
}
