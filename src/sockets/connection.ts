/**
 * A byte stream over a socket (TCP or Unix), without node streams.
 *
 *   const c = connect(kernel, { host: '127.0.0.1', port }, handler);    or from listen()
 *   c.write('hello');                  // leaves with everything else written in this turn
 *   c.handler = { onBytes(c, bytes, start, end) { … bytes[start … end) … }, … };
 *   c.end();                           // everything written, then FIN
 *
 *                      end() and FIN seen, destroy(), reset(), an error
 *   connecting ──► open ──────────────────────────────────────────────► closing ──► closed
 *
 * Receiving. One receive stands as long as the connection is open; what it brings is valid only
 * during onBytes: Linux gets the buffer back. pause() costs nothing until something arrives:
 * that is kept (one buffer's worth), and the receive is taken back until resume().
 *
 * Sending. One send is in flight at a time. What is written before the turn ends goes into its
 * block; what is written while it is in flight, into the next one; what is more than a block,
 * into a list: bytes there are the caller's own, and must not be changed until onDrain.
 */

import { ERRNO } from '../abi/errno.ts';
import { CQE_MORE } from '../abi/ring.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { KIND, LARGE_BLOCK, SMALL_BLOCK } from '../kernel/sockets/layout.ts';
import type { SocketOwner, Sockets } from '../kernel/sockets/sockets.ts';
import { nameOf, resetOnClose, SHUT_WR, setNonBlocking, shutDown } from '../ops/socket.ts';
import type { IpAddress } from '../ops/socket-address.ts';
import { giveOutgoing, NOTHING, takeOutgoing } from './outgoing.ts';

/** What a connection tells. Each call is one macrotask. */
export interface ConnectionHandler {
  /** It is established (connect() only). */
  onConnect?(connection: Connection): void;
  /** bytes[start … end) have arrived. Valid only during the call: copy what you keep. */
  onBytes(connection: Connection, bytes: Buffer, start: number, end: number): void;
  /** The peer sends no more. Without one the connection ends its side, too. */
  onEnd?(connection: Connection): void;
  /** write() returned false; now there is room again. */
  onDrain?(connection: Connection): void;
  /** A send has completed (fewer bytes are pending). For who counts them. */
  onSent?(connection: Connection): void;
  /** Our FIN is out (after end()). */
  onFinish?(connection: Connection, result: number): void;
  /** Only of a borrowed descriptor: receiving or sending failed, with -errno, and stopped. */
  onError?(connection: Connection, error: number, sending: boolean): void;
  /** The last call. `error` is -errno, or 0. */
  onClose?(connection: Connection, error: number): void;
}

/** What was on the way when a descriptor was given back, in order. */
export interface Remains {
  /** Arrived, and nobody has seen it. */
  readonly unseen: Buffer[];
  /** Written, and Linux had no room for it. */
  readonly unsent: Uint8Array[];
}

const OPEN = 0;
const CONNECTING = 1;
const CLOSING = 2;
const CLOSED = 3;

/* Flags of a connection */
const ARMED = 1 << 0; // a receive stands
const CANCELLED = 1 << 1; // and is being taken back
const PAUSED = 1 << 2;
const ENDED = 1 << 3; // FIN seen
const END_TOLD = 1 << 4; // and the handler knows
const KEPT_SCHEDULED = 1 << 5;
const STARVING = 1 << 6; // waits for a block
const ENDING = 1 << 7; // end() was called
const FINISHED = 1 << 8; // our FIN is out
const CONGESTED = 1 << 9; // write() has returned false
const CONNECTING_NAME = 1 << 10; // the block holds the name to connect to
const CLOSE_SENT = 1 << 11;
const UNREFERENCED = 1 << 12;
const HOLDING = 1 << 13; // the loop is kept alive
const BORROWED = 1 << 14; // closed by somebody else: libuv
/* Above them the state, and above that what it ended with (errno). */
const STATE_SHIFT = 15;
const STATE_MASK = 3 << STATE_SHIFT;
const ERROR_SHIFT = 17;

