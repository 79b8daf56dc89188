/** Starts of what works on whole directories: readdir, opendir, rm. */

import { ERRNO } from '../../abi/errno.ts';
import { DT_DIR } from '../../abi/structs.ts';
import type { Kernel } from '../../kernel/kernel.ts';
import { type Fail, NotOurs, type Path, type Resolve } from '../../ops/call.ts';
import { openDirectory } from '../../ops/directory.ts';
import { type Listing, readdir as list } from '../../ops/readdir.ts';
import { removeTree, typeOfPath } from '../../ops/remove.ts';
import { entriesOf, walk } from '../../ops/walk.ts';
import { acceptPath } from '../accept.ts';
import {
  acceptListOptions,
  acceptRemoveOptions,
  encodeName,
  type ListOptions,
  type NameEncoding,
  ordinaryDirOptions,
} from '../accept-options.ts';
import { canMakeDirs, makeDir } from '../dir.ts';
import { dirent, direntsOf } from '../dirents.ts';
import { unlessNodes } from '../plain.ts';
import { recursionOf } from '../recursion.ts';
import { readdirIsReplaced } from '../replaced.ts';
import type { Settle, Start } from './start.ts';

export const readdir: Start = (kernel, args, resolve, fail) => {
  const path = acceptPath(args[0]);
  const given = acceptListOptions(args[1]);
  if (path === undefined || given === undefined || readdirIsReplaced()) return false;
  if (given.recursive) return readTree(kernel, path, given, args, resolve, fail);
  const { encoding } = given;
  if (given.withFileTypes && !isBasic(encoding)) return false; // types may need the plain names
  const settle = (listing: Listing | PromiseLike<Listing>) => {
    if (!('names' in listing)) return resolve(listing); // a rejection
    if (given.withFileTypes)
      direntsOf(kernel, path, listing, resolve, unlessNodes('readdir', args, resolve, fail));
    else if (isBasic(encoding)) resolve(listing.names);
    else resolve(listing.names.map((name) => encodeName(name, encoding)));
  };
  list(kernel, path, isBasic(encoding) ? encoding : 'buffer', settle, fail);
  return true;
};

function isBasic(encoding: NameEncoding): encoding is 'utf8' | 'buffer' {
  return encoding === 'utf8' || encoding === 'buffer';
}

/** readdir with `recursive`: text only, in the order of the running Node. */
function readTree(
  kernel: Kernel,
  path: Path,
  { encoding, withFileTypes }: ListOptions,
  args: readonly unknown[],
  resolve: Settle,
  fail: Fail | undefined,
): boolean {
  const recursion = recursionOf(fail === undefined ? 'promise' : 'callback');
  if (recursion === null || encoding !== 'utf8' || typeof path !== 'string') return false;
  const { order, intoLinkedDirents } = recursion;
  walk(kernel, path, !withFileTypes || intoLinkedDirents)
    .then((tree) => {
      const found: unknown[] = [];
      for (const {
        tree: { path, relative, names, types },
        index,
      } of entriesOf(tree, order)) {
        const name = names[index];
        if (withFileTypes) found.push(dirent(name, types[index], path));
        else found.push(relative === '' ? name : `${relative}/${name}`);
      }
      return found;
    })
    .then(resolve, unlessNodes('readdir', args, resolve, fail));
  return true;
}

export const opendir: Start = (kernel, [path, options], resolve, fail) => {
  const accepted = acceptPath(path);
  if (accepted === undefined || !ordinaryDirOptions(options) || !canMakeDirs()) return false;
  const settle: Resolve<number> = (fd) =>
    resolve(typeof fd === 'number' ? makeDir(fd, accepted, options) : fd);
  openDirectory(kernel, accepted, settle, fail);
  return true;
};

async function remove(kernel: Kernel, path: Path, force: boolean, recursive: boolean) {
  let type: number;
  try {
    type = await typeOfPath(kernel, path);
  } catch (error) {
    if (force && (error as NodeJS.ErrnoException).errno === -ERRNO.ENOENT) return;
    throw error;
  }
  // Node has an error of its own for it.
  if (type === DT_DIR && !recursive) throw new NotOurs('a directory');
  await removeTree(kernel, Buffer.from(path as string), type);
}

export const rm: Start = (kernel, args, resolve, fail) => {
  const path = acceptPath(args[0]);
  const given = acceptRemoveOptions(args[1]);
  if (path === undefined || given === undefined) return false;
  const failed = unlessNodes('rm', args, resolve, fail);
  remove(kernel, path, given.force, given.recursive).then(resolve, failed);
  return true;
};
