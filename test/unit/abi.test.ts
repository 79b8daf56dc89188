/**
 * src/abi against the machine: struct offsets, constants and system call numbers against a C program
 * compiled here (native/test/abi_offsets.c), the generated tables against the kernel headers, error
 * names against Node's own errors.
 *
 *   node --import tsx --test test/unit/abi.test.ts
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ERRNO, errnoMessage, errnoName } from '../../src/abi/errno.ts';
import * as structs from '../../src/abi/structs.ts';
import { SYSCALLS, type SyscallName, syscallName, syscallNumber } from '../../src/abi/syscalls.ts';
import { SYSCALLS_ARM64, SYSCALLS_ARM64_TEXT } from '../../src/abi/syscalls-arm64.ts';
import { SYSCALLS_X64, SYSCALLS_X64_TEXT } from '../../src/abi/syscalls-x64.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const generate = join(root, 'scripts/generate-abi.mjs');
const supported = SYSCALLS !== null;

let temp: string;
before(() => {
  temp = mkdtempSync(join(tmpdir(), 'trapless-abi-test-'));
});
after(() => rmSync(temp, { recursive: true, force: true }));

/** The C program's lines, as name to value. */
function machine(): Map<string, number> {
  const binary = join(temp, 'abi_offsets');
  const flags = '-std=c11 -Wall -Wextra -Werror -D_DEFAULT_SOURCE -D_FILE_OFFSET_BITS=64'.split(
    ' ',
  );
  const source = join(root, 'native/test/abi_offsets.c');
  execFileSync(process.env.CC || 'cc', [...flags, source, '-o', binary], { stdio: 'inherit' });
  const lines = execFileSync(binary, { encoding: 'utf8' }).trim().split('\n');
  return new Map(lines.map((line) => [line.split(' ')[0], Number(line.split(' ')[1])]));
}

/** structs.ts in the same form. */
function ours(): Map<string, number> {
  const values = new Map<string, number>();
  for (const [name, value] of Object.entries(structs)) {
    if (typeof value === 'number') values.set(name, value);
    else
      for (const [field, offset] of Object.entries(value)) values.set(`${name}.${field}`, offset);
  }
  return values;
}

test('structs and system call numbers agree with the C headers', { skip: !supported }, () => {
  const expected: Record<string, number> = {};
  const calls: Record<string, number> = {};
  for (const [name, value] of machine()) {
    if (name.startsWith('SYS.')) calls[name.slice(4)] = value;
    else expected[name] = value;
  }
  const actual: Record<string, number> = {};
  for (const name of [...Object.keys(expected), ...ours().keys()]) {
    const value = ours().get(name);
    if (value !== undefined) actual[name] = value;
  }
  assert.deepEqual(actual, expected);
  assert.ok(Object.keys(calls).length >= 12);
  for (const [name, number] of Object.entries(calls)) {
    assert.equal(syscallNumber(name as SyscallName), number, name);
    assert.equal(syscallName(number), name);
  }
});

describe('the generated tables', () => {
  test('are what the kernel headers say', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [generate, '--check'], {
      encoding: 'utf8',
    });
    assert.equal(status, 0, stdout + stderr);
  });

  test('are skipped, not failed, where there are no headers', () => {
    const { status, stdout } = spawnSync(
      process.execPath,
      [generate, '--check', '--headers', join(temp, 'nowhere')],
      { encoding: 'utf8' },
    );
    assert.match(stdout, /^skipped: headers not installed/);
    assert.equal(status, 0);
  });

  test('hold the same calls as object and as text, each name and number once', () => {
    for (const [table, text] of [
      [SYSCALLS_X64, SYSCALLS_X64_TEXT],
      [SYSCALLS_ARM64, SYSCALLS_ARM64_TEXT],
    ] as const) {
      const rows = Object.entries(table);
      assert.equal(` ${rows.map(([name, number]) => `${name}=${number}`).join(' ')} `, text);
      const numbers = rows.map(([, number]) => number);
      assert.equal(new Set(numbers).size, numbers.length);
      assert.deepEqual(
        numbers,
        [...numbers].sort((a, b) => a - b),
      );
    }
  });

  test('agree on every call since 424', () => {
    const since = (table: Record<string, number>) =>
      Object.entries(table).filter(([, number]) => number >= 424);
    assert.deepEqual(since(SYSCALLS_X64), since(SYSCALLS_ARM64));
    assert.equal(SYSCALLS_ARM64.openat, 56);
    assert.equal(SYSCALLS_ARM64.renameat, 38);
    assert.equal(SYSCALLS_ARM64.getrlimit, 163);
    assert.ok(!('open' in SYSCALLS_ARM64));
  });
});

