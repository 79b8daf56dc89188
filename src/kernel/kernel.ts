/**
 * A kernel, in the paper's sense: registered syscall pages, the syscall threads that serve them
 * and the scheduler between the two (FlexSC 3.4 to 3.6).
 *
 *   const kernel = Kernel.register();                  // flexsc_register
 *   const id = kernel.pages.claim(); …fill…
 *   kernel.post(id, completion);                       // later: completion.done(kernel, id)
 *   kernel.wait();                                     // flexsc_wait, for who has no event loop
 *   kernel.close();
 *
 * Batching: post() only notes the entry. When the program has nothing left to run (the event
 * loop is about to block; see native/loop.c), drain() issues everything posted in one go and
 * delivers what is done, each completion as one macrotask, until nothing is left.
 *
 * One kernel per thread: nothing here is shared with other JS threads.
 */
import { availableParallelism } from 'node:os';
import {
  CONTROL,
  checkLayout,
  DESC,
  DESC_WORDS,
  ENTRIES_PER_PAGE,
  ENTRY_WORDS,
  NO_LINK,
  PAGES_LIMIT,
  STATUS,
  WORD,
} from '../abi/entry.ts';
import { syscallNumber } from '../abi/syscalls.ts';
import { load, setBit, takeBit, takeBits } from '../memory/barrier.ts';
import { Desk } from '../memory/desk.ts';
import { POOL_BYTES, Pool } from '../memory/pool.ts';
import { loadAddon, type NativeKernel } from '../native/addon.ts';
import { SyscallPages } from '../page/pages.ts';
import { Counters } from './counters.ts';
import { BusyDescriptors } from './descriptors.ts';
import { IdQueue } from './id-queue.ts';
import { type KernelOptions, kernelOptions, ORDER, type ResolvedOptions } from './options.ts';
import { Ring } from './ring/ring.ts';
import { ROUTE, type Route, type RouteTables, routeTables } from './routes.ts';

/** What waits for an entry. */
export interface Completion {
  /**
   * The chain that begins at `id` is done. Reads the results, frees the entries with
   * `kernel.pages.free(id)` and only then runs anything of the program's.
   */
  done(kernel: Kernel, id: number): void;
  /** The entry's buffer is the caller's own, used on the spot only (see Kernel.direct). */
  readonly view?: Uint8Array;
  /** Known to block (it creates or writes, say): goes to the crew without a try on the spot. */
  readonly mayBlock?: boolean;
  /** Called when the entry at `id` would block: put the data into a block. False: none free. */
  bounce?(kernel: Kernel, id: number): boolean;
}

/** Drain rounds before the event loop gets its turn. */
const ROUNDS_MAX = 64;
/** Entries of the longest chain an operation posts. */
const CHAIN_MAX = 5;
/** A batch at least this long is offered to the crew: waking a thread costs about ten calls. */
const OFFER_MIN = 24;
/** How many of the offered entries the JS thread takes back at a time when it has nothing else. */
const TAKE_BACK = 8;
/** A spot batch slower than this per call means that Linux did block (a cold cache, a slow disk). */
const SPOT_NS_MAX = 250_000;
/** After that many slow batches in a row everything goes to the crew for a while. */
const SPOT_SLOW_MAX = 3;
const SPOT_PAUSE_MS = 1000;

const NO_VIEWS: Uint8Array[] = [];

type Tick = () => void;
/** Drains the nextTick and promise queues, as Node does between two macrotasks. */
const tick: Tick = (process as unknown as { _tickCallback: Tick })._tickCallback;

export class Kernel {
  readonly pages: SyscallPages;
  readonly pool: Pool;
  readonly desk: Desk;
  readonly counters = new Counters();
  readonly options: ResolvedOptions;
  /** Null without io_uring; then `ringRefused` says why. */
  ring: Ring | null = null;
  ringRefused = '';

  readonly #native: NativeKernel;
  readonly #control: Int32Array;
  readonly #descs: Int32Array;
  readonly #entries: Int32Array;
  readonly #completions: (Completion | null)[];
  readonly #descriptors: BusyDescriptors;
  #routes: RouteTables;
  readonly #closeNumber: number;

