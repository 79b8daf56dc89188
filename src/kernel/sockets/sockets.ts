/**
 * The sockets of a kernel: slots, standing requests, and their completions on the way to whoever
 * owns the socket. Made at the first use; delivered by the kernel's own drain.
 *
 *   const sockets = socketsOf(kernel);
 *   const slot = sockets.claim(owner, fd);        // from here on it is closed with the thread
 *   sockets.receive(slot, fd);                    // stands until it fails or is cancelled
 *   … owner.completed(KIND.receive, result, flags)
 *   sockets.close(slot, fd); … completed(KIND.close, …); sockets.free(slot);
 *
 *          claim            receive, send, …            close            completed(close)
 *   free ─────────► open ◄───────────────────► in flight ────► closing ─────────────────► free
 *                                  cancel, then wait for the last completion ─┘
 *
 * The owner counts what it has in flight and closes only when that is nothing: a descriptor's
 * number may be another file's afterwards, and so may the slot.
 *
 * Memory: data arrives in provided buffers of the arena, which are given back as soon as the
 * owner has seen them, and leaves from send blocks, which are given back when the send has
 * completed. Nothing of the program's own is ever shown to Linux, so that nothing of it can be
 * moved or freed under Linux' hands.
 */
import { isMainThread } from 'node:worker_threads';
import {
  ACCEPT_MULTISHOT,
  CANCEL_DESCRIPTOR,
  CQE,
  CQE_BUFFER,
  CQE_BUFFER_SHIFT,
  CQE_MORE,
  CQE_WORDS,
  OP,
  POLL_MULTISHOT,
  RECV_MULTISHOT,
  SQE_BUFFER_SELECT,
} from '../../abi/ring.ts';
import { publish } from '../../memory/barrier.ts';
import type { NativeKernel, NativeSockets } from '../../native/addon.ts';
import type { Kernel, Source, Tick } from '../kernel.ts';
import { SendBlocks } from './blocks.ts';
import { BufferRing } from './buffer-ring.ts';
import {
  ARENA_BYTES,
  BACKLOG_AT,
  BACKLOG_SLOTS,
  BUFFERS,
  DESCRIPTORS_AT,
  KIND,
  QUEUE_ENTRIES,
  SLOT_BITS,
  SLOT_MASK,
  SLOTS_MAX,
} from './layout.ts';
import { SocketQueue } from './queue.ts';

/** Methods that every Buffer has and @types/node leaves out. */
export interface NodeBuffer extends Buffer {
  latin1Write(text: string, offset: number): number;
  utf8Write(text: string, offset: number): number;
}

/** Whose socket it is. */
export interface SocketOwner {
  /** A request has completed, or one that stands has brought something. `result` is -errno when
   *  it failed. True: something of the program's has run. */
  completed(kind: number, result: number, flags: number): boolean;
  /** Sends at once what was written and does not wait for room. */
  flush?(): void;
}

const isKind = (userData: number): boolean => userData >>> SLOT_BITS !== KIND.none;

/** Where things are in the buffer of a datagram: struct io_uring_recvmsg_out, name, payload. */
export const RECEIVED = { payloadLength: 8, name: 16, nameLength: 28, payload: 16 + 28 } as const;
const SIZEOF_MSGHDR = 56;
const MSGHDR_NAMELEN = 8;

const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const MSG_WAITALL = 0x100;
const MSG_NOSIGNAL = 0x4000;
const POLLIN = 1;

export class Sockets implements Source {
  readonly kernel: Kernel;
  readonly arena: NodeBuffer;
  readonly blocks = new SendBlocks();
  readonly queue: SocketQueue;
  /** For socket(2): what the tier wants. A ring retries by itself, so its sockets block. */
  readonly socketFlags: number;
  readonly nonBlocking: boolean;
  /** Of the completion being delivered: where in the arena the received data begins. */
  receivedAt = 0;
  /** How often a receive ended because all buffers were taken. */
  starvations = 0;