/** Bytes pending above which write() returns false, and under which onDrain is called. */
export const HIGH_WATER = 256 * 1024;
const LOW_WATER = 64 * 1024;

export class Connection implements SocketOwner {
  fd: number;
  handler: ConnectionHandler;
  bytesRead = 0;
  /** Written and not yet taken by Linux. */
  pending = 0;
  /** For whoever uses it. */
  // biome-ignore lint/suspicious/noExplicitAny: the user's own
  data: any = undefined;

  readonly #sockets: Sockets;
  #slot = -1;
  /** One word for all that is either so or not: a connection that is idle should be small. */
  #flags: number;

  /* Receiving */
  /** What arrived while paused. */
  #kept: Buffer[] | null = null;

  /** What is being sent. */
  #out = NOTHING;

  /**
   * Claims a slot for `fd`; `begin` or `connect` follows. A subclass is its own handler (null), and
   * borrows a descriptor later (-1).
   */
  constructor(sockets: Sockets, fd: number, handler: ConnectionHandler | null) {
    this.#sockets = sockets;
    this.#flags = fd === -1 ? BORROWED : 0;
    this.fd = fd;
    this.handler = handler ?? (this as unknown as ConnectionHandler);
    if (fd !== -1) this.#slot = sockets.claim(this, fd);
  }

  /** Of somebody else's descriptor, which is given back by detach(). False: as `claimed`. */
  protected borrow(fd: number): boolean {
    this.fd = fd;
    this.#slot = this.#sockets.claim(this, -1);
    return this.claimed;
  }

  /** A method: V8 (of Node 20 to 26) calls into its runtime at each use of a private accessor. */
  #state(): number {
    return (this.#flags & STATE_MASK) >>> STATE_SHIFT;
  }

