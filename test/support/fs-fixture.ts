/**
 * A folder with one of everything, made anew as often as a test wants, always at the same path, so
 * that what two implementations did to it and said about it can be compared as it is.
 *
 *   const fixture = makeFixture();
 *   fixture.reset();
 *   await fs.promises.unlink(join(fixture.path, 'file.txt'));
 *   snapshot(fixture.path)              // every name below, with type, mode and content
 *   fixture.remove();
 */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Fixture {
  readonly path: string;
  reset(): void;
  remove(): void;
}

/** Not valid UTF-8, as a name on Linux may be. */
export const INVALID_NAME = Buffer.from([0x62, 0xff, 0xfe]);

/** Longer than one block of the pool, and no multiple of anything. */
export const BIG = Buffer.from(Array.from({ length: 200_003 }, (_, i) => (i * 7 + (i >> 8)) & 255));

export function makeFixture(): Fixture {
  const root = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'trapless-fs-')));
  const path = join(root, 'here');
  const remove = () => fs.rmSync(root, { recursive: true, force: true });
  const reset = () => {
    fs.rmSync(path, { recursive: true, force: true });
    fs.mkdirSync(path);
    populate(path);
  };
  reset();
  return { path, reset, remove };
}

function populate(path: string): void {
  const at = (name: string) => join(path, name);
  fs.writeFileSync(at('file.txt'), 'hello world\n', { mode: 0o644 });
  fs.writeFileSync(at('empty'), '');
  fs.writeFileSync(at('big'), BIG);
  fs.writeFileSync(at('utf8'), 'žluťoučký 🐎\n');
  fs.writeFileSync(at('readonly'), 'r', { mode: 0o444 });
  fs.writeFileSync(at('program'), '#!/bin/sh\n', { mode: 0o755 });
  fs.mkdirSync(at('sub/deep/deeper'), { recursive: true });
  fs.mkdirSync(at('vacant'));
  for (const name of ['sub/a', 'sub/b', 'sub/deep/c', 'sub/deep/deeper/d'])
    fs.writeFileSync(at(name), name);
  fs.mkdirSync(at('names'));
  for (const name of ['b', 'A', 'ž', '\uffee', '\u{10000}', 'a b', '.hidden'])
    fs.writeFileSync(at(join('names', name)), '');
  fs.symlinkSync('file.txt', at('link'));
  fs.symlinkSync('nowhere', at('dangling'));
  fs.symlinkSync('loop', at('loop'));
  fs.symlinkSync('sub', at('dirlink'));
  fs.symlinkSync('deep', at('sub/again'));
  // Times that no two runs could agree on by chance.
  fs.utimesSync(at('file.txt'), 1_600_000_000.125, 1_500_000_000.5);
}

/** One line for each name below, in order. Times are left out. */
export function snapshot(path: string, relative = ''): string[] {
  const lines: string[] = [];
  // Text in which every byte is a character: names need not be valid UTF-8.
  const bytes = (name: string) =>
    Buffer.concat([Buffer.from(`${path}/`), Buffer.from(name, 'latin1')]) as unknown as string;
  const names = fs.readdirSync(bytes(relative), { encoding: 'latin1' }).sort();
  for (const name of names) {
    const inner = join(relative, name);
    const full = bytes(inner);
    const stats = fs.lstatSync(full);
    const mode = stats.mode.toString(8);
    if (stats.isSymbolicLink()) lines.push(`${inner} ${mode} -> ${fs.readlinkSync(full)}`);
    else if (stats.isDirectory()) lines.push(`${inner}/ ${mode}`, ...snapshot(path, inner));
    else lines.push(`${inner} ${mode} ${contentOf(full)}`);
  }
  return lines;
}

function contentOf(path: string): string {
  const data = fs.readFileSync(path);
  return data.length > 100 ? `${data.length} bytes, ${data.toString('hex', 0, 20)}…` : `${data}`;
}