  readonly #native: NativeKernel;
  readonly #owners: (SocketOwner | null)[] = [];
  readonly #freeSlots: number[] = [];
  readonly #descriptors: Int32Array;
  readonly #buffers: BufferRing;
  readonly #low: number;
  readonly #high: number;
  #open = 0;
  #messageHeader = -1;
  /** Run before the next enter, and when buffers were given back. */
  #dirty: (() => void)[] = [];
  #starved: (() => void)[] = [];
  /** Connections that are accepted and not delivered yet, and the slots that note them. */
  readonly #unseen = new Map<number, number>();
  /** Of those, how many have BACKLOG_SLOTS; and the backlogs that wait for these. */
  #fromBacklog = 0;
  #backlogs: (() => void)[] = [];

  constructor(kernel: Kernel, native: NativeKernel, ring: boolean) {
    this.kernel = kernel;
    this.#native = native;
    const mapped: NativeSockets = native.socketsOpen!(
      ring,
      QUEUE_ENTRIES,
      BUFFERS,
      SLOTS_MAX,
      ARENA_BYTES,
    );
    this.#low = Number(mapped.arenaAddress & 0xffffffffn) | 0;
    this.#high = Number(mapped.arenaAddress >> 32n);
    this.arena = Buffer.from(mapped.arena, 0, ARENA_BYTES) as NodeBuffer;
    this.#descriptors = new Int32Array(mapped.arena, DESCRIPTORS_AT, SLOTS_MAX);
    this.queue = new SocketQueue(native, mapped);
    this.queue.onStash = (userData, result) => this.#noteUnseen(userData, result);
    this.#buffers = new BufferRing(mapped.arena, this.#low, this.#high);
    this.nonBlocking = mapped.ready !== 0;
    this.socketFlags = SOCK_CLOEXEC | (mapped.ready ? SOCK_NONBLOCK : 0);
  }

  /** Slots in use. */
  get open(): number {
    return this.#open;
  }

  /* --- Slots --------------------------------------------------------------------------------- */

