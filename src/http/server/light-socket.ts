/**
 * The way of a response to its connection, past the machinery of writable streams: as long as
 * nothing waits there, a small write goes straight into the block that leaves at the end of the
 * turn (src/node/net/stream.ts).
 *
 *   const stream = lighten(socket);     // undefined: the socket is none of ours
 *   stream.consumer = …                 // and what arrives, past readable streams
 *
 * Everything else (large writes, other encodings, a socket that ends or is somebody else's again)
 * goes the usual way, and in the same order: both end in the same block.
 */
import net from 'node:net';
import { Writable } from 'node:stream';
import { type Stream, streamOf } from '../../node/net/stream.ts';
import type { InnerSocket } from './internals.ts';

/** As much counts as written at once: see Stream.write. */
const LIGHT_BYTES_MAX = 8 * 1024;

type Done = (error?: Error | null) => void;

interface State {
  readonly length: number;
  readonly ending: boolean;
  readonly destroyed: boolean;
  corked: number;
}

export function lighten(socket: InnerSocket): Stream | undefined {
  if (!(socket instanceof net.Socket)) return undefined;
  const stream = streamOf(socket._handle as unknown as Parameters<typeof streamOf>[0]);
  if (stream === undefined) return undefined;
  for (const [name, value] of Object.entries(METHODS))
    Object.defineProperty(socket, name, { value, writable: true, configurable: true });
  return stream;
}

/** The socket is given away: its methods are its class's again. */
export function unlighten(socket: InnerSocket): void {
  for (const [name, value] of Object.entries(METHODS))
    if ((socket as unknown as Record<string, unknown>)[name] === value)
      delete (socket as unknown as Record<string, unknown>)[name];
}

const METHODS = {
  write(this: InnerSocket, data: unknown, encoding?: unknown, callback?: unknown): boolean {
    if (typeof encoding === 'function') return METHODS.write.call(this, data, null, encoding);
    if (isLight(this, data, encoding)) {
      const stream = streamOf(this._handle as never);
      const known = encoding === 'latin1' ? 'latin1' : 'utf8';
      if (data !== '' && !stream!.write(this as never, false, data, known, noop))
        return usual(this, data, encoding, callback);
      if (typeof callback === 'function') process.nextTick(callback as Done, null);
      return true;
    }
    return usual(this, data, encoding, callback);
  },
  // What is written in one turn leaves together anyway.
  cork(): void {},
  uncork(this: InnerSocket): void {
    (this._writableState as unknown as State).corked = 0;
  },
};

const noop = () => {};

function usual(socket: InnerSocket, data: unknown, encoding: unknown, callback: unknown): boolean {
  return Writable.prototype.write.call(socket, data, encoding as 'utf8', callback as Done);
}

function isLight(socket: InnerSocket, data: unknown, encoding: unknown): boolean {
  const stream = streamOf(socket._handle as never);
  const state = socket._writableState as unknown as State;
  if (stream === undefined || state.length > 0 || state.ending || state.destroyed) return false;
  if (typeof data === 'string') {
    const known = !encoding || encoding === 'utf8' || encoding === 'latin1';
    // A character is three bytes at most.
    return known && data.length * 3 + stream.pending < LIGHT_BYTES_MAX;
  }
  return data instanceof Uint8Array && data.length + stream.pending < LIGHT_BYTES_MAX;
}