describe('syscallNumber and syscallName', { skip: !supported }, () => {
  test('are inverse over the whole table', () => {
    for (const [name, number] of SYSCALLS!) {
      assert.equal(syscallNumber(name as SyscallName), number);
      assert.equal(SYSCALLS!.get(name), number);
      assert.equal(syscallName(number), name);
    }
    assert.equal(syscallName(999), 'syscall_999');
  });

  test('a wrong name is a RangeError that says what to write', () => {
    const wrong = (name: string, message: RegExp) =>
      assert.throws(
        () => syscallNumber(name as SyscallName),
        { name: 'RangeError', message },
        name,
      );
    wrong('opneat', /unknown system call "opneat": did you mean "openat"\?/);
    wrong('SYS_read', /did you mean "read"\?/);
    wrong('fstatat', /did you mean "newfstatat"\?/);
    wrong('nothing like it', /check the spelling.*by its number/);
    for (const name of ['constructor', '__proto__', '', 'read=0 write']) {
      wrong(name, /unknown system call/);
    }
  });
});

test('another architecture gets its own table and flags, or none', () => {
  const on = (arch: string): string => {
    const code = `
      Object.defineProperty(process, 'platform', { value: 'linux' });
      Object.defineProperty(process, 'arch', { value: '${arch}' });
      const { SYSCALLS, syscallName, syscallNumber } = await import('./src/abi/syscalls.ts');
      const { O_DIRECTORY, O_TMPFILE } = await import('./src/abi/structs.ts');
      const attempt = (name) => { try { return syscallNumber(name); } catch (e) { return e.message; } };
      const flags = [O_DIRECTORY.toString(8), O_TMPFILE.toString(8)];
      console.log([SYSCALLS && [...SYSCALLS].length > 300, attempt('openat'), syscallName(56),
        attempt('open'), ...flags].join('\\n'));`;
    const args = ['--import', 'tsx', '--input-type=module', '-e', code];
    return execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
  };
  assert.match(on('x64'), /^true\n257\nclone\n2\n200000\n20200000\n$/);
  assert.match(
    on('arm64'),
    /^true\n56\nopenat\nsystem call "open" does not exist on linux arm64: did you mean "openat"\?.*\n40000\n20040000\n$/,
  );
  assert.match(
    on('riscv64'),
    /^\nsystem call "openat" has no known number on linux riscv64: .*\nsyscall_56\n/,
  );
});

describe('errno', () => {
  test('has the names and messages of Node itself', () => {
    let error: NodeJS.ErrnoException | undefined;
    try {
      statSync(join(temp, 'missing'));
    } catch (caught) {
      error = caught as NodeJS.ErrnoException;
    }
    assert.equal(errnoName(error!.errno!), error!.code);
    assert.ok(error!.message.startsWith(`ENOENT: ${errnoMessage(error!.errno!)}, stat`));
    assert.equal(errnoName(2), 'ENOENT');
    assert.equal(errnoName(-2), 'ENOENT');
  });

  test('writes a number unknown to libuv as libuv does', () => {
    assert.equal(errnoName(9999), 'Unknown system error -9999');
    assert.equal(errnoMessage(-9999), 'Unknown system error -9999');
  });

  test('has the numbers of the machine', { skip: !supported }, () => {
    for (const [name, number] of Object.entries(ERRNO)) {
      assert.equal(constants.errno[name as keyof typeof constants.errno], number, name);
      // libuv reads EOPNOTSUPP as ENOTSUP, and does not know ETIME.
      if (name !== 'EOPNOTSUPP' && name !== 'ETIME') assert.equal(errnoName(number), name);
    }
  });
});

test('the O_ flags are those the kernel shows in /proc', {
  skip: !supported,
}, () => {
  const { O_DIRECTORY, O_LARGEFILE, O_CLOEXEC } = structs;
  const code = `
    const fs = require('node:fs');
    const fd = fs.openSync('/', ${O_DIRECTORY});
    process.stdout.write(fs.readFileSync('/proc/self/fdinfo/' + fd, 'utf8'));`;
  const info = execFileSync(process.execPath, ['-e', code], { encoding: 'utf8' });
  const flags = Number.parseInt(/flags:\s*([0-7]+)/.exec(info)![1], 8);
  assert.equal(flags, O_DIRECTORY | O_LARGEFILE | O_CLOEXEC);
});
