/**
 * The scheduler decides when, where and by which kind of syscall thread an entry runs (FlexSC
 * 3.6, and the policies its section 7 leaves open).
 *
 *   scheduler.posted.push(id)    …            the program's requests, in order
 *   scheduler.issue()                         all of them, in one go
 *   scheduler.takeBack()                      what was offered to the crew and not begun
 *   scheduler.collect()                       completions, into scheduler.finished
 *
 *                 ┌── never blocks here? ──► spot ──┬── answered ─────────────► finished
 *   posted ─route─┤                                 └── would block ─┐
 *                 ├── waits for a device ──────────► ring ◄──────────┤
 *                 └── may block ───────────────────► crew ◄──────────┘
 *
 * A batch of 24 or more for the spot is offered to the crew as a whole, from the first on; this
 * thread takes entries back from the last on whenever it has nothing to deliver. So both cores
 * work until the batch is done, however the calls and the callbacks turn out to weigh.
 */
import { availableParallelism } from 'node:os';
import { CONTROL, FLAG, NO_LINK } from '../abi/entry.ts';
import { syscallNumber } from '../abi/syscalls.ts';
import type { Desk } from '../memory/desk.ts';
import type { NativeKernel } from '../native/addon.ts';
import type { SyscallPages } from '../page/pages.ts';
import type { Counters } from './counters.ts';
import { Crew } from './crew/crew.ts';
import { BusyDescriptors } from './descriptors.ts';
import { IdQueue } from './id-queue.ts';
import type { Completion, Kernel } from './kernel.ts';
import type { ResolvedOptions } from './options.ts';
import { Ring } from './ring/ring.ts';
import { ROUTE, type Route, type RouteTables, routeTables } from './routes.ts';
import { isShort, Spot } from './spot.ts';

/** A batch at least this long is offered to the crew: waking a thread costs about ten calls. */
const OFFER_MIN = 24;
/** How many of the offered entries are taken back at a time: few, for the crew is at it too. */
const TAKE_BACK = 8;

export class Scheduler {
  /** Posted, not yet issued; in order. */
  readonly posted: IdQueue;
  /** Done, not yet delivered; in order. */
  readonly finished: IdQueue;
  readonly crew: Crew;
  readonly spot: Spot;
  /** Null without io_uring; then `ringRefused` says why. */
  ring: Ring | null = null;
  ringRefused = '';

  readonly #kernel: Kernel;
  readonly #native: NativeKernel;
  readonly #desk: Desk;
  readonly #pages: SyscallPages;
  readonly #counters: Counters;
  readonly #options: ResolvedOptions;
  readonly #completions: readonly (Completion | null)[];
  readonly #descriptors: BusyDescriptors;
  readonly #closeNumber = syscallNumber('close');
  /** Asked of a descriptor that somebody else will close: see quiet() in ops/descriptor.ts. */
  readonly #quietNumber = syscallNumber('fcntl');
  readonly #shares: boolean;
  #routes: RouteTables;
  /** Given to the crew, to be taken back if it does not get to them. Hints: some are done. */
  readonly #offered: IdQueue;
  readonly #capacity: number;
  readonly #closes: number[] = [];
  #starved: number[] = [];

