/**
 * Everything below a directory as data, to compare what two programs left behind: of a real
 * directory, or of the simulated file system.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import type { SimFileSystem } from '../../src/kernel/sim/file-system.ts';
import { sizeOf } from '../../src/kernel/sim/inode.ts';

export type Tree = Readonly<Record<string, unknown>>;

function describe(type: string, mode: number, nlink: number, content: Buffer | string): unknown {
  const bytes = Buffer.from(content as string, 'latin1');
  return {
    type,
    mode: (mode & 0o7777).toString(8),
    // What a directory counts as its links differs between file systems.
    nlink: type === 'directory' ? 'any' : nlink,
    size: bytes.length,
    content: bytes.length <= 100 ? bytes.toString('hex') : hash(bytes),
  };
}

function hash(bytes: Buffer): number {
  let sum = 0;
  for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) >>> 0;
  return sum;
}

export function realTree(dir: string): Tree {
  const tree: Record<string, unknown> = {};
  /** As they were: a file may come twice, and be opened up the first time. */
  const modes = new Map<number, number>();
  const visit = (below: string) => {
    for (const name of fs.readdirSync(join(dir, below)).sort()) {
      const path = join(below, name);
      const full = join(dir, path);
      const stats = fs.lstatSync(full);
      const mode = modes.get(stats.ino) ?? stats.mode;
      modes.set(stats.ino, mode);
      if (stats.isDirectory()) {
        tree[path] = describe('directory', mode, 0, '');
        fs.chmodSync(full, 0o700); // to look inside, whoever we are
        visit(path);
      } else if (stats.isSymbolicLink()) {
        tree[path] = describe('link', 0, stats.nlink, fs.readlinkSync(full, 'latin1'));
      } else {
        fs.chmodSync(full, 0o600);
        const content = fs.readFileSync(full, 'latin1');
        tree[path] = describe('file', mode, stats.nlink, content);
      }
    }
  };
  visit('');
  return tree;
}

export function simTree(sim: SimFileSystem, dir: string): Tree {
  const tree: Record<string, unknown> = {};
  const paths = [...sim.tree(dir)].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [path, inode] of paths) {
    const name = Buffer.from(path.slice(dir.length + 1), 'latin1').toString();
    const mode = inode.type === 'link' ? 0 : inode.mode;
    const content =
      inode.type === 'link'
        ? inode.target
        : inode.type === 'file'
          ? inode.data.toString('latin1', 0, sizeOf(inode))
          : '';
    tree[name] = describe(inode.type, mode, inode.nlink, content);
  }
  return tree;
}
