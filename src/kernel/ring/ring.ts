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
  CQ_EVENTFD_DISABLED,
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

/** Where the ids of completed chains go. */
interface IdSink {
  push(id: number): unknown;
}

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
  /** Slots that Linux has read, as far as we know. */
  #slotsFree = 0;
  #unsubmitted = 0;
  /** Per entry in a chain: its head. */
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
    // Completions ring the eventfd only while we sleep: native/loop.c lifts this for that time.
    publish(this.#words, ring.cqFlags >> 2, CQ_EVENTFD_DISABLED);
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

  /** Issues entries of the same kind as `ids[from]`, none of them in a chain, up to `ids[to - 1]`.
   *  Returns where it stopped: at another kind, or at what `issue` has to decide. */
  issueAlike(ids: Uint16Array, from: number, to: number): number {
    // A loop over local names: that is what V8 makes fast.
    const page = this.#page;
    const sqes = this.#sqes;
    const mask = this.#sqMask;
    const call = page[ids[from] * ENTRY_WORDS + WORD.call];
    const encode = this.#encoders[call & 0xffff];
    if (encode === undefined || (call & CHAIN) !== 0) return from;
    const last = from + Math.min(to - from, this.#slotsFree, this.#cqEntries - this.inFlight);
    let tail = this.#localSqTail;
    let i = from;
    for (; i < last; i++) {
      const id = ids[i];
      const at = id * ENTRY_WORDS;
      if (page[at + WORD.call] !== call || page[at] !== STATUS.submitted) break;
      const slot = tail & mask;
      encode(sqes, slot, page, id);
      sqes[slot * SQE_WORDS + SQE.userData] = id;
      page[at] = STATUS.busy;
      tail = (tail + 1) | 0;
    }
    const count = i - from;
    this.#localSqTail = tail;
    this.#slotsFree -= count;
    this.#unsubmitted += count;
    this.inFlight += count;
    return i;
  }

  #issueEntry(head: number, id: number, previous: number): boolean {
    const page = this.#page;
    const at = id * ENTRY_WORDS;
    const encode = this.#encoders[page[at + WORD.call] & 0xffff];
    if (encode === undefined || this.inFlight >= this.#cqEntries) return false;
    // Given up before it began: the crew answers that without a call.
    if (page[at] === STATUS.abandoned) return false;
    if (this.#slotsFree === 0 && !this.#findSlots()) return false;
    if (previous !== -1) this.#feed(head, id, previous);
    const slot = this.#localSqTail & this.#sqMask;
    encode(this.#sqes, slot, page, id);
    const sqe = slot * SQE_WORDS;
    this.#sqes[sqe + SQE.userData] = id;
    this.#sqes[sqe + SQE.userData + 1] = 0;
    page[at] = STATUS.busy;
    this.#headOf[id] = head;
    this.#took();
    return true;
  }

  #took(): void {
    this.#localSqTail = (this.#localSqTail + 1) | 0;
    this.#slotsFree--;
    this.#unsubmitted++;
    this.inFlight++;
  }

  /** Learns how far Linux has read; enters the kernel if that is nowhere. */
  #findSlots(): boolean {
    if (this.#countSlots() === 0) {
      this.submit();
      this.#countSlots();
    }
    return this.#slotsFree > 0;
  }

  #countSlots(): number {
    // Pairs with Linux's release of head: the slots we reuse are no longer being read. A stale
    // head is safe: the queue looks fuller than it is.
    const used = (this.#localSqTail - load(this.#words, this.#sharedSqHead)) | 0;
    this.#slotsFree = this.entries - used;
    return this.#slotsFree;
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
  #needsEnter(): boolean {
    return (load(this.#words, this.#sharedSqFlags) & (SQ_TASKRUN | SQ_CQ_OVERFLOW)) !== 0;
  }

  /** Collects completions; a chain whose next entry can follow is issued on. */
  harvest(finished: IdSink): void {
    if (this.inFlight === 0) return;
    this.submit();
    for (;;) {
      this.#reap(finished);
      if (this.#unsubmitted > 0) {
        const before = this.#unsubmitted;
        this.submit();
        if (this.#unsubmitted === before) return; // refused for now
      } else {
        if (this.inFlight === 0 || this.sqpoll || !this.#needsEnter()) return;
        // DEFER_TASKRUN runs about 20 completions per entry; TASKRUN says that more wait.
        if (this.#enter(0, ENTER_GETEVENTS) < 0) return;
      }
    }
  }

  /** Asks for everything in flight back: what Linux gives up goes to the crew, the rest completes.
   *  False when nothing is in flight. */
  recall(): boolean {
    if (this.inFlight === 0) return false;
    this.submit();
    if (this.#slotsFree === 0 && !this.#findSlots()) return true;
    const slot = (this.#localSqTail & this.#sqMask) * SQE_WORDS;
    this.#sqes.fill(0, slot, slot + SQE_WORDS);
    this.#sqes[slot + SQE.op] = OP.asyncCancel;
    this.#sqes[slot + SQE.opFlags] = CANCEL_EVERYTHING;
    this.#sqes[slot + SQE.userData] = RECALL;
    this.#took();
    this.submit();
    return true;
  }

  /** A loop over local names: that is what V8 makes fast (here, 10 ns per completion). */
  #reap(finished: IdSink): void {
    const words = this.#words;
    const page = this.#page;
    const cqMask = this.#cqMask;
    const cqes = this.#cqes;
    // Pairs with Linux's release of tail: the CQEs up to it are complete.
    const tail = load(words, this.#sharedCqTail);
    let head = this.#localCqHead;
    if (head === tail) return;
    this.inFlight -= (tail - head) | 0;
    while (head !== tail) {
      const cqe = cqes + (head & cqMask) * CQE_WORDS;
      const id = words[cqe + CQE.userData];
      const result = words[cqe + CQE.result];
      head = (head + 1) | 0;
      const at = id * ENTRY_WORDS;
      if (result < 0 || id === RECALL || (page[at + WORD.call] & CHAIN) !== 0) {
        // The handlers may issue, and so enter: what was read so far is behind us.
        this.#localCqHead = head;
        if (id !== RECALL) this.#complete(id, result, finished);
        continue;
      }
      page[at + WORD.result] = result;
      page[at + WORD.result + 1] = 0;
      page[at] = STATUS.done;
      finished.push(id);
    }
    this.#localCqHead = head;
    // Pairs with Linux's acquire of head: it may overwrite these CQEs from here on.
    publish(words, this.#sharedCqHead, head);
  }

  /** The less usual: failures, and entries of chains. */
  #complete(id: number, result: number, finished: IdSink): void {
    const chained = (this.#page[id * ENTRY_WORDS + WORD.call] & CHAIN) !== 0;
    const head = chained ? this.#headOf[id] : id;
    const abandoned = this.#page[id * ENTRY_WORDS] === STATUS.abandoned;
    const undecided = RETRY_ON_CREW.has(result) || (result === 0 && this.#opensStream(id));
    if (undecided && !abandoned) {
      this.#pages.setStatus(id, STATUS.submitted);
      this.onRefused(head);
      return;
    }
    this.#pages.setResult(id, result);
    this.#pages.setStatus(id, STATUS.done);
    if (this.#pages.next(id) === NO_LINK) finished.push(head);
    else this.onChainStep(head);
  }

  /** The first read of what may be a FIFO, opened non-blocking: 0 may be its end, or the lack of a
   *  writer, which a blocking open would wait for. */
  #opensStream(id: number): boolean {
    return (this.#pages.flags(id) & (FLAG.stream | FLAG.after)) === FLAG.stream;
  }

  /** A chain whose entry is done goes on: the scheduler routes the rest. */
  onChainStep: (head: number) => void = noHandler;
  /** The ring could not do it (a pipe, an interrupted call): the blocking call decides. */
  onRefused: (head: number) => void = noHandler;
}

function noHandler(): void {
  throw new Error('trapless: a ring without a scheduler');
}

/** Flags of an entry that is in a chain, not alone: in word 1. */
const CHAIN = (FLAG.link | FLAG.headFd | FLAG.always | FLAG.atEof | FLAG.after) << 24;

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
