/**
 * Datagrams over a UDP socket that is open and bound.
 *
 *   const udp = new Datagrams(sockets, fd, handler);
 *   udp.start();                                   one receive stands
 *   udp.send(bytes, ipv4, port, tag)               all sends of a turn leave in one native call
 *   udp.release();                                 Linux lets go of fd: it may be closed
 *
 * `fd` stays its owner's (libuv's, where Node made it). Datagrams of one turn share send blocks:
 * a block counts those in it and is given back with the last one.
 */

import { ERRNO } from '../abi/errno.ts';
import { CQE_MORE } from '../abi/ring.ts';
import { KIND, LARGE_BLOCK, SMALL_BLOCK } from '../kernel/sockets/layout.ts';
import { RECEIVED, type SocketOwner, type Sockets } from '../kernel/sockets/sockets.ts';
import { setNonBlocking } from '../ops/socket.ts';
import { SIZEOF_INET, SIZEOF_INET6, writeIpv4 } from '../ops/socket-address.ts';

export interface DatagramHandler {
  /** bytes[start … end) came from the struct sockaddr at `name`. Valid only during the call. */
  onMessage(bytes: Buffer, start: number, end: number, name: number): void;
  /** Receiving failed with -errno; it goes on. */
  onError(error: number): void;
  /** The datagram sent with this tag is gone (its length), or it failed (-errno). */
  onSent(tag: number, result: number): void;
}

/** Of a datagram without a tag: nobody is told. */
export const UNTAGGED = -1;
/** Tags share a word with the number of the record. */
const NAME_ROOM = SIZEOF_INET6 + 4;
/** What a send block holds beside a name. */
export const DATAGRAM_MAX = LARGE_BLOCK - NAME_ROOM;

/** Where the next datagram of a turn goes. */
interface OpenBlock {
  block: number;
  used: number;
  datagrams: number;
}

export class Datagrams implements SocketOwner {
  readonly fd: number;
  /** Datagrams and bytes that Linux has not taken yet. */
  queued = 0;
  queuedBytes = 0;

  readonly #sockets: Sockets;
  readonly #handler: DatagramHandler;
  #slot: number;
  #armed = false;
  #wanted = false;
  #released = false;
  #filling: OpenBlock | null = null;
  /** By the number of the send: its block and tag. */
  readonly #blockOf: (OpenBlock | null)[] = [];
  readonly #tagOf: number[] = [];
  readonly #lengthOf: number[] = [];
  readonly #spare: number[] = [];
  /** Waiting for a block. */
  #backlog: (() => void)[] | null = null;
  #referenced = true;
  #holding = false;

