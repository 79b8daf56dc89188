/**
 * read, write, readv, writev on a descriptor: the many forms of their arguments, positions, and
 * the extra arguments of their callbacks.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Api } from '../../support/fs-api.ts';
import { comparing, type MakeArguments } from '../../support/fs-compare.ts';
import { makeFixture } from '../../support/fs-fixture.ts';

const POSITIONS = [
  undefined,
  null,
  0,
  3,
  200_000,
  -1,
  0n,
  3n,
  -1n,
  2 ** 40,
  2 ** 53 - 1,
  2n ** 62n,
  2n ** 63n,
  2 ** 53,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  -2,
  '3',
  {},
  true,
  -5n,
];
const BUFFERS = [
  () => Buffer.alloc(8),
  () => new Uint8Array(8),
  () => new Float64Array(2),
  () => new DataView(new ArrayBuffer(9), 1),
];

export default function transfers({ plain, ours }: Api): void {
  const fixture = makeFixture();
  after(fixture.remove);
  const compare = comparing(plain, ours, fixture);
  const fds: number[] = [];
  const opened = (dir: string, flags = 'r+', name = 'file.txt') => {
    const fd = fs.openSync(join(dir, name), flags);
    fds.push(fd);
    return fd;
  };
  /** A call on a freshly opened file. */
  async function call(name: string, ...args: unknown[]): Promise<void> {
    const make: MakeArguments = (dir) => [
      opened(dir),
      ...args.map((arg) => (typeof arg === 'function' ? arg() : arg)),
    ];
    await compare(name, make);
    for (const fd of fds.splice(0)) fs.closeSync(fd);
  }

  test('read: buffer, offset, length, position', async () => {
    for (const buffer of BUFFERS)
      for (const [offset, length] of [
        [0, 8],
        [2, 3],
        [0, 1],
        [undefined, undefined],
        [null, null],
      ])
        await call('read', buffer, offset, length, null);
    for (const position of POSITIONS) await call('read', () => Buffer.alloc(5), 0, 5, position);
    for (const [offset, length] of [
      [0, 0],
      [8, 0],
      [9, 1],
      [0, 9],
      [-1, 2],
      [1.5, 2],
      ['0', 1],
      [0, '1'],
      [0, -1],
      [0, 1.5],
    ])
      await call('read', () => Buffer.alloc(8), offset, length, 0);
    for (const wrong of [undefined, null, 'text', {}, [], 5]) await call('read', wrong, 0, 1, 0);
    await call('read', () => Buffer.alloc(0), 0, 1, 0);
  });

  test('read: shorter forms', async () => {
    await call('read');
    await call('read', () => Buffer.alloc(4));
    for (const options of [
      undefined,
      null,
      {},
      { offset: 1 },
      { length: 2 },
      { position: 3 },
      { offset: 1, length: 2, position: 3n },
      { offset: 9 },
      5,
      'x',
    ])
      await call('read', () => Buffer.alloc(4), options);
    for (const options of [{}, { length: 3 }, { position: 2 }, { buffer: null }, { buffer: 'x' }])
      await call('read', options);
    await call('read', () => ({ buffer: Buffer.alloc(6), offset: 1, length: 3, position: 2 }));
    await call('read', () => Object.freeze({ buffer: Buffer.alloc(6) }));
    await call('read', () => Object.create({ buffer: Buffer.alloc(6), length: 2 }));
  });

  test('write: buffer, offset, length, position', async () => {
    for (const buffer of BUFFERS)
      for (const [offset, length] of [
        [0, 8],
        [2, 3],
        [undefined, undefined],
        [null, null],
        [3, undefined],
      ])
        await call('write', buffer, offset, length, null);
    for (const position of POSITIONS.filter((p) => typeof p !== 'number' || p < 2 ** 40))
      await call('write', () => Buffer.from('WRITE'), 0, 5, position);
    for (const [offset, length] of [
      [0, 0],
      [8, 0],
      [9, 1],
      [0, 9],
      [-1, 2],
      [1.5, 2],
      ['0', 1],
      [0, '1'],
      [0, -1],
      [0, 2 ** 31],
    ])
      await call('write', () => Buffer.alloc(8), offset, length, 0);
    await call('write', () => Buffer.alloc(0));
  });

  test('write: shorter forms', async () => {
    for (const args of [
      [],
      [2],
      [2, 3],
      [2, 3, 4],
      [{}],
      [{ offset: 1 }],
      [{ length: 2 }],
      [{ offset: 1, length: 2, position: 3 }],
      [null],
      [undefined],
      [{ offset: 99 }],
    ])
      await call('write', () => Buffer.from('12345678'), ...args);
  });

  test('write: text', async () => {
    for (const args of [
      [],
      [3],
      [3, 'latin1'],
      [null, 'hex'],
      [undefined, 'utf8'],
      [-1],
      [3, 'nope'],
      ['3'],
      [1.5],
      [3n],
    ])
      await call('write', 'c0ffee é', ...args);
    await call('write', '');
    await call('write', 'abc', 0, 'hex');
    for (const wrong of [5, null, undefined, {}, [], new String('x')]) await call('write', wrong);
  });

  for (const name of ['readv', 'writev'])
    test(name, async () => {
      const lists = [
        () => [Buffer.from('ab'), Buffer.from('cdef')],
        () => [new Uint16Array([1, 2]), new DataView(new ArrayBuffer(3)), Buffer.from('x')],
        () => [Buffer.alloc(0), Buffer.from('x')],
        () => [],
        () => Array.from({ length: 1100 }, () => Buffer.from('q')),
        () => [Buffer.alloc(700_000, 'l'), Buffer.alloc(700_000, 'm')],
      ];
      for (const list of lists)
        for (const position of [undefined, null, 0, 4]) await call(name, list, position);
      for (const position of [-1, 1.5, '4', {}, 2 ** 53]) await call(name, lists[0], position);
      for (const wrong of [undefined, null, 'x', {}, [1], [Buffer.from('x'), 'y']])
        await call(name, () => wrong);
    });

  test('bad descriptors', async () => {
    for (const fd of [(1 << 30) - 1, -1, 1.5, '1', null, undefined, 2 ** 31, {}]) {
      await compare('read', () => [fd, Buffer.alloc(4), 0, 4, 0], { sameFiles: true });
      await compare('write', () => [fd, Buffer.alloc(4), 0, 4, 0], { sameFiles: true });
      await compare('write', () => [fd, 'text'], { sameFiles: true });
      await compare('readv', () => [fd, [Buffer.alloc(4)]], { sameFiles: true });
      await compare('writev', () => [fd, [Buffer.alloc(4)]], { sameFiles: true });
      for (const name of ['fsync', 'fdatasync', 'fstat', 'ftruncate'])
        await compare(name, () => [fd], { sameFiles: true });
      await compare('fchmod', () => [fd, 0o600], { sameFiles: true });
      await compare('fchown', () => [fd, 0, 0], { sameFiles: true });
      await compare('futimes', () => [fd, 1, 1], { sameFiles: true });
    }
  });

  test('what works on a descriptor and answers with nothing', async () => {
    const on = (name: string, ...args: unknown[]) => call(name, ...args);
    for (const name of ['fsync', 'fdatasync']) await on(name);
    for (const length of [undefined, 0, 5, 5000, -3, 1.5, '5', null]) await on('ftruncate', length);
    for (const mode of [0o600, 0o10777, '640', -1, undefined, 'x']) await on('fchmod', mode);
    await on('fchown', process.getuid?.(), process.getgid?.());
    for (const id of [-1, 2 ** 32, '0']) await on('fchown', id, -1);
    for (const time of [0, 5.5, new Date(7), '8', -1, Number.NaN, {}])
      await on('futimes', time, time);
  });

  test('the file’s own position moves, whoever reads', async () => {
    fixture.reset();
    const fd = fs.openSync(join(fixture.path, 'file.txt'), 'r');
    const one = () =>
      new Promise<string>((resolve, reject) =>
        ours.read(fd, Buffer.alloc(2), 0, 2, null, (error, n, buffer) =>
          error ? reject(error) : resolve(buffer.toString('latin1', 0, n)),
        ),
      );
    assert.equal(await one(), 'he');
    fs.readSync(fd, Buffer.alloc(2), 0, 2, null);
    assert.equal(await one(), 'o ');
    ours.read(fd, Buffer.alloc(4), 0, 4, 0, () => {});
    assert.equal(await one(), 'wo');
    fs.closeSync(fd);
  });

  test('a longer read and write than one block', async () => {
    const path = join(fixture.path, 'long');
    const data = Buffer.alloc(3_500_000, 'some text ');
    const fd = fs.openSync(path, 'w+');
    const write = (position: number) =>
      new Promise<number>((resolve, reject) =>
        ours.write(fd, data, 0, data.length, position, (error, n) =>
          error ? reject(error) : resolve(n),
        ),
      );
    assert.equal(await write(0), data.length);
    const target = Buffer.alloc(data.length);
    const n = await new Promise((resolve) =>
      ours.read(fd, target, 0, target.length, 0, (_e, bytes) => resolve(bytes)),
    );
    assert.equal(n, data.length);
    assert.ok(target.equals(data));
    fs.closeSync(fd);
  });
}
