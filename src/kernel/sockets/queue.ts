/**
 * The queue of requests for sockets: SQEs are written and CQEs are read here, with loads and
 * stores. Behind it is a ring of its own, or readiness with the same words (native/sockets.h):
 * nothing here or above can tell.
 *
 *   queue.put(op, fd, low, high, length, opFlags, userData)   queued; leaves with the next enter
 *   queue.amend(entry, low, length)                           as long as queue.turn is the same
 *   queue.enter()                                             one native call for all of it
 *   queue.begin()                                             a batch: what is there now
 *   queue.next()  queue.result  queue.flags                   completions, one by one
 *   queue.release()                                           those read may be overwritten
 *
 * It is apart from the ring for files: requests here stand for hours, and may go on while files
 * wait to be settled (credentials.ts).
 */
import {
  CQ_EVENTFD_DISABLED,
  CQE,
  CQE_WORDS,
  ENTER_GETEVENTS,
  SQ_CQ_OVERFLOW,
  SQ_TASKRUN,
  SQE,
  SQE_WORDS,
} from '../../abi/ring.ts';
import { load, publish } from '../../memory/barrier.ts';
import type { NativeKernel, NativeSockets } from '../../native/addon.ts';

/** Kernel entries to find room with before something must be wrong. */
const TRIES_MAX = 100;

export class SocketQueue {
  /** Of the completion that next() found. */
  result = 0;
  flags = 0;
  /** What tag() gave the request. */
  tag = 0;
  /** Rises with every enter: what was put in an earlier turn is Linux's. */
  turn = 0;
  /** Kernel entries made. */
  enters = 0;
  /** Called with each completion that is moved out of Linux's way, before Linux may overwrite it:
   *  the addon, which looks into the queue when a thread ends, will not find it there. */
  onStash: (userData: number, result: number) => void = () => {};

  readonly #native: NativeKernel;
  readonly #words: Int32Array;
  readonly #sqes: Int32Array;
  readonly #sqMask: number;
  readonly #sqEntries: number;
  readonly #cqMask: number;
  readonly #cqes: number;
  readonly #sharedSqHead: number;
  readonly #sharedSqTail: number;
  readonly #sharedSqFlags: number;
  readonly #sharedCqHead: number;
  readonly #sharedCqTail: number;
  #localSqTail = 0;
  #localCqHead = 0;
  /** As far as we know. */
  #cqTail = 0;
  #releasedCqHead = 0;
  #slotsFree: number;
  #unsubmitted = 0;
  /** Completions moved out of Linux's way, four words each, and how many of them are read. */
  #stash: number[] = [];
  #stashRead = 0;
  /** Completions of this batch that are still to come. */
  #due = 0;