  #setState(state: number): void {
    this.#flags = (this.#flags & ~STATE_MASK) | (state << STATE_SHIFT);
  }

  /** False: there are too many sockets; `fd` is still the caller's. */
  get claimed(): boolean {
    return this.#slot !== -1;
  }

  #is(flag: number): boolean {
    return (this.#flags & flag) !== 0;
  }

  get kernel(): Kernel {
    return this.#sockets.kernel;
  }

  /** Whether its descriptor must not block: without io_uring. */
  get nonBlocking(): boolean {
    return this.#sockets.nonBlocking;
  }

  get open(): boolean {
    return this.#state() === OPEN;
  }

  get closed(): boolean {
    return this.#state() >= CLOSING;
  }

  /** write() has returned false and onDrain is still to come. */
  get congested(): boolean {
    return this.#is(CONGESTED) && this.#state() <= CONNECTING;
  }

  get paused(): boolean {
    return this.#is(PAUSED);
  }

  /** Starts receiving, unless paused by now. */
  begin(): void {
    this.#arm();
  }

  /** `name`: a struct sockaddr in a send block, which is given back when it is connected. */
  connect(name: number, length: number): void {
    this.#setState(CONNECTING);
    this.#flags |= CONNECTING_NAME;
    this.#out = takeOutgoing();
    this.#out.block = name;
    this.#sockets.connect(this.#slot, this.fd, name, length);
    this.#keepAlive();
  }

  /* --- Receiving ------------------------------------------------------------------------------ */

  pause(): void {
    this.#flags |= PAUSED;
    this.#keepAlive();
  }

  resume(): void {
    if (!this.#is(PAUSED)) return;
    this.#flags &= ~PAUSED;
    if (this.#kept !== null || (this.#is(ENDED) && !this.#is(END_TOLD))) this.#scheduleKept();
    else this.#arm();
    this.#keepAlive();
  }

  #arm(): void {
    if (this.#is(ARMED) || this.#is(PAUSED) || this.#is(ENDED) || this.#state() !== OPEN) return;
    this.#flags |= ARMED;
    this.#sockets.receive(this.#slot, this.fd);
    this.#keepAlive();
  }

  #received(result: number, flags: number): boolean {
    if ((flags & CQE_MORE) === 0) {
      this.#flags &= ~ARMED;
      this.#flags &= ~CANCELLED;
    }
    if (this.#state() !== OPEN) {
      this.#closeIfQuiet();
      return false;
    }
    if (result > 0) return this.#bytes(result);
    if (result === 0) return this.#end();
    if (result === -ERRNO.ENOBUFS) {
      this.#sockets.whenBuffers(() => this.#arm());
      return false;
    }
    if (RETRIED.has(result)) {
      // Taken back by pause() and resumed since, or nothing that concerns the program.
      this.#arm();
      return false;
    }
    return this.#fail(result, false);
  }

  #bytes(length: number): boolean {
    const { arena, receivedAt } = this.#sockets;
    this.bytesRead += length;
    if (this.#is(PAUSED) || this.#kept !== null) {
      this.#kept ??= [];
      this.#kept.push(Buffer.from(arena.subarray(receivedAt, receivedAt + length)));
      this.#takeBack();
      return false;
    }
    if (!this.#is(ARMED)) this.#arm();
    this.handler.onBytes(this, arena, receivedAt, receivedAt + length);
    return true;
  }

  /** Nothing more is to arrive until resume(): memory is bounded by what has come by then. */
  #takeBack(): void {
    if (!this.#is(ARMED) || this.#is(CANCELLED)) return;
    this.#flags |= CANCELLED;
    this.#sockets.cancelReceive(this.#slot, this.fd);
  }

  #end(): boolean {
    this.#flags |= ENDED;
    if (this.#is(PAUSED) || this.#kept !== null) return false;
    return this.#tellEnd();
  }

  #tellEnd(): boolean {
    this.#flags |= END_TOLD;
    this.#keepAlive();
    const { onEnd } = this.handler;
    if (onEnd === undefined) this.end();
    else this.handler.onEnd!(this);
    if (this.#is(FINISHED) && !this.#is(BORROWED)) this.#beginClose(0);
    return true;
  }

  #scheduleKept(): void {
    if (this.#is(KEPT_SCHEDULED)) return;
    this.#flags |= KEPT_SCHEDULED;
    setImmediate(() => {
      this.#flags &= ~KEPT_SCHEDULED;
      this.#deliverKept();
    });
  }

  #deliverKept(): void {
    while (this.#kept !== null && !this.#is(PAUSED) && this.#state() === OPEN) {
      const bytes = this.#kept.shift()!;
      if (this.#kept.length === 0) this.#kept = null;
      if (this.#kept !== null || this.#is(ENDED)) this.#scheduleKept();
      this.handler.onBytes(this, bytes, 0, bytes.length);
      return void this.#arm();
    }
    if (this.#is(PAUSED) || this.#state() !== OPEN) return;
    if (this.#is(ENDED) && !this.#is(END_TOLD)) this.#tellEnd();
    else this.#arm();
  }

  /* --- Sending -------------------------------------------------------------------------------- */

  /** Writes bytes, or text (UTF-8 unless said). False: enough for now, wait for onDrain. */
  write(data: Uint8Array | string, encoding: 'utf8' | 'latin1' = 'utf8'): boolean {
    if (this.#state() > CONNECTING || this.#is(ENDING)) return false;
    const isText = typeof data === 'string';
    const most = isText ? bytesAtMost(data, encoding) : data.length;
    if (most === 0) return true;
    if (this.#out === NOTHING) this.#out = takeOutgoing();
    let length = -1;
    if (this.#out.queue === null && most <= LARGE_BLOCK) {
      const block = this.#out.roomFor(this.#sockets, most, this.#amendable());
      if (block !== -1) {
        const to = this.#out.endOf(block);
        length = isText ? this.#writeText(data, encoding, to) : this.#copy(data, to);
        this.#wrote(block, length);
      }
    }
    if (length === -1) length = this.#enqueue(isText ? Buffer.from(data, encoding) : data);
    this.pending += length;
    if (this.pending < HIGH_WATER) return true;
    this.#flags |= CONGESTED;
    return false;
  }

  #writeText(text: string, encoding: 'utf8' | 'latin1', to: number): number {
    const { arena } = this.#sockets;
    return encoding === 'latin1' ? arena.latin1Write(text, to) : arena.utf8Write(text, to);
  }

  #copy(data: Uint8Array, to: number): number {
    this.#sockets.arena.set(data, to);
    return data.length;
  }

  /** The send was queued in this turn, and Linux has not seen it yet. */
  #amendable(): boolean {
    const { block, turn } = this.#out;
    return block !== -1 && turn === this.#sockets.queue.turn && !this.#is(CONNECTING_NAME);
  }

  #wrote(block: number, length: number): void {
    if (block === this.#out.next) {
      this.#out.nextLength += length;
      return;
    }
    const first = this.#out.length === 0;
    this.#out.length += length;
    if (first) this.#send();
    else this.#sockets.amendSend(this.#out.entry, this.#out.at, this.#out.length);
  }

  /** Takes back the last `bytes` written, as many of them as Linux does not have yet. */
  withdraw(bytes: number): void {
    const { length } = this.#out;
    this.pending -= bytes - this.#out.withdraw(bytes, this.#amendable());
    // It may become a send of nothing, which Linux does at once.
    if (this.#out.length !== length)
      this.#sockets.amendSend(this.#out.entry, this.#out.at, this.#out.length);
  }

  #send(): void {
    this.#out.entry = this.#sockets.send(this.#slot, this.fd, this.#out.at, this.#out.length);
    this.#out.turn = this.#sockets.queue.turn;
    this.#keepAlive();
  }

  #enqueue(bytes: Uint8Array): number {
    // What was received is not there for long.
    const received = bytes.buffer === this.#sockets.arena.buffer;
    this.#out.enqueue(received ? Buffer.from(bytes) : bytes);
    if (this.#out.block === -1) this.#sendMore();
    return bytes.length;
  }

  #sent(result: number): boolean {
    if (this.#out.unsent !== null) this.#out.keepInFlight(this.#sockets.arena, Math.max(result, 0));
    if (result < 0 && result !== -ERRNO.EAGAIN && result !== -ERRNO.EINTR) {
      this.#out.giveBlock(this.#sockets.blocks);
      if (this.#out.unsent !== null) return false;
      if (this.#state() === OPEN) return this.#fail(result, true);
      this.#closeIfQuiet();
      return false;
    }
    if (result > 0) {
      this.pending -= result;
      this.#out.sent(result);
    }
    if (this.#state() !== OPEN || this.#out.unsent !== null) {
      this.#out.giveBlock(this.#sockets.blocks);
      if (this.#out.unsent === null) this.#closeIfQuiet();
      return false;
    }
    if (this.#out.length > 0) {
      this.#send();
      this.#out.turn = -1; // the rest of a block: not added to
    } else {
      this.#out.giveBlock(this.#sockets.blocks);
      this.#sendMore();
    }
    return this.#tellSent();
  }

  #tellSent(): boolean {
    this.#rest();
    this.#keepAlive();
    let ran = false;
    if (this.handler.onSent !== undefined) {
      this.handler.onSent(this);
      ran = true;
    }
    if (this.#is(CONGESTED) && this.pending <= LOW_WATER && this.#state() === OPEN) {
      this.#flags &= ~CONGESTED;
      this.handler.onDrain?.(this);
      ran = true;
    }
    return ran;
  }

  /** With nothing to send there is no sending half. */
  #rest(): void {
    if (this.#out === NOTHING || !this.#out.idle) return;
    giveOutgoing(this.#out);
    this.#out = NOTHING;
  }

  /** The next block, or what is in the list, or the end. */
  #sendMore(): void {
    if (this.#out.next !== -1) {
      this.#out.shift();
      this.#send();
    } else if (this.#out.queue !== null) this.#gather();
    else if (this.#is(ENDING)) this.#finish();
  }

  /** As much of the list as a block holds. */
  #gather(): void {
    if (!this.#out.gather(this.#sockets, this.pending)) {
      if (!this.#is(STARVING)) this.#sockets.blocks.whenFree(() => this.#gatherAgain());
      this.#flags |= STARVING;
      return;
    }
    this.#send();
    // A gathered block is not added to: the list, if any, comes first.
    this.#out.turn = -1;
  }

  #gatherAgain(): void {
    this.#flags &= ~STARVING;
    if (this.#state() === OPEN && this.#out.block === -1) this.#sendMore();
  }

  /** Everything written, then FIN. */
  end(): void {
    if (this.#state() > CONNECTING || this.#is(ENDING)) return;
    this.#flags |= ENDING;
    if (this.#state() === OPEN && this.#out.block === -1 && this.#out.queue === null) {
      // What was written in this turn is before it: only what is not handed over can wait.
      this.#finish();
    }
  }

  #finish(): void {
    if (this.#is(FINISHED)) return;
    this.#flags |= FINISHED;
    const result = shutDown(this.kernel, this.fd, SHUT_WR);
    this.handler.onFinish?.(this, result);
    if (this.#is(END_TOLD) && !this.#is(BORROWED)) this.#beginClose(0);
  }

  /** Whether our FIN is out. */
  get finished(): boolean {
    return this.#is(FINISHED);
  }

  /* --- Connecting and closing ------------------------------------------------------------------ */

  #connected(result: number): boolean {
    this.#flags &= ~CONNECTING_NAME;
    this.#out.giveBlock(this.#sockets.blocks);
    if (this.#state() !== CONNECTING) {
      this.#closeIfQuiet();
      return false;
    }
    if (result < 0) {
      return this.#fail(result, false);
    }
    this.#setState(OPEN);
    this.#arm();
    this.#sendMore();
    this.handler.onConnect?.(this);
    return true;
  }

  #fail(error: number, sending: boolean): boolean {
    if (!this.#is(BORROWED)) {
      this.#beginClose(error);
      return false;
    }
    if (sending) this.#out.drop(this.#sockets.blocks);
    this.handler.onError?.(this, error, sending);
    return true;
  }

  /** Ends it now. What was written in this turn is still sent, as far as Linux has room. */
  destroy(): void {
    this.#beginClose(0);
  }

  /** Ends it with RST. */
  reset(): void {
    if (this.#state() < CLOSING) resetOnClose(this.kernel, this.fd);
    this.#beginClose(0);
  }

  #beginClose(error: number, cancelled = false): void {
    if (this.#state() >= CLOSING) return;
    this.#setState(CLOSING);
    this.#flags |= -error << ERROR_SHIFT;
    this.#kept = null;
    this.#out.drop(this.#sockets.blocks);
    if (!cancelled) this.#cancel();
    this.#closeIfQuiet();
    this.#keepAlive();
  }

  /** By its request where that is all there is: a descriptor's number may be another one's by the
   *  time that Linux reads this, if it was released. Without io_uring the number has to be forgotten,
   *  and what the next one of that number requests is behind this in the queue. */
  #cancel(): void {
    const sockets = this.#sockets;
    if (this.#out.block !== -1 || (sockets.nonBlocking && this.#is(BORROWED)))
      sockets.cancel(this.fd);
    else if (this.#is(ARMED)) sockets.cancelReceive(this.#slot, this.fd);
  }

  /** The descriptor is closed when nothing is in flight on it. */
  #closeIfQuiet(): void {
    if (this.#is(ARMED) || this.#out.block !== -1 || this.#is(CLOSE_SENT)) return;
    this.#flags |= CLOSE_SENT;
    if (!this.#is(BORROWED)) return this.#sockets.close(this.#slot, this.fd);
    this.#setState(CLOSED);
    this.#sockets.free(this.#slot);
    this.#slot = -1;
    this.#keepAlive();
  }

  /** Sends at once what was written, as far as Linux has room. */
  flush(): void {
    for (let left = -1; this.pending > 0 && left !== this.pending && this.#state() === OPEN; ) {
      left = this.pending;
      this.#sockets.advance(this.#slot);
    }
  }

  /** A borrowed descriptor is about to be closed. What was written is sent, as far as Linux has
   *  room. A ring's receive holds the file: where the peer would notice, it ends now, else (our FIN is
   *  out) with the next batch. */
  releaseDescriptor(reset: boolean): void {
    if (this.#state() >= CLOSING) return;
    const noticed = !this.#sockets.nonBlocking && (reset || !this.#is(FINISHED));
    if (noticed || this.#out.block !== -1 || this.pending > 0) this.#giveBack();
    else this.#beginClose(0);
  }

  /** Gives a borrowed descriptor back: nothing of ours touches it any more when this returns, and
   *  it does not block. */
  detach(): Remains {
    if (this.#state() >= CLOSING) return { unseen: [], unsent: [] };
    const remains = this.#giveBack();
    setNonBlocking(this.kernel, this.fd, true);
    return remains;
  }

  #giveBack(): Remains {
    this.#flags |= PAUSED; // what still arrives is kept
    this.flush();
    if (this.#out === NOTHING) this.#out = takeOutgoing();
    this.#out.unsent = [];
    // Without io_uring it also has epoll forget the descriptor.
    if (this.#is(ARMED) || this.#out.block !== -1 || this.#sockets.nonBlocking) {
      const slot = this.#slot;
      this.#sockets.cancel(this.fd);
      for (let tries = 0; tries < 3; tries++) {
        this.#sockets.advance(slot);
        if (!this.#is(ARMED) && this.#out.block === -1) break;
      }
    }
    const unseen = this.#kept ?? [];
    this.#out.keepWaiting(this.#sockets.arena);
    const { unsent } = this.#out;
    this.#out.unsent = null;
    this.#beginClose(0, true);
    return { unseen, unsent };
  }

  /** The peer has sent its FIN. */
  get ended(): boolean {
    return this.#is(ENDED);
  }

  #isClosed(): boolean {
    this.#setState(CLOSED);
    this.#sockets.free(this.#slot);
    this.#slot = -1;
    this.#keepAlive();
    this.handler.onClose?.(this, 0 - (this.#flags >>> ERROR_SHIFT));
    return true;
  }

  completed(kind: number, result: number, flags: number): boolean {
    if (kind === KIND.receive) return this.#received(result, flags);
    if (kind === KIND.send) return this.#sent(result);
    if (kind === KIND.connect) return this.#connected(result);
    return this.#isClosed();
  }

  /* --- The rest ------------------------------------------------------------------------------- */

  ref(): void {
    this.#flags &= ~UNREFERENCED;
    this.#keepAlive();
  }

  unref(): void {
    this.#flags |= UNREFERENCED;
    this.#keepAlive();
  }

  /** As in libuv: what reads, writes, connects or closes keeps the loop alive. */
  #keepAlive(): void {
    const receives = this.#state() === OPEN && !this.#is(PAUSED) && !this.#is(END_TOLD);
    const busy = receives || this.#out.block !== -1 || this.#state() === CLOSING;
    const holds = !this.#is(UNREFERENCED) && busy && this.#state() !== CLOSED;
    if (holds === this.#is(HOLDING)) return;
    this.#flags ^= HOLDING;
    this.kernel.hold(holds ? 1 : -1);
  }

  /** Null for a Unix socket, or when it is gone. */
  get localAddress(): IpAddress | null {
    return this.#name('getsockname');
  }

  get remoteAddress(): IpAddress | null {
    return this.#name('getpeername');
  }

  #name(which: 'getsockname' | 'getpeername'): IpAddress | null {
    if (this.#state() >= CLOSING) return null;
    const name = nameOf(this.kernel, this.fd, which);
    return typeof name === 'number' ? null : name;
  }
}

/** UTF-8 takes up to three bytes for each unit of a string; a long one is worth counting. */
function bytesAtMost(text: string, encoding: 'utf8' | 'latin1'): number {
  if (encoding === 'latin1') return text.length;
  return text.length < SMALL_BLOCK / 3 ? text.length * 3 : Buffer.byteLength(text);
}

/** Results of a receive after which it is begun anew, if it is still wanted. */
const RETRIED: ReadonlySet<number> = new Set([-ERRNO.ECANCELED, -ERRNO.EAGAIN, -ERRNO.EINTR]);
