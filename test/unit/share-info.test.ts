/**
 * share_info: TypeScript's offsets against the C header's, the reader, a thread's clock, options.
 *
 *   node --import tsx --test test/unit/share-info.test.ts
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkShareInfo, SHARE_INFO, VCPU_STATE } from '../../src/abi/share-info.ts';
import { resolveOptions } from '../../src/hypervisor/options.ts';
import { loadAddon } from '../../src/native/addon.ts';
import { ShareInfo } from '../../src/share-info/share-info.ts';
import { freeVcpu, monotonicNs } from '../../src/share-info/vcpu.ts';

const { addon, reason } = loadAddon();

test('offsets agree with the C header', { skip: reason }, () => {
  assert.deepEqual({ ...addon!.shareInfoLayout }, { ...SHARE_INFO });
  checkShareInfo(addon!.shareInfoLayout);
  assert.throws(
    () => checkShareInfo({ ...addon!.shareInfoLayout, sliceId: 12 }),
    /sliceId: 12, expected 8/,
  );
});

test('the reader finds every field of every line', () => {
  const memory = new ArrayBuffer(3 * SHARE_INFO.size);
  const view = new DataView(memory, SHARE_INFO.size);
  view.setFloat64(SHARE_INFO.preemptionNs, 1.5, true);
  view.setUint32(SHARE_INFO.sliceId, 4_000_000_000, true);
  view.setInt32(SHARE_INFO.state, VCPU_STATE.preempted, true);
  view.setFloat64(SHARE_INFO.stealNs, 2.5, true);
  view.setUint32(SHARE_INFO.preemptions, 3, true);
  view.setUint32(SHARE_INFO.switches, 4, true);
  view.setFloat64(SHARE_INFO.runNs, 5.5, true);
  view.setFloat64(SHARE_INFO.sliceNs, 6.5, true);
  view.setFloat64(SHARE_INFO.switchedInNs, 7.5, true);
  const info = new ShareInfo(memory);
  const read = (vcpu: number) => [
    info.preemptionNs(vcpu),
    info.sliceId(vcpu),
    info.state(vcpu),
    info.stealNs(vcpu),
    info.preemptions(vcpu),
    info.switches(vcpu),
    info.runNs(vcpu),
    info.sliceNs(vcpu),
    info.switchedInNs(vcpu),
  ];
  assert.equal(info.lines, 3);
  assert.deepEqual(read(1), [1.5, 4_000_000_000, 2, 2.5, 3, 4, 5.5, 6.5, 7.5]);
  for (const other of [0, 2]) assert.deepEqual(read(other), [0, 0, 0, 0, 0, 0, 0, 0, 0]);
});

test('a detached reader keeps the last numbers', () => {
  const memory = new ArrayBuffer(SHARE_INFO.size);
  new Uint32Array(memory)[SHARE_INFO.sliceId / 4] = 7;
  const info = new ShareInfo(memory);
  let unmapped: ArrayBuffer | undefined;
  info.detach((it) => {
    unmapped = it;
  });
  assert.equal(unmapped, memory);
  new Uint32Array(memory)[SHARE_INFO.sliceId / 4] = 8;
  assert.equal(info.sliceId(0), 7);
});

test('the clock is CLOCK_MONOTONIC', () => {
  // Between two readings of it, but for a microsecond of measuring error.
  let misses = 0;
  for (let i = 0; i < 100; i++) {
    const before = Number(process.hrtime.bigint());
    const now = monotonicNs();
    const after = Number(process.hrtime.bigint());
    if (now < before - 1000 || now > after + 1000) misses++;
  }
  assert.equal(misses, 0);
});

test('a free vCPU is never preempted', () => {
  const vcpu = freeVcpu(2, 4);
  assert.equal(vcpu.id, 2);
  assert.equal(vcpu.count, 4);
  assert.equal(vcpu.info.preemptionNs(2), Number.POSITIVE_INFINITY);
  assert.equal(vcpu.info.state(3), VCPU_STATE.running);
  vcpu.yield();
  vcpu.halt(); // returns by itself
  vcpu.kick(0);
  vcpu.relax(100);
});

test('options: defaults, and what is refused by name', () => {
  const resolved = resolveOptions({ vms: [{ vcpus: 2 }] }, [0, 3]);
  assert.deepEqual(resolved, {
    pcpus: 2,
    cores: [0, 3],
    vms: [{ vcpus: 2, weight: 256, cap: 0 }],
    scheduler: 'credit',
    sliceUs: 30_000,
    marginUs: 100,
    ratelimitUs: 1000,
    boost: true,
    publish: 'slice',
  });
  const refused = (options: object, name: RegExp) =>
    assert.throws(
      () => resolveOptions({ vms: [{ vcpus: 1 }], ...options }, [0, 3]),
      (error: Error) => error instanceof RangeError && name.test(error.message),
    );
  refused({ sliceUs: 49 }, /sliceUs/);
  refused({ sliceUs: 100_001 }, /sliceUs/);
  refused({ sliceUs: 100, ratelimitUs: 101 }, /ratelimitUs/);
  refused({ sliceUs: 101, marginUs: 51 }, /marginUs/);
  assert.equal(resolveOptions({ vms: [{ vcpus: 1 }], sliceUs: 205 }, [0]).marginUs, 20);
  refused({ ratelimitUs: 0, publish: 'ratelimit' }, /ratelimitUs/);
  refused({ pcpus: 0 }, /pcpus/);
  refused({ cores: [1] }, /core 1 is not one of 0, 3/);
  refused({ cores: [] }, /cores\.length/);
  refused({ vms: [] }, /vms\.length/);
  refused({ vms: [{ vcpus: 1 }, { vcpus: 65 }] }, /vms\[1\]\.vcpus/);
  refused({ vms: [{ vcpus: 1, weight: 0 }] }, /vms\[0\]\.weight/);
  refused({ vms: [{ vcpus: 1, cap: -1 }] }, /vms\[0\]\.cap/);
  refused({ scheduler: 'fifo' }, /scheduler/);
  refused({ publish: 'never' }, /publish/);
});
