/**
 * `trapless/syscall`: exception-less system calls for authors of systems code.
 *
 *   import { register } from 'trapless/syscall';
 *
 *   const kernel = register();                               // flexsc_register
 *   const open = kernel.post('openat', -100, '/etc/hostname', 0);
 *   const fd = Number(await open.promise());                 // or kernel.wait(): flexsc_wait
 *   const buffer = Buffer.alloc(64);
 *   const length = await kernel.post('read', fd, buffer, 64).promise();
 *   kernel.close();
 *
 * A call is posted with plain stores into a syscall page (FlexSC section 3); whatever was posted
 * is issued in one go when the program has nothing left to run, or waits.
 */
import { availableParallelism } from 'node:os';
import { checkLayout, ENTRIES_PER_PAGE } from './abi/entry.ts';
import { ERRNO } from './abi/errno.ts';
import type { SyscallName } from './abi/syscalls.ts';
import type { KernelStatistics } from './kernel/counters.ts';
import { type Completion, Kernel } from './kernel/kernel.ts';
import { type KernelOptions, kernelOptions } from './kernel/options.ts';
import { ARENA_START, Arena, type ArenaSlice, orderOf } from './memory/arena.ts';
import { loadAddon } from './native/addon.ts';
import {
  type Block,
  callOf,
  checkArguments,
  fillEntry,
  type Memory,
  type PostableCall,
  type SyscallArgument,
  UnsafeInteger,
} from './syscall/call-arguments.ts';
import { CANCELED, SystemCallError } from './syscall/error.ts';
import { type CallStatus, control, PostedCall, type Poster } from './syscall/posted-call.ts';

export type {
  Arena,
  ArenaSlice,
  CallStatus,
  KernelOptions,
  KernelStatistics,
  Memory,
  SyscallArgument,
  SyscallName,
};
export { PostedCall, SystemCallError, UnsafeInteger };

/** What `register` takes; every property may be left out. */
export interface RegisterOptions extends KernelOptions {
  /** Bytes of `kernel.arena`, for slices and for copies of buffers in flight: 64 KiB to 1 GiB,
   *  rounded up to 4 KiB. Reserved at once, taken from the system as they are used.
   *  Default 16 MiB. */
  arenaBytes?: number;
}

const ARENA_DEFAULT = 16 * 1024 * 1024;
const ARENA_MIN = 64 * 1024;
/** Address space is cheap, but the mapping must not cross a 4 GiB line (native/kernel.c). */
const ARENA_MAX = 1024 * 1024 * 1024;

/**
 * Maps syscall pages and readies the syscall threads (flexsc_register, FlexSC 3.4). Each call
 * makes a kernel of its own, for the thread that calls. Cores for crew threads, and whether they
 * look for work before they sleep, are settings of the process: the last call decides.
 *
 * Throws a RangeError for options that make no sense, and an Error that says why where there are
 * no syscall pages (not Linux, no addon, no memory). Without io_uring it works all the same: see
 * `SyscallKernel.ring`.
 */
export function register(options: RegisterOptions = {}): SyscallKernel {
  const { arenaBytes = ARENA_DEFAULT, ...rest } = options;
  if (!Number.isInteger(arenaBytes) || arenaBytes < ARENA_MIN || arenaBytes > ARENA_MAX)
    throw new RangeError(
      `trapless: arenaBytes must be an integer from ${ARENA_MIN} to ${ARENA_MAX}, not ${arenaBytes}`,
    );
  return new SyscallKernel(open(rest, Math.ceil(arenaBytes / 4096) * 4096));
}

function open(options: KernelOptions, arenaBytes: number): Kernel {
  const { addon, reason } = loadAddon();
  if (!addon) throw new Error(`trapless: no syscall pages here: ${reason}`);
  checkLayout(addon.layout);
  const resolved = kernelOptions(options);
  if (resolved.cores.length > 0) addon.crewCores(resolved.cores);
  if (availableParallelism() === 1) addon.crewSpin(0);
  return Kernel.over(
    (drain) => addon.open(resolved.pagesMax, ARENA_START + arenaBytes, drain, true),
    resolved,
  );
}

/**
 * Marks an integer that Linux may take for an address as meant that way, where trapless does not
 * know what an argument is: beyond ±4095 it otherwise refuses numbers there. `value` is an
 * integer of up to 64 bits. If it is an address after all, Linux uses the memory it points to.
 */
export function unsafeInteger(value: number | bigint): UnsafeInteger {
  return new UnsafeInteger(value);
}

/** Registered syscall pages and what serves them; from `register`. One thread's own. */
export class SyscallKernel {
  /** Memory that Linux and the program share without copying; see `Arena.alloc`. */
  readonly arena: Arena;
  /** @internal The machinery below: for the benchmarks and tests of this package. */
  readonly kernel: Kernel;

