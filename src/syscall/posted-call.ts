/**
 * A posted call, as its author sees it. The entry is the truth while the call is in flight; when
 * it is done, its result is copied here and the entry is free for the next call, whether anybody
 * still looks at this object or not.
 *
 *   waiting ──► submitted ──► busy ──► done ──► free
 *      │            │           │        (result taken)
 *      └────────────┴───────────┴──► abandoned
 */
import { STATUS, STATUS_NAMES, type StatusName } from '../abi/entry.ts';
import { rejection } from '../ops/error.ts';
import type { SyscallPages } from '../page/pages.ts';
import type { CallMemory, PostableCall, SyscallArgument } from './call-arguments.ts';
import { CANCELED, SystemCallError } from './error.ts';

/** Where a call is; see `PostedCall.status`. */
export type CallStatus = StatusName | 'waiting';

/** What a PostedCall needs of its kernel. */
export interface Poster {
  readonly pages: SyscallPages;
  /** The caller gave up; `id` is -1 for a call without an entry. */
  abandon(call: PostedCall, id: number): void;
}

const WAITING = 0;
const POSTED = 1;
const DONE = 2;
const TAKEN = 3;
const ABANDONED = 4;

/** What the kernel does with a call, out of the program's sight. */
export interface CallControl {
  create(poster: Poster, call: PostableCall, given: readonly SyscallArgument[]): PostedCall;
  /** What was asked for, as long as it waits. */
  asked(it: PostedCall): { call: PostableCall; given: readonly SyscallArgument[] };
  /** It has the entry `id` now, and perhaps memory. */
  began(it: PostedCall, id: number, memory: CallMemory | null): void;
  /** Its entry is done: takes over what it says; the entry can be freed afterwards. */
  finished(it: PostedCall): void;
  /** Its entry was freed: gives its memory back and tells who waits. */
  settle(it: PostedCall): void;
  /** It ends without an entry, with this error; or with one, given up. */
  failed(it: PostedCall, errno: number): void;
}
/** Set by PostedCall below: the kernel's way to its private parts. */
export let control: CallControl;

const NO_ARGUMENTS: readonly SyscallArgument[] = [];

/** One system call, from `SyscallKernel.post`. Not a thenable: `await call.promise()`. */
export class PostedCall {
  readonly #poster: Poster;
  readonly #call: PostableCall;
  #given: readonly SyscallArgument[];
  #memory: CallMemory | null = null;
  #state = WAITING;
  #id = -1;
  /** The result's halves. */
  #low = 0;
  #high = 0;
  #path: string | undefined;
  #promise: Promise<bigint> | null = null;
  #resolve: ((value: bigint | Promise<never>) => void) | null = null;

