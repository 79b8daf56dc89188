/**
 * What changes names and attributes: mkdir, rmdir, unlink, rename, link, symlink, readlink,
 * mkdtemp, chmod, chown, utimes, access, exists; with the errors that each can have.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Api } from '../../support/fs-api.ts';
import { comparing, type MakeArguments } from '../../support/fs-compare.ts';
import { INVALID_NAME, makeFixture } from '../../support/fs-fixture.ts';

/** Paths that every function gets: ordinary ones, missing ones, odd ones. */
const PATHS = [
  '',
  'file.txt',
  'sub',
  'vacant',
  'link',
  'dangling',
  'dirlink',
  'loop',
  'gone',
  'gone/below',
  'file.txt/below',
  'new é',
  `${'n'.repeat(256)}`,
  `deep/${'n/'.repeat(600)}`,
  `${'n/'.repeat(2200)}`,
];

const WRONG = [undefined, null, 5, {}, [], 'a\0b', Buffer.from('a\0b'), new URL('http://x/y')];

const READING: ReadonlySet<string> = new Set(['readlink', 'access', 'exists']);

export default function paths({ plain, ours }: Api): void {
  const fixture = makeFixture();
  after(fixture.remove);
  const compare = comparing(plain, ours, fixture);

  /** The function with each of the paths, and what follows the path. */
  async function withEachPath(name: string, ...more: unknown[]): Promise<void> {
    const how = { sameFiles: READING.has(name) };
    for (const path of PATHS) await compare(name, (dir) => [join(dir, path), ...more], how);
    for (const path of WRONG) await compare(name, () => [path, ...more], { sameFiles: true });
    const other =
      (make: (path: string) => unknown): MakeArguments =>
      (dir) => [make(join(dir, 'file.txt')), ...more];
    for (const make of [
      Buffer.from,
      pathToFileURL,
      (path: string) => new Uint8Array(Buffer.from(path)),
    ])
      await compare(name, other(make as (path: string) => unknown), how);
  }

  for (const name of ['unlink', 'rmdir', 'readlink', 'mkdir']) test(name, () => withEachPath(name));

  test('mkdir: modes, and recursive', async () => {
    for (const mode of [
      0o700,
      '755',
      0o777,
      0o10644,
      null,
      { mode: 0o750 },
      { mode: '700' },
      true,
      'rwx',
      -1,
      { recursive: 1 },
    ])
      await compare('mkdir', (dir) => [join(dir, 'made'), mode]);
    for (const path of [...PATHS, 'a/b/c', 'a/../b/c', 'sub/a/x', 'a//b/', './x/./y'])
      await compare('mkdir', (dir) => [join(dir, path), { recursive: true }]);
    // Not below /proc: there Node tries for ever.
    for (const path of ['/', '.', '/dev/null/x'])
      await compare('mkdir', () => [path, { recursive: true }]);
  });

  test('mkdir: recursive, where no directory can be made', async () => {
    const code = { code: 'ENOENT' };
    await assert.rejects(ours.promises.mkdir('/proc/none/below', { recursive: true }), code);
  });

  test('rename, link, symlink: two paths', async () => {
    const pairs = [
      ['file.txt', 'renamed'],
      ['file.txt', 'empty'],
      ['file.txt', 'sub'],
      ['sub', 'vacant'],
      ['vacant', 'sub'],
      ['vacant', 'file.txt'],
      ['gone', 'x'],
      ['file.txt', 'gone/x'],
      ['sub', 'sub/inside'],
      ['file.txt', 'file.txt'],
      ['link', 'another'],
      ['loop/x', 'y'],
    ];
    for (const name of ['rename', 'link', 'symlink']) {
      for (const [from, to] of pairs)
        await compare(name, (dir) => [join(dir, from), join(dir, to)]);
      await compare(name, (dir) => [
        Buffer.from(join(dir, 'file.txt')),
        pathToFileURL(join(dir, 'n')),
      ]);
      for (const wrong of WRONG) {
        await compare(name, (dir) => [wrong, join(dir, 'x')]);
        await compare(name, (dir) => [join(dir, 'file.txt'), wrong]);
      }
    }
  });

  test('symlink: its text is kept, its type is checked', async () => {
    for (const target of [
      'rel/ative',
      '../up',
      './x',
      '',
      'é',
      Buffer.from('bytes'),
      'x'.repeat(700),
      'y'.repeat(5000),
    ])
      await compare('symlink', (dir) => [target, join(dir, 'made')]);
    for (const type of [undefined, null, 'file', 'dir', 'junction', 'wrong', 5, {}])
      await compare('symlink', (dir) => ['target', join(dir, 'made'), type]);
  });

  test('readlink: encodings', async () => {
    for (const options of [
      'utf8',
      'buffer',
      'hex',
      'latin1',
      'base64',
      'ucs2',
      { encoding: 'buffer' },
      {},
      null,
      'none',
      { encoding: 5 },
      5,
    ])
      await compare('readlink', (dir) => [join(dir, 'link'), options]);
  });

  test('mkdtemp: a name, a directory of one’s own, and its encodings', async () => {
    for (const options of [undefined, 'utf8', {}]) {
      const made = await ours.promises.mkdtemp(join(fixture.path, 'é-'), options as 'utf8');
      assert.match(basename(made), /^é-[a-zA-Z0-9]{6}$/);
      assert.equal(fs.statSync(made).mode & 0o7777, 0o700);
      fs.rmdirSync(made);
    }
    const bytes = await ours.promises.mkdtemp(join(fixture.path, 'é-'), 'buffer');
    assert.ok(Buffer.isBuffer(bytes));
    fs.rmdirSync(bytes);
    const hex = await ours.promises.mkdtemp(join(fixture.path, 'h-'), 'hex');
    fs.rmdirSync(Buffer.from(hex, 'hex'));
    for (const prefix of ['gone/x', 'file.txt/x'])
      await compare('mkdtemp', (dir) => [join(dir, prefix)], { scrub: withoutLetters });
    for (const wrong of [...WRONG, 7])
      await compare('mkdtemp', () => [wrong], { scrub: () => 'made' });
    await compare('mkdtemp', (dir) => [join(dir, 'x'), 'wrong']);
  });

  test('mkdtemp: a prefix of bytes', async () => {
    const prefix = Buffer.concat([Buffer.from(`${fixture.path}/`), INVALID_NAME]);
    const make = (api: Api['ours']) =>
      api.promises.mkdtemp(prefix as unknown as string, { encoding: 'buffer' });
    let expected: Buffer;
    try {
      expected = await make(plain);
    } catch (error) {
      await assert.rejects(make(ours), { message: (error as Error).message });
      return;
    }
    const made = await make(ours);
    assert.ok(Buffer.isBuffer(made) && made.length === expected.length);
    assert.deepEqual(made.subarray(0, prefix.length), prefix);
  });

  test('chmod', async () => {
    await withEachPath('chmod', 0o640);
    for (const mode of [0, 0o7777, 0o10777, '600', 'rw', -1, 1.5, undefined, null])
      await compare('chmod', (dir) => [join(dir, 'file.txt'), mode]);
  });

  for (const name of ['chown', 'lchown'])
    test(name, async () => {
      await withEachPath(name, process.getuid!(), process.getgid!());
      for (const id of [-1, 2 ** 32 - 1, 2 ** 32, -2, 1.5, '0', undefined])
        await compare(name, (dir) => [join(dir, 'file.txt'), id, -1]);
    });

  for (const name of ['utimes', 'lutimes'])
    test(name, async () => {
      await withEachPath(name, 1_000_000, 1_000_001.5);
      const times = [
        0,
        1.000_000_9,
        123_456.789,
        new Date(5),
        new Date(-5),
        '12',
        '12.5',
        -1,
        Number.NaN,
        Number.POSITIVE_INFINITY,
        {},
        undefined,
        new Date(Number.NaN),
        2 ** 33,
      ];
      for (const time of times) {
        await compare(name, (dir) => [join(dir, 'file.txt'), time, time]);
        if (isNow(time)) continue;
        await ours.promises[name as 'utimes'](join(fixture.path, 'file.txt'), 5, 5);
        const see = async (api: Api['ours']) => {
          fixture.reset();
          await api.promises[name as 'utimes'](
            join(fixture.path, 'file.txt'),
            time as number,
            time as number,
          ).catch(() => {});
          const { atimeNs, mtimeNs } = fs.statSync(join(fixture.path, 'file.txt'), {
            bigint: true,
          });
          return { atimeNs, mtimeNs };
        };
        assert.deepEqual(await see(ours), await see(plain), `${name} ${time}`);
      }
    });

  test('access', async () => {
    await withEachPath('access');
    for (const mode of [0, 1, 2, 4, 7, 8, -1, 1.5, 'r', null, undefined])
      for (const path of ['file.txt', 'program', 'readonly', 'sub'])
        await compare('access', (dir) => [join(dir, path), mode]);
  });

  test('exists', async () => {
    await withEachPath('exists');
    assert.throws(() => ours.exists('/', undefined as never), { code: 'ERR_INVALID_ARG_TYPE' });
  });

  test('names that are no UTF-8', async () => {
    const odd = (dir: string) => Buffer.concat([Buffer.from(`${dir}/`), INVALID_NAME]);
    await compare('mkdir', (dir) => [odd(dir)]);
    await compare('rename', (dir) => [join(dir, 'file.txt'), odd(dir)]);
    await compare('unlink', (dir) => [odd(dir)]);
    await compare('symlink', (dir) => [INVALID_NAME, join(dir, 'made')]);
  });

  test('relative paths start from the working directory', async () => {
    const before = process.cwd();
    process.chdir(fixture.path);
    try {
      for (const path of ['file.txt', './sub/../file.txt', 'gone'])
        await compare('stat', () => [path], { sameFiles: true });
      for (const path of ['x/y', './x/../x/y', '../here/z'])
        await compare('mkdir', (dir) => {
          process.chdir(dir);
          return [path, { recursive: true }];
        });
    } finally {
      process.chdir(before);
    }
  });
}

/** The six letters, which the error of a failed mkdtemp has too. */
function withoutLetters(value: unknown): unknown {
  assert.ok(value instanceof Error);
  const { message, code, path } = value as NodeJS.ErrnoException;
  return [message, code, path].map((text) => text?.replace(/x[a-zA-Z0-9]{6}\b/, 'xXXXXXX'));
}

/** Negative numbers mean the time of the call. */
function isNow(time: unknown): boolean {
  return typeof time === 'number' && time < 0;
}
