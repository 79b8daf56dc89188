/**
 * Node's TCP or Pipe handle with its hot half replaced: reading and writing go through a
 * Connection (src/sockets/) on the same descriptor; connecting, names, options and closing are
 * Node's own. It is still Node's handle: `instanceof`, process.send() and cluster work.
 *
 *   adopt(handle)       from here on it is ours …
 *   handOver(handle)    … and from here on Node's again, with nothing lost
 *
 * Whoever wants the handle as a native stream (tls, an own `onread`, a write past node:net) gets
 * it handed over: `handOver` takes our requests back, gives what has arrived to the socket, and
 * lets libuv go on. So does bulk: moving large pieces is cheaper without our copies.
 *
 *   adopted ──first read or write──► open ──close(), reset()──► gone
 *                                      └──handOver()──► Node's
 */
import { errnoName } from '../../abi/errno.ts';
import { type Sockets, socketsOf } from '../../kernel/sockets/sockets.ts';
import { loadAddon } from '../../native/addon.ts';
import { setNonBlocking } from '../../ops/socket.ts';
import { Connection, type ConnectionHandler, type Remains } from '../../sockets/connection.ts';
import { threadKernel } from '../environment-kernel.ts';
import { type Callback, threw } from '../forms.ts';
import { noteStream, streamOf } from './adopted.ts';
import {
  type InnerSocket,
  noteWaiting,
  ownerOf,
  type ShutdownRequest,
  type StreamHandle,
  type WriteCallback,
} from './internals.ts';
import { pushTo } from './push.ts';
import { callBackIn, enterAtAdoption, keepScope, runIn, scopeProperties } from './scope.ts';

/** Bytes that may wait in our blocks and yet count as written, as in Linux's own buffer. */
const WRITTEN_MAX = 128 * 1024;
/** A single write of more than this goes to Node: the copy costs more than it saves. */
const BULK_WRITE = 48 * 1024;
/** So do reads that bring this much at a time, so many times in a row. */
const BULK_READ = 32 * 1024;
const BULK_READS = 8;
const COPY_SHORT = 96;

/** On the prototype that lies over a handle's own. */
const kBase = Symbol('trapless base');

let knowsBulk = false;

/** The memory of large pieces had better stay with the process. */
function expectBulk(): void {
  if (!knowsBulk) loadAddon().addon?.keepFreed?.();
  knowsBulk = true;
}

/* Flags of a stream; what is above them counts. */
const READING = 1;
const GONE = 2;
/** The handle's own counts tell of ours, too. */
const COUNTED = 4;
const BULK = 8;

interface Waiting {
  readonly until: number;
  readonly callback: WriteCallback;
}

interface Unsettled {
  waiting: Waiting[] | null;
  shutdown: ShutdownRequest | null;
}

/** Takes what arrives in the place of the socket's streams. The bytes are lent for the call. */
export type Consumer = (bytes: Buffer, start: number, end: number) => void;

/** All that is ours of a connection is one object: many are idle. */
export class Stream extends Connection implements ConnectionHandler {
  /** What is written from here on (as bytesWritten counts) is still to be uncorked; -1: nothing.
   *  A socket that is destroyed before that does not send it. */
  corkedFrom = -1;

  readonly #handle: StreamHandle;
  /** READING, GONE, COUNTED, and above them how many large pieces came in a row. */
  #flags = 0;
  #written = 0;
  /** Writes that wait, or the end of a stream that is being shut down. */
  #unsettled: Unsettled | null = null;

  constructor(sockets: Sockets, handle: StreamHandle) {
    super(sockets, -1, null);
    this.#handle = handle;
  }

  /** As long as the handle is ours; a handle that is Node's again feeds its socket's streams. */
  get consumer(): Consumer | null {
    return this.data ?? null;
  }

  set consumer(consumer: Consumer | null) {
    this.data = consumer;
  }

  /** What the handle is without us. */
  #base(): StreamHandle {
    return (this.#handle as Ours)[kBase] ?? Object.getPrototypeOf(this.#handle);
  }