  readonly #poster: Poster;
  /** By entry. */
  readonly #calls: (PostedCall | null)[];
  /** Calls without an entry yet, first come first. */
  #waiting: PostedCall[] = [];
  #awaitingRoom: (() => void)[] = [];
  /** The kernel will tell us when entries were freed. */
  #asked = false;
  #inFlight = 0;
  /** Calls that have an entry, abandoned ones included: what may give memory back. */
  #begun = 0;
  /** Calls that ended, for wait(). */
  #ended = 0;
  #closed = false;
  readonly #completion: Completion = { done: (_kernel, id) => this.#done(id) };

  /** @internal */
  constructor(kernel: Kernel) {
    this.kernel = kernel;
    this.arena = new Arena(kernel.pool, () => this.#onRoom());
    this.#calls = new Array(kernel.desk.pagesMax * ENTRIES_PER_PAGE).fill(null);
    this.#poster = {
      pages: kernel.pages,
      abandon: (call: PostedCall, id: number) => this.#abandon(call, id),
    };
  }

  /** Whether calls can go to Linux's own syscall threads, by io_uring. */
  get ring(): boolean {
    return this.kernel.ring !== null;
  }

  /** Why they cannot, as Linux said it; 'not asked for' with `ring: false`; null with a ring. */
  get ringRefused(): string | null {
    if (this.ring) return null;
    return this.kernel.ringRefused || 'not asked for (ring: false, or TRAPLESS_RING=0)';
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Calls posted and neither done nor abandoned, waiting ones included. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Posts a system call: nothing runs yet, and nothing is entered. It is issued, with everything
   * else posted, when the event loop would block or in `wait`.
   *
   * `call` is a name ('openat', or 'nop' for a call that does nothing and returns 0) or a number
   * of this architecture. The arguments are, by what Linux expects in their place:
   *
   * - an integer: a number (up to 2^53) or a bigint (up to 64 bits)
   * - a path or another string: a string, or a buffer with a NUL in it
   * - memory: `null`, a slice of `kernel.arena` (used in place), or a Buffer or Uint8Array. Those
   *   are copied when the call is posted and, if Linux wrote, copied back when it is done; leave
   *   them alone until then. One that is transferred away meanwhile is not written.
   * - struct iovec (readv, writev and their kind): an array of buffers and slices
   *
   * Numbers never become addresses, and memory must be as large as the call says: otherwise a
   * TypeError or RangeError that says what to pass. Where trapless does not know an argument
   * (ioctl's third, all of a call newer than its tables) numbers up to ±4095, `unsafeInteger` and
   * memory are taken. What structures contain is the author's responsibility. Calls that would
   * act on the syscall thread instead of the program (exit, fork, prctl, mmap, setuid, …) are
   * refused with a TypeError.
   *
   * When every entry is taken up to `pagesMax`, the call waits (see `PostedCall.status`) and is
   * posted in its turn; `room` is the way to post no faster than calls are done.
   */
  post(call: SyscallName | 'nop' | number, ...args: SyscallArgument[]): PostedCall {
    if (this.#closed) throw closedError();
    const postable = callOf(call);
    const bytes = checkArguments(postable, args, this.arena);
    const posted = control.create(this.#poster, postable, args);
    if (this.#waiting.length > 0 || !this.#begin(posted, postable, args, bytes)) {
      this.#checkMemory(postable, bytes);
      this.#waiting.push(posted);
      this.#askForRoom();
    }
    this.#inFlight++;
    return posted;
  }

  /**
   * Issues everything posted and sleeps until at least one call is done (flexsc_wait, FlexSC
   * 3.4), at most `timeoutMs` milliseconds (default: without limit; 0: does not sleep). True when
   * a call ended; false when none is in flight or time is up. Promises that are settled run their
   * reactions afterwards, as always, when the program returns to the event loop or awaits.
   */
  wait(timeoutMs: number = Number.POSITIVE_INFINITY): boolean {
    if (this.#closed) throw closedError();
    if (!(timeoutMs >= 0))
      throw new RangeError(`trapless: wait() takes milliseconds from 0 on, not ${timeoutMs}`);
    const ended = this.#ended;
    const until = performance.now() + timeoutMs;
    for (let left = timeoutMs; this.#ended === ended; left = Math.max(0, until - performance.now()))
      if (!this.kernel.wait(Number.isFinite(left) ? left : -1)) return false;
    return true;
  }

  /**
   * Resolves when a call posted then gets an entry at once: back-pressure, as a stream's 'drain'.
   *
   *   for (const path of paths) {
   *     await kernel.room();
   *     kernel.post('unlinkat', -100, path, 0);
   *   }
   */
  room(): Promise<void> {
    if (this.#closed) return Promise.reject(closedError());
    if (this.#hasRoom()) return Promise.resolve();
    return new Promise((resolve) => {
      this.#awaitingRoom.push(resolve);
      this.#askForRoom();
    });
  }

  /** Counters of everything this kernel did; see `KernelStatistics`. */
  statistics(): KernelStatistics {
    return this.kernel.statistics();
  }

  /**
   * Ends the kernel. Calls in flight are interrupted and given up: they are `abandoned`, their
   * promises rejected (ECANCELED). Slices must not be used any more. May take some milliseconds
   * when system calls do not let themselves be interrupted at once.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.kernel.close();
    for (const [id, call] of this.#calls.entries()) {
      if (call === null) continue;
      this.#calls[id] = null;
      if (this.kernel.pages.isDone(id)) {
        control.finished(call);
        control.settle(call);
      } else if (call.status !== 'abandoned') {
        control.failed(call, CANCELED);
      }
    }
    for (const call of this.#waiting) control.failed(call, CANCELED);
    this.#waiting = [];
    for (const resolve of this.#awaitingRoom) resolve();
    this.#awaitingRoom = [];
    this.#inFlight = 0;
  }

  /** `close()`, for `using kernel = register()`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Gives the call an entry and memory and posts it; false when there is none. */
  #begin(
    posted: PostedCall,
    call: PostableCall,
    given: readonly SyscallArgument[],
    bytes: number,
  ): boolean {
    const { pages } = this.kernel;
    if (!pages.room(1)) return false;
    let block: Block | null = null;
    if (bytes > 0) {
      const order = orderOf(bytes);
      const offset = this.arena.take(order);
      if (offset === -1) return false;
      block = { arena: this.arena, offset, order };
    }
    const id = pages.claim();
    control.began(posted, id, fillEntry(this.kernel, id, call, given, block));
    this.#calls[id] = posted;
    this.#begun++;
    this.kernel.post(id, this.#completion);
    return true;
  }

  /** Waiting for memory makes sense only while calls will give some back. */
  #checkMemory(call: PostableCall, bytes: number): void {
    if (bytes === 0 || (2 ** orderOf(bytes) <= this.arena.size && this.#begun > 0)) return;
    throw new RangeError(
      `trapless: ${call.name} needs ${bytes} bytes of the arena, which has ${this.arena.size} and ${this.arena.used} in use; free() slices or raise register({ arenaBytes })`,
    );
  }

  #done(id: number): void {
    const call = this.#calls[id];
    if (call === null) return; // closed in between
    this.#calls[id] = null;
    this.#begun--;
    const abandoned = call.status === 'abandoned';
    control.finished(call);
    this.kernel.pages.free(id);
    if (!abandoned) {
      this.#inFlight--;
      this.#ended++;
    }
    control.settle(call);
  }

  #abandon(call: PostedCall, id: number): void {
    this.#inFlight--;
    if (id === -1) this.#waiting.splice(this.#waiting.indexOf(call), 1);
    else this.kernel.abandon(id, this.#completion);
    control.failed(call, CANCELED);
  }

  #askForRoom(): void {
    if (this.#asked) return;
    this.#asked = true;
    this.kernel.whenRoom(() => {
      this.#asked = false;
      this.#onRoom();
    });
  }

  #hasRoom(): boolean {
    return this.#waiting.length === 0 && this.kernel.pages.room(1);
  }

  /** Entries or memory were given back. */
  #onRoom(): void {
    if (this.#closed || (this.#waiting.length === 0 && this.#awaitingRoom.length === 0)) return;
    const waiting = this.#waiting;
    let next = 0;
    while (next < waiting.length && this.#beginWaiting(waiting[next])) next++;
    waiting.splice(0, next);
    let room = this.#hasRoom() ? this.kernel.pages.entriesFree : 0;
    while (this.#awaitingRoom.length > 0 && room-- > 0) this.#awaitingRoom.shift()!();
    if (this.#waiting.length > 0 || this.#awaitingRoom.length > 0) this.#askForRoom();
  }

  #beginWaiting(posted: PostedCall): boolean {
    const { call, given } = control.asked(posted);
    let bytes: number;
    try {
      // Once more: a buffer may have been transferred away since.
      bytes = checkArguments(call, given, this.arena);
    } catch {
      return this.#failWaiting(posted, ERRNO.EFAULT);
    }
    if (this.#begin(posted, call, given, bytes)) return true;
    // Slices have all of the arena: nothing in flight will ever give some back.
    return this.#begun === 0 && this.#failWaiting(posted, ERRNO.ENOMEM);
  }

  #failWaiting(posted: PostedCall, errno: number): boolean {
    this.#inFlight--;
    this.#ended++;
    control.failed(posted, -errno);
    return true;
  }
}

function closedError(): Error {
  return new Error('trapless: this kernel was closed; register() a new one');
}