  constructor(sockets: Sockets, fd: number, handler: DatagramHandler) {
    this.#sockets = sockets;
    this.#handler = handler;
    this.fd = fd;
    this.#slot = sockets.claim(this, -1);
    if (this.#slot === -1) throw new Error('trapless: too many sockets');
    setNonBlocking(sockets.kernel, fd, sockets.nonBlocking);
  }

  /* --- Receiving ------------------------------------------------------------------------------ */

  start(): void {
    this.#wanted = true;
    this.#arm();
    this.#keepAlive();
  }

  /** Nothing is told from here on. */
  stop(): void {
    this.#wanted = false;
    if (this.#armed) this.#sockets.cancelReceive(this.#slot, this.fd);
    this.#keepAlive();
  }

  #arm = (): void => {
    if (this.#armed || !this.#wanted || this.#released) return;
    this.#armed = true;
    this.#sockets.receiveMessages(this.#slot, this.fd);
  };

  #received(result: number, flags: number): boolean {
    if ((flags & CQE_MORE) === 0) {
      this.#armed = false;
      if (result === -ERRNO.ENOBUFS) this.#sockets.whenBuffers(this.#arm);
      else this.#arm();
    }
    if (this.#released) this.#freeIfQuiet();
    if (!this.#wanted || QUIET.has(result)) return false;
    if (result < 0) {
      this.#handler.onError(result);
      return true;
    }
    const { arena, receivedAt: at } = this.#sockets;
    const start = at + RECEIVED.payload;
    const end = start + arena.readUInt32LE(at + RECEIVED.payloadLength);
    this.#handler.onMessage(arena, start, end, at + RECEIVED.name);
    return true;
  }

  /* --- Sending -------------------------------------------------------------------------------- */

  /** To an IPv4 address. */
  send(bytes: Uint8Array | string, ipv4: number, port: number, tag: number): void {
    const length = typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.length;
    this.queued++;
    this.queuedBytes += length;
    const open = this.#roomFor(length);
    if (open === null) {
      const kept = Buffer.from(bytes as string);
      this.queued--;
      this.queuedBytes -= length;
      this.#later(() => this.send(kept, ipv4, port, tag));
      return;
    }
    const { arena } = this.#sockets;
    const name = open.block + open.used;
    writeIpv4(arena, name, ipv4, port);
    this.#fill(open, bytes, name + SIZEOF_INET, length, name, SIZEOF_INET, tag);
  }

  /** To the struct sockaddr in name[0 … nameLength), or, without, to whom it is connected. */
  sendNamed(bytes: Uint8Array, name: Uint8Array, nameLength: number, tag: number): void {
    this.queued++;
    this.queuedBytes += bytes.length;
    const open = this.#roomFor(bytes.length);
    if (open === null) {
      const kept = Buffer.from(bytes);
      const to = name.slice(0, nameLength);
      this.queued--;
      this.queuedBytes -= bytes.length;
      this.#later(() => this.sendNamed(kept, to, nameLength, tag));
      return;
    }
    const at = open.block + open.used;
    this.#sockets.arena.set(nameLength === name.length ? name : name.subarray(0, nameLength), at);
    this.#fill(open, bytes, at + NAME_ROOM, bytes.length, at, nameLength, tag);
  }

  #fill(
    open: OpenBlock,
    bytes: Uint8Array | string,
    at: number,
    length: number,
    name: number,
    nameLength: number,
    tag: number,
  ): void {
    const sockets = this.#sockets;
    if (typeof bytes === 'string') sockets.arena.utf8Write(bytes, at);
    else sockets.arena.set(bytes, at);
    open.used += (NAME_ROOM + length + 7) & ~7;
    open.datagrams++;
    const number = this.#spare.pop() ?? this.#blockOf.length;
    this.#blockOf[number] = open;
    this.#tagOf[number] = tag;
    this.#lengthOf[number] = length;
    sockets.sendTo(this.#slot, this.fd, at, length, name, nameLength, number);
    if (!this.#holding) this.#keepAlive();
  }

  #roomFor(length: number): OpenBlock | null {
    if (this.#backlog !== null) return null;
    const bytes = NAME_ROOM + length;
    const { blocks } = this.#sockets;
    const open = this.#filling;
    if (open !== null && open.used + bytes <= blocks.sizeOf(open.block)) return open;
    const block = blocks.take(Math.max(bytes, SMALL_BLOCK));
    if (block === -1) return null;
    if (bytes > blocks.sizeOf(block)) {
      blocks.give(block);
      return null;
    }
    this.#filling = { block, used: 0, datagrams: 0 };
    // The last one has nothing in flight any more: nobody else would give it back.
    if (open !== null && open.datagrams === 0) blocks.give(open.block);
    return this.#filling;
  }

  #later(send: () => void): void {
    if (this.#backlog === null) {
      this.#backlog = [];
      this.#sockets.blocks.whenFree(this.#sendBacklog);
    }
    this.#backlog.push(send);
  }

  #sendBacklog = (): void => {
    const backlog = this.#backlog!;
    this.#backlog = null;
    if (!this.#released) for (const send of backlog) send();
  };

  #sent(result: number): boolean {
    const number = this.#sockets.queue.tag;
    const open = this.#blockOf[number]!;
    const tag = this.#tagOf[number];
    this.#blockOf[number] = null;
    this.#spare.push(number);
    this.queued--;
    this.queuedBytes -= this.#lengthOf[number];
    if (--open.datagrams === 0) this.#emptied(open);
    if (this.queued === 0) this.#keepAlive();
    if (this.#released) this.#freeIfQuiet();
    if (tag === UNTAGGED) return false;
    this.#handler.onSent(tag, result);
    return true;
  }

  /** The block that fills is begun anew; another one is given back. */
  #emptied(open: OpenBlock): void {
    if (open === this.#filling && !this.#released) open.used = 0;
    else {
      this.#sockets.blocks.give(open.block);
      if (open === this.#filling) this.#filling = null;
    }
  }

  completed(kind: number, result: number, flags: number): boolean {
    return kind === KIND.receive ? this.#received(result, flags) : this.#sent(result);
  }

  /* --- The rest ------------------------------------------------------------------------------- */

  /** Ends everything; Linux has let go of the descriptor when this returns. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#wanted = false;
    // Without io_uring it also has epoll forget the descriptor.
    if (this.#armed || this.queued > 0 || this.#sockets.nonBlocking)
      this.#sockets.cancelNow(this.fd);
    const open = this.#filling;
    if (open !== null && open.datagrams === 0) {
      this.#sockets.blocks.give(open.block);
      this.#filling = null;
    }
    this.#freeIfQuiet();
    this.#keepAlive();
  }

  #freeIfQuiet(): void {
    if (this.#slot === -1 || this.#armed || this.queued > 0) return;
    this.#sockets.free(this.#slot);
    this.#slot = -1;
  }

  get referenced(): boolean {
    return this.#referenced;
  }

  ref(): void {
    this.#referenced = true;
    this.#keepAlive();
  }

  unref(): void {
    this.#referenced = false;
    this.#keepAlive();
  }

  #keepAlive(): void {
    // Node sends at once, and its callbacks come in any case.
    const holds = (this.#referenced && this.#wanted) || this.queued > 0;
    if (holds === this.#holding) return;
    this.#holding = holds;
    this.#sockets.kernel.hold(holds ? 1 : -1);
  }
}

/** Results of a receive that mean nothing to the program. */
const QUIET: ReadonlySet<number> = new Set([
  -ERRNO.ECANCELED,
  -ERRNO.ENOBUFS,
  -ERRNO.EAGAIN,
  -ERRNO.EINTR,
]);
