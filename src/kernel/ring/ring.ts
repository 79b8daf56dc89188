/**
 * The ring: Linux's own syscall threads. Entries become SQEs and CQEs become results here, with
 * loads and stores in the mapped queues; one io_uring_enter(2) per batch, or none with SQPOLL
 * (core specialization, FlexSC 3.6).
 *
 *   const ring = Ring.open(native, pages, options);   // throws when Linux refuses
 *   ring.issue(id)          false: not a call the ring can do, or no slot left
 *   ring.submit()           the batch enters the kernel
 *   ring.harvest(finished)  ids of completed chains are pushed
 *
 * Words named shared… are written by Linux, local… only by us. A chain goes entry by entry: an
 * argument that is the result of the entry before is known only then.
 */
import { constants as osConstants } from 'node:os';
import { ENTRY_WORDS, FLAG, NO_LINK, STATUS, WORD } from '../../abi/entry.ts';
import {
  CANCEL_EVERYTHING,
  CQE,
  CQE_WORDS,
  ENTER_GETEVENTS,
  ENTER_SQ_WAKEUP,
  OP,
  SETUP_SQPOLL,
  SQ_CQ_OVERFLOW,
  SQ_NEED_WAKEUP,
  SQ_TASKRUN,
  SQE,
  SQE_WORDS,
} from '../../abi/ring.ts';
import { load, publish } from '../../memory/barrier.ts';
import type { NativeKernel, NativeRing } from '../../native/addon.ts';
import type { SyscallPages } from '../../page/pages.ts';
import { type Encode, encodersFor } from './sqe.ts';

const { errno: constants } = osConstants;

export interface RingOptions {
  /** Submission queue entries, a power of two. Halved on ENOMEM. */
  readonly entries: number;
  /** The core of Linux's polling thread; null: batching. */
  readonly sqpollCore: number | null;
  /** The polling thread sleeps after this long without work, milliseconds. */
  readonly sqpollIdleMs: number;
}

export class Ring {
  readonly sqpoll: boolean;
  readonly entries: number;
  /** io_uring_enter calls made. */
  enters = 0;
  /** Requests handed to Linux and not completed. */
  inFlight = 0;

  readonly #native: NativeKernel;
  readonly #pages: SyscallPages;
  readonly #page: Int32Array;
  readonly #encoders: (Encode | undefined)[];
  readonly #sqes: Int32Array;
  readonly #words: Int32Array;
  readonly #sharedSqHead: number;
  readonly #sharedSqTail: number;
  readonly #sharedSqFlags: number;
  readonly #sharedCqHead: number;
  readonly #sharedCqTail: number;
  readonly #cqes: number;
  readonly #sqMask: number;
  readonly #cqMask: number;
  readonly #cqEntries: number;
  #localSqTail = 0;
  #localCqHead = 0;
  #unsubmitted = 0;
  /** Per entry: the head of the chain it is part of. */
  readonly #headOf: Uint16Array;

  static open(native: NativeKernel, pages: SyscallPages, options: RingOptions): Ring {
    const core = options.sqpollCore ?? -1;
    const mapped = native.ringOpen(options.entries, core, options.sqpollIdleMs);
    return new Ring(native, pages, mapped);
  }

  private constructor(native: NativeKernel, pages: SyscallPages, ring: NativeRing) {
    this.#native = native;
    this.#pages = pages;
    this.#page = pages.desk.entries;
    this.#encoders = encodersFor(ring.opsLow, ring.opsHigh);
    this.#words = new Int32Array(ring.rings, 0, ring.rings.byteLength >> 2);
    this.#sqes = new Int32Array(ring.sqes);
    this.#sharedSqHead = ring.sqHead >> 2;
    this.#sharedSqTail = ring.sqTail >> 2;
    this.#sharedSqFlags = ring.sqFlags >> 2;
    this.#sharedCqHead = ring.cqHead >> 2;
    this.#sharedCqTail = ring.cqTail >> 2;
    this.#cqes = ring.cqes >> 2;
    this.#sqMask = ring.sqEntries - 1;
    this.#cqMask = ring.cqEntries - 1;
    this.#cqEntries = ring.cqEntries;
    this.entries = ring.sqEntries;
    this.sqpoll = (ring.setupFlags & SETUP_SQPOLL) !== 0;
    this.#headOf = new Uint16Array(pages.desk.links.length);
  }

  can(number: number): boolean {
    return this.#encoders[number] !== undefined;
  }

  /** Writes the SQE of the first entry of the chain that is not done. */
  issue(head: number): boolean {
    let id = head;
    let previous = -1;
    while (this.#page[id * ENTRY_WORDS] === STATUS.done && this.#pages.next(id) !== NO_LINK) {
      previous = id;
      id = this.#pages.next(id);
    }
    return this.#issueEntry(head, id, previous);
  }

