/** Starts of what changes names and the attributes of what they name. */

import { type Path, type Resolve, settleError } from '../../ops/call.ts';
import { mkdirRecursive } from '../../ops/mkdir-recursive.ts';
import { mkdtemp as makeTemporary, readlink as readLink } from '../../ops/names.ts';
import * as paths from '../../ops/paths.ts';
import { setTimes } from '../../ops/times.ts';
import { acceptInteger, acceptMode, acceptOwner, acceptPath, acceptTime } from '../accept.ts';
import { acceptNameEncoding, encodeName } from '../accept-options.ts';
import { onPath, onTwoPaths, type Start } from './start.ts';

export const unlink = onPath(paths.unlink);
export const rename = onTwoPaths(paths.rename);
export const link = onTwoPaths(paths.link);

const removeEmpty = onPath(paths.rmdir);
export const rmdir: Start = (kernel, args, resolve, fail) =>
  args[1] === undefined && removeEmpty(kernel, args, resolve, fail);

/** The type of a link is Windows' business, but a wrong one is an error everywhere. */
const LINK_TYPES: readonly unknown[] = [undefined, null, 'file', 'dir', 'junction'];
const linkSymbolically = onTwoPaths(paths.symlink);
export const symlink: Start = (kernel, args, resolve, fail) =>
  LINK_TYPES.includes(args[2]) && linkSymbolically(kernel, args, resolve, fail);

export const mkdir: Start = (kernel, [path, options], resolve, fail) => {
  const accepted = acceptPath(path);
  const isObject = typeof options === 'object' && options !== null;
  const { mode, recursive } = isObject
    ? (options as { mode?: unknown; recursive?: unknown })
    : { mode: options, recursive: undefined };
  const permissions = acceptMode(mode, 0o777);
  if (accepted === undefined || permissions === undefined) return false;
  if (recursive === undefined || recursive === false) {
    paths.mkdir(kernel, accepted, permissions, resolve, fail);
    return true;
  }
  if (recursive !== true || typeof accepted !== 'string') return false;
  mkdirRecursive(kernel, accepted, permissions, resolve, fail);
  return true;
};

export const chmod: Start = (kernel, [path, mode], resolve, fail) => {
  const accepted = acceptPath(path);
  const permissions = acceptInteger(mode, 0, 0o7777);
  if (accepted === undefined || permissions === undefined) return false;
  paths.chmod(kernel, accepted, permissions, resolve, fail);
  return true;
};

function chownLike(nofollow: boolean): Start {
  return (kernel, [path, uid, gid], resolve, fail) => {
    const accepted = acceptPath(path);
    const user = acceptOwner(uid);
    const group = acceptOwner(gid);
    if (accepted === undefined || user === undefined || group === undefined) return false;
    paths.chown(kernel, accepted, user, group, nofollow, resolve, fail);
    return true;
  };
}

export const chown = chownLike(false);
export const lchown = chownLike(true);

function utimesLike(nofollow: boolean): Start {
  return (kernel, [path, atime, mtime], resolve, fail) => {
    const accepted = acceptPath(path);
    const accessed = acceptTime(atime);
    const modified = acceptTime(mtime);
    if (accepted === undefined || accessed === undefined || modified === undefined) return false;
    setTimes(kernel, accepted, nofollow, accessed, modified, resolve, fail);
    return true;
  };
}

export const utimes = utimesLike(false);
export const lutimes = utimesLike(true);

export const readlink: Start = (kernel, [path, options], resolve, fail) => {
  const accepted = acceptPath(path);
  const encoding = acceptNameEncoding(options);
  if (accepted === undefined || encoding === undefined) return false;
  const settle: Resolve<Buffer> = (text) =>
    resolve(Buffer.isBuffer(text) ? encodeName(text, encoding) : text);
  readLink(kernel, accepted, settle, fail);
  return true;
};

/** Node warns of a trailing X, and refuses an empty prefix. */
function isOddPrefix(prefix: Path): boolean {
  const last = typeof prefix === 'string' ? prefix.charCodeAt(prefix.length - 1) : prefix.at(-1);
  return prefix.length === 0 || last === X;
}

const X = 'X'.charCodeAt(0);
const TEMPORARY_LETTERS = 6;

export const mkdtemp: Start = (kernel, [prefix, options], resolve, fail) => {
  const accepted = acceptPath(prefix, TEMPORARY_LETTERS);
  const encoding = acceptNameEncoding(options);
  if (accepted === undefined || encoding === undefined || isOddPrefix(accepted)) return false;
  makeTemporary(
    kernel,
    accepted,
    (path) => resolve(encodeName(path as Path, encoding)),
    fail ?? ((error) => settleError(error, resolve, undefined)),
  );
  return true;
};
