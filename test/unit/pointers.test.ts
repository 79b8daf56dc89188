/**
 * Is the table of pointer arguments right? Compared with what the running Linux says of its own
 * system calls (tracefs) where that is readable. A failure means that a number could become an
 * address, or that a call cannot be posted as it should.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { listedNames, refusalOf, signatureOf } from '../../src/abi/pointers.ts';
import { SYSCALLS, type SyscallName, syscallNumber } from '../../src/abi/syscalls.ts';
import { SYSCALLS_ARM64 } from '../../src/abi/syscalls-arm64.ts';
import { SYSCALLS_X64 } from '../../src/abi/syscalls-x64.ts';

const EVENTS = '/sys/kernel/tracing/events/syscalls';
/** Where tracefs has another name: that of the function in Linux. */
const KERNEL_NAMES: Readonly<Record<string, string>> = {
  sendfile: 'sendfile64',
  uname: 'newuname',
  umount2: 'umount',
  stat: 'newstat',
  lstat: 'newlstat',
  fstat: 'newfstat',
};

/** Whether each argument is a pointer, as Linux declares it; null where it does not tell. */
function declared(name: string): boolean[] | null {
  const file = `${EVENTS}/sys_enter_${KERNEL_NAMES[name] ?? name}/format`;
  if (!existsSync(file)) return null;
  const fields = readFileSync(file, 'utf8').matchAll(/^\s+field:(.*?);/gm);
  return Array.from(fields, ([, field]) => field)
    .filter((field) => !/common_|__syscall_nr/.test(field))
    .map((field) => field.includes('*') || field.startsWith('cap_user'));
}

test('every listed call exists on x86_64 or arm64, once', () => {
  const names = listedNames();
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.ok(name in SYSCALLS_X64 || name in SYSCALLS_ARM64, name);
  assert.ok(names.length > 250);
});

test('a call is either listed or refused', () => {
  for (const name of listedNames()) assert.equal(refusalOf(name), undefined, name);
  for (const name of ['exit_group', 'clone3', 'rt_sigreturn', 'mmap', 'setuid', 'io_uring_enter'])
    assert.ok(refusalOf(name), name);
});

test('sizes are told by arguments that can tell them', () => {
  for (const name of listedNames()) {
    const number = SYSCALLS?.get(name);
    if (number === undefined) continue;
    const { params, required } = signatureOf(number)!;
    assert.ok(params.length <= 6 && required <= params.length, name);
    for (const { kind, sizeArg, operator } of params) {
      if (sizeArg === -1) continue;
      assert.equal(params[sizeArg].kind, operator === '{' ? 'p' : 'i', name);
      assert.notEqual(kind, 'i', name);
    }
  }
});

test('known signatures', () => {
  const kinds = (name: SyscallName) =>
    signatureOf(syscallNumber(name))!
      .params.map((param) => param.kind)
      .join('');
  assert.equal(kinds('openat'), 'isii');
  assert.equal(kinds('pread64'), 'iwii');
  assert.equal(kinds('getppid'), '');
  assert.equal(signatureOf(0xffe), undefined);
  const [, , , , buffer] = signatureOf(syscallNumber('statx'))!.params;
  assert.deepEqual([buffer.kind, buffer.bytes], ['p', 256]);
});

const skip = existsSync(`${EVENTS}/sys_enter_openat/format`) ? false : 'tracefs is not readable';
test('pointers are where this Linux has them', { skip }, () => {
  let compared = 0;
  for (const name of listedNames()) {
    const number = SYSCALLS?.get(name);
    const expected = number === undefined ? null : declared(name);
    if (expected === null) continue;
    const { params } = signatureOf(number!)!;
    assert.equal(params.length, expected.length, `${name}: number of arguments`);
    for (const [index, { kind }] of params.entries()) {
      // mlock and its kind take addresses as integers; '?' is either.
      if (kind === '?' || kind === 'm') continue;
      assert.equal(kind !== 'i', expected[index], `${name}: argument ${index + 1}`);
    }
    compared++;
  }
  assert.ok(compared > 200, `${compared} compared`);
});
