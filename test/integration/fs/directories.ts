/**
 * Whole directories: readdir in all its forms, opendir and the fs.Dir it gives, rm and rmdir.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { Api, FsModule } from '../../support/fs-api.ts';
import { comparing } from '../../support/fs-compare.ts';
import { INVALID_NAME, makeFixture } from '../../support/fs-fixture.ts';

const PLACES = [
  '',
  'sub',
  'vacant',
  'names',
  'dirlink',
  'file.txt',
  'link',
  'dangling',
  'loop',
  'gone',
];
const ENCODINGS = ['utf8', 'buffer', 'latin1', 'hex', 'base64', 'ucs2', 'nope'];

export default function directories({ plain, ours }: Api): void {
  const fixture = makeFixture();
  after(fixture.remove);
  const compare = comparing(plain, ours, fixture);
  const same = { sameFiles: true };
  const at = (name: string) => join(fixture.path, name);

  /* --- readdir ------------------------------------------------------------------------------ */

  test('readdir: names and types', async () => {
    for (const place of PLACES)
      for (const options of [undefined, { withFileTypes: true }, { withFileTypes: false }])
        await compare('readdir', (dir) => [join(dir, place), options], same);
    for (const path of ['/proc/self', '/dev', '/sys/kernel'])
      await compare('readdir', () => [path, { withFileTypes: true }], { ...same, scrub: stable });
  });

  test('readdir: encodings and other options', async () => {
    for (const encoding of ENCODINGS)
      for (const options of [encoding, { encoding }, { encoding, withFileTypes: true }])
        await compare('readdir', (dir) => [join(dir, 'names'), options], same);
    const odd = [
      null,
      {},
      5,
      { withFileTypes: 1 },
      { withFileTypes: 'x' },
      { recursive: 1 },
      { recursive: 'x' },
      { recursive: null },
      Object.create({ withFileTypes: true }),
      Object.freeze({}),
    ];
    for (const options of odd) await compare('readdir', (dir) => [join(dir, 'sub'), options], same);
  });

  test('readdir: forms of a path', async () => {
    for (const form of [
      Buffer.from,
      pathToFileURL,
      (path: string) => `${path}/`,
      (path: string) => `${path}/./`,
    ])
      for (const options of [
        undefined,
        'buffer',
        { withFileTypes: true },
        { withFileTypes: true, encoding: 'buffer' },
      ])
        await compare(
          'readdir',
          (dir) => [(form as (path: string) => unknown)(join(dir, 'sub')), options],
          same,
        );
    for (const wrong of [undefined, null, 5, {}, 'a\0b', new URL('http://x/')])
      await compare('readdir', () => [wrong], same);
  });

  test('readdir: the order of bytes, also of names that are no UTF-8', async () => {
    for (const bytes of [INVALID_NAME, Buffer.from([0xff]), Buffer.from([0x80, 0x41])])
      fs.writeFileSync(Buffer.concat([Buffer.from(`${at('names')}/`), bytes]), '');
    for (const options of [
      'utf8',
      'buffer',
      { withFileTypes: true },
      { withFileTypes: true, encoding: 'buffer' },
    ])
      await compare('readdir', (dir) => [join(dir, 'names'), options], same);
    fixture.reset();
  });

  test('readdir: directories of many lengths', async () => {
    for (const count of [1, 100, 1400, 2000, 5000]) {
      const many = at(`many-${count}`);
      fs.mkdirSync(many);
      for (let i = 0; i < count; i++) fs.writeFileSync(join(many, `file number ${i} of many`), '');
      assert.deepEqual(await ours.promises.readdir(many), fs.readdirSync(many));
      assert.deepEqual(
        await ours.promises.readdir(many, { withFileTypes: true }),
        fs.readdirSync(many, { withFileTypes: true }),
      );
      fs.rmSync(many, { recursive: true });
    }
  });

  test('readdir: recursive', async () => {
    for (const place of PLACES.filter((name) => name !== '')) {
      await compareRecursive(place, {});
      await compareRecursive(place, { withFileTypes: true });
    }
    await compareRecursive('', { withFileTypes: true });
    await compareRecursive('', {});
    await compareRecursive('./sub/../sub/', { withFileTypes: true });
    await compareRecursive('sub', { encoding: 'latin1' });
  });

  /** Both forms. The callback form of Node 20 is synchronous, and throws its errors. */
  async function compareRecursive(place: string, options: object): Promise<void> {
    const throws = process.versions.node.startsWith('20.') && !isDirectory(at(place));
    const forms = throws ? (['promise'] as const) : undefined;
    const given = { ...options, recursive: true };
    await compare('readdir', (dir) => [`${dir}/${place}`, given], { ...same, forms });
  }

  test('readdir: recursive, with a relative path and with a loop of links', async () => {
    // Linux gives up after 40 links; more than one loop would multiply.
    fs.symlinkSync('.', at('vacant/round'));
    fs.writeFileSync(at('vacant/file'), '');
    const before = process.cwd();
    process.chdir(fixture.path);
    try {
      for (const path of ['vacant', 'sub', './sub', 'sub/', '.'])
        for (const withFileTypes of [false, true])
          await compare('readdir', () => [path, { recursive: true, withFileTypes }], same);
    } finally {
      process.chdir(before);
      fixture.reset();
    }
  });

  test('readdir: recursive, deeper than a path may be long', async () => {
    const deep = join(at('vacant'), ...Array.from({ length: 40 }, () => 'n'.repeat(30)));
    fs.mkdirSync(deep, { recursive: true });
    for (const withFileTypes of [false, true])
      await compare(
        'readdir',
        (dir) => [join(dir, 'vacant'), { recursive: true, withFileTypes }],
        same,
      );
    fixture.reset();
  });

  test('readdir: of a directory that is gone, but open as the working directory', async () => {
    const before = process.cwd();
    const gone = at('vacant');
    process.chdir(gone);
    fs.rmdirSync(gone);
    try {
      for (const options of [undefined, { withFileTypes: true }])
        await compare('readdir', () => ['.', options], same);
    } finally {
      process.chdir(before);
      fixture.reset();
    }
  });

  /* --- opendir -------------------------------------------------------------------------------- */

  const sorted = (names: readonly (string | Buffer)[]) => names.map(String).sort();

  test('opendir: an fs.Dir with every entry once', async () => {
    for (const place of ['', 'sub', 'vacant', 'names', 'dirlink']) {
      const dir = await ours.promises.opendir(at(place));
      assert.ok(dir instanceof fs.Dir);
      assert.equal(dir.path, at(place));
      const names: string[] = [];
      for await (const entry of dir) {
        assert.ok(entry instanceof fs.Dirent);
        names.push(`${entry.name} ${entry.isDirectory()} ${entry.isSymbolicLink()}`);
      }
      const expected = fs.readdirSync(at(place), { withFileTypes: true });
      assert.deepEqual(
        names.sort(),
        expected.map((e) => `${e.name} ${e.isDirectory()} ${e.isSymbolicLink()}`).sort(),
      );
      await assert.rejects(dir.close(), { code: 'ERR_DIR_CLOSED' });
    }
  });

  test('opendir: errors, and what Node refuses', async () => {
    const scrub = closed;
    for (const place of ['file.txt', 'gone', 'loop', 'dangling'])
      await compare('opendir', (dir) => [join(dir, place)], same);
    for (const wrong of [undefined, null, 5, {}, 'a\0b'])
      await compare('opendir', () => [wrong], same);
    for (const options of ['utf8', null, {}, { bufferSize: 5 }, 'nope', 5])
      await compare('opendir', (dir) => [join(dir, 'sub'), options], { ...same, scrub });
  });

  test('opendir: encodings', async () => {
    for (const encoding of ['utf8', 'buffer', 'hex', 'latin1'] as const) {
      const read = async (api: FsModule) => {
        const names: (string | Buffer)[] = [];
        const options = { encoding } as { encoding: BufferEncoding };
        for await (const { name } of await api.promises.opendir(at('names'), options))
          names.push(name);
        return sorted(names);
      };
      assert.deepEqual(await read(ours), await read(plain));
    }
  });

  test('opendir: long directories, small buffers', async () => {
    const many = at('many');
    fs.mkdirSync(many);
    for (let i = 0; i < 3000; i++) fs.writeFileSync(join(many, `entry ${i}`), '');
    for (const bufferSize of [1, 32, 4096]) {
      const names: string[] = [];
      for await (const { name } of await ours.promises.opendir(many, { bufferSize }))
        names.push(name);
      assert.deepEqual(names.sort(), fs.readdirSync(many).sort());
    }
    fs.rmSync(many, { recursive: true });
  });

  test('Dir: callbacks come later, one after the other', async () => {
    const dir = await new Promise<fs.Dir>((resolve, reject) =>
      ours.opendir(at('sub'), (error, found) => (error ? reject(error) : resolve(found))),
    );
    const order: string[] = [];
    const read = () =>
      new Promise<fs.Dirent | null>((resolve, reject) => {
        let returned = false;
        dir.read((error, entry) => {
          assert.ok(returned, 'called back before read() returned');
          order.push(entry?.name ?? 'end');
          if (error) reject(error);
          else resolve(entry);
        });
        returned = true;
      });
    const reads = Array.from({ length: 6 }, read);
    const closing = dir.close();
    await Promise.all([...reads, closing]);
    assert.deepEqual(order.slice(0, 4).sort(), ['a', 'again', 'b', 'deep']);
    assert.deepEqual(order.slice(4), ['end', 'end']);
    assert.throws(() => dir.readSync(), { code: 'ERR_DIR_CLOSED' });
  });

  test('Dir: the synchronous methods, alone and after others', async () => {
    const dir = await ours.promises.opendir(at('sub'));
    const names = [dir.readSync()?.name, (await dir.read())?.name, dir.readSync()?.name];
    names.push((await dir.read())?.name);
    assert.deepEqual(names.sort(), ['a', 'again', 'b', 'deep']);
    assert.equal(await dir.read(), null);
    assert.equal(dir.readSync(), null);
    dir.closeSync();
    assert.throws(() => dir.closeSync(), { code: 'ERR_DIR_CLOSED' });
  });

  test('Dir: no synchronous method while another is under way', async () => {
    const dir = await ours.promises.opendir(at('sub'));
    const reading = dir.read();
    assert.throws(() => dir.readSync(), { code: 'ERR_DIR_CONCURRENT_OPERATION' });
    assert.throws(() => dir.closeSync(), { code: 'ERR_DIR_CONCURRENT_OPERATION' });
    await reading;
    await dir.close();
  });

  test('Dir: a synchronous read while another call blocks', async () => {
    const fifo = at('fifo');
    const { execFileSync } = await import('node:child_process');
    execFileSync('mkfifo', [fifo]);
    const blocked = ours.promises.readFile(fifo, 'utf8');
    const dir = await ours.promises.opendir(at('sub'));
    const names: string[] = [];
    for (let entry = dir.readSync(); entry; entry = dir.readSync()) names.push(entry.name);
    dir.closeSync();
    assert.equal(names.length, 4);
    fs.writeFileSync(fifo, 'at last');
    assert.equal(await blocked, 'at last');
    fs.unlinkSync(fifo);
  });

  test('Dir: break, return and throw close it', async () => {
    const before = openFiles();
    for await (const _ of await ours.promises.opendir(at('sub'))) break;
    await assert.rejects(async () => {
      for await (const _ of await ours.promises.opendir(at('sub'))) throw new Error('mine');
    }, /mine/);
    assert.equal(openFiles(), before);
  });

  /* --- rm, rmdir ------------------------------------------------------------------------------ */

  test('rm', async () => {
    for (const place of [...PLACES.slice(1), 'gone/x', 'file.txt/x'])
      for (const options of [
        undefined,
        { recursive: true },
        { force: true },
        { recursive: true, force: true },
      ])
        await compare('rm', (dir) => [join(dir, place), options]);
    await compare('rm', (dir) => [`${join(dir, 'sub')}/`, { recursive: true }]);
    await compare('rm', (dir) => [Buffer.from(join(dir, 'sub')), { recursive: true }]);
    await compare('rm', (dir) => [pathToFileURL(join(dir, 'sub')), { recursive: true }]);
    for (const options of [
      null,
      {},
      5,
      { recursive: 1 },
      { force: 'x' },
      { maxRetries: 2 },
      { maxRetries: -1 },
      { retryDelay: -1 },
      { retryDelay: 5 },
    ])
      await compare('rm', (dir) => [join(dir, 'sub'), options]);
    for (const wrong of [undefined, null, 5, 'a\0b'])
      await compare('rm', () => [wrong, { force: true }]);
  });

  test('rm: what may not be removed keeps its contents', async () => {
    const before = process.cwd();
    try {
      await compare('rm', (dir) => {
        process.chdir(join(dir, 'sub'));
        return ['.', { recursive: true, force: true }];
      });
    } finally {
      process.chdir(before);
    }
  });

  test('rm: names that are no UTF-8, and deeper than a path may be long', async () => {
    fixture.reset();
    fs.writeFileSync(Buffer.concat([Buffer.from(`${at('sub')}/`), INVALID_NAME]), '');
    fs.mkdirSync(join(at('sub'), ...Array.from({ length: 40 }, () => 'n'.repeat(30))), {
      recursive: true,
    });
    await ours.promises.rm(at('sub'), { recursive: true });
    assert.equal(fs.existsSync(at('sub')), false);
  });

  test('rm: a large tree', async () => {
    fixture.reset();
    for (let i = 0; i < 30; i++) {
      fs.mkdirSync(at(`sub/tree/${i}/x/y`), { recursive: true });
      for (let j = 0; j < 40; j++) fs.writeFileSync(at(`sub/tree/${i}/x/${j}`), '');
    }
    await new Promise<void>((resolve, reject) =>
      ours.rm(at('sub'), { recursive: true }, (error) => (error ? reject(error) : resolve())),
    );
    assert.equal(fs.existsSync(at('sub')), false);
  });

  test('rmdir', async () => {
    const { emitWarning } = process;
    process.emitWarning = () => {};
    try {
      for (const place of PLACES.slice(1))
        for (const options of [
          undefined,
          {},
          { recursive: false },
          { recursive: true },
          { maxRetries: 1 },
        ])
          await compare('rmdir', (dir) => [join(dir, place), options]);
    } finally {
      process.emitWarning = emitWarning;
    }
  });
}

function isDirectory(path: string): boolean {
  return fs.existsSync(path) && fs.statSync(path).isDirectory();
}

function openFiles(): number {
  return fs.readdirSync('/proc/self/fd').length;
}

/** Closes a directory, and makes it comparable. */
function closed(value: unknown): unknown {
  if (!(value instanceof fs.Dir)) return value;
  value.closeSync();
  return `a Dir of ${value.path}`;
}

/** Without what comes and goes in /proc and /dev. */
function stable(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  return value.filter(({ name }) => /^(status|fd|null|zero|debug|mm|exe|stat)$/.test(name));
}
