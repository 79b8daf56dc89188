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
import { CONTROL, checkLayout, ENTRIES_PER_PAGE, PAGES_LIMIT } from '../abi/entry.ts';
import { Desk } from '../memory/desk.ts';
import { POOL_BYTES, Pool } from '../memory/pool.ts';
import { loadAddon, type NativeKernel } from '../native/addon.ts';
import { SyscallPages } from '../page/pages.ts';
import { Counters, type KernelStatistics } from './counters.ts';
import type { IdQueue } from './id-queue.ts';
import { OpenFiles } from './open-files.ts';
import { type KernelOptions, kernelOptions, ORDER, type ResolvedOptions } from './options.ts';
import { OwnDescriptors } from './own-descriptors.ts';
import type { Ring } from './ring/ring.ts';
import type { Route } from './routes.ts';
import { Scheduler } from './scheduler.ts';

/** What waits for an entry. */
export interface Completion {
  /**
   * The chain that begins at `id` is done. Reads the results, frees the entries with
   * `kernel.pages.free(id)` and only then runs anything of the program's.
   */
  done(kernel: Kernel, id: number): void;
  /** The entry's buffer is the caller's own, used on the spot only. */
  readonly view?: Uint8Array;
  /** The entry of the chain that works in `view`; the first one unless said. */
  readonly viewEntry?: number;
  /** Known to block (it creates or writes, say): goes to the crew without a try on the spot. */
  readonly mayBlock?: boolean;
  /** Called when the entry at `id` would block: put the data into a block. False: none free. */
  bounce?(kernel: Kernel, id: number): boolean;
}

export type Tick = () => void;

/** What else the drain serves: sockets (sockets/sockets.ts). */
export interface Source {
  /** Hands over what is queued and looks for completions. True: there are some. */
  collect(): boolean;
  /** Delivers them, each as a macrotask. */
  deliver(tick: Tick): void;
  /** Whether anything is left to hand over or to deliver. */
  readonly pending: boolean;
}

/** Drain rounds before the event loop gets its turn. */
const ROUNDS_MAX = 64;
/** The same while there are sockets: others wait in libuv for theirs. */
const SOCKET_ROUNDS_MAX = 8;
/** Entries of the longest chain an operation posts. */
const CHAIN_MAX = 5;

/** Drains the nextTick and promise queues, as Node does between two macrotasks. */
const tick: Tick = (process as unknown as { _tickCallback: Tick })._tickCallback;

export class Kernel {
  readonly pages: SyscallPages;
  readonly pool: Pool;
  readonly desk: Desk;
  readonly own: OwnDescriptors;
  readonly openFiles = new OpenFiles();
  readonly counters = new Counters();
  readonly options: ResolvedOptions;

