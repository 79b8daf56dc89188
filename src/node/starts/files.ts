/**
 * Starts of what works on whole files: readFile, writeFile, appendFile, truncate, copyFile. The
 * file is a path, a descriptor or, with promises, a FileHandle.
 */
import type { Kernel } from '../../kernel/kernel.ts';
import {
  type Fail,
  type Path,
  pathText,
  type Resolve,
  resultValue,
  settleError,
} from '../../ops/call.ts';
import { copyFile as copyWhole } from '../../ops/copy-file.ts';
import { close as closeFile, closeQuietly } from '../../ops/descriptor.ts';
import { asReadFileError } from '../../ops/error.ts';
import { open as openPath, ownDescriptor } from '../../ops/open.ts';
import { bothFit } from '../../ops/paths.ts';
import { type Check, readAll } from '../../ops/read-all.ts';
import { type FileData, readFile as readWhole } from '../../ops/read-file.ts';
import { truncate as truncatePath } from '../../ops/truncate.ts';
import { writeAll } from '../../ops/write-all.ts';
import { writeFile as writeWhole } from '../../ops/write-file.ts';
import { checkOf } from '../abort.ts';
import { acceptDescriptor, acceptFlags, acceptMode, acceptPath, bytesOf } from '../accept.ts';
import { acceptFileOptions, type FileOptions } from '../accept-options.ts';
import { openDescriptor } from '../handle-class.ts';
import { unlessNodes } from '../plain.ts';
import { mayOpen, nodeTracks } from '../unmanaged.ts';
import { acceptLength } from './descriptors.ts';
import type { Arguments, Settle, Start } from './start.ts';

/** With a callback, the descriptor is the program's; in a worker it may end with that. */
export const open: Start = (kernel, args, resolve, fail) =>
  (fail === undefined || mayOpen()) && openOwn(kernel, args, resolve, fail);

function openOwn(
  kernel: Kernel,
  [path, flags, mode]: Arguments,
  resolve: Settle,
  fail: Fail | undefined,
): boolean {
  const accepted = acceptPath(path);
  const bits = acceptFlags(flags);
  const permissions = acceptMode(mode, 0o666);
  if (accepted === undefined || bits === undefined || permissions === undefined) return false;
  const decode = fail === undefined || nodeTracks() ? ownDescriptor : resultValue;
  openPath(kernel, accepted, bits, permissions, decode, resolve, fail);
  return true;
}

/** Of what is no path: a number for the callback forms, a FileHandle for the promise forms. */
function descriptorOf(file: unknown, fail: Fail | undefined): number | undefined {
  if (fail !== undefined) return acceptDescriptor(file);
  const fd = openDescriptor(file);
  return fd >= 0 ? fd : undefined;
}

/* --- With a file that is opened and closed around, step by step: when a signal may abort it --- */

async function onFile<T>(
  kernel: Kernel,
  path: Path,
  { flags, mode }: FileOptions,
  work: (fd: number) => Promise<T>,
): Promise<T> {
  const fd = await new Promise<number>((resolve) =>
    openPath(kernel, path, flags, mode, ownDescriptor, resolve),
  );
  let result: T;
  try {
    result = await work(fd);
  } catch (error) {
    await closeQuietly(kernel, fd);
    throw error;
  }
  // Closing may be what finds the disk full.
  await new Promise((resolve) => closeFile(kernel, fd, resolve));
  return result;
}

async function readText(
  kernel: Kernel,
  fd: number,
  encoding: BufferEncoding | undefined,
  check: Check | undefined,
): Promise<FileData> {
  const data = await readAll(kernel, fd, check);
  return encoding === undefined ? data : data.toString(encoding);
}

/* --- readFile --------------------------------------------------------------------------------- */

export const readFile: Start = (kernel, args, resolve, fail) => {
  const [file, options] = args;
  const path = acceptPath(file);
  const given = acceptFileOptions(options, 'r');
  if (given === undefined) return false;
  if (path !== undefined && given.signal === undefined) {
    readWhole(kernel, path, given.flags, given.encoding, resolve, fail);
    return true;
  }
  const check = checkOf(given.signal);
  const read = (fd: number) => readText(kernel, fd, given.encoding, check);
  const failed = unlessNodes('readFile', args, resolve, fail);
  if (path !== undefined) {
    onFile(kernel, path, given, read).then(resolve, (error: Error) =>
      failed(asReadFileError(error, pathText(path))),
    );
    return true;
  }
  const fd = descriptorOf(file, fail);
  if (fd === undefined) return false;
  read(fd).then(resolve, failed);
  return true;
};

/* --- writeFile, appendFile -------------------------------------------------------------------- */

function acceptData(data: unknown, encoding: BufferEncoding | undefined): Uint8Array | undefined {
  if (typeof data === 'string') return Buffer.from(data, encoding ?? 'utf8');
  return ArrayBuffer.isView(data) ? bytesOf(data, 0, data.byteLength) : undefined;
}

function writeLike(flag: string): Start {
  return (kernel, [file, data, options], resolve, fail) => {
    const path = acceptPath(file);
    const given = acceptFileOptions(options, flag);
    if (given === undefined) return false;
    const bytes = acceptData(data, given.encoding);
    if (bytes === undefined) return false;
    if (path !== undefined && given.signal === undefined) {
      writeWhole(kernel, path, bytes, given.flags, given.mode, resolve, fail);
      return true;
    }
    const check = checkOf(given.signal);
    const { byteLength } = bytes;
    const write = (fd: number) => writeAll(kernel, fd, bytes, check, byteLength);
    if (path !== undefined) {
      onFile(kernel, path, given, write).then(resolve, failing(resolve, fail));
      return true;
    }
    const fd = descriptorOf(file, fail);
    // Writing nothing is a call to Node all the same, which may fail.
    if (fd === undefined || bytes.byteLength === 0) return false;
    write(fd).then(resolve, failing(resolve, fail));
    return true;
  };
}

function failing<T>(resolve: Resolve<T>, fail: Fail | undefined): Fail {
  return (error) => settleError(error, resolve, fail);
}

export const writeFile = writeLike('w');
export const appendFile = writeLike('a');

/* --- truncate, copyFile ----------------------------------------------------------------------- */

export const truncate: Start = (kernel, [path, length], resolve, fail) => {
  const accepted = acceptPath(path);
  const bytes = acceptLength(length);
  if (accepted === undefined || bytes === undefined) return false;
  truncatePath(kernel, accepted, bytes, resolve, fail);
  return true;
};

const COPYFILE_EXCL = 1;

/** Copies that insist on sharing blocks, or prefer it, are Node's. */
export const copyFile: Start = (kernel, args, resolve, fail) => {
  const [from, to, mode] = args;
  const source = acceptPath(from);
  const target = acceptPath(to);
  if (source === undefined || target === undefined || !bothFit(source, target)) return false;
  if (mode !== undefined && mode !== 0 && mode !== COPYFILE_EXCL) return false;
  const failed = unlessNodes('copyFile', args, resolve, fail);
  copyWhole(kernel, source, target, mode === COPYFILE_EXCL, resolve, failed);
  return true;
};
