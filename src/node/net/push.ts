/**
 * socket.push(bytes), without the tick in which a Readable asks for more.
 *
 *   const more = pushTo(socket, handle, bytes);
 *
 * After each push a stream looks, in a tick of its own, whether to call read(0). With a socket that
 * flows and whose handle reads, all that comes of it is that `reading` is set. So that is done at
 * once, and what a callback has changed meanwhile (paused it, say) gets the tick after all.
 */
import { Socket } from 'node:net';
import type { InnerSocket, StreamHandle } from './internals.ts';

const { _read: nodesRead } = Socket.prototype;

/** Of ReadableState. */
interface State {
  reading: boolean;
  readingMore: boolean;
  readonly flowing: boolean | null;
  readonly ended: boolean;
  readonly length: number;
  readonly highWaterMark: number;
}

const flows = (state: State, handle: StreamHandle) =>
  state.flowing === true && state.length === 0 && !state.ended && handle.reading === true;

export function pushTo(socket: InnerSocket, handle: StreamHandle, bytes: Buffer): boolean {
  const state = socket._readableState as unknown as State;
  if (state.readingMore || !flows(state, handle) || socket._read !== nodesRead)
    return socket.push(bytes);
  state.readingMore = true;
  let more = false;
  try {
    more = socket.push(bytes);
  } finally {
    state.readingMore = false;
  }
  if (more && flows(state, handle) && !socket.destroyed) {
    state.reading = true;
  } else {
    state.readingMore = true;
    process.nextTick(readMore, socket, state);
  }
  return more;
}

/** As maybeReadMore_ in Node's readable.js. */
function readMore(socket: InnerSocket, state: State): void {
  while (
    !state.reading &&
    !state.ended &&
    (state.length < state.highWaterMark || (state.flowing === true && state.length === 0))
  ) {
    const { length } = state;
    socket.read(0);
    if (length === state.length) break;
  }
  state.readingMore = false;
}