  readonly #native: NativeKernel;
  readonly #control: Int32Array;
  readonly #scheduler: Scheduler;
  readonly #posted: IdQueue;
  readonly #completions: (Completion | null)[];
  /** How many of scheduler.finished are delivered. */
  #delivered = 0;
  /** Operations the program waits for; the loop lives while there are any. */
  #operations = 0;
  /** What stands and keeps the loop alive: sockets that are referenced. */
  #held = 0;
  #alive = false;
  #source: Source | null = null;
  /** Chains given up and still in flight, by their first entry: no operations any more. */
  readonly #abandoned = new Set<number>();
  #abandonedCount = 0;
  #waiting: (() => void)[] = [];
  #closed = false;

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
    this.own = new OwnDescriptors(this.desk);
    this.#control = this.desk.control;
    this.#control[CONTROL.order] = ORDER[options.order];
    this.#control[CONTROL.spinUs] = availableParallelism() > 1 ? options.spinUs : 0;
    this.#completions = new Array(options.pagesMax * ENTRIES_PER_PAGE).fill(null);
    this.#scheduler = new Scheduler(this, native, this.#completions, options);
    this.#posted = this.#scheduler.posted;
  }

  /** Undelivered operations. */
  get inFlight(): number {
    return this.#operations;
  }

  /** Null without io_uring; then `ringRefused` says why. */
  get ring(): Ring | null {
    return this.#scheduler.ring;
  }

  get ringRefused(): string {
    return this.#scheduler.ringRefused;
  }

  /** Hands a filled entry (or a chain, by its first entry) over. Plain stores: nothing runs yet. */
  post(id: number, completion: Completion): void {
    this.#completions[id] = completion;
    this.#operations++;
    // While others are posted the loop knows already (#rest).
    if (this.#posted.push(id) === 1) this.#expect();
    if (this.counters.timing) this.counters.posted(id);
  }

  /** Runs `retry` once when entries or blocks were given back (back-pressure). */
  whenRoom(retry: () => void): void {
    this.#waiting.push(retry);
    this.#operations++;
    this.#expect();
  }

  /** Operations are on their way: the loop must come by, and live until they are delivered. */
  #expect(): void {
    this.#control[CONTROL.wantDrain] = 1;
    if (this.#alive) return;
    this.#alive = true;
    this.#native.ref(true);
  }

  /* --- Sockets ------------------------------------------------------------------------------ */

  /** Makes what is served beside posted entries; once. */
  attach<S extends Source>(make: (native: NativeKernel) => S): S {
    if (this.#native.socketsOpen === undefined) throw new Error('trapless: no sockets here');
    const source = make(this.#native);
    this.#source = source;
    return source;
  }

  /** The loop must come by: the source has something queued. */
  expect(): void {
    this.#control[CONTROL.wantDrain] = 1;
  }

  /** One more (or, -1, less) thing that keeps the loop alive without being in flight. */
  hold(change: 1 | -1): void {
    this.#held += change;
    if (this.#held > 0 && !this.#alive) this.#expect();
    // Otherwise the end of the next drain looks.
    else if (this.#held === 0) this.expect();
  }

  /** A call that only sets something up, and that Linux answers at once: a filled entry is run on
   *  this thread, and its result returned. */
  trap(id: number): number {
    this.#native.trap!(id);
    const result = this.pages.result(id);
    this.pages.free(id);
    return result;
  }

  /* --- The drain: called by the loop (native/loop.c) ------------------------------------- */

  /** Issues and delivers until nothing is left. 1: something is, come back next turn. */
  drain(): number {
    const source = this.#source;
    for (let round = 0; ; round++) {
      const goesOn = round > 0 && this.#posted.length > 0;
      const files = this.#step();
      const sockets = source?.collect() ?? false;
      if (!files && !sockets) break;
      // Immediates and timers come before the next completion, as in Node; a lone chain of
      // awaits may go on for a while.
      const enough = sockets ? SOCKET_ROUNDS_MAX : ROUNDS_MAX;
      if ((goesOn || (sockets && round > 0)) && (round >= enough || this.#scheduler.otherWork))
        break;
      if (files) this.#deliver(tick);
      if (sockets && !this.#closed) source!.deliver(tick);
      if (this.#closed) return 0;
    }
    return this.#rest();
  }

  /** Collects, issues and, with nothing else to do, helps the crew. False: nothing to deliver. */
  #step(): boolean {
    const scheduler = this.#scheduler;
    // A callback may be what called us: what is delivered already must not take up the queue.
    this.#forgetDelivered();
    scheduler.collect();
    while (scheduler.posted.length > 0) {
      scheduler.issue();
      if (scheduler.finished.length > 0) break;
      // What Linux could do at once on the ring is done by now; chains there go on.
      scheduler.collect();
    }
    if (scheduler.finished.length === 0) scheduler.takeBack();
    return scheduler.finished.length > 0;
  }

  /** The end of a drain: what is left, and whether the loop must stay alive. */
  #rest(): number {
    if (this.#closed) return 0;
    const files = this.#scheduler.posted.length > 0 || this.#scheduler.finished.length > 0;
    const left = files || this.#source?.pending ? 1 : 0;
    this.#control[CONTROL.wantDrain] = left;
    if (this.#operations === 0 && this.#held === 0 && this.#alive) {
      this.#alive = false;
      this.#native.ref(false);
    }
    return left;
  }

  /** Delivers in order, one macrotask each. A callback that throws ends the drain; the native
   *  side reports it and calls again, and #delivered is where we go on. A callback that calls
   *  wait() delivers what is behind it: hence the limit is read anew each time. */
  #deliver(between: Tick | null): void {
    const { finished } = this.#scheduler;
    const completions = this.#completions;
    this.#forgetDelivered();
    const { timing } = this.counters;
    while (this.#delivered < finished.length) {
      const id = finished.at(this.#delivered++);
      const completion = completions[id];
      completions[id] = null;
      if (this.#abandonedCount === 0 || !this.#forget(id)) this.#operations--;
      if (timing) this.counters.delivered(id);
      completion?.done(this, id);
      if (between !== null) between();
    }
    this.#forgetDelivered();
    if (this.#waiting.length > 0) {
      this.#retryWaiting();
      between?.(); // it may have resolved a promise: no other callback may come for long
    }
    this.#scheduler.feedStarved();
  }

  /** Whether the operation had been given up. */
  #forget(id: number): boolean {
    if (!this.#abandoned.delete(id)) return false;
    this.#abandonedCount--;
    return true;
  }

  #forgetDelivered(): void {
    if (this.#delivered === 0) return;
    this.#scheduler.finished.drop(this.#delivered);
    this.#delivered = 0;
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

  /* --- Waiting, giving up, ending ---------------------------------------------------------- */

  /** flexsc_wait: issues what is posted and sleeps until at least one operation was delivered.
   *  Only completions run meanwhile, nothing else of the program: no promise, no nextTick.
   *  False when nothing is in flight, or after `timeoutMs` (default: no limit). */
  wait(timeoutMs = -1): boolean {
    const until = timeoutMs < 0 ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
    while (this.#operations > 0) {
      if (this.#step()) {
        this.#deliver(null);
        // The loop finds out in its next turn: telling it each time costs two native calls.
        this.#control[CONTROL.wantDrain] = 1;
        return true;
      }
      const left = until - performance.now();
      if (left <= 0) return false;
      this.#native.wait(left === Number.POSITIVE_INFINITY ? -1 : Math.ceil(left));
    }
    return false;
  }

  /** The caller gave up on a chain. It stays in flight, its memory with it, until done; then
   *  only `cleanUp` runs. The loop no longer lives for it. */
  abandon(id: number, cleanUp: Completion): void {
    if (this.#completions[id] === null || this.#abandoned.has(id)) return;
    this.pages.abandon(this.#scheduler.current(id));
    this.#completions[id] = cleanUp;
    this.#abandoned.add(id);
    this.#abandonedCount++;
    this.#operations--;
    this.#rest();
  }

  /** Runs everything posted so far to its end, but delivers nothing: before credentials change,
   *  say. Crew calls that take longer than `limitMs` go on; the ring is left empty. */
  settle(limitMs = 100): void {
    const scheduler = this.#scheduler;
    const until = performance.now() + limitMs;
    this.#forgetDelivered();
    for (let left = limitMs; left > 0; left = until - performance.now()) {
      scheduler.collect();
      if (scheduler.posted.length > 0) scheduler.issue();
      else if (scheduler.busy) this.#native.wait(Math.ceil(left));
      else break;
    }
    while (scheduler.ring?.recall()) {
      this.#native.wait(1);
      scheduler.collect();
    }
    scheduler.crew.wakeIfAsleep();
    if (scheduler.posted.length > 0 || scheduler.finished.length > 0)
      this.#control[CONTROL.wantDrain] = 1;
  }

  /** Sends a call elsewhere than the table says (`doctor --measure` compares the routes). */
  reroute(number: number, route: Route): void {
    this.#scheduler.reroute(number, route);
  }

  /** Unmaps the ring and makes a new one: SQPOLL keeps the credentials it was made with. */
  renewRing(): void {
    this.#scheduler.renewRing();
  }

  /** Ends the kernel. Operations in flight are never delivered. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // Ends a delivery that is going on.
    this.#scheduler.finished.drop(this.#scheduler.finished.length);
    this.#delivered = 0;
    this.#native.close();
  }

  /** A snapshot of every counter. */
  statistics(): KernelStatistics {
    return this.counters.snapshot(this.#control, this.#scheduler, this.pages);
  }
}
