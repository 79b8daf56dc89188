/**
 * stat, lstat, fstat and statfs: the same objects as Node's, down to class, own properties, their
 * order and the last digit of the times.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Api } from '../../support/fs-api.ts';
import { assertSameValue, comparing } from '../../support/fs-compare.ts';
import { makeFixture } from '../../support/fs-fixture.ts';

const NAMES = ['file.txt', 'empty', 'big', 'sub', 'link', 'dangling', 'loop', 'nowhere/x', ''];

export default function stats({ plain, ours }: Api): void {
  const fixture = makeFixture();
  after(fixture.remove);
  const compare = comparing(plain, ours, fixture);
  const at = (name: string) => join(fixture.path, name);
  const same = { sameFiles: true };

  for (const name of ['stat', 'lstat']) {
    test(`${name} of everything`, async () => {
      for (const file of NAMES) await compare(name, (dir) => [join(dir, file)], same);
      for (const file of ['/dev/null', '/proc/self/status', '/proc/self/fd', '/'])
        await compare(name, () => [file], { ...same, scrub: withoutTimes });
    });

    test(`${name}: forms of path and options`, async () => {
      const file = at('file.txt');
      for (const path of [
        Buffer.from(file),
        new Uint8Array(Buffer.from(file)),
        pathToFileURL(file),
      ])
        await compare(name, () => [path], same);
      for (const options of [undefined, {}, { bigint: true }, { bigint: false }, { bigint: 1 }])
        for (const path of [file, at('gone')]) await compare(name, () => [path, options], same);
    });

    test(`${name}: what Node refuses is refused by Node`, async () => {
      const wrong = [undefined, null, 1, {}, 'a\0b', Buffer.from('a\0b'), new URL('http://x/')];
      for (const path of wrong) await compare(name, () => [path], same);
      for (const options of [null, 1, 'utf8']) await compare(name, (d) => [d, options], same);
    });
  }

  test('fstat', async () => {
    const fd = fs.openSync(at('file.txt'), 'r');
    for (const options of [undefined, {}, { bigint: true }, { bigint: false }])
      await compare('fstat', () => [fd, options], same);
    for (const wrong of [-1, 1.5, '1', undefined, 2 ** 31, (1 << 30) - 1])
      await compare('fstat', () => [wrong], same);
    fs.closeSync(fd);
  });

  test('statfs', async () => {
    const scrub = freeSpaceScrubbed;
    for (const path of ['/proc', '/dev', '/nowhere', '', 3])
      for (const options of [undefined, {}, { bigint: true }])
        await compare('statfs', () => [path, options], { ...same, scrub });
    await compare('statfs', (dir) => [dir], { ...same, scrub });
  });

  test('the same as the sync functions say, and of the same class', async () => {
    const found = await ours.promises.stat(at('file.txt'));
    const expected = plain.statSync(at('file.txt'));
    assertSameValue(found, expected, 'Stats');
    assert.ok(found instanceof fs.Stats);
    assert.equal(found.mtime.getTime(), 1_500_000_000_500);
    assertSameValue(
      await ours.promises.stat(at('file.txt'), { bigint: true }),
      plain.statSync(at('file.txt'), { bigint: true }),
      'BigIntStats',
    );
  });

  test('dates: before 1970, beyond 2038, below a millisecond', async () => {
    const times = [-40_691, -1, 0, 1.000_001, 2 ** 31, 2 ** 33, 1e9 + 0.123_456_789];
    for (const time of times) {
      plain.utimesSync(at('empty'), new Date(time * 1000), time < 0 ? new Date(time * 1000) : time);
      for (const bigint of [false, true])
        await compare('stat', (d) => [join(d, 'empty'), { bigint }], same);
    }
  });

  test('dates can be read twice, written and copied', async () => {
    const found = await ours.promises.stat(at('file.txt'));
    const expected = plain.statSync(at('file.txt'));
    for (const { mtime } of [found, expected]) assert.equal(mtime.getTime(), 1_500_000_000_500);
    assert.equal(found.mtime, found.mtime);
    assert.deepEqual({ ...found }, { ...expected });
    found.atime = new Date(0);
    assert.equal(found.atime.getTime(), 0);
  });
}

function withoutTimes(value: unknown): unknown {
  if (value instanceof Error || typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).filter(([key]) => !/time/.test(key)));
}

function freeSpaceScrubbed(value: unknown): unknown {
  if (value instanceof Error || typeof value !== 'object' || value === null) return value;
  const zero = 'type' in value && typeof value.type === 'bigint' ? 0n : 0;
  return Object.assign(value, { bfree: zero, bavail: zero, ffree: zero, files: zero });
}