  static {
    control = {
      create: (poster, call, given) => new PostedCall(poster, call, given),
      asked: (it) => ({ call: it.#call, given: it.#given }),
      began: (it, id, memory) => {
        it.#id = id;
        it.#memory = memory;
        it.#state = POSTED;
      },
      finished: (it) => {
        if (it.#state === POSTED) it.#finish();
      },
      settle: (it) => it.#settle(),
      failed: (it, errno) => it.#fail(errno),
    };
  }

  private constructor(poster: Poster, call: PostableCall, given: readonly SyscallArgument[]) {
    this.#poster = poster;
    this.#call = call;
    this.#given = given;
  }

  /** The system call's name, as 'openat'. */
  get syscall(): string {
    return this.#call.name;
  }

  /**
   * Where the call is, read from its entry in memory:
   *
   * - `waiting`: every entry (or all of the arena) is taken; it is posted when there is room
   * - `submitted`: in a syscall page; issued when the program has nothing left to run, or waits
   * - `busy`: a syscall thread has it
   * - `done`: the result is there, nobody has taken it yet
   * - `free`: the result was taken, by `result`, `number` or a promise; they still tell it
   * - `abandoned`: given up, or its kernel was closed
   */
  get status(): CallStatus {
    if (this.#state === POSTED) return STATUS_NAMES[this.#poster.pages.status(this.#id)];
    if (this.#state === DONE) return 'done';
    if (this.#state === TAKEN) return 'free';
    return this.#state === WAITING ? 'waiting' : 'abandoned';
  }

  /**
   * Whether the result is there. Only reads memory: while nothing else issues what was posted and
   * collects what is done, poll with `while (!call.done) kernel.wait(0)`.
   */
  get done(): boolean {
    if (this.#state === POSTED) return this.#poster.pages.status(this.#id) === STATUS.done;
    return this.#state === DONE || this.#state === TAKEN;
  }

  /**
   * The exact 64-bit result. Throws a SystemCallError when the call failed (ECANCELED when it was
   * abandoned), an Error when it is not done. Buffers that Linux wrote to are filled from here on.
   */
  get result(): bigint {
    this.#take();
    if (this.#failed()) throw this.#error();
    return this.#bigint();
  }

  /** The result as a number; throws as `result` does, and a RangeError beyond 2^53. */
  get number(): number {
    this.#take();
    if (this.#failed()) throw this.#error();
    const value = this.#high * 2 ** 32 + (this.#low >>> 0);
    if (Number.isSafeInteger(value)) return value;
    throw new RangeError(`trapless: ${this.syscall} returned ${this.#bigint()}: read call.result`);
  }

  /**
   * A promise of the result; rejected with a SystemCallError when the call failed. The same one
   * each time. Without it nobody is told of a failure.
   */
  promise(): Promise<bigint> {
    if (this.#promise !== null) return this.#promise;
    if (this.#state === POSTED || this.#state === WAITING) {
      this.#promise = new Promise((resolve) => {
        this.#resolve = resolve as (value: bigint | Promise<never>) => void;
      });
    } else {
      this.#take();
      this.#promise = this.#failed() ? rejection(this.#error()) : Promise.resolve(this.#bigint());
    }
    return this.#promise;
  }

  /** Resolves to this call once it is done or abandoned, failed or not; never rejects. */
  settled(): Promise<this> {
    const self = () => this;
    return this.promise().then(self, self);
  }

  /**
   * Gives up. False when it is too late: the result is there, or the call was given up before. A
   * call that no syscall thread has begun is not run; one that has begun goes on in Linux, and
   * keeps its entry and memory until it ends, but nothing is copied to the program's buffers,
   * nobody is told, and the program does not wait for it. Its promise is rejected (ECANCELED).
   */
  abandon(): boolean {
    if (this.done || this.#state === ABANDONED) return false;
    this.#poster.abandon(this, this.#id);
    return true;
  }

  /** The result is in the entry: copies it, and what Linux wrote. */
  #finish(): void {
    const { pages } = this.#poster;
    this.#low = pages.resultLow(this.#id);
    this.#high = pages.resultHigh(this.#id);
    this.#state = DONE;
    this.#memory?.bringBack(this.#high * 2 ** 32 + (this.#low >>> 0));
    if (this.#failed()) this.#path = pathAmong(this.#given);
    this.#given = NO_ARGUMENTS;
  }

  #fail(errno: number): void {
    this.#low = errno;
    this.#high = -1;
    this.#path = pathAmong(this.#given);
    this.#given = NO_ARGUMENTS;
    this.#state = errno === CANCELED ? ABANDONED : DONE;
    this.#tell();
  }

  #settle(): void {
    this.#memory?.release();
    this.#memory = null;
    this.#id = -1;
    this.#tell();
  }

  #tell(): void {
    if (this.#resolve === null) return;
    const resolve = this.#resolve;
    this.#resolve = null;
    if (this.#state === DONE) this.#state = TAKEN;
    resolve(this.#failed() ? rejection(this.#error()) : this.#bigint());
  }

  #take(): void {
    if (this.#state === POSTED && this.done) this.#finish();
    if (this.#state === DONE) this.#state = TAKEN;
    if (this.#state === TAKEN || this.#state === ABANDONED) return;
    throw new Error(
      `trapless: ${this.syscall} is ${this.status}: await call.promise(), or kernel.wait() until call.done`,
    );
  }

  /** Results from -4095 to -1 are error numbers. */
  #failed(): boolean {
    return this.#high === -1 && this.#low < 0 && this.#low >= -4095;
  }

  #bigint(): bigint {
    return (BigInt(this.#high) << 32n) | BigInt(this.#low >>> 0);
  }

  #error(): SystemCallError {
    return new SystemCallError(this.#low, this.syscall, this.#path);
  }
}

function pathAmong(given: readonly SyscallArgument[]): string | undefined {
  return given.find((value) => typeof value === 'string');
}
