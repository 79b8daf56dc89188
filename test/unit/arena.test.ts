/**
 * Does the arena ever hand out the same memory twice, or lose some? Against a model that knows
 * every byte taken.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  ARENA_START,
  Arena,
  BlockAllocator,
  checkSlice,
  orderOf,
  pinSlice,
  unpinSlice,
} from '../../src/memory/arena.ts';
import type { Pool } from '../../src/memory/pool.ts';

const MIB = 1024 * 1024;

/** Only what the arena uses of a pool. */
function poolOf(bytes: number): Pool {
  return { bytes: Buffer.alloc(ARENA_START + bytes) } as unknown as Pool;
}

test('orders', () => {
  assert.deepEqual(
    [0, 1, 256, 257, 512, 513, 65_536, 65_537].map(orderOf),
    [8, 8, 8, 9, 9, 10, 16, 17],
  );
});

test('blocks never overlap, are aligned, and all of the memory comes back', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 16, max: 512 }).map((pages) => pages * 4096),
      fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 8, max: 18 })), { maxLength: 300 }),
      (size, steps) => {
        const blocks = new BlockAllocator(4096, size);
        const taken: { at: number; order: number }[] = [];
        for (const [take, order] of steps) {
          if (!take && taken.length > 0) {
            const { at, order } = taken.splice(steps.length % taken.length, 1)[0];
            blocks.give(at, order);
            continue;
          }
          const at = blocks.take(order);
          if (at === -1) continue;
          assert.ok(at >= 4096 && at + 2 ** order <= 4096 + size);
          for (const other of taken)
            assert.ok(at + 2 ** order <= other.at || other.at + 2 ** other.order <= at);
          taken.push({ at, order });
        }
        for (const { at, order } of taken) blocks.give(at, order);
        assert.equal(blocks.taken, 0);
        // Joined again: everything can be taken in blocks as large as they were at first.
        for (let order = 31; order >= 12; order--)
          if ((size >>> order) & 1) assert.notEqual(blocks.take(order), -1, `order ${order}`);
      },
    ),
  );
});

test('a slice is cleared, of the size asked for, and given back once', () => {
  let rooms = 0;
  const arena = new Arena(poolOf(MIB), () => rooms++);
  const slice = arena.alloc(1000);
  assert.equal(slice.length, 1000);
  assert.equal(slice.bytes.byteOffset % 256, 0);
  slice.bytes.fill(7);
  assert.equal(arena.used, 1024);
  slice.free();
  slice.free();
  assert.ok(slice.freed);
  assert.equal(arena.used, 0);
  assert.equal(rooms, 1);
  const again = arena.alloc(1000);
  assert.equal(again.bytes.byteOffset, slice.bytes.byteOffset);
  assert.ok(again.bytes.every((byte) => byte === 0));
});

test('a slice that is pinned is given back when the last pin goes', () => {
  const arena = new Arena(poolOf(MIB), () => {});
  const slice = arena.alloc(4096);
  assert.equal(pinSlice(slice), slice.bytes.byteOffset);
  pinSlice(slice);
  slice.free();
  assert.equal(arena.used, 4096);
  unpinSlice(slice);
  assert.equal(arena.used, 4096);
  unpinSlice(slice);
  assert.equal(arena.used, 0);
  assert.throws(() => checkSlice(slice, arena), /was freed; alloc\(\) another/);
});

test('what cannot be allocated is refused with the way out', () => {
  const arena = new Arena(poolOf(MIB), () => {});
  for (const bytes of [0, -1, 1.5, Number.NaN, MIB + 1])
    assert.throws(() => arena.alloc(bytes), /1 to 1048576 bytes.*register\(\{ arenaBytes \}\)/);
  const all = arena.alloc(MIB);
  assert.throws(() => arena.alloc(1), /arena is full \(1048576 of 1048576.*free\(\) slices/);
  all.free();
  const other = new Arena(poolOf(MIB), () => {});
  const foreign = other.alloc(1);
  assert.throws(() => checkSlice(foreign, arena), /another kernel's arena; pass slice\.bytes/);
});
