/**
 * Errors as Node's own: `Error: ENOENT: no such file or directory, open '/x'` with errno, code,
 * syscall and, where the call has them, path and dest, in that order.
 */
import { errnoMessage, errnoName } from '../abi/errno.ts';

export interface SystemError extends Error {
  errno: number;
  code: string;
  syscall: string;
  path?: string;
  dest?: string;
}

/** Since Node 26.8 opening and reading are one job of readFile, and its errors all have the path. */
const [major, minor] = process.versions.node.split('.').map(Number);
const readFileNamesFile = major > 26 || (major === 26 && minor >= 8);

/** `errno` as a system call returned it: negative. */
export function systemError(
  errno: number,
  syscall: string,
  path?: string,
  dest?: string,
): SystemError {
  const code = errnoName(errno);
  let message = `${code}: ${errnoMessage(errno)}, ${syscall}`;
  if (path !== undefined) message += ` '${path}'`;
  if (dest !== undefined) message += ` -> '${dest}'`;
  const error = withoutFrames(message) as SystemError;
  error.errno = errno;
  error.code = code;
  error.syscall = syscall;
  if (path !== undefined) error.path = path;
  if (dest !== undefined) error.dest = dest;
  return error;
}

/** What a read fails with in a readFile of this path. */
export function readFileError(errno: number, path: string): SystemError {
  return systemError(errno, 'read', readFileNamesFile ? path : undefined);
}

/** The same for an error of read(), which knows no path; every other one is left as it is. */
export function asReadFileError(error: Error, path: string): Error {
  const { errno, syscall } = error as Partial<SystemError>;
  return errno !== undefined && syscall === 'read' ? readFileError(errno, path) : error;
}

export interface SocketError extends Error {
  errno: number;
  code: string;
  syscall: string;
  address?: string;
  port?: number;
}

/** As Node's own for sockets: `listen EADDRINUSE: address already in use 127.0.0.1:80`. */
export function socketError(
  errno: number,
  syscall: string,
  address?: string,
  port?: number,
): SocketError {
  const code = errnoName(errno);
  const where = port === undefined ? address : `${address}:${port}`;
  const detail = where === undefined ? '' : ` ${where}`;
  const error = new Error(`${syscall} ${code}: ${errnoMessage(errno)}${detail}`) as SocketError;
  error.errno = errno;
  error.code = code;
  error.syscall = syscall;
  if (address !== undefined) error.address = address;
  if (port !== undefined) error.port = port;
  return error;
}

/** As from libuv: no frames (whoever waits adds its own, see rejection below). */
function withoutFrames(message: string): Error {
  const limit = Error.stackTraceLimit;
  // Not under --frozen-intrinsics: there the frames stay.
  if (!Reflect.set(Error, 'stackTraceLimit', 0)) return new Error(message);
  const error = new Error(message);
  Error.stackTraceLimit = limit;
  return error;
}

/**
 * A promise rejected with `error`, whose stack then names the async functions that await it. V8
 * finds them only from within a reaction of a promise on their chain, once whoever resolved with
 * this promise is attached to it: hence two steps. Only failures pay for them.
 */
export function rejection(error: Error): Promise<never> {
  return Promise.reject(error).then(undefined, rethrow).then(undefined, addFrames);
}

function rethrow(error: Error): never {
  throw error;
}

function addFrames(error: Error): never {
  Error.captureStackTrace(error, addFrames);
  // Of the synchronous frames all are ours: the drain that runs this reaction.
  const stack = error.stack ?? '';
  const head = stack.slice(0, stack.indexOf('\n    at '));
  const waiting = stack.split('\n').filter((line) => line.startsWith('    at async '));
  error.stack = [head, ...waiting].join('\n');
  throw error;
}
