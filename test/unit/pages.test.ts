/**
 * Syscall pages: is every entry handed out once, until it is freed; are arguments and results
 * exact; do statuses change only as the diagram in src/page/pages.ts says?
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CONTROL, ENTRIES_PER_PAGE, FLAG, NO_LINK, STATUS } from '../../src/abi/entry.ts';
import { SyscallPages } from '../../src/page/pages.ts';
import { DESK_ADDRESS, fakeDesk } from '../support/fake-kernel.ts';

const NUMBER = 39;

function pagesOf(pages: number, pagesMax: number): SyscallPages {
  return new SyscallPages(fakeDesk(pagesMax), pages);
}

/** Claims and fills one entry. */
function claimed(pages: SyscallPages): number {
  const id = pages.claim();
  assert.notEqual(id, -1);
  pages.call(id, NUMBER, 0, 0);
  return id;
}

test('pages are mapped as they are needed, doubling, up to the limit', () => {
  const pages = pagesOf(2, 8);
  const seen: number[] = [];
  const ids = new Set<number>();
  for (let i = 0; i < 8 * ENTRIES_PER_PAGE; i++) {
    ids.add(claimed(pages));
    if (seen.at(-1) !== pages.pages) seen.push(pages.pages);
    assert.equal(pages.entriesInUse, ids.size);
  }
  assert.deepEqual(seen, [2, 4, 8]);
  assert.equal(ids.size, 8 * ENTRIES_PER_PAGE);
  assert.equal(pages.claim(), -1);
  assert.equal(pages.room(1), false);
  assert.equal(pages.desk.control[CONTROL.pagesInUse], 8);
  pages.free(17);
  assert.equal(pages.claim(), 17);
});

test('a batch lies on several pages, so that several cores can drain it', () => {
  const pages = pagesOf(4, 4);
  const pageOf = (id: number) => Math.floor(id / ENTRIES_PER_PAGE);
  const batch = Array.from({ length: 64 }, () => pageOf(claimed(pages)));
  assert.deepEqual([...new Set(batch)], [0, 1, 2, 3]);
  assert.deepEqual(batch.slice(0, 16), new Array(16).fill(0));
});

test('room makes sure of as many as asked for, without claiming', () => {
  const pages = pagesOf(1, 4);
  assert.equal(pages.room(65), true);
  assert.equal(pages.pages, 2);
  assert.equal(pages.entriesInUse, 0);
  assert.equal(pages.room(257), false);
});

test('claims and frees in any order: never an entry twice', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 1000 }), { maxLength: 2000 }), (steps) => {
      const pages = pagesOf(1, 4);
      const held: number[] = [];
      for (const step of steps) {
        if (step % 3 < 2) {
          const id = pages.claim();
          assert.equal(id === -1, held.length === 256);
          if (id === -1) continue;
          assert.equal(pages.status(id), STATUS.free);
          assert.ok(!held.includes(id));
          pages.call(id, NUMBER, 0, 0);
          held.push(id);
        } else if (held.length > 0) {
          pages.free(held.splice(step % held.length, 1)[0]);
        }
        assert.equal(pages.entriesInUse, held.length);
      }
    }),
  );
});

test('freeing a chain frees all of it', () => {
  const pages = pagesOf(1, 1);
  const chain = [pages.claim(), pages.claim(), pages.claim()];
  for (const [i, id] of chain.entries()) {
    pages.call(id, NUMBER, 0, i < 2 ? FLAG.link : 0);
    pages.link(id, chain[i + 1] ?? NO_LINK);
  }
  assert.equal(pages.next(chain[0]), chain[1]);
  assert.equal(pages.next(chain[2]), NO_LINK);
  assert.equal(pages.isDone(chain[0]), false);
  for (const id of chain) {
    assert.equal(pages.isDone(chain[0]), false);
    pages.setStatus(id, STATUS.done);
  }
  assert.equal(pages.isDone(chain[0]), true);
  pages.free(chain[0]);
  assert.equal(pages.entriesInUse, 0);
  for (const id of chain) assert.equal(pages.status(id), STATUS.free);
});

test('arguments are exact', () => {
  const pages = pagesOf(1, 1);
  const id = claimed(pages);
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      pages.setBigInt(id, 3, value);
      assert.equal(pages.arg(id, 3), value);
    }),
  );
  fc.assert(
    fc.property(fc.maxSafeInteger(), (value) => {
      pages.setNumber(id, 5, value);
      assert.equal(pages.arg(id, 5), BigInt(value));
    }),
  );
  fc.assert(
    fc.property(fc.integer(), (value) => {
      pages.setInt(id, 0, value);
      assert.equal(pages.arg(id, 0), BigInt(value));
      assert.equal(pages.argInt(id, 0), value);
    }),
  );
  // What C would make of it: a u32 above 2^31 is not sign-extended, a bigint above 2^63 wraps.
  pages.setNumber(id, 1, 0xffff_ffff);
  assert.equal(pages.arg(id, 1), 0xffff_ffffn);
  pages.setBigInt(id, 1, 2n ** 64n - 1n);
  assert.equal(pages.arg(id, 1), -1n);
  pages.setSlot(id, 2, 16);
  const { slots } = pages.desk;
  assert.equal(pages.arg(id, 2), DESK_ADDRESS + BigInt(slots.byteOffset + id * 1088 + 16));
});

test('results are exact', () => {
  const pages = pagesOf(1, 1);
  const id = claimed(pages);
  const words = pages.desk.entries;
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      words[id * 16 + 14] = Number(BigInt.asIntN(32, value));
      words[id * 16 + 15] = Number(value >> 32n);
      assert.equal(pages.resultBigInt(id), value);
      const exact = BigInt(pages.resultHigh(id)) * 2n ** 32n + BigInt(pages.resultLow(id) >>> 0);
      assert.equal(exact, value);
      if (Number.isSafeInteger(Number(value))) assert.equal(pages.result(id), Number(value));
    }),
  );
  pages.setResult(id, -2);
  assert.equal(pages.result(id), -2);
  assert.equal(pages.resultBigInt(id), -2n);
});

test('an entry can be abandoned until it is done, and only once', () => {
  const pages = pagesOf(1, 1);
  const id = claimed(pages);
  assert.equal(pages.status(id), STATUS.submitted);
  assert.equal(pages.abandon(id), true);
  assert.equal(pages.status(id), STATUS.abandoned);
  assert.equal(pages.abandon(id), false);
  pages.setStatus(id, STATUS.busy);
  assert.equal(pages.abandon(id), true);
  pages.setStatus(id, STATUS.done);
  assert.equal(pages.abandon(id), false);
  assert.equal(pages.status(id), STATUS.done);
  pages.free(id);
  assert.equal(pages.abandon(id), false);
  assert.equal(pages.status(id), STATUS.free);
});

test('number, flags and argument count share a word without mixing', () => {
  const pages = pagesOf(1, 1);
  const id = pages.claim();
  pages.call(id, 0xfff, 6, FLAG.always | FLAG.stream);
  assert.equal(pages.number(id), 0xfff);
  assert.equal(pages.flags(id), FLAG.always | FLAG.stream);
  const bytes = Buffer.from(pages.desk.entries.buffer, pages.desk.entries.byteOffset + id * 64);
  assert.equal(bytes.readUInt16LE(4), 0xfff);
  assert.equal(bytes[6], 6);
});
