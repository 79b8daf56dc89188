/**
 * The drill takes every lock through the branches that preemption leads to.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { drill } from '../../src/lab/workloads/drill.ts';
import { LOCKS, type LockName } from '../../src/locks/index.ts';

const INFORMED = ['hvm-ispinlock', 'pv-ispinlock', 'hvm-ispinlock-paper', 'pv-ispinlock-paper'];
// oticket halts from the 18th place on, and here are two.
const HALTING = ['pv-ticket', 'pv-qspinlock'];

for (const name of Object.keys(LOCKS) as LockName[]) {
  test(`${name}: preempted as holder and as waiter, and what else it can do`, () => {
    const stats = drill(LOCKS[name]);
    assert.equal(stats.acquisitions, 40);
    assert.ok(stats.lhp > 0);
    if (name === 'js-mutex') return;
    assert.equal(stats.waits, 30);
    assert.ok(stats.lwp > 0);
    if (INFORMED.includes(name)) assert.ok(stats.incapable > 0);
    if (HALTING.includes(name)) assert.ok(stats.halts > 0);
    if (name === 'pts') assert.ok(stats.overtakes > 0);
  });
}
