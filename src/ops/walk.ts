/**
 * A directory and everything below it: what readdir's `recursive` needs. All directories of one
 * depth are listed at the same time.
 *
 *   const tree = await walk(kernel, path, true);
 *   for (const { tree: { path, relative }, name } of entriesOf(tree, 'queue')) …
 */
import { join } from 'node:path';
import { DT_DIR, DT_LNK, DT_UNKNOWN } from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { NotOurs, pathFits } from './call.ts';
import { type Listing, readdir } from './readdir.ts';
import { decodeType, stat } from './stat.ts';

export interface Tree {
  readonly path: string;
  /** From the root of the walk: '' is the root itself. */
  readonly relative: string;
  readonly names: readonly string[];
  readonly types: Uint8Array;
  /** The subdirectories, by the index of their name. */
  readonly below: ReadonlyMap<number, Tree>;
  /** Why it could not be listed. */
  readonly error?: Error;
}

/** Directories are taken first in, first out, or last in, first out. */
export type Order = 'queue' | 'stack';

/** The DT_ type of a path, of what it links to with `follow`; DT_UNKNOWN when it cannot be told. */
function typeOf(kernel: Kernel, path: string, follow: boolean): Promise<number> {
  if (!pathFits(path)) return Promise.resolve(DT_DIR); // walk() says what is wrong
  return new Promise((resolve) =>
    stat(kernel, path, !follow, decodeType, resolve, () => resolve(DT_UNKNOWN)),
  );
}

function list(kernel: Kernel, path: string): Promise<Listing> {
  return new Promise((resolve) => readdir(kernel, path, 'utf8', resolve));
}

/** Whether to go down into a directory; `followLinks`: also into one behind a link. */
async function isDirectory(
  kernel: Kernel,
  path: string,
  type: number,
  followLinks: boolean,
): Promise<boolean> {
  if (type === DT_DIR) return true;
  if (type === DT_LNK) return followLinks && (await typeOf(kernel, path, true)) === DT_DIR;
  return type === DT_UNKNOWN && (await typeOf(kernel, path, followLinks)) === DT_DIR;
}

/** Never rejects: a directory that cannot be listed has an `error`. */
export async function walk(
  kernel: Kernel,
  path: string,
  followLinks: boolean,
  relative = '',
): Promise<Tree> {
  const below = new Map<number, Tree>();
  const tree = { path, relative, names: [] as string[], types: new Uint8Array(0), below };
  let listing: Listing;
  try {
    if (!pathFits(path)) throw new NotOurs(path);
    listing = await list(kernel, path);
  } catch (error) {
    return { ...tree, error: error as Error };
  }
  const names = listing.names as string[];
  const descend = async (i: number) => {
    const inner = join(path, names[i]);
    if (!(await isDirectory(kernel, inner, listing.types[i], followLinks))) return;
    const name = relative === '' ? names[i] : `${relative}/${names[i]}`;
    below.set(i, await walk(kernel, inner, followLinks, name));
  };
  const descents: Promise<void>[] = [];
  for (let i = 0; i < names.length; i++) {
    const type = listing.types[i];
    if (type === DT_DIR || type === DT_LNK || type === DT_UNKNOWN) descents.push(descend(i));
  }
  await Promise.all(descents);
  return { ...tree, names, types: listing.types };
}

/** Everything found, in order. Throws where a directory could not be listed. */
export function* entriesOf(
  root: Tree,
  order: Order,
): Generator<{ readonly tree: Tree; readonly index: number }> {
  const waiting = [root];
  for (let next = 0; next < waiting.length; ) {
    const tree = order === 'queue' ? waiting[next++] : (waiting.pop() as Tree);
    if (tree.error) throw tree.error;
    for (let index = 0; index < tree.names.length; index++) {
      yield { tree, index };
      const inner = tree.below.get(index);
      if (inner) waiting.push(inner);
    }
  }
}