  /** Posted, not yet issued; in order. */
  readonly #posted: IdQueue;
  /** Done, not yet delivered; in order. */
  readonly #finished: IdQueue;
  #delivered = 0;
  /** Operations the program waits for; the loop lives while there are any. */
  #operations = 0;
  #alive = false;
  #crewInFlight = 0;
  #crewBell = false;
  /** Given to the crew, to be taken back if it does not get to them. */
  readonly #offered: IdQueue;
  #starved: number[] = [];
  #waiting: (() => void)[] = [];
  #spotSlow = 0;
  #spotPausedUntil = 0;
  #closed = false;
  readonly #share: boolean;

  /** flexsc_register: maps pages, readies the syscall threads, hooks the event loop. */
  static register(options: KernelOptions = {}): Kernel {
    const { addon, reason } = loadAddon();
    if (!addon) throw new Error(`trapless: no syscall pages here: ${reason}`);
    checkLayout(addon.layout);
    const resolved = kernelOptions(options);
    if (resolved.cores.length > 0) addon.crewCores(resolved.cores);
    if (availableParallelism() === 1) addon.crewSpin(0);
    return Kernel.over(
      (drain) => addon.open(Math.min(resolved.pagesMax, PAGES_LIMIT), POOL_BYTES, drain, true),
      resolved,
    );
  }

  /** The same over another native side: the in-memory kernel of sim/, for tests. */
  static over(open: (drain: () => number) => NativeKernel, options: KernelOptions): Kernel {
    let kernel: Kernel | null = null;
    const native = open(() => (kernel ? kernel.drain() : 0));
    kernel = new Kernel(native, kernelOptions(options));
    return kernel;
  }

  private constructor(native: NativeKernel, options: ResolvedOptions) {
    this.#native = native;
    this.options = options;
    this.desk = new Desk(native, options.pagesMax);
    this.pages = new SyscallPages(this.desk, options.pages);
    this.pool = new Pool(native);
    this.#control = this.desk.control;
    this.#descs = this.desk.descs;
    this.#entries = this.desk.entries;
    this.#completions = new Array(options.pagesMax * ENTRIES_PER_PAGE).fill(null);
    this.#posted = new IdQueue(this.#completions.length);
    this.#finished = new IdQueue(this.#completions.length);
    this.#offered = new IdQueue(this.#completions.length);
    this.#descriptors = new BusyDescriptors(this.pages);
    this.#closeNumber = syscallNumber('close');
    this.#share = options.share && availableParallelism() > 1;
    this.#control[CONTROL.order] = ORDER[options.order];
    this.#control[CONTROL.spinUs] = availableParallelism() > 1 ? options.spinUs : 0;
    this.#routes = routeTables(false);
    if (options.ring) this.#openRing();
  }

  #openRing(): void {
    const { ringEntries: entries, sqpollCore, sqpollIdleMs } = this.options;
    try {
      this.ring = Ring.open(this.#native, this.pages, { entries, sqpollCore, sqpollIdleMs });
    } catch (error) {
      this.ringRefused = (error as Error).message;
      return;
    }
    this.ring.onChainStep = (head) => this.#posted.push(head);
    this.ring.onRefused = (head) => this.#readyForCrew(head);
    this.#routes = routeTables(true);
  }

  /** Undelivered operations. */
  get inFlight(): number {
    return this.#operations;
  }

  /** Hands a filled entry (or a chain, by its first entry) over. Plain stores: nothing runs yet. */
  post(id: number, completion: Completion): void {
    this.#completions[id] = completion;
    this.#posted.push(id);
    this.#control[CONTROL.wantDrain] = 1;
    if (++this.#operations === 1 && !this.#alive) {
      this.#alive = true;
      this.#native.ref(true);
    }
    if (this.counters.timing) this.counters.posted(id);
  }

  /** The continuation of an operation that posted before: it counts once, until delivered. */
  completionOf(id: number): Completion | null {
    return this.#completions[id];
  }

  /** Runs `retry` once when entries or blocks were given back (back-pressure). */
  whenRoom(retry: () => void): void {
    this.#waiting.push(retry);
    if (++this.#operations === 1 && !this.#alive) {
      this.#alive = true;
      this.#native.ref(true);
    }
    this.#control[CONTROL.wantDrain] = 1;
  }

  /* --- The drain: called by the loop (native/loop.c) ------------------------------------- */

