/**
 * One function per name of node:fs: looks at the program's arguments and, if they are of the
 * ordinary kind, starts the operation. False: not ours, let Node's own function have them.
 * Callback and promise forms share these; only how they settle differs.
 */
import type { Kernel } from '../kernel/kernel.ts';
import { type Fail, type Path, type Resolve, resultValue, settleError } from '../ops/call.ts';
import * as descriptor from '../ops/descriptor.ts';
import { mkdirRecursive } from '../ops/mkdir-recursive.ts';
import { mkdtemp as makeTemporary, readlink as readLink } from '../ops/names.ts';
import { open as openPath } from '../ops/open.ts';
import * as paths from '../ops/paths.ts';
import { readFile as readWhole } from '../ops/read-file.ts';
import { type Listing, readdir as list } from '../ops/readdir.ts';
import { fstat as statDescriptor, stat as statPath } from '../ops/stat.ts';
import { statfs as statFilesystem } from '../ops/statfs.ts';
import { setTimes } from '../ops/times.ts';
import { truncate as truncatePath } from '../ops/truncate.ts';
import { writeFile as writeWhole } from '../ops/write-file.ts';
import {
  acceptBigInt,
  acceptDescriptor,
  acceptFileOptions,
  acceptFlags,
  acceptInteger,
  acceptMode,
  acceptNameEncoding,
  acceptOwner,
  acceptPath,
  acceptTime,
  bytesOf,
} from './accept.ts';
import { direntsOf } from './dirents.ts';
import { bigIntStatsOf, statFsOf, statsOf } from './file-stats.ts';

export type Arguments = readonly unknown[];
/** What a start resolves to: each with its own type, callback and promise forms take any. */
// biome-ignore lint/suspicious/noExplicitAny: see above
export type Settle = Resolve<any>;
export type Start = (kernel: Kernel, args: Arguments, resolve: Settle, fail?: Fail) => boolean;

const UINT_MAX_SAFE = Number.MAX_SAFE_INTEGER;

/** Wraps a starter of one path and nothing else. */
function onPath(start: (k: Kernel, p: Path, r: Resolve<undefined>, f?: Fail) => void): Start {
  return (kernel, [path], resolve, fail) => {
    const accepted = acceptPath(path);
    if (accepted === undefined) return false;
    start(kernel, accepted, resolve, fail);
    return true;
  };
}

function onTwoPaths(
  start: (k: Kernel, a: Path, b: Path, r: Resolve<undefined>, f?: Fail) => void,
): Start {
  return (kernel, [first, second], resolve, fail) => {
    const a = acceptPath(first);
    const b = acceptPath(second);
    if (a === undefined || b === undefined || !paths.bothFit(a, b)) return false;
    start(kernel, a, b, resolve, fail);
    return true;
  };
}

function onDescriptor(
  start: (k: Kernel, fd: number, r: Resolve<undefined>, f?: Fail) => void,
): Start {
  return (kernel, [fd], resolve, fail) => {
    const accepted = acceptDescriptor(fd);
    if (accepted === undefined) return false;
    start(kernel, accepted, resolve, fail);
    return true;
  };
}

function statLike(nofollow: boolean): Start {
  return (kernel, [path, options], resolve, fail) => {
    const accepted = acceptPath(path);
    const bigint = acceptBigInt(options);
    if (accepted === undefined || bigint === undefined) return false;
    if (bigint) statPath(kernel, accepted, nofollow, bigIntStatsOf, resolve, fail);
    else statPath(kernel, accepted, nofollow, statsOf, resolve, fail);
    return true;
  };
}

export const stat = statLike(false);
export const lstat = statLike(true);

export const fstat: Start = (kernel, [fd, options], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  const bigint = acceptBigInt(options);
  if (accepted === undefined || bigint === undefined) return false;
  if (bigint) statDescriptor(kernel, accepted, bigIntStatsOf, resolve, fail);
  else statDescriptor(kernel, accepted, statsOf, resolve, fail);
  return true;
};

export const statfs: Start = (kernel, [path, options], resolve, fail) => {
  const accepted = acceptPath(path);
  const bigint = acceptBigInt(options);
  if (accepted === undefined || bigint === undefined) return false;
  statFilesystem(
    kernel,
    accepted,
    (fields) => {
      if ('then' in fields) resolve(fields);
      else resolve(statFsOf(fields, bigint));
    },
    fail,
  );
  return true;
};

export const access: Start = (kernel, [path, mode], resolve, fail) => {
  const accepted = acceptPath(path);
  const bits = mode === undefined ? 0 : acceptInteger(mode, 0, 7);
  if (accepted === undefined || bits === undefined) return false;
  paths.access(kernel, accepted, bits, resolve, fail);
  return true;
};

export const open: Start = (kernel, [path, flags, mode], resolve, fail) => {
  const accepted = acceptPath(path);
  const bits = acceptFlags(flags);
  const permissions = acceptMode(mode, 0o666);
  if (accepted === undefined || bits === undefined || permissions === undefined) return false;
  openPath(kernel, accepted, bits, permissions, resultValue, resolve, fail);
  return true;
};

export const close = onDescriptor(descriptor.close);
export const fsync = onDescriptor(descriptor.fsync);
export const fdatasync = onDescriptor(descriptor.fdatasync);

export const ftruncate: Start = (kernel, [fd, length], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  const bytes = length === undefined ? 0 : acceptInteger(length, -UINT_MAX_SAFE, UINT_MAX_SAFE);
  if (accepted === undefined || bytes === undefined) return false;
  descriptor.ftruncate(kernel, accepted, Math.max(0, bytes), resolve, fail);
  return true;
};

