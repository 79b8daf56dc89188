/**
 * The way of a response to its connection, past the machinery of writable streams: as long as
 * nothing waits there, a small write goes straight into the block that leaves at the end of the
 * turn (src/node/net/stream.ts).
 *
 *   const stream = lighten(socket);     // undefined: the socket is none of ours
 *   stream.consumer = …                 // and what arrives, past readable streams
 *   unlighten(socket);                  // it is given away
 *
 * Everything else (large writes, other encodings, a socket that ends or is somebody else's again)
 * goes the usual way, and in the same order: both end in the same block. What is written while the
 * socket is corked counts as waiting until it is uncorked, so that `writableLength` and the result
 * of write() are what they always were; and is not sent if the socket is destroyed before that.
 */
import net from 'node:net';
import { Writable } from 'node:stream';
import { streamOf } from '../../node/net/adopted.ts';
import { plainWrites } from '../../node/net/file-pipe.ts';
import type { Stream } from '../../node/net/stream.ts';
import type { InnerSocket } from './internals.ts';

/** As much counts as written at once: see Stream.write. */
const LIGHT_BYTES_MAX = 8 * 1024;

type Done = (error?: Error | null) => void;

/** WritableState, and how much of its length is ours: written, while the socket is corked. */
interface State {
  length: number;
  needDrain: boolean;
  readonly highWaterMark: number;
  readonly corked: number;
  readonly ending: boolean;
  readonly destroyed: boolean;
  [kCorked]?: number;
}
const kCorked = Symbol('trapless written while corked');

export function lighten(socket: InnerSocket): Stream | undefined {
  if (!(socket instanceof net.Socket)) return undefined;
  const stream = streamOf(socket._handle as never);
  if (stream === undefined) return undefined;
  Object.defineProperty(socket, 'write', WRITE);
  Object.defineProperty(socket, 'uncork', UNCORK);
  return stream;
}

export function unlighten(socket: InnerSocket): void {
  const own = socket as unknown as Record<string, unknown>;
  for (const [name, value] of Object.entries(METHODS)) if (own[name] === value) delete own[name];
}

const stateOf = (socket: InnerSocket) => socket._writableState as unknown as State;

interface Listened {
  readonly _events?: { readonly data?: unknown; readonly readable?: unknown };
}

/** Whether somebody else than `listener` wants what arrives: then it has to be the socket's first. */
export function isHeard(socket: InnerSocket, listener: unknown): boolean {
  const { _events: events } = socket as unknown as Listened;
  if (events === undefined) return false;
  const { data } = events;
  return (data !== undefined && data !== listener) || events.readable !== undefined;
}

const METHODS = {
  write(this: InnerSocket, data: unknown, encoding?: unknown, callback?: unknown): boolean {
    if (typeof encoding === 'function') return METHODS.write.call(this, data, null, encoding);
    const state = stateOf(this);
    if (!isLight(this, state, data, encoding)) return usual(this, data, encoding, callback);
    if (data !== '' && !writeLight(this, data, encoding))
      return usual(this, data, encoding, callback);
    if (typeof callback === 'function') process.nextTick(callback as Done, null);
    return state.corked === 0 || waits(state, data.length);
  },
  uncork(this: InnerSocket): void {
    const state = stateOf(this);
    if (state.corked === 1 && state[kCorked]) settle(this, state);
    Writable.prototype.uncork.call(this);
  },
};

const method = (value: unknown) => ({ value, writable: true, configurable: true });
const WRITE = method(METHODS.write);
const UNCORK = method(METHODS.uncork);

plainWrites.add(METHODS.write);

function isLight(
  socket: InnerSocket,
  state: State,
  data: unknown,
  encoding: unknown,
): data is string | Uint8Array {
  const stream = streamOf(socket._handle as never);
  const waiting = state.length - (state[kCorked] ?? 0);
  if (stream === undefined || waiting > 0 || state.ending || state.destroyed) return false;
  if (typeof data === 'string') {
    const known = !encoding || encoding === 'utf8' || encoding === 'latin1';
    // A character is three bytes at most.
    return known && data.length * 3 + stream.pending < LIGHT_BYTES_MAX;
  }
  return data instanceof Uint8Array && data.length + stream.pending < LIGHT_BYTES_MAX;
}

function writeLight(socket: InnerSocket, data: string | Uint8Array, encoding: unknown): boolean {
  const stream = streamOf(socket._handle as never)!;
  const known = encoding === 'latin1' ? 'latin1' : 'utf8';
  if (stream.corkedFrom === -1 && stateOf(socket).corked > 0)
    stream.corkedFrom = stream.bytesWritten;
  return stream.writeFor(socket as never, false, data, known, noop);
}

/** Counts it as waiting; false: that is as much as should. */
function waits(state: State, length: number): boolean {
  state[kCorked] = (state[kCorked] ?? 0) + length;
  state.length += length;
  if (state.length < state.highWaterMark) return true;
  state.needDrain = true;
  return false;
}

function settle(socket: InnerSocket, state: State): void {
  const stream = streamOf(socket._handle as never);
  if (stream !== undefined) stream.corkedFrom = -1;
  state.length -= state[kCorked] ?? 0;
  state[kCorked] = 0;
  if (!state.needDrain || state.length > 0) return;
  state.needDrain = false;
  process.nextTick(() => socket.emit('drain'));
}

const noop = () => {};

function usual(socket: InnerSocket, data: unknown, encoding: unknown, callback: unknown): boolean {
  return Writable.prototype.write.call(socket, data, encoding as 'utf8', callback as Done);
}