  #issueEntry(head: number, id: number, previous: number): boolean {
    const page = this.#page;
    const at = id * ENTRY_WORDS;
    const encode = this.#encoders[page[at + WORD.call] & 0xffff];
    if (encode === undefined || this.inFlight >= this.#cqEntries) return false;
    // Pairs with Linux's release of head: the slot we reuse is no longer being read. A stale
    // head is safe: the queue looks fuller than it is.
    const used = (this.#localSqTail - load(this.#words, this.#sharedSqHead)) >>> 0;
    if (used > this.#sqMask) {
      this.submit();
      if ((this.#localSqTail - load(this.#words, this.#sharedSqHead)) >>> 0 > this.#sqMask)
        return false;
    }
    if (previous !== -1) this.#feed(head, id, previous);
    const slot = this.#localSqTail & this.#sqMask;
    encode(this.#sqes, slot, page, id);
    const sqe = slot * SQE_WORDS;
    this.#sqes[sqe + SQE.userData] = id;
    this.#sqes[sqe + SQE.userData + 1] = 0;
    page[at] = STATUS.busy;
    this.#headOf[id] = head;
    this.#localSqTail = (this.#localSqTail + 1) | 0;
    this.#unsubmitted++;
    this.inFlight++;
    return true;
  }

  /** Arguments that are results (FlexSC 6.1); mirrors tl__step_args in native/execute.c. */
  #feed(head: number, id: number, previous: number): void {
    const flags = this.#pages.flags(id);
    if (flags & FLAG.headFd) this.#pages.setInt(id, 0, this.#pages.result(head));
    const before = this.#pages.result(previous);
    if (flags & FLAG.after && before > 0)
      this.#pages.setNumber(id, 3, Number(this.#pages.arg(id, 3)) + before);
  }

  /** Publishes what was issued and enters the kernel once for all of it. */
  submit(): void {
    if (this.#unsubmitted === 0) return;
    // Pairs with Linux's acquire of tail: the SQEs are complete before it sees them.
    publish(this.#words, this.#sharedSqTail, this.#localSqTail);
    if (this.sqpoll) {
      this.#unsubmitted = 0;
      // publish() is a full fence: either the poller sees the tail, or we its need for a wake-up.
      if (load(this.#words, this.#sharedSqFlags) & SQ_NEED_WAKEUP) this.#enter(0, ENTER_SQ_WAKEUP);
      return;
    }
    const took = this.#enter(this.#unsubmitted, ENTER_GETEVENTS);
    if (took > 0) this.#unsubmitted -= took;
  }

  #enter(submit: number, flags: number): number {
    this.enters++;
    return this.#native.ringEnter(submit, 0, flags);
  }

  /** Whether Linux has completions that only a kernel entry makes visible. */
  get #needsEnter(): boolean {
    return (load(this.#words, this.#sharedSqFlags) & (SQ_TASKRUN | SQ_CQ_OVERFLOW)) !== 0;
  }

  /** Collects completions; a chain whose next entry can follow is issued on. */
  harvest(finished: number[]): void {
    if (this.inFlight === 0) return;
    this.submit();
    for (;;) {
      this.#reap(finished);
      this.submit();
      if (this.sqpoll || !this.#needsEnter) break;
      // DEFER_TASKRUN runs about 20 completions per entry and says with TASKRUN that more wait.
      if (this.#enter(0, ENTER_GETEVENTS) < 0) break;
    }
    this.#reap(finished);
  }

  /** Asks for everything in flight back: what Linux gives up goes to the crew, the rest completes.
   *  False when nothing is in flight. */
  recall(): boolean {
    if (this.inFlight === 0) return false;
    this.submit();
    const slot = (this.#localSqTail & this.#sqMask) * SQE_WORDS;
    this.#sqes.fill(0, slot, slot + SQE_WORDS);
    this.#sqes[slot + SQE.op] = OP.asyncCancel;
    this.#sqes[slot + SQE.opFlags] = CANCEL_EVERYTHING;
    this.#sqes[slot + SQE.userData] = RECALL;
    this.#localSqTail = (this.#localSqTail + 1) | 0;
    this.#unsubmitted++;
    this.inFlight++;
    this.submit();
    return true;
  }

  #reap(finished: number[]): void {
    // Pairs with Linux's release of tail: the CQEs up to it are complete.
    const tail = load(this.#words, this.#sharedCqTail);
    let head = this.#localCqHead;
    if (head === tail) return;
    while (head !== tail) {
      const at = this.#cqes + (head & this.#cqMask) * CQE_WORDS;
      const id = this.#words[at + CQE.userData];
      const result = this.#words[at + CQE.result];
      head = (head + 1) | 0;
      this.inFlight--;
      if (id !== RECALL) this.#complete(id, result, finished);
    }
    this.#localCqHead = head;
    // Pairs with Linux's acquire of head: it may overwrite these CQEs from here on.
    publish(this.#words, this.#sharedCqHead, head);
  }

  #complete(id: number, result: number, finished: number[]): void {
    const head = this.#headOf[id];
    if (RETRY_ON_CREW.has(result)) {
      this.#pages.setStatus(id, STATUS.submitted);
      this.onRefused(head);
      return;
    }
    this.#pages.setResult(id, result);
    this.#pages.setStatus(id, STATUS.done);
    if (this.#pages.next(id) === NO_LINK) finished.push(head);
    else this.onChainStep(head);
  }

  /** A chain whose entry is done goes on: the scheduler routes the rest. */
  onChainStep: (head: number) => void = noHandler;
  /** The ring could not do it (a pipe, an interrupted call): the blocking call decides. */
  onRefused: (head: number) => void = noHandler;
}

function noHandler(): void {
  throw new Error('trapless: a ring without a scheduler');
}

/** user_data of the request that recalls the others. */
const RECALL = -1;

const RETRY_ON_CREW: ReadonlySet<number> = new Set([
  -constants.EAGAIN,
  -constants.ECANCELED,
  -constants.EINTR,
  -constants.EOPNOTSUPP,
  -constants.EINVAL,
  -constants.ESPIPE,
]);