export const truncate: Start = (kernel, [path, length], resolve, fail) => {
  const accepted = acceptPath(path);
  const bytes = length === undefined ? 0 : acceptInteger(length, -UINT_MAX_SAFE, UINT_MAX_SAFE);
  if (accepted === undefined || bytes === undefined) return false;
  truncatePath(kernel, accepted, Math.max(0, bytes), resolve, fail);
  return true;
};

export const unlink = onPath(paths.unlink);
export const rename = onTwoPaths(paths.rename);
export const link = onTwoPaths(paths.link);

export const rmdir: Start = (kernel, args, resolve, fail) =>
  args[1] === undefined && onPath(paths.rmdir)(kernel, args, resolve, fail);

/** The type of a link is Windows' business, but a wrong one is an error everywhere. */
const LINK_TYPES: readonly unknown[] = [undefined, null, 'file', 'dir', 'junction'];
export const symlink: Start = (kernel, args, resolve, fail) =>
  LINK_TYPES.includes(args[2]) && onTwoPaths(paths.symlink)(kernel, args, resolve, fail);

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

export const fchmod: Start = (kernel, [fd, mode], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  const permissions = acceptInteger(mode, 0, 0o7777);
  if (accepted === undefined || permissions === undefined) return false;
  descriptor.fchmod(kernel, accepted, permissions, resolve, fail);
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

export const fchown: Start = (kernel, [fd, uid, gid], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  const user = acceptOwner(uid);
  const group = acceptOwner(gid);
  if (accepted === undefined || user === undefined || group === undefined) return false;
  descriptor.fchown(kernel, accepted, user, group, resolve, fail);
  return true;
};

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

export const futimes: Start = (kernel, [fd, atime, mtime], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  const accessed = acceptTime(atime);
  const modified = acceptTime(mtime);
  if (accepted === undefined || accessed === undefined || modified === undefined) return false;
  setTimes(kernel, accepted, false, accessed, modified, resolve, fail);
  return true;
};

export const readFile: Start = (kernel, [path, options], resolve, fail) => {
  const accepted = acceptPath(path);
  if (accepted === undefined) return false;
  const given = acceptFileOptions(options, 'r');
  if (given === undefined) return false;
  readWhole(kernel, accepted, given.flags, given.encoding, resolve, fail);
  return true;
};

function writeLike(flag: string): Start {
  return (kernel, [path, data, options], resolve, fail) => {
    const accepted = acceptPath(path);
    const given = acceptFileOptions(options, flag);
    if (accepted === undefined || given === undefined) return false;
    let bytes: Uint8Array;
    if (typeof data === 'string') bytes = Buffer.from(data, given.encoding ?? 'utf8');
    else if (ArrayBuffer.isView(data)) bytes = bytesOf(data, 0, data.byteLength);
    else return false;
    writeWhole(kernel, accepted, bytes, given.flags, given.mode, resolve, fail);
    return true;
  };
}

export const writeFile = writeLike('w');
export const appendFile = writeLike('a');

export const readlink: Start = (kernel, [path, options], resolve, fail) => {
  const accepted = acceptPath(path);
  const encoding = acceptNameEncoding(options);
  if (accepted === undefined || encoding === undefined) return false;
  const settle: Resolve<Buffer> = (text) =>
    resolve(encoding === 'utf8' && Buffer.isBuffer(text) ? text.toString() : text);
  readLink(kernel, accepted, settle, fail);
  return true;
};

export const mkdtemp: Start = (kernel, [prefix, options], resolve, fail) => {
  const accepted = acceptPath(prefix);
  // A trailing X earns a warning from Node.
  if (typeof accepted !== 'string' || accepted.endsWith('X')) return false;
  if (acceptNameEncoding(options) !== 'utf8') return false;
  const otherwise = fail ?? ((error: Error) => settleError(error, resolve, undefined));
  makeTemporary(kernel, accepted, resolve, otherwise);
  return true;
};

export const readdir: Start = (kernel, [path, options], resolve, fail) => {
  const accepted = acceptPath(path);
  const encoding = acceptNameEncoding(options);
  if (accepted === undefined || encoding === undefined || readdirIsReplaced()) return false;
  const { withFileTypes, recursive } = (
    typeof options === 'object' && options !== null ? options : {}
  ) as { withFileTypes?: unknown; recursive?: unknown };
  if (recursive !== undefined && recursive !== false) return false;
  const withTypes = withFileTypes === true;
  if (!withTypes && withFileTypes !== undefined && withFileTypes !== false) return false;
  const settle = (listing: Listing | PromiseLike<Listing>) => {
    if (!('names' in listing))
      resolve(listing); // a rejection
    else if (withTypes) direntsOf(kernel, accepted, listing, resolve, fail);
    else resolve(listing.names);
  };
  list(kernel, accepted, encoding, settle, fail);
  return true;
};

/** A program that replaces Node's internal readdir (Node's own tests do) wants that one called. */
type Binding = { readdir?: unknown };
let binding: Binding | undefined;
let originalReaddir: unknown;

/** Remembers Node's internal readdir, where looking at it costs no warning. */
export function rememberReaddir(): void {
  const { execArgv, env } = process;
  if ([...execArgv, env.NODE_OPTIONS ?? ''].some((flag) => flag.includes('pending-deprecation')))
    return;
  if (env.NODE_PENDING_DEPRECATION === '1' || !execArgv.includes('--expose-internals')) return;
  binding = (process as unknown as { binding(name: string): Binding }).binding('fs');
  originalReaddir = binding.readdir;
}

function readdirIsReplaced(): boolean {
  return binding !== undefined && binding.readdir !== originalReaddir;
}
