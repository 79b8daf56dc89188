/**
 * Whole files: readFile, writeFile, appendFile, truncate, copyFile, open, close; by path and by
 * descriptor, with every encoding and flag.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Api } from '../../support/fs-api.ts';
import { comparing } from '../../support/fs-compare.ts';
import { BIG, INVALID_NAME, makeFixture } from '../../support/fs-fixture.ts';

const ENCODINGS = [
  'utf8',
  'UTF-8',
  'latin1',
  'hex',
  'base64',
  'base64url',
  'ucs2',
  'ascii',
] as const;
const FLAGS = [
  'r',
  'r+',
  'rs',
  'w',
  'w+',
  'wx',
  'wx+',
  'a',
  'a+',
  'ax',
  'ax+',
  'as',
  'xw',
  0,
  2,
  'x',
  '',
  'rw',
  null,
  1.5,
];
const PLACES = ['file.txt', 'new', 'sub', 'link', 'dangling', 'loop', 'gone/x', 'file.txt/x'];

export default function files({ plain, ours }: Api): void {
  const fixture = makeFixture();
  after(fixture.remove);
  const compare = comparing(plain, ours, fixture);
  const same = { sameFiles: true };
  const at = (name: string) => join(fixture.path, name);

  test('readFile: everything there is', async () => {
    for (const name of [...PLACES, 'empty', 'big', 'utf8', 'program', 'dirlink'])
      await compare('readFile', (dir) => [join(dir, name)], same);
    for (const path of [
      '/proc/version',
      '/proc/self/mounts',
      '/dev/null',
      '/sys/kernel/mm/transparent_hugepage/enabled',
    ])
      await compare('readFile', () => [path, 'utf8'], same);
  });

  test('readFile: lengths about the size of a block', async () => {
    for (const length of [
      65535,
      65536,
      65537,
      69631,
      69632,
      69633,
      1 << 20,
      (1 << 20) + 1,
      3_000_001,
    ]) {
      fs.writeFileSync(at('long'), Buffer.alloc(length, 'abcdefg'));
      for (const encoding of [undefined, 'latin1'])
        await compare('readFile', (dir) => [join(dir, 'long'), encoding], same);
    }
    fs.unlinkSync(at('long'));
  });

  test('readFile: encodings, flags and other options', async () => {
    for (const encoding of ENCODINGS)
      for (const name of ['utf8', 'big', 'empty'])
        await compare('readFile', (dir) => [join(dir, name), encoding], same);
    for (const flag of FLAGS)
      for (const name of ['file.txt', 'new'])
        await compare('readFile', (dir) => [join(dir, name), { flag }]);
    const odd = [
      null,
      {},
      { encoding: null },
      { encoding: 'utf8', flag: undefined },
      'nope',
      5,
      true,
      { encoding: 5 },
      { signal: null },
      { signal: {} },
      { signal: 'x' },
    ];
    for (const options of odd)
      await compare('readFile', (dir) => [join(dir, 'utf8'), options], same);
    await compare(
      'readFile',
      (dir) => [join(dir, 'utf8'), Object.freeze({ encoding: 'utf8' })],
      same,
    );
    await compare(
      'readFile',
      (dir) => [join(dir, 'utf8'), Object.create({ encoding: 'utf8' })],
      same,
    );
    await compare(
      'readFile',
      (dir) => [join(dir, 'utf8'), new Proxy({ encoding: 'utf8' }, {})],
      same,
    );
  });

  test('a Buffer of its own memory', async () => {
    const data = await ours.promises.readFile(at('file.txt'));
    assert.equal(data.byteOffset, 0);
    assert.equal(data.buffer.byteLength, data.length);
    assert.notEqual(await ours.promises.readFile(at('file.txt')), data);
    data.fill(0);
    assert.equal(await ours.promises.readFile(at('file.txt'), 'latin1'), 'hello world\n');
  });

  test('readFile: forms of a path', async () => {
    const forms = [Buffer.from, (path: string) => new Uint8Array(Buffer.from(path)), pathToFileURL];
    for (const form of forms)
      await compare(
        'readFile',
        (dir) => [(form as (path: string) => unknown)(join(dir, 'file.txt'))],
        same,
      );
    fs.writeFileSync(Buffer.concat([Buffer.from(`${fixture.path}/`), INVALID_NAME]), 'odd');
    await compare(
      'readFile',
      (dir) => [Buffer.concat([Buffer.from(`${dir}/`), INVALID_NAME])],
      same,
    );
    const urls = ['http://x/y', 'file://host/x', 'file:///a%2fb', 'file:///a%00b'].map(
      (url) => new URL(url),
    );
    for (const wrong of [...urls, undefined, null, {}, [], 'a\0b', Symbol('s'), true, 1n])
      await compare('readFile', () => [wrong], same);
  });

  for (const name of ['writeFile', 'appendFile']) {
    test(`${name}: everywhere`, async () => {
      for (const place of PLACES) await compare(name, (dir) => [join(dir, place), 'data']);
    });

    test(`${name}: kinds of data`, async () => {
      const bytes = Uint8Array.from({ length: 10 }, (_, i) => i);
      const data = [
        '',
        'text',
        'é'.repeat(40_000),
        Buffer.from('bytes'),
        bytes.subarray(2, 5),
        new Uint16Array(bytes.buffer, 2, 2),
        new DataView(bytes.buffer, 1, 3),
        BIG,
        Buffer.alloc(1_500_000, 'long'),
        5,
        null,
        undefined,
        {},
        true,
      ];
      for (const one of data) await compare(name, (dir) => [join(dir, 'file.txt'), one]);
      await compare(name, (dir) => [join(dir, 'file.txt'), ['a', 'b']], { forms: ['promise'] });
    });

    test(`${name}: encodings, flags, modes and other options`, async () => {
      for (const encoding of ENCODINGS)
        await compare(name, (dir) => [join(dir, 'new'), 'c0ffee', encoding]);
      for (const flag of FLAGS)
        for (const place of ['file.txt', 'new'])
          await compare(name, (dir) => [join(dir, place), 'x', { flag }]);
      for (const mode of [0o600, 0o777, '640', 0o10644, null, -1, 'x', 1.5])
        await compare(name, (dir) => [join(dir, 'new'), 'x', { mode }]);
      for (const flush of [true, false, null, undefined, 'yes', 1])
        await compare(name, (dir) => [join(dir, 'new'), 'x', { flush }]);
      for (const options of [
        null,
        {},
        'nope',
        5,
        { encoding: 'nope' },
        Object.freeze({ mode: 0o600 }),
      ])
        await compare(name, (dir) => [join(dir, 'new'), 'x', options]);
    });
  }

  test('the data of a call is taken when it is made, if it is short', async () => {
    const data = Buffer.from('before');
    const written = ours.promises.writeFile(at('taken'), data);
    data.fill('x');
    await written;
    assert.equal(fs.readFileSync(at('taken'), 'latin1'), 'before');
  });

  test('truncate', async () => {
    for (const length of [undefined, 0, 5, 5000, -3, 1.5, '5', null])
      for (const place of ['file.txt', 'gone', 'sub', 'link'])
        await compare('truncate', (dir) => [join(dir, place), length]);
  });

  test('copyFile', async () => {
    const pairs = [
      ['file.txt', 'new'],
      ['file.txt', 'empty'],
      ['big', 'file.txt'],
      ['empty', 'file.txt'],
      ['program', 'new'],
      ['readonly', 'new'],
      ['link', 'new'],
      ['file.txt', 'link'],
      ['file.txt', 'file.txt'],
      ['file.txt', 'sub'],
      ['sub', 'new'],
      ['gone', 'new'],
      ['file.txt', 'gone/x'],
      ['file.txt', 'dangling'],
      ['loop', 'new'],
    ];
    for (const [from, to] of pairs)
      for (const mode of [undefined, 0, fs.constants.COPYFILE_EXCL])
        await compare('copyFile', (dir) => [join(dir, from), join(dir, to), mode]);
    for (const mode of [2, 3, 4, 8, -1, 'r', null])
      await compare('copyFile', (dir) => [join(dir, 'file.txt'), join(dir, 'new'), mode]);
    await compare('copyFile', (dir) => [
      Buffer.from(join(dir, 'file.txt')),
      pathToFileURL(join(dir, 'new')),
    ]);
    for (const wrong of [undefined, 5, 'a\0b']) {
      await compare('copyFile', (dir) => [wrong, join(dir, 'new')]);
      await compare('copyFile', (dir) => [join(dir, 'file.txt'), wrong]);
    }
    await compare('copyFile', (dir) => ['/proc/version', join(dir, 'new')]);
  });

  test('copyFile: to another filesystem, and with holes', async () => {
    const target = fs.mkdtempSync('/dev/shm/trapless-');
    try {
      fs.truncateSync(at('empty'), 5_000_000);
      for (const name of ['big', 'empty', 'program']) {
        await ours.promises.copyFile(at(name), join(target, name));
        assert.ok(fs.readFileSync(join(target, name)).equals(fs.readFileSync(at(name))));
        assert.equal(fs.statSync(join(target, name)).mode, fs.statSync(at(name)).mode);
      }
    } finally {
      fs.rmSync(target, { recursive: true });
    }
  });

  /* --- By descriptor ----------------------------------------------------------------------- */

  const opened = (name: string, flags: string, position: number) => (dir: string) => {
    const fd = fs.openSync(join(dir, name), flags);
    if (position > 0) fs.readSync(fd, Buffer.alloc(position), 0, position, null);
    fds.push(fd);
    return fd;
  };
  const byFd = { forms: ['callback'] as const };
  const fds: number[] = [];
  const closeAll = () => {
    for (const fd of fds.splice(0)) fs.closeSync(fd);
  };

  test('readFile of a descriptor goes on from its position', async () => {
    for (const name of ['file.txt', 'empty', 'big'])
      for (const position of [0, 5])
        for (const options of [undefined, 'latin1', { flag: 'w' }])
          await compare('readFile', (dir) => [opened(name, 'r', position)(dir), options], byFd);
    // Of -1 and the like Node's error cannot be caught: it comes in the next tick.
    // And of a closed one it is a TypeError about a list that Node made itself.
    const error = await new Promise((resolve) => ours.readFile((1 << 30) - 1, resolve));
    assert.match(String(error), /^Error: EBADF: bad file descriptor, fstat$/);
    // Node's loses errors of reading.
    const reading = await new Promise((resolve) =>
      ours.readFile(opened('sub', 'r', 0)(fixture.path), resolve),
    );
    assert.match(String(reading), /^Error: EISDIR: illegal operation on a directory, read$/);
    closeAll();
  });

  for (const name of ['writeFile', 'appendFile'])
    test(`${name} to a descriptor goes on from its position`, async () => {
      for (const position of [0, 5])
        for (const data of ['data', '', BIG])
          await compare(name, (dir) => [opened('file.txt', 'r+', position)(dir), data], byFd);
      await compare(name, (dir) => [opened('file.txt', 'a', 0)(dir), 'appended'], byFd);
      await compare(name, (dir) => [opened('file.txt', 'r', 0)(dir), 'refused'], byFd);
      await compare(name, () => [(1 << 30) - 1, 'x']);
      await compare(name, () => [(1 << 30) - 1, '']);
      closeAll();
    });

  test('open and close', async () => {
    const scrub = (value: unknown) => {
      if (typeof value === 'number') fs.closeSync(value);
      return typeof value === 'number' ? 'a descriptor' : value;
    };
    const forms = ['callback'] as const;
    for (const place of PLACES)
      for (const flags of FLAGS)
        await compare('open', (dir) => [join(dir, place), flags], { forms, scrub });
    for (const mode of [0o600, '644', 0o10666, null, 'x', -1, []])
      await compare('open', (dir) => [join(dir, 'new'), 'w', mode], { forms, scrub });
    for (const wrong of [-1, 1.5, '1', undefined, null, (1 << 30) - 1])
      await compare('close', () => [wrong]);
    await compare('close', (dir) => [opened('file.txt', 'r', 0)(dir)]);
    fds.length = 0;
  });

  test('close without a callback', async () => {
    const fd = fs.openSync(at('file.txt'), 'r');
    ours.close(fd);
    await until(() => !isOpen(fd));
    assert.throws(() => ours.close(undefined as never), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => ours.close(fd, 5 as never), { code: 'ERR_INVALID_ARG_TYPE' });
  });

  test('descriptors are not inherited', async () => {
    const handle = await ours.promises.open(at('file.txt'));
    const { stdout } = spawnSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
    await handle.close();
    assert.doesNotMatch(stdout, /file\.txt/);
  });
}

function isOpen(fd: number): boolean {
  try {
    fs.fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !condition(); i++)
    await new Promise((resolve) => setTimeout(resolve, 2));
  assert.ok(condition());
}