  constructor(native: NativeKernel, mapped: NativeSockets) {
    this.#native = native;
    this.#words = new Int32Array(mapped.rings, 0, mapped.rings.byteLength >> 2);
    this.#sqes = new Int32Array(mapped.sqes);
    this.#sqEntries = mapped.sqEntries;
    this.#sqMask = mapped.sqEntries - 1;
    this.#cqMask = mapped.cqEntries - 1;
    this.#cqes = mapped.cqes >> 2;
    this.#sharedSqHead = mapped.sqHead >> 2;
    this.#sharedSqTail = mapped.sqTail >> 2;
    this.#sharedSqFlags = mapped.sqFlags >> 2;
    this.#sharedCqHead = mapped.cqHead >> 2;
    this.#sharedCqTail = mapped.cqTail >> 2;
    this.#slotsFree = mapped.sqEntries;
    // Completions ring the eventfd only while we sleep: native/loop.c lifts this for that time.
    publish(this.#words, mapped.cqFlags >> 2, CQ_EVENTFD_DISABLED);
  }

  /** Whether anything is queued and not yet handed over. */
  get hasUnsubmitted(): boolean {
    return this.#unsubmitted > 0;
  }

  /** Queues a request; returns its entry, for amend(). `op` is the whole first word: opcode,
   *  flags and ioprio. */
  put(
    op: number,
    fd: number,
    low: number,
    high: number,
    length: number,
    opFlags: number,
    userData: number,
  ): number {
    if (this.#slotsFree === 0) this.#findSlots();
    const at = (this.#localSqTail & this.#sqMask) * SQE_WORDS;
    const sqes = this.#sqes;
    sqes[at] = op;
    sqes[at + SQE.fd] = fd;
    sqes[at + SQE.off] = 0;
    sqes[at + SQE.off + 1] = 0;
    sqes[at + SQE.addr] = low;
    sqes[at + SQE.addr + 1] = high;
    sqes[at + SQE.len] = length;
    sqes[at + SQE.opFlags] = opFlags;
    sqes[at + SQE.userData] = userData;
    sqes[at + SQE.userData + 1] = 0;
    sqes[at + SQE.bufIndex] = 0;
    sqes[at + SQE.addrLen] = 0;
    this.#localSqTail = (this.#localSqTail + 1) | 0;
    this.#slotsFree--;
    this.#unsubmitted++;
    // Published at once, though it is handed over later: if the program ends before that, the
    // addon still sends what was written (submit_rest in native/sockets.c).
    publish(this.#words, this.#sharedSqTail, this.#localSqTail);
    return at;
  }

  /** Another place and length for what was put in this turn. */
  amend(entry: number, low: number, length: number): void {
    this.#sqes[entry + SQE.addr] = low;
    this.#sqes[entry + SQE.len] = length;
  }

  /** The second argument that some requests have: connect's length, a datagram's destination. */
  offset(entry: number, low: number, high: number, nameLength: number): void {
    this.#sqes[entry + SQE.off] = low;
    this.#sqes[entry + SQE.off + 1] = high;
    this.#sqes[entry + SQE.addrLen] = nameLength;
  }

  /** A number of the owner's own, to know the completion by. */
  tagged(entry: number, tag: number): void {
    this.#sqes[entry + SQE.userData + 1] = tag;
  }

  /** A callback that queues more than fits hands it over on the way. What completes is stashed:
   *  with a full completion queue nothing would be taken any more. */
  #findSlots(): void {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      // Pairs with Linux's release of head: the slots we reuse are no longer being read.
      const used = (this.#localSqTail - load(this.#words, this.#sharedSqHead)) | 0;
      this.#slotsFree = this.#sqEntries - used;
      if (this.#slotsFree > 0) return;
      this.#enter();
      this.#stashAll();
    }
    throw new Error('trapless: Linux takes no requests for sockets');
  }

  #stashAll(): void {
    const words = this.#words;
    const tail = load(words, this.#sharedCqTail);
    let head = this.#localCqHead;
    for (; head !== tail; head = (head + 1) | 0) {
      const at = this.#cqes + (head & this.#cqMask) * CQE_WORDS;
      for (let i = 0; i < CQE_WORDS; i++) this.#stash.push(words[at + i]);
      this.onStash(words[at + CQE.userData], words[at + CQE.result]);
    }
    this.#localCqHead = this.#cqTail = tail;
    this.release();
  }

  /** As if it had completed: it comes in this batch or the next. */
  insert(userData: number, result: number, flags: number): void {
    const at = this.#stash.length;
    this.#stash.push(0, 0, 0, 0);
    this.#stash[at + CQE.userData] = userData;
    this.#stash[at + CQE.result] = result;
    this.#stash[at + CQE.flags] = flags;
  }

  /** Moves everything that has completed out of the queue, and takes those out that `mine` says,
   *  in order: four words each (CQE). */
  takeOut(mine: (userData: number) => boolean): number[] {
    this.#stashAll();
    const taken: number[] = [];
    if (!this.#isStashed(mine)) return taken;
    const left: number[] = [];
    let due = this.#due;
    for (let at = this.#stashRead; at < this.#stash.length; at += CQE_WORDS, due--) {
      const words = this.#stash.slice(at, at + CQE_WORDS);
      const isMine = mine(words[CQE.userData]);
      if (isMine && due > 0) this.#due--;
      (isMine ? taken : left).push(...words);
    }
    this.#stash = left;
    this.#stashRead = 0;
    return taken;
  }

  #isStashed(mine: (userData: number) => boolean): boolean {
    const stash = this.#stash;
    for (let at = this.#stashRead; at < stash.length; at += CQE_WORDS)
      if (mine(stash[at + CQE.userData])) return true;
    return false;
  }

  #nextStashed(): number {
    const stash = this.#stash;
    const at = this.#stashRead;
    this.#stashRead += CQE_WORDS;
    this.tag = stash[at + CQE.generation];
    this.result = stash[at + CQE.result];
    this.flags = stash[at + CQE.flags];
    const userData = stash[at + CQE.userData];
    if (this.#stashRead === stash.length) {
      this.#stash = [];
      this.#stashRead = 0;
    }
    return userData;
  }

  /** Whether Linux has completions that only a kernel entry makes visible. */
  #needsEnter(): boolean {
    return (load(this.#words, this.#sharedSqFlags) & (SQ_TASKRUN | SQ_CQ_OVERFLOW)) !== 0;
  }

  /** Hands over what is queued and gets what is done. True: there are completions. */
  enter(): boolean {
    if (this.#unsubmitted > 0 || this.#needsEnter()) this.#enter();
    return this.pending;
  }

  #enter(): void {
    this.turn++;
    this.enters++;
    const took = this.#native.socketsEnter!(this.#unsubmitted, ENTER_GETEVENTS);
    if (took > 0) this.#unsubmitted -= took;
  }

  /** Whether completions wait. */
  get pending(): boolean {
    // Pairs with Linux's release of tail: the CQEs up to it are complete.
    this.#cqTail = load(this.#words, this.#sharedCqTail);
    return this.#cqTail !== this.#localCqHead || this.#stash.length > 0;
  }

  /** Begins a batch: what is there now. What a callback's own calls complete comes in a later one,
   *  after what else they set off: a closed handle's callback is libuv's to make. */
  begin(): void {
    if (!this.pending) this.#due = 0;
    else {
      const stashed = (this.#stash.length - this.#stashRead) / CQE_WORDS;
      this.#due = stashed + ((this.#cqTail - this.#localCqHead) | 0);
    }
  }

  /** The next completion's user_data; -1: the batch is over. */
  next(): number {
    if (this.#due === 0) return -1;
    this.#due--;
    if (this.#stash.length > 0) return this.#nextStashed();
    const words = this.#words;
    const at = this.#cqes + (this.#localCqHead & this.#cqMask) * CQE_WORDS;
    this.#localCqHead = (this.#localCqHead + 1) | 0;
    this.result = words[at + CQE.result];
    this.flags = words[at + CQE.flags];
    this.tag = words[at + CQE.generation];
    return words[at + CQE.userData];
  }

  /** Linux may overwrite what next() has returned. */
  release(): void {
    if (this.#localCqHead === this.#releasedCqHead) return;
    this.#releasedCqHead = this.#localCqHead;
    // Pairs with Linux's acquire of head.
    publish(this.#words, this.#sharedCqHead, this.#localCqHead);
  }
}