  /** -1: there are BACKLOG_AT already. The descriptor is closed with this thread from here on;
   *  -1: it is somebody else's to close. */
  claim(owner: SocketOwner, fd: number): number {
    if (this.#freeSlots.length === 0 && this.#owners.length === BACKLOG_AT) return -1;
    const slot = this.#freeSlots.pop() ?? this.#owners.length;
    this.#owners[slot] = owner;
    publish(this.#descriptors, slot, fd + 1);
    this.#open++;
    return slot;
  }

  free(slot: number): void {
    this.#owners[slot] = null;
    this.#freeSlots.push(slot);
    this.#open--;
  }

  /** Should this thread end before a connection is delivered, nobody else could close it. */
  #noteUnseen(userData: number, result: number): void {
    if (userData >>> SLOT_BITS !== KIND.accept || result < 0) return;
    const slot = this.#freeSlots.pop() ?? this.#owners.length;
    if (slot === BACKLOG_AT) return;
    this.#owners[slot] = null;
    publish(this.#descriptors, slot, result + 1);
    this.#unseen.set(result, slot);
  }

  #seen(fd: number): void {
    const slot = this.#unseen.get(fd);
    if (slot === undefined) return;
    this.#unseen.delete(fd);
    publish(this.#descriptors, slot, 0);
    if (slot < BACKLOG_AT) this.#freeSlots.push(slot);
    else if (--this.#fromBacklog === 0) this.#runAll(this.#backlogs);
  }

  /* --- Requests ------------------------------------------------------------------------------ */

  accept(slot: number, fd: number): void {
    this.#put(OP.accept | ACCEPT_MULTISHOT, fd, 0, 0, SOCK_CLOEXEC, slot, KIND.accept);
  }

  /** The same on a descriptor that does not block, and that others accept on as well. On a ring
   *  its owner gets KIND.backlog, and takes what is there (takeBacklog). */
  acceptBeside(slot: number, fd: number): void {
    if (this.nonBlocking) this.accept(slot, fd);
    else this.#put(OP.pollAdd, fd, 0, POLL_MULTISHOT, POLLIN, slot, KIND.backlog);
  }

  /** Everything that waits to be accepted: each comes as KIND.accept, as if Linux had said so. If
   *  there is more than can be noted, `again` is called when these are delivered. */
  takeBacklog(slot: number, fd: number, again: () => void): void {
    if (this.#fromBacklog > 0) {
      this.#backlogs.push(again);
      return;
    }
    const taken = this.#native.socketsAcceptAll!(fd, BACKLOG_AT, BACKLOG_SLOTS);
    this.#fromBacklog = taken;
    for (let at = BACKLOG_AT; at < BACKLOG_AT + taken; at++) {
      const accepted = this.#descriptors[at] - 1;
      this.#unseen.set(accepted, at);
      this.queue.insert(slot | (KIND.accept << SLOT_BITS), accepted, CQE_MORE);
    }
    if (taken === BACKLOG_SLOTS) this.#backlogs.push(again);
  }

  receive(slot: number, fd: number): void {
    this.#put(OP.recv | SQE_BUFFER_SELECT | RECV_MULTISHOT, fd, 0, 0, 0, slot, KIND.receive);
  }

  /** Datagrams, each behind a header and the sender's name: see RECEIVED. */
  receiveMessages(slot: number, fd: number): void {
    const op = OP.recvmsg | SQE_BUFFER_SELECT | RECV_MULTISHOT;
    if (this.#messageHeader === -1) this.#messageHeader = this.#makeMessageHeader();
    this.#put(op, fd, this.#messageHeader, 1, 0, slot, KIND.receive);
  }

  /** A struct msghdr that says how long names may be; every socket uses the same one. */
  #makeMessageHeader(): number {
    const at = this.blocks.take(SIZEOF_MSGHDR);
    this.arena.fill(0, at, at + SIZEOF_MSGHDR);
    this.arena.writeUInt32LE(RECEIVED.nameLength, at + MSGHDR_NAMELEN);
    return at;
  }

  /** All of `length` bytes of a block: one completion. Returns the queue's entry. */
  send(slot: number, fd: number, block: number, length: number): number {
    return this.#put(OP.send, fd, block, length, MSG_WAITALL | MSG_NOSIGNAL, slot, KIND.send);
  }

  /** A longer send, out of the same or another block, in the turn it was queued in. */
  amendSend(entry: number, block: number, length: number): void {
    this.queue.amend(entry, this.#low + block, length);
  }

  /** A datagram to the address at `name` (or where the socket is connected to). */
  sendTo(
    slot: number,
    fd: number,
    block: number,
    length: number,
    name: number,
    nameLength: number,
    tag: number,
  ): void {
    const entry = this.#put(OP.send, fd, block, length, MSG_NOSIGNAL, slot, KIND.send);
    this.queue.tagged(entry, tag);
    if (nameLength > 0) this.queue.offset(entry, this.#low + name, this.#high, nameLength);
  }

  connect(slot: number, fd: number, name: number, nameLength: number): void {
    const entry = this.#put(OP.connect, fd, name, 0, 0, slot, KIND.connect);
    this.queue.offset(entry, nameLength, 0, 0);
  }

  /** Ends everything on the descriptor; each request still completes, if only as cancelled. */
  cancel(fd: number): void {
    this.queue.put(OP.asyncCancel, fd, 0, 0, 0, CANCEL_DESCRIPTOR, KIND.none);
    this.kernel.expect();
  }

  /** The same at once: Linux has let go of the descriptor when this returns. The completions are
   *  delivered later. */
  cancelNow(fd: number): void {
    this.cancel(fd);
    this.queue.enter();
    this.queue.enter();
  }

  cancelReceive(slot: number, fd: number): void {
    const userData = slot | (KIND.receive << SLOT_BITS);
    this.queue.put(OP.asyncCancel, fd, userData, 0, 0, 0, KIND.none);
    this.kernel.expect();
  }

  /** When nothing is in flight on it any more. */
  close(slot: number, fd: number): void {
    publish(this.#descriptors, slot, 0);
    this.#put(OP.close, fd, 0, 0, 0, slot, KIND.close);
  }

  #put(
    op: number,
    fd: number,
    at: number,
    length: number,
    opFlags: number,
    slot: number,
    kind: number,
  ): number {
    this.kernel.expect();
    const userData = slot | (kind << SLOT_BITS);
    // An offset of 0 is the buffer ring's page: no request means that.
    if (at === 0) return this.queue.put(op, fd, 0, 0, length, opFlags, userData);
    return this.queue.put(op, fd, this.#low + at, this.#high, length, opFlags, userData);
  }

  /* --- The drain ----------------------------------------------------------------------------- */

  /** Calls `flush` once, before the next time requests are handed over. */
  beforeEnter(flush: () => void): void {
    this.#dirty.push(flush);
    this.kernel.expect();
  }

  /** A receive ended for want of buffers: `again` is called when some were given back. */
  whenBuffers(again: () => void): void {
    this.starvations++;
    this.#starved.push(again);
  }

  collect(): boolean {
    if (this.#dirty.length > 0) this.#runAll(this.#dirty);
    return this.queue.enter();
  }

  get pending(): boolean {
    return this.queue.pending || this.queue.hasUnsubmitted || this.#dirty.length > 0;
  }

  /** Those that are there now, in order. What a callback throws ends it; the kernel calls again. */
  deliver(tick: Tick): void {
    const { queue } = this;
    const owners = this.#owners;
    queue.begin();
    for (let userData = queue.next(); userData !== -1; userData = queue.next()) {
      const kind = userData >>> SLOT_BITS;
      const { flags } = queue;
      if ((flags & CQE_BUFFER) !== 0) {
        const buffer = flags >>> CQE_BUFFER_SHIFT;
        this.receivedAt = this.#buffers.offsetOf(buffer);
        // Linux sees it when this batch is over: until then the data stays.
        this.#buffers.give(buffer);
      }
      if (kind === KIND.none) continue;
      if (kind === KIND.accept && this.#unseen.size > 0) this.#seen(queue.result);
      if (owners[userData & SLOT_MASK]?.completed(kind, queue.result, flags)) tick();
    }
    queue.release();
    this.#buffers.publish();
    // All buffers are back by now, even if this batch gave none: a receive that found none may tell
    // of it a batch later than the data that took them.
    if (this.#starved.length > 0) this.#runAll(this.#starved);
    this.blocks.retryWaiting();
  }

  /** Hands over what is queued, and tells one owner what has completed for it, before its turn. */
  advance(slot: number): void {
    this.queue.enter();
    this.deliverTo(slot);
  }

  /** Tells one owner what has completed for it by now, before its turn. */
  deliverTo(slot: number): void {
    const { queue } = this;
    const taken = queue.takeOut((userData) => (userData & SLOT_MASK) === slot && isKind(userData));
    const owner = this.#owners[slot];
    for (let at = 0; at < taken.length; at += CQE_WORDS) {
      const flags = taken[at + CQE.flags];
      queue.tag = taken[at + CQE.generation];
      if ((flags & CQE_BUFFER) !== 0) {
        const buffer = flags >>> CQE_BUFFER_SHIFT;
        this.receivedAt = this.#buffers.offsetOf(buffer);
        this.#buffers.give(buffer);
      }
      const kind = taken[at + CQE.userData] >>> SLOT_BITS;
      const result = taken[at + CQE.result];
      if (kind === KIND.accept && this.#unseen.size > 0) this.#seen(result);
      owner?.completed(kind, result, flags);
    }
  }

  /** The program ends now: what was written leaves, as far as Linux has room. */
  flushAll(): void {
    for (const owner of this.#owners) owner?.flush?.();
  }

  /** A connection was accepted, and its slot is claimed: the completion must not be seen again,
   *  should this thread end now. */
  accepted(): void {
    this.queue.release();
  }

  #runAll(list: (() => void)[]): void {
    const all = list.splice(0);
    for (const run of all) run();
  }
}

/** The program ends right after a write: Node has sent it by then, so we do, too. After an
 *  uncaught exception `exit` is all that comes; after process.exit() its listeners may write. */
function flushAtExit(sockets: Sockets): void {
  if (!isMainThread) return;
  process.on('exit', () => sockets.flushAll());
  const target = process as unknown as { reallyExit: (code: number) => void };
  const { reallyExit } = target;
  target.reallyExit = function (this: unknown, code) {
    sockets.flushAll();
    return reallyExit.call(this, code);
  };
}

const made = new WeakMap<Kernel, Sockets>();

/** The sockets of a kernel, made at the first call. Throws where they cannot be. */
export function socketsOf(kernel: Kernel): Sockets {
  let sockets = made.get(kernel);
  if (sockets === undefined) {
    sockets = kernel.attach((native) => new Sockets(kernel, native, kernel.ring !== null));
    made.set(kernel, sockets);
    flushAtExit(sockets);
  }
  return sockets;
}
