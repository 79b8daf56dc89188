/**
 * A file that is piped into a socket, past JavaScript: as long as it lies in the page cache and the
 * socket has room, Linux takes it from there (sendfile(2)), and no chunk is ever made.
 *
 *   watchPipes();           from here on, fs.ReadStream.prototype.pipe looks at what is piped where
 *   plainWrites.add(write)  a write() that does nothing but write
 *
 * It stands in the place of the stream's _read(), which is Node's own as soon as anything is out of
 * the ordinary: more than one reader, an encoding, a socket or a response that is not plain, a
 * listener that would see the chunks or what back-pressure does about them. So everything that
 * waits, fails or ends is done by Node's streams, and a transfer can be left at any point.
 *
 *            ┌──── sent: position and counts rise ────┐
 *            ▼                                        │ next turn of the loop
 *   _read ─► may it go past us? ─yes─► sendfile ──────┘
 *            │    │                       └─ no room, end of file, an error of the file ─┐
 *            │    └ not now: something of it, or of the socket's, still waits            │
 *            │         └─ once more in the next turn, then ─────────────────────────────┐│
 *            └ no ──────────────────────────────────────────────────────────────────────┴┴► Node's _read
 *
 * "No room" thus costs one ordinary chunk, whose write libuv completes when there is room again.
 * Nothing is in flight between two turns: either descriptor may be closed at any time.
 */
import nodeFs, { type ReadStream } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { Socket } from 'node:net';
import { ERRNO } from '../../abi/errno.ts';
import { loadAddon } from '../../native/addon.ts';
import { type AnyFunction, disguise } from '../disguise.ts';
import { openDescriptor } from '../handle-class.ts';
import { shared } from '../shared.ts';
import { streamOf } from './adopted.ts';
import type { InnerSocket } from './internals.ts';
import { errnoException, type Stream } from './stream.ts';

/** Bytes in one turn of the loop: the program is to get its turn, too. */
const PIECE = 512 * 1024;
/** A transfer begins with no less: to leave our own way of sending has a price. */
const FIRST_MIN = 96 * 1024;

/** Of ReadableState. */
interface State {
  readonly length: number;
  readonly flowing: boolean | null;
  readonly ended: boolean;
  readonly objectMode: boolean;
  readonly pipes: readonly unknown[];
}

interface Source extends ReadStream {
  fd: number | null;
  pos: number | undefined;
  end: number;
  bytesRead: number;
  readonly _readableState: State;
  _read(size: number): void;
}

/** Of ServerResponse. */
interface Response extends NodeJS.WritableStream {
  readonly writableEnded: boolean;
  readonly socket: InnerSocket | null;
  readonly _header: string | null;
  readonly _headerSent: boolean;
  readonly _hasBody: boolean;
  readonly chunkedEncoding: boolean;
  readonly strictContentLength?: boolean;
  readonly finished: boolean;
  readonly destroyed: boolean;
  readonly outputSize: number;
  hasHeader(name: string): boolean;
  flushHeaders(): void;
}

type Target = Response | InnerSocket;

/** As far as known, a write() of these leaves the data as they are and looks at nothing. */
export const plainWrites = new WeakSet<object>();
plainWrites.add(Socket.prototype.write);

const NO = 0;
const LATER = 1;
const YES = 2;
type Verdict = typeof NO | typeof LATER | typeof YES;

class FilePipe {
  readonly #stream: Source;
  readonly #target: Target;
  readonly #read: (size: number) => void;
  #size = 0;
  #begun = false;

  constructor(stream: Source, target: Target) {
    this.#stream = stream;
    this.#target = target;
    this.#read = stream._read;
  }

  read(size: number): void {
    this.#size = size;
    this.#go(true);
  }

  #go = (mayWait: boolean): void => {
    const stream = this.#stream;
    if (stream.destroyed) return;
    const verdict = this.#judge();
    if (verdict === YES && this.#send()) setImmediate(this.#go, true);
    else if (verdict === LATER && mayWait) setImmediate(this.#go, false);
    else if (!stream.destroyed) this.#read.call(stream, this.#size);
  };

  #judge(): Verdict {
    const target = this.#target;
    const of = judgeSource(this.#stream, target);
    if (of === NO) return NO;
    const socket = socketOf(target);
    if (socket === null || streamOf(socket._handle) === undefined) return NO;
    if (target.writableEnded || hearsDrain(target, socket)) return NO;
    return of === LATER || !isIdle(socket) ? LATER : YES;
  }

  /** True: there may be more to send like that. */
  #send(): boolean {
    const stream = this.#stream;
    const { addon } = loadAddon();
    const { fd, pos, bytesRead, end } = stream;
    const wanted = Math.min(PIECE, end - (pos ?? bytesRead) + 1);
    const length = addon!.fileAtHand!(fd!, pos ?? -1, wanted);
    if (length <= 0 || (!this.#begun && length < FIRST_MIN)) return false;
    const socket = this.#vacate();
    if (socket === null) return false;
    const ours = streamOf(socket._handle)!;
    const sent = addon!.sendFile!(socket._handle!.fd, fd!, pos ?? -1, length);
    if (sent > 0) this.#sent(socket, ours, sent);
    else if (OF_SOCKET.has(sent)) socket.destroy(errnoException(sent, 'write'));
    // What is left of a file that has just ended is that it has.
    return sent > 0 && (sent < length || length === wanted);
  }

  #sent(socket: InnerSocket, ours: Stream, bytes: number): void {
    const stream = this.#stream;
    this.#begun = true;
    if (stream.pos !== undefined) stream.pos += bytes;
    stream.bytesRead += bytes;
    ours.sentPast(bytes);
    socket._unrefTimer();
  }

  /** The socket, with everything sent that comes before; null: something still waits. */
  #vacate(): InnerSocket | null {
    const target = this.#target;
    if (!(target instanceof Socket) && !target._headerSent) target.flushHeaders();
    const socket = socketOf(target);
    if (socket === null) return null;
    streamOf(socket._handle)!.leave();
    return isIdle(socket) ? socket : null;
  }
}