  #socket(): InnerSocket | undefined {
    return ownerOf(this.#handle);
  }

  /** False where it cannot be: then the handle is Node's again. */
  #ready(): boolean {
    if (this.#gone()) return false;
    if (this.claimed) return true;
    const { fd } = this.#handle;
    if (fd < 0 || !this.borrow(fd)) {
      this.#revert();
      return false;
    }
    if (!this.nonBlocking) setNonBlocking(this.kernel, fd, false);
    this.pause();
    if (!this.#handle.hasRef()) super.unref();
    return true;
  }

  #gone(): boolean {
    return (this.#flags & GONE) !== 0;
  }

  #waiting(): Waiting[] | null {
    return this.#unsettled === null ? null : this.#unsettled.waiting;
  }

  #revert(): void {
    this.#flags |= GONE;
    const base = this.#base();
    keepScope(this.#handle);
    Object.setPrototypeOf(this.#handle, base);
  }

  /* --- Reading -------------------------------------------------------------------------------- */

  readStart(): number {
    if (!this.#ready()) return this.#base().readStart.call(this.#handle);
    this.#flags |= READING;
    this.resume();
    return 0;
  }

  readStop(): number {
    if (this.#gone()) return this.#base().readStop.call(this.#handle);
    this.#flags &= ~READING;
    if (this.claimed) this.pause();
    return 0;
  }

  onBytes(_connection: Connection, bytes: Buffer, start: number, end: number): void {
    const { consumer } = this;
    if (consumer !== null) {
      callBackIn(this.#handle, consumer as Callback, undefined, bytes, start, end);
      return;
    }
    const copy = copyOf(bytes, start, end);
    this.#flags = end - start >= BULK_READ ? this.#flags + BULK : this.#flags & (BULK - 1);
    runIn(this.#handle, arrived, this, copy);
  }

  /** As onStreamRead in Node's stream_base_commons. */
  push(bytes: Buffer): void {
    const socket = this.#socket();
    if (socket === undefined) return;
    socket._unrefTimer();
    if (socket.destroyed) return;
    if (!pushTo(socket, this.#handle, bytes)) {
      this.#handle.reading = false;
      if (!socket.destroyed) this.#handle.readStop();
    }
    if (this.#flags >= BULK * BULK_READS && !this.#gone() && this.pending === 0) this.#leaveBulk();
  }

  onEnd(): void {
    callBackIn(this.#handle, this.#pushEnd as Callback, this);
  }

  #pushEnd(): void {
    const socket = this.#socket();
    if (socket === undefined || socket._readableState.endEmitted) return;
    socket._unrefTimer();
    socket.push(null);
    socket.read(0);
  }

  onError(_connection: Connection, error: number, sending: boolean): void {
    const exception = errnoException(error, sending ? 'write' : 'read');
    callBackIn(this.#handle, this.#fail as Callback, this, exception);
  }

  #fail(error: Error): void {
    this.#settleAll(error);
    this.#socket()?.destroy(error);
  }

  /* --- Writing -------------------------------------------------------------------------------- */

  get bytesWritten(): number {
    return this.#written;
  }

  /** As _writeGeneric in net.js, of a socket that is connected. False: it is for Node to do. */
  writeFor(
    socket: InnerSocket,
    writev: boolean,
    data: unknown,
    encoding: string,
    callback: WriteCallback,
  ): boolean {
    if (!writev && (data as Uint8Array | string).length > BULK_WRITE && this.pending === 0) {
      this.#leaveBulk();
      return false;
    }
    if (!this.#ready()) return false;
    socket._pendingData = null;
    socket._pendingEncoding = '';
    socket._unrefTimer();
    const before = this.pending;
    if (writev) writeAll(this, data as Chunks);
    else writeOne(this, data as Uint8Array | string, encoding);
    this.#written += this.pending - before;
    if (this.pending <= WRITTEN_MAX) {
      callback();
      return true;
    }
    this.#unsettled ??= { waiting: null, shutdown: null };
    this.#unsettled.waiting ??= [];
    this.#unsettled.waiting.push({ until: this.#written, callback });
    noteWaiting(socket, this.pending);
    return true;
  }

  onSent(): void {
    const waiting = this.#waiting();
    if (waiting === null || this.#gone()) return;
    // What is left may wait in our blocks.
    const done = this.#written - Math.max(0, this.pending - WRITTEN_MAX);
    if (waiting[0].until <= done) callBackIn(this.#handle, this.#settle as Callback, this, done);
    else this.#socket()?._unrefTimer();
  }

  #settle(done: number): void {
    const socket = this.#socket();
    if (socket !== undefined) {
      socket._unrefTimer();
      noteWaiting(socket, 0);
    }
    for (let all = this.#waiting(); all !== null && all[0].until <= done; all = this.#waiting()) {
      const { callback } = all.shift()!;
      if (all.length === 0) this.#unsettled!.waiting = null;
      callback(null);
    }
  }

  shutdown(request: ShutdownRequest): number {
    if (!this.#ready()) return this.#base().shutdown.call(this.#handle, request);
    this.#unsettled ??= { waiting: null, shutdown: null };
    this.#unsettled.shutdown = request;
    this.end();
    return 0;
  }

  onFinish(_connection: Connection, result: number): void {
    const request = this.#unsettled?.shutdown;
    if (!request) return;
    this.#unsettled!.shutdown = null;
    // Never before shutdown() has returned.
    process.nextTick(() => runIn(this.#handle, request.oncomplete, request, result));
  }

  /* --- Leaving -------------------------------------------------------------------------------- */

  /** Takes our requests back. */
  #giveBack(): Remains {
    this.#flags |= GONE;
    return this.claimed ? this.detach() : { unseen: [], unsent: [] };
  }

  /** The descriptor is about to be closed. Writes that wait end as in Node: after the socket. */
  release(reset = false): void {
    if (this.#gone()) return;
    this.#flags |= GONE;
    if (this.claimed) {
      if (this.corkedFrom !== -1) this.withdraw(this.#written - this.corkedFrom);
      this.releaseDescriptor(reset);
    }
    if (this.#waiting() !== null) setImmediate(() => this.#settleAll());
  }

  #settleAll(error: Error | null = null): void {
    const waiting = this.#waiting();
    if (waiting === null) return;
    this.#unsettled!.waiting = null;
    runIn(this.#handle, failAll, waiting, error);
  }

  /** Node goes on with it: with what is still to be sent, and with what was not seen yet. */
  handOver(): void {
    if (this.#gone()) return;
    const { unseen, unsent } = this.#giveBack();
    this.#revert();
    const socket = this.#socket();
    const bytes = Buffer.concat(unsent);
    this.#written -= bytes.length;
    this.#keepCounts();
    if (socket !== undefined && bytes.length > 0) {
      const prototype = Object.getPrototypeOf(socket) as InnerSocket;
      prototype._writeGeneric.call(socket, false, bytes, 'buffer', (error) =>
        this.#settleAll(error),
      );
    } else if (this.#waiting() !== null) setImmediate(() => this.#settleAll());
    const shutdown = this.#unsettled?.shutdown;
    if (shutdown) this.#base().shutdown.call(this.#handle, shutdown);
    if (socket !== undefined && unseen.length > 0) socket.push(Buffer.concat(unseen));
    if ((this.#flags & READING) !== 0) this.#base().readStart.call(this.#handle);
  }

  /** Node moves bulk with less: without our copies. */
  #leaveBulk(): void {
    expectBulk();
    this.handOver();
  }

  /** For bytes that go past it (file-pipe.ts): the socket is Node's, and does not block. */
  leave(): void {
    if (!this.#gone()) this.#leaveBulk();
  }

  /** So many have. */
  sentPast(bytes: number): void {
    this.#written += bytes;
    this.#keepCounts();
  }

  /** What we have moved goes on being counted. */
  #keepCounts(): void {
    if ((this.#flags & COUNTED) !== 0 || this.bytesRead + this.bytesWritten === 0) return;
    this.#flags |= COUNTED;
    for (const name of ['bytesRead', 'bytesWritten'] as const)
      Object.defineProperty(this.#handle, name, {
        get: () => (Reflect.get(this.#base(), name, this.#handle) as number) + this[name],
        configurable: true,
      });
  }

  get onread(): (...args: unknown[]) => unknown {
    return Reflect.get(this.#base(), 'onread', this.#handle) as (...args: unknown[]) => unknown;
  }

  /** node:net's own is what push() does; any other wants to be called by libuv. */
  set onread(onread: (...args: unknown[]) => unknown) {
    Reflect.set(this.#base(), 'onread', onread, this.#handle);
    if (this.#gone()) return;
    if (onread.name !== 'onStreamRead') this.handOver();
  }

  override ref(): void {
    if (this.claimed) super.ref();
  }

  override unref(): void {
    if (this.claimed) super.unref();
  }
}

/** Those that wait, in one scope. */
function failAll(this: Waiting[], error: Error | null): void {
  for (const { callback } of this) callback(error);
}

/** Data for a socket: as callBack (forms.ts), with less on the way. */
function arrived(this: Stream, bytes: Buffer): void {
  try {
    this.push(bytes);
  } catch (error) {
    threw(error);
  }
}

/* --- Data -------------------------------------------------------------------------------------- */

type Chunks = { readonly allBuffers?: boolean } & readonly (
  | Uint8Array
  | { readonly chunk: Uint8Array | string; readonly encoding: string }
)[];

function writeAll(connection: Connection, chunks: Chunks): void {
  for (const one of chunks)
    if (one instanceof Uint8Array) connection.write(one);
    else writeOne(connection, one.chunk, one.encoding);
}

function writeOne(connection: Connection, data: Uint8Array | string, encoding: string): void {
  if (typeof data !== 'string') connection.write(data);
  else if (encoding === 'utf8' || encoding === 'utf-8') connection.write(data);
  else if (encoding === 'latin1' || encoding === 'binary') connection.write(data, 'latin1');
  else connection.write(Buffer.from(data, encoding as BufferEncoding));
}

/** The program keeps what it gets: it cannot stay in Linux's buffer. */
function copyOf(bytes: Buffer, start: number, end: number): Buffer {
  const length = end - start;
  const copy = Buffer.allocUnsafe(length);
  if (length <= COPY_SHORT) for (let i = 0; i < length; i++) copy[i] = bytes[start + i];
  else bytes.copy(copy, 0, start, end);
  return copy;
}

/** Node's ErrnoException. */
export function errnoException(errno: number, syscall: string): Error {
  const code = errnoName(errno);
  return Object.assign(new Error(`${syscall} ${code}`), { errno, code, syscall });
}

/* --- Adopting ---------------------------------------------------------------------------------- */

type Ours = StreamHandle & { readonly [kBase]?: StreamHandle };

/** Of a handle with our methods. */
const ours = (handle: Ours) => streamOf(handle)!;

/** Null: Node's own way. */
export function threadSockets(): Sockets | null {
  const kernel = threadKernel();
  if (kernel === null) return null;
  try {
    return socketsOf(kernel);
  } catch {
    return null; // no memory for them
  }
}

const prototypes = new Map<object, object>();

/** The methods that are replaced, between a handle and what its class offers. */
function prototypeOver(base: StreamHandle): object {
  const native = (name: keyof StreamHandle) => base[name] as (...args: unknown[]) => unknown;
  const native_get = (handle: StreamHandle, name: string) =>
    Reflect.get(base, name, handle) as number;
  const passed = (name: string) =>
    function (this: Ours, ...args: unknown[]) {
      ours(this).handOver();
      return native(name as keyof StreamHandle).apply(this, args);
    };
  const methods: Record<string, PropertyDescriptor> = {
    // Who asks is about to take it natively.
    isStreamBase: {
      get(this: Ours) {
        ours(this).handOver();
        return true;
      },
    },
    onread: {
      get(this: Ours) {
        return ours(this).onread;
      },
      set(this: Ours, onread: (...args: unknown[]) => unknown) {
        ours(this).onread = onread;
        shortenWrites(this);
      },
    },
    bytesRead: {
      get(this: Ours) {
        return native_get(this, 'bytesRead') + ours(this).bytesRead;
      },
    },
    bytesWritten: {
      get(this: Ours) {
        return native_get(this, 'bytesWritten') + ours(this).bytesWritten;
      },
    },
    writeQueueSize: {
      get(this: Ours) {
        return ours(this).pending;
      },
    },
    readStart: {
      value(this: Ours) {
        return ours(this).readStart();
      },
    },
    readStop: {
      value(this: Ours) {
        return ours(this).readStop();
      },
    },
    shutdown: {
      value(this: Ours, request: ShutdownRequest) {
        return ours(this).shutdown(request);
      },
    },
    close: {
      value(this: Ours, callback?: () => void) {
        ours(this).release();
        return native('close').call(this, callback);
      },
    },
    ref: {
      value(this: Ours) {
        ours(this).ref();
        native('ref').call(this);
      },
    },
    unref: {
      value(this: Ours) {
        ours(this).unref();
        native('unref').call(this);
      },
    },
  };
  if (base.reset !== undefined)
    methods.reset = {
      value(this: Ours, callback?: () => void) {
        ours(this).release(true);
        return native('reset').call(this, callback);
      },
    };
  for (const name of PASSED) if (name in base) methods[name] = { value: passed(name) };
  for (const descriptor of Object.values(methods)) {
    descriptor.configurable = true;
    if ('value' in descriptor) descriptor.writable = true;
  }
  return Object.create(base, { ...methods, ...scopeProperties(), [kBase]: { value: base } });
}

/** For these it has to be Node's again. */
const PASSED = [
  'useUserBuffer',
  'writev',
  'writeBuffer',
  'writeAsciiString',
  'writeLatin1String',
  'writeUcs2String',
  'writeUtf8String',
];

/** The socket of an adopted handle writes without a request object for each write. */
function shortenWrites(handle: Ours): void {
  const socket = ownerOf(handle);
  if (socket === undefined || Object.hasOwn(socket, '_writeGeneric')) return;
  Object.defineProperty(socket, '_writeGeneric', WRITE_SHORT);
}

function writeShort(
  this: InnerSocket,
  writev: boolean,
  data: unknown,
  encoding: string,
  callback: WriteCallback,
): void {
  const stream = this.connecting ? undefined : streamOf(this._handle);
  if (stream?.writeFor(this, writev, data, encoding, callback)) return;
  const prototype = Object.getPrototypeOf(this) as InnerSocket;
  prototype._writeGeneric.call(this, writev, data, encoding, callback);
}

const WRITE_SHORT: PropertyDescriptor = { value: writeShort, writable: true, configurable: true };

/** `handle` is Node's own, and nothing was read or written yet. `accepted`: a server has made it. */
export function adopt(handle: StreamHandle, accepted: boolean): void {
  if (streamOf(handle) !== undefined) return;
  const sockets = threadSockets();
  if (sockets === null) return;
  const base = Object.getPrototypeOf(handle) as StreamHandle;
  let prototype = prototypes.get(base);
  if (prototype === undefined) {
    prototype = prototypeOver(base);
    prototypes.set(base, prototype);
  }
  noteStream(handle, new Stream(sockets, handle));
  enterAtAdoption(handle, accepted);
  Object.setPrototypeOf(handle, prototype);
  shortenWrites(handle as Ours);
}

/** Makes a handle Node's own again, if it was ours. */
export function handOver(handle: StreamHandle | null): void {
  streamOf(handle)?.handOver();
}
