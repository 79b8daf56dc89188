/**
 * The routing table against what the syscall threads can do: a call routed to the ring needs an
 * encoder, one tried on the spot needs a case in native/attempt.c.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { NUMBER_NOP } from '../../src/abi/entry.ts';
import { SYSCALLS, type SyscallName, syscallNumber } from '../../src/abi/syscalls.ts';
import { SYSCALLS_ARM64 } from '../../src/abi/syscalls-arm64.ts';
import { SYSCALLS_X64 } from '../../src/abi/syscalls-x64.ts';
import { encodersFor } from '../../src/kernel/ring/sqe.ts';
import { ROUTE, ROUTES, routeTables } from '../../src/kernel/routes.ts';

const numberOf = (name: string) =>
  name === 'nop' ? NUMBER_NOP : syscallNumber(name as SyscallName);

test('every routed call exists on both architectures and has a reason', () => {
  for (const [name, route] of Object.entries(ROUTES)) {
    if (name !== 'nop') assert.ok(name in SYSCALLS_X64 && name in SYSCALLS_ARM64, name);
    assert.ok(route.reason.length > 5, name);
  }
});

test('what goes to the ring has an encoder', () => {
  const encoders = encodersFor(-1, -1);
  for (const [name, { first, next }] of Object.entries(ROUTES))
    if (first === 'ring' || next === 'ring') assert.ok(encoders[numberOf(name)], name);
});

test('an opcode that this Linux lacks has no encoder', () => {
  const none = encodersFor(0, 0);
  assert.ok(none.every((encode) => encode === undefined));
  const nopOnly = encodersFor(1, 0);
  assert.ok(nopOnly[NUMBER_NOP]);
  assert.equal(nopOnly[syscallNumber('read')], undefined);
});

test('what is tried on the spot is known there', () => {
  const source = readFileSync(new URL('../../native/attempt.c', import.meta.url), 'utf8');
  const body = source.slice(source.indexOf('tl_attempt_now('));
  for (const [name, { first }] of Object.entries(ROUTES))
    if (first === 'spot') assert.ok(body.includes(`case SYS_${name}:`), name);
});

test('without a ring nothing goes there; unlisted calls go to the crew', () => {
  const { first, next } = routeTables(false);
  assert.ok(!first.includes(ROUTE.ring) && !next.includes(ROUTE.ring));
  const withRing = routeTables(true);
  assert.equal(withRing.first[syscallNumber('nanosleep')], ROUTE.crew);
  assert.equal(withRing.first[NUMBER_NOP], ROUTE.ring);
  assert.equal(withRing.first[syscallNumber('read')], ROUTE.spot);
  assert.equal(withRing.next[syscallNumber('read')], ROUTE.ring);
  for (const [name, number] of SYSCALLS ?? [])
    if (!(name in ROUTES)) assert.equal(withRing.first[number], ROUTE.crew, name);
});