  /** Issues and delivers until nothing is left. 1: something is, come back next turn. */
  drain(): number {
    for (let round = 0; ; round++) {
      this.#collect();
      if (this.#posted.length > 0) this.#issue();
      if (this.#finished.length === 0 && this.#offered.length > 0) this.#takeBack();
      if (this.#finished.length === 0) break;
      this.#deliver();
      // Immediates and timers come before the next completion, as in Node; a lone chain of
      // awaits may go on for a while.
      if (this.#posted.length === 0) continue;
      if (round >= ROUNDS_MAX || this.#native.otherWork()) break;
    }
    return this.#rest();
  }

  /** The end of a drain: what is left, and whether the loop must stay alive. */
  #rest(): number {
    const left = this.#posted.length > 0 || this.#finished.length > 0;
    this.#control[CONTROL.wantDrain] = left ? 1 : 0;
    if (this.#operations === 0 && this.#alive) {
      this.#alive = false;
      this.#native.ref(false);
    }
    return left ? 1 : 0;
  }

  /** Delivers in order, one macrotask each. A callback that throws ends the drain; the native
   *  side reports it and calls again, and #delivered is where we go on. A callback that calls
   *  wait() delivers what is behind it: hence the limit is read anew each time. */
  #deliver(): void {
    if (this.#delivered > 0) {
      this.#finished.drop(this.#delivered);
      this.#delivered = 0;
    }
    while (this.#delivered < this.#finished.length) {
      const id = this.#finished.at(this.#delivered++);
      const completion = this.#completions[id];
      this.#completions[id] = null;
      this.#operations--;
      if (this.counters.timing) this.counters.delivered(id);
      completion?.done(this, id);
      tick();
    }
    this.#finished.drop(this.#finished.length);
    this.#delivered = 0;
    if (this.#waiting.length > 0) this.#retryWaiting();
    if (this.#starved.length > 0) this.#retryStarved();
  }

  /** First come, first served, as long as there is room. */
  #retryWaiting(): void {
    const waiting = this.#waiting;
    const queued = waiting.length;
    let next = 0;
    while (next < queued && this.pages.room(CHAIN_MAX)) {
      this.#operations--;
      waiting[next++]();
      if (waiting.length > queued) break; // that one found no block: nobody else will
    }
    waiting.splice(0, next);
  }

  /* --- Issuing: which syscall thread ------------------------------------------------------ */

  #issue(): void {
    const posted = this.#posted;
    const count = posted.length;
    const spotList = this.desk.spotList;
    const entries = this.#entries;
    const { first } = this.#routes;
    const spotOpen = this.#spotPausedUntil === 0 || this.#spotReopens();
    let spot = 0;
    let closes: number[] | null = null;
    for (let i = 0; i < count; i++) {
      const id = posted.at(i);
      const number = entries[id * ENTRY_WORDS + WORD.call] & 0xffff;
      const route = first[number];
      if (number === this.#closeNumber) {
        closes ??= [];
        closes.push(id);
      } else if (route === ROUTE.spot && spotOpen && !this.#completions[id]?.mayBlock) {
        spotList[spot++] = id;
      } else if (route === ROUTE.ring) {
        this.#toRing(id);
      } else {
        this.#toCrew(id);
      }
    }
    posted.drop(count);
    if (spot > 0) this.#onTheSpot(spot);
    if (closes !== null) this.#issueCloses(closes);
    this.ring?.submit();
    if (this.#crewBell) this.#ringCrewBell();
  }

  /** Closing waits for the descriptor's calls in flight: its number may be another file's
   *  afterwards. Those that were answered on the spot just now are past. */
  #issueCloses(closes: number[]): void {
    let spot = 0;
    for (const id of closes) {
      if (this.#descriptors.holdClose(id)) continue;
      this.desk.spotList[spot++] = id;
    }
    if (spot > 0) this.#onTheSpot(spot);
  }

  /** Core specialization for long batches (FlexSC 3.6): the crew may have them, from the first
   *  on; this thread takes them back from the last on, whenever it has nothing to deliver. What
   *  works in a caller's buffer stays: through a block it would be copied. */
  #offer(count: number): number {
    const spotList = this.desk.spotList;
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const id = spotList[i];
      if (this.#completions[id]?.view !== undefined) {
        spotList[kept++] = id;
        continue;
      }
      this.#toCrew(id);
      this.#offered.push(id);
    }
    if (this.#crewBell) this.#ringCrewBell();
    return kept;
  }

  #takeBack(): void {
    const offered = this.#offered;
    let count = 0;
    while (offered.length > 0 && count < TAKE_BACK) {
      const id = offered.pop();
      const page = (id / ENTRIES_PER_PAGE) | 0;
      const word = page * DESC_WORDS + DESC.ready + ((id >> 5) & 1);
      if (!takeBit(this.#descs, word, 1 << (id & 31))) continue; // the crew has it
      this.#crewInFlight--;
      this.#held(this.#descriptors.ended(id));
      this.counters.crewTookBack(this.pages.number(id));
      this.desk.spotList[count++] = id;
    }
    if (count > 0) this.#trySpot(count);
  }

  /** Closes that waited for a descriptor whose last call is done. */
  #held(closes: number[] | null): void {
    if (closes !== null) for (const id of closes) this.#posted.push(id);
  }

  #onTheSpot(count: number): void {
    const left = this.#share && count >= OFFER_MIN ? this.#offer(count) : count;
    if (left > 0) this.#trySpot(left);
  }

  /** One native call for the batch in the spot list. */
  #trySpot(count: number): void {
    const spotList = this.desk.spotList;
    let views = NO_VIEWS;
    for (let i = 0; i < count; i++) {
      const id = spotList[i];
      const view = this.#completions[id]?.view;
      if (view === undefined) continue;
      if (views === NO_VIEWS) views = [];
      this.desk.directList[views.length] = id;
      views.push(view);
    }
    this.#native.spot(count, views.length, views);
    this.#judgeSpot(count);
    for (let i = 0; i < count; i++) {
      const id = spotList[i];
      if (this.pages.isDone(id)) {
        this.counters.spot(this.pages.number(id));
        this.#finished.push(id);
      } else {
        this.#passOn(id);
      }
    }
    if (this.#crewBell) this.#ringCrewBell();
  }

  /** The spot could not answer: on to the ring or the crew. */
  #passOn(id: number): void {
    this.counters.wouldBlock++;
    if (this.#routes.next[this.pages.number(this.#current(id))] === ROUTE.ring) this.#toRing(id);
    else this.#toCrew(id);
  }

  /** The first entry of a chain that is not done. */
  #current(head: number): number {
    let id = head;
    while (this.#entries[id * ENTRY_WORDS] === STATUS.done && this.pages.next(id) !== NO_LINK)
      id = this.pages.next(id);
    return id;
  }

  /** Blocking after all? Then keep off for a while rather than stall the program. */
  #judgeSpot(count: number): void {
    if (this.#control[CONTROL.spotNs] >>> 0 <= SPOT_NS_MAX + count * 20_000) {
      this.#spotSlow = 0;
      return;
    }
    if (++this.#spotSlow < SPOT_SLOW_MAX) return;
    this.#spotPausedUntil = performance.now() + SPOT_PAUSE_MS;
    this.counters.spotPauses++;
  }

  #spotReopens(): boolean {
    if (performance.now() < this.#spotPausedUntil) return false;
    this.#spotPausedUntil = 0;
    this.#spotSlow = 0;
    return true;
  }

  /** The data of a caller's buffer goes through a block, from here on. */
  #bounced(id: number): boolean {
    const completion = this.#completions[id];
    if (completion?.bounce === undefined || completion.bounce(this, id)) return true;
    this.#starved.push(id);
    return false;
  }

  #retryStarved(): void {
    const starved = this.#starved;
    this.#starved = [];
    for (const id of starved) this.#toCrew(id);
    if (this.#crewBell) this.#ringCrewBell();
  }

  #toRing(id: number): void {
    if (this.ring === null) {
      this.#toCrew(id);
      return;
    }
    if (!this.#bounced(id)) return;
    if (!this.ring.issue(id)) {
      this.#toCrew(id, true);
      return;
    }
    this.#control[CONTROL.ringInFlight]++;
    this.#descriptors.began(id);
    this.counters.ring(this.pages.number(id));
  }

  #toCrew(id: number, bounced = false): void {
    if (!bounced && !this.#bounced(id)) return;
    this.#descriptors.began(id);
    this.counters.crew(this.pages.number(id));
    this.#readyForCrew(id);
  }

  #readyForCrew(id: number): void {
    const page = (id / ENTRIES_PER_PAGE) | 0;
    this.#crewInFlight++;
    setBit(this.#descs, page * DESC_WORDS + DESC.ready + ((id >> 5) & 1), 1 << (id & 31));
    this.#crewBell = true;
  }

  /** Ready bits are set: wake the crew unless it is looking anyway (native/crew.c). */
  #ringCrewBell(): void {
    this.#crewBell = false;
    this.#control[CONTROL.crewInFlight] = this.#crewInFlight;
    if (load(this.#control, CONTROL.awake) !== 0) return;
    this.counters.crewWakes++;
    this.#native.wake();
  }

  /* --- Harvest ----------------------------------------------------------------------------- */

  #collect(): void {
    const before = this.#finished.length;
    const bell = load(this.#control, CONTROL.bell);
    if (bell !== this.#control[CONTROL.bellSeen]) {
      this.#control[CONTROL.bellSeen] = bell;
      this.#harvestCrew();
    }
    if (this.ring !== null && this.ring.inFlight > 0) {
      this.ring.harvest(this.#finished);
      this.#control[CONTROL.ringInFlight] = this.ring.inFlight;
      if (this.#crewBell) this.#ringCrewBell();
    }
    for (let i = before; i < this.#finished.length; i++)
      this.#held(this.#descriptors.ended(this.#finished.at(i)));
  }

  #harvestCrew(): void {
    const pages = this.pages.pages;
    for (let page = 0; page < pages; page++) {
      const at = page * DESC_WORDS + DESC.done;
      this.#harvestWord(takeBits(this.#descs, at), page * ENTRIES_PER_PAGE);
      this.#harvestWord(takeBits(this.#descs, at + 1), page * ENTRIES_PER_PAGE + 32);
    }
    this.#control[CONTROL.crewInFlight] = this.#crewInFlight;
  }

  #harvestWord(bits: number, first: number): void {
    let left = bits;
    while (left !== 0) {
      const bit = 31 - Math.clz32(left & -left);
      left &= left - 1;
      this.#finished.push(first + bit);
      this.#crewInFlight--;
    }
  }

  /* --- Waiting, giving up, ending ---------------------------------------------------------- */

  /** flexsc_wait: issues what is posted and sleeps until at least one operation was delivered.
   *  False when nothing is in flight, or after `timeoutMs` (default: no limit). */
  wait(timeoutMs = -1): boolean {
    const until = timeoutMs < 0 ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
    for (;;) {
      const before = this.#operations;
      if (before === 0) return false;
      this.#collect();
      if (this.#posted.length > 0) this.#issue();
      if (this.#finished.length === 0 && this.#offered.length > 0) this.#takeBack();
      if (this.#finished.length > 0) {
        this.#deliver();
        this.#rest();
        return true;
      }
      const left = until - performance.now();
      if (left <= 0) return false;
      this.#native.wait(left === Number.POSITIVE_INFINITY ? -1 : Math.ceil(left));
    }
  }

  /** The caller gave up on a chain. It stays in flight, its memory with it, until done; then
   *  only `cleanUp` runs. The loop no longer waits for it. */
  abandon(id: number, cleanUp: Completion): void {
    if (this.#completions[id] === null) return;
    this.pages.abandon(this.#current(id));
    this.#completions[id] = cleanUp;
  }

  /** Runs everything posted so far to its end, but delivers nothing: before credentials change,
   *  say. Crew calls that take longer than `limitMs` go on; the ring is left empty. */
  settle(limitMs = 100): void {
    const until = performance.now() + limitMs;
    for (;;) {
      this.#collect();
      if (this.#posted.length > 0) {
        this.#issue();
        continue;
      }
      if (this.#crewInFlight === 0 && (this.ring?.inFlight ?? 0) === 0) break;
      const left = until - performance.now();
      if (left <= 0) break;
      this.#native.wait(Math.ceil(left));
    }
    while (this.ring?.recall()) {
      this.#native.wait(1);
      this.#collect();
    }
    if (this.#crewBell) this.#ringCrewBell();
    if (this.#posted.length > 0 || this.#finished.length > 0) this.#control[CONTROL.wantDrain] = 1;
  }

  /** Sends a call elsewhere than the table says (`doctor --measure` compares the routes). */
  reroute(number: number, route: Route): void {
    const to = route === 'ring' && this.ring === null ? 'crew' : route;
    this.#routes.first[number] = ROUTE[to];
  }

  /** Unmaps the ring and makes a new one: SQPOLL keeps the credentials it was made with. */
  renewRing(): void {
    if (this.ring === null) return;
    this.#native.ringClose();
    this.ring = null;
    this.#routes = routeTables(false);
    this.#openRing();
  }

  /** Ends the kernel. Operations in flight are never delivered. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.close();
  }

  /** A snapshot of every counter. */
  statistics(): ReturnType<Counters['snapshot']> {
    return this.counters.snapshot(this.#control, this.ring, this.pages);
  }
}