/** What sendfile(2) says about the socket; everything else it says is about the file, or there is
 *  no room. */
const OF_SOCKET: ReadonlySet<number> = new Set([
  -ERRNO.EPIPE,
  -ERRNO.ECONNRESET,
  -ERRNO.ENOTCONN,
  -ERRNO.ETIMEDOUT,
]);

/* --- What is ordinary --------------------------------------------------------------------------- */

function judgeSource(stream: Source, target: Target): Verdict {
  const { length, flowing, ended, pipes } = stream._readableState;
  const ordinary =
    typeof stream.fd === 'number' &&
    !ended &&
    pipes.length === 1 &&
    pipes[0] === target &&
    stream.readableEncoding === null &&
    stream.listenerCount('data') === 1 &&
    UNHEARD.every((event) => stream.listenerCount(event) === 0) &&
    OWN.every((name) => !Object.hasOwn(stream, name)) &&
    readsPlainly(stream);
  if (!ordinary) return NO;
  return length > 0 || flowing !== true ? LATER : YES;
}

const UNHEARD = ['readable', 'pause', 'resume'];
const OWN = ['push', 'emit', 'read', 'pause', 'resume'];

const symbols: Record<'kFs' | 'kHandle', symbol | undefined> = {
  kFs: undefined,
  kHandle: undefined,
};

function internal<T>(stream: Source, name: 'kFs' | 'kHandle'): T | undefined {
  symbols[name] ??= Object.getOwnPropertySymbols(stream).find((it) => it.description === name);
  const symbol = symbols[name];
  return symbol && (stream as unknown as Record<symbol, T | undefined>)[symbol];
}

/** By the read() of fs or of a FileHandle as it was, ours or the doors', and nobody's that has put
 *  his own in its place. A FileHandle stays open for its stream, until it says otherwise. */
function readsPlainly(stream: Source): boolean {
  const { reads } = shared();
  const handle = internal<FileHandle>(stream, 'kHandle');
  if (handle) return openDescriptor(handle) === stream.fd && reads.has(handle.read);
  const fs = internal<{ read: AnyFunction }>(stream, 'kFs');
  return fs !== undefined && reads.has(fs.read);
}

/** Null: not ours, or not now. */
function socketOf(target: Target): InnerSocket | null {
  if (target.destroyed || !plainWrites.has(target.write)) return null;
  if (target instanceof Socket) {
    const http = (target as unknown as { _httpMessage?: unknown })._httpMessage;
    return http ? null : target;
  }
  const { socket } = target;
  const mine = (socket as unknown as { _httpMessage?: unknown } | null)?._httpMessage === target;
  return mine && socket instanceof Socket && isWhole(target) && plainWrites.has(socket.write)
    ? socket
    : null;
}

/** Its bytes are the file's, one for one. */
function isWhole(target: Response): boolean {
  if (target.finished || !target._hasBody || target.strictContentLength || target.outputSize > 0)
    return false;
  if (target._header !== null) return !target.chunkedEncoding;
  return target.hasHeader('content-length') && !target.hasHeader('transfer-encoding');
}

function isIdle(socket: InnerSocket): boolean {
  const handle = socket._handle;
  return (
    handle !== null &&
    handle.fd >= 0 &&
    !socket.connecting &&
    !socket.destroyed &&
    !socket.writableEnded &&
    socket._write === Socket.prototype._write &&
    socket.writableLength === 0 &&
    socket.writableCorked === 0 &&
    handle.writeQueueSize === 0
  );
}

/** Whether somebody beside the pipe waits for room: he would not hear of it. */
function hearsDrain(target: Target, socket: InnerSocket): boolean {
  const others = (target.listeners('drain') as AnyFunction[]).filter(
    ({ name }) => name !== 'pipeOnDrainFunctionResult',
  );
  // The server's own.
  return others.length > 0 || (target !== socket && socket.listenerCount('drain') > 1);
}

/* --- Where it is found -------------------------------------------------------------------------- */

let watching = false;

/** Once per thread, when it has its first socket. */
export function watchPipes(): void {
  if (watching) return;
  watching = true;
  if (loadAddon().addon?.sendFile === undefined) return;
  const { prototype } = nodeFs.ReadStream;
  const { _read: nodesRead } = prototype;
  const { pipe } = prototype;
  const watched = function (this: Source, target: unknown, ...rest: unknown[]): unknown {
    if (isPlain(this, nodesRead) && mayBeTarget(target)) replaceRead(this, target);
    return (pipe as AnyFunction).call(this, target, ...rest);
  };
  Object.defineProperty(prototype, 'pipe', {
    value: disguise(watched, pipe as AnyFunction),
    writable: true,
    enumerable: true,
    configurable: true,
  });
}

function isPlain(stream: Source, nodesRead: unknown): boolean {
  return (
    Object.getPrototypeOf(stream) === nodeFs.ReadStream.prototype && stream._read === nodesRead
  );
}

function mayBeTarget(target: unknown): target is Target {
  if (target instanceof Socket) return true;
  return typeof (target as { _implicitHeader?: unknown } | null)?._implicitHeader === 'function';
}

function replaceRead(stream: Source, target: Target): void {
  const direct = new FilePipe(stream, target);
  Object.defineProperty(stream, '_read', {
    value: disguise((size: number) => direct.read(size), stream._read as AnyFunction),
    writable: true,
    configurable: true,
  });
}