  constructor(
    kernel: Kernel,
    native: NativeKernel,
    completions: readonly (Completion | null)[],
    options: ResolvedOptions,
  ) {
    this.#kernel = kernel;
    this.#native = native;
    this.#desk = kernel.desk;
    this.#pages = kernel.pages;
    this.#counters = kernel.counters;
    this.#options = options;
    this.#completions = completions;
    this.#capacity = completions.length;
    this.posted = new IdQueue(this.#capacity);
    this.finished = new IdQueue(this.#capacity);
    this.#offered = new IdQueue(this.#capacity);
    this.crew = new Crew(native, kernel.desk, kernel.pages);
    this.spot = new Spot(native, kernel.desk);
    this.#descriptors = new BusyDescriptors(kernel.pages);
    this.#shares = options.share && availableParallelism() > 1;
    this.#routes = routeTables(false);
    if (options.ring) this.#openRing();
  }

  #openRing(): void {
    const { ringEntries: entries, sqpollCore, sqpollIdleMs } = this.#options;
    try {
      this.ring = Ring.open(this.#native, this.#pages, { entries, sqpollCore, sqpollIdleMs });
    } catch (error) {
      this.ringRefused = (error as Error).message;
      return;
    }
    this.ring.onChainStep = (head) => this.posted.push(head);
    this.ring.onRefused = (head) => this.crew.give(head);
    this.#routes = routeTables(true);
  }

  /** Unmaps the ring and makes a new one: SQPOLL keeps the credentials it was made with. */
  renewRing(): void {
    if (this.ring === null) return;
    this.#native.ringClose();
    this.ring = null;
    this.#routes = routeTables(false);
    this.#openRing();
  }

  /** Sends a call elsewhere than the table says (`doctor --measure` compares the routes). */
  reroute(number: number, route: Route): void {
    const to = route === 'ring' && this.ring === null ? 'crew' : route;
    this.#routes.first[number] = ROUTE[to];
  }

  /** Whether entries are with the ring or the crew. */
  get busy(): boolean {
    return this.crew.inFlight > 0 || (this.ring !== null && this.ring.inFlight > 0);
  }

  /** Whether the event loop has timers due or immediates waiting. A batch on the spot has asked. */
  get otherWork(): boolean {
    return this.spot.otherWork ?? this.#native.otherWork();
  }

  /* --- Issuing ------------------------------------------------------------------------------ */

  issue(): void {
    const { posted } = this;
    const count = posted.length;
    const spotOpen = this.spot.open;
    for (let i = 0; i < count; ) {
      const alike = this.#ringAlike(i, count);
      if (alike === 0) this.#route(posted.at(i++), spotOpen);
      else i += alike;
    }
    posted.drop(count);
    if (this.spot.waiting > 0) this.#runSpot();
    if (this.#closes.length > 0) this.#issueCloses();
    this.ring?.submit();
    this.crew.wakeIfAsleep();
  }

  /** A run of equal calls that the ring takes as they are: no buffer of a caller's, no descriptor
   *  to watch or to close. Returns how many it took. */
  #ringAlike(from: number, to: number): number {
    const { ring, posted } = this;
    const number = this.#pages.number(posted.at(from));
    if (ring === null || this.#routes.first[number] !== ROUTE.ring) return 0;
    if (number === this.#closeNumber || this.#descriptors.watches(number)) return 0;
    const took = ring.issueAlike(posted.ids, from, to) - from;
    this.#desk.control[CONTROL.ringInFlight] += took;
    this.#counters.ring(number, took);
    return took;
  }

  #route(id: number, spotOpen: boolean): void {
    const number = this.#pages.number(id);
    const route = this.#routes.first[number];
    const completion = this.#completions[id];
    if (number === this.#closeNumber || number === this.#quietNumber) this.#closes.push(id);
    else if (route === ROUTE.spot && spotOpen && !completion?.mayBlock)
      this.spot.add(id, completion?.view, completion?.viewEntry);
    else if (route === ROUTE.ring) this.#toRing(id);
    else this.#toCrew(id);
  }

  /** Closing waits for the descriptor's calls in flight: its number may be another file's
   *  afterwards. Those that were answered on the spot just now are past. */
  #issueCloses(): void {
    for (const id of this.#closes)
      if (!this.#descriptors.holdClose(id)) this.spot.add(id, undefined);
    this.#closes.length = 0;
    if (this.spot.waiting > 0) this.#answer(this.spot.run());
  }

  #runSpot(): void {
    if (this.#shares && this.spot.offerable >= OFFER_MIN) this.#offer();
    if (this.spot.waiting > 0) this.#answer(this.spot.run());
  }

  /** Core specialization for long batches (FlexSC 3.6). What works in a caller's buffer and is
   *  short stays here: through a block it would be copied. */
  #offer(): void {
    const count = this.spot.waiting;
    const ids = this.#desk.spotList.slice(0, count);
    this.spot.clear();
    if (this.#offered.length + count > this.#capacity) this.#offered.drop(this.#offered.length);
    for (let i = 0; i < count; i++) {
      const id = ids[i];
      const completion = this.#completions[id];
      const view = completion?.view;
      if (view !== undefined && (isShort(view) || !completion?.bounce?.(this.#kernel, id))) {
        this.spot.add(id, view, completion?.viewEntry);
      } else {
        this.#toCrew(id);
        this.#offered.push(id);
      }
    }
    this.crew.wakeIfAsleep();
  }

  /** Takes some of the offered entries back and tries them here. */
  takeBack(): void {
    const offered = this.#offered;
    while (offered.length > 0 && this.spot.waiting < TAKE_BACK) {
      const id = offered.pop();
      if (!this.crew.takeBack(id)) continue; // a crew thread has it
      this.#release(this.#descriptors.ended(id));
      this.#counters.crewTookBack(this.#pages.number(id));
      this.spot.add(id, undefined);
    }
    if (this.spot.waiting > 0) this.#answer(this.spot.run());
    this.crew.wakeIfAsleep();
  }

  /** Sorts a batch that ran on the spot: answered, or on to the ring or the crew. */
  #answer(count: number): void {
    const { spotList } = this.#desk;
    for (let i = 0; i < count; i++) {
      const id = spotList[i];
      if (this.#pages.isDone(id)) {
        this.#counters.spot(this.#pages.number(id));
        if (this.#counters.timing) this.#counters.spotSystemCalls += this.#pages.length(id);
        this.finished.push(id);
      } else {
        this.#passOn(id);
      }
    }
  }

  #passOn(id: number): void {
    this.#counters.wouldBlock++;
    const at = this.current(id);
    const next = this.#routes.next[this.#pages.number(at)];
    if (next === ROUTE.ring && (this.#pages.flags(at) & FLAG.forCrew) === 0) this.#toRing(id);
    else this.#toCrew(id);
  }

  /** The first entry of a chain that is not done. */
  current(head: number): number {
    let id = head;
    while (this.#pages.isEntryDone(id) && this.#pages.next(id) !== NO_LINK)
      id = this.#pages.next(id);
    return id;
  }

  /** The data of a caller's buffer goes through a block, from here on. */
  #bounced(id: number): boolean {
    const completion = this.#completions[id];
    if (completion?.bounce === undefined || completion.bounce(this.#kernel, id)) return true;
    this.#starved.push(id);
    return false;
  }

  /** Blocks were given back: entries that waited for one. */
  feedStarved(): void {
    if (this.#starved.length === 0) return;
    const starved = this.#starved;
    this.#starved = [];
    for (const id of starved) this.#toCrew(id);
    this.crew.wakeIfAsleep();
  }

  #toRing(id: number): void {
    if (this.ring === null) return this.#toCrew(id);
    if (!this.#bounced(id)) return;
    if (!this.ring.issue(id)) return this.#toCrew(id);
    this.#desk.control[CONTROL.ringInFlight]++;
    this.#descriptors.began(id);
    this.#counters.ring(this.#pages.number(id));
  }

  #toCrew(id: number): void {
    if (!this.#bounced(id)) return;
    this.#descriptors.began(id);
    this.#counters.crew(this.#pages.number(id));
    this.crew.give(id);
  }

  /* --- Harvest ------------------------------------------------------------------------------ */

  collect(): void {
    this.spot.otherWork = null;
    const before = this.finished.length;
    this.crew.harvest(this.finished);
    if (this.ring !== null && this.ring.inFlight > 0) {
      this.ring.harvest(this.finished);
      this.#desk.control[CONTROL.ringInFlight] = this.ring.inFlight;
      this.crew.wakeIfAsleep();
    }
    if (!this.#descriptors.any) return;
    for (let i = before; i < this.finished.length; i++)
      this.#release(this.#descriptors.ended(this.finished.at(i)));
  }

  /** Closes that waited for a descriptor whose last call is done. */
  #release(closes: number[] | null): void {
    if (closes !== null) for (const id of closes) this.posted.push(id);
  }
}
