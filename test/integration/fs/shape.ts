/**
 * The outside of the module: every name of Node's, with the same name, length, symbols and kind of
 * property; and what is said to be accelerated is.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { CALLBACK_NAMES, PROMISE_NAMES } from '../../../src/node/doors.ts';
import type { Api, FsModule } from '../../support/fs-api.ts';

type Functions = Record<string, (...args: unknown[]) => unknown>;

export default function shape({ form, plain, ours }: Api): void {
  const modules: [
    string,
    FsModule | FsModule['promises'],
    FsModule | FsModule['promises'],
    string,
  ][] = [
    ['fs', plain, ours, CALLBACK_NAMES],
    ['fs.promises', plain.promises, ours.promises, PROMISE_NAMES],
  ];

  for (const [title, theirs, mine, accelerated] of modules) {
    test(`${title}: the names, in order, and their kinds`, () => {
      const kinds = (module: object) =>
        Object.entries(Object.getOwnPropertyDescriptors(module)).map(([name, property]) => [
          name,
          name === 'promises' ? 'any' : 'value' in property ? 'value' : 'accessor',
          property.enumerable,
        ]);
      assert.deepEqual(kinds(mine), kinds(theirs));
    });

    test(`${title}: functions look like Node's`, () => {
      for (const [name, theirFunction] of Object.entries(values(theirs))) {
        const mineFunction = (mine as unknown as Functions)[name];
        assert.equal(typeof mineFunction, typeof theirFunction, name);
        if (typeof theirFunction !== 'function') continue;
        assert.equal(mineFunction.name, theirFunction.name);
        assert.equal(mineFunction.length, theirFunction.length, `${name}.length`);
        assert.deepEqual(
          Object.getOwnPropertySymbols(mineFunction),
          Object.getOwnPropertySymbols(theirFunction),
          name,
        );
      }
    });

    test(`${title}: exactly the accelerated functions are others`, () => {
      const streams =
        form === 'own' && title === 'fs' ? ['createReadStream', 'createWriteStream'] : [];
      const others = Object.keys(values(theirs)).filter(
        (name) => (mine as unknown as Functions)[name] !== (theirs as unknown as Functions)[name],
      );
      const named = accelerated.split(' ').filter((name) => name in theirs);
      assert.deepEqual(others.sort(), [...named, ...streams].sort());
    });
  }

  test('fs.promises is one object, and has the constants', () => {
    assert.equal(ours.promises, ours.promises);
    assert.equal(ours.promises.constants, fs.constants);
    assert.equal(ours.Stats, plain.Stats);
    assert.equal(ours.Dir, plain.Dir);
  });

  test('util.promisify', async () => {
    const read = promisify(ours.read);
    const fd = fs.openSync('/dev/zero', 'r');
    const buffer = Buffer.alloc(3);
    assert.deepEqual(await read(fd, buffer, 0, 3, null), { bytesRead: 3, buffer });
    fs.closeSync(fd);
    assert.equal(await promisify(ours.exists)('/'), true);
    assert.equal(await promisify(ours.exists)('/nowhere'), false);
    assert.equal(await promisify(ours.readFile)('/dev/null', 'utf8'), '');
    assert.ok((await promisify(ours.stat)('/')).isDirectory());
  });

  test('functions need no this, and can be constructed where Node’s can', () => {
    const { stat } = ours;
    return new Promise<void>((resolve) => {
      Reflect.apply(stat, undefined, ['/', () => resolve()]);
    });
  });

  test('nothing enumerable on process or globalThis', () => {
    for (const holder of [process, globalThis])
      assert.deepEqual(
        Object.keys(holder).filter((name) => /trapless/i.test(name)),
        [],
      );
  });
}

/** Without what it costs a warning to look at, or loads something. */
function values(module: object): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(module)))
    if ('value' in property && name !== 'promises') found[name] = property.value;
  return found;
}
