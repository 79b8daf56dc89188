/**
 * Chains on the simulated machine: native/execute.c in TypeScript, entry by entry. It reads and
 * writes the same words of the same desk.
 *
 *   new ChainRun(desk, head).step(attempt)     runs one entry; true when the chain is done
 *   tryNow(machine)                            an attempt as on the JS thread: WOULD_BLOCK or result
 *   runBlocking(machine)                       an attempt as on a crew thread
 */
import { ENTRY_WORDS, FLAG, STATUS, WORD } from '../../abi/entry.ts';
import { ERRNO } from '../../abi/errno.ts';
import {
  O_ACCMODE,
  O_CREAT,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_TMPFILE,
  O_TRUNC,
} from '../../abi/structs.ts';
import { load, publish } from '../../memory/barrier.ts';
import type { Desk } from '../../memory/desk.ts';
import { resultOf } from './errno.ts';
import { type Args, callName, type SimMachine } from './syscalls.ts';

/** Not answered: never a value Linux returns. */
export const WOULD_BLOCK = Number.NEGATIVE_INFINITY;

export interface Entry {
  readonly number: number;
  readonly flags: number;
}

export type Attempt = (entry: Entry, args: Args) => number;

const TWO_32 = 4294967296;

export class ChainRun {
  readonly head: number;
  readonly #desk: Desk;
  #id: number;
  #headResult = 0;
  #previousResult = 0;
  #previousLength = 0;
  #failed = false;

  constructor(desk: Desk, head: number) {
    this.#desk = desk;
    this.head = head;
    this.#id = head;
  }

  /** The call of the entry whose turn it is. */
  get number(): number {
    return this.#desk.entries[this.#id * ENTRY_WORDS + WORD.call] & 0xffff;
  }

  /** Runs entries to the end of the chain, or to one that would block: then false. */
  run(attempt: Attempt): boolean {
    for (;;) {
      const outcome = this.step(attempt);
      if (outcome !== 'more') return outcome === 'done';
    }
  }

  step(attempt: Attempt): 'more' | 'done' | 'blocked' {
    const { entries, links } = this.#desk;
    const at = this.#id * ENTRY_WORDS;
    const flags = entries[at + WORD.call] >>> 24;
    const number = this.number;
    const length = this.#arg(2);
    const next = links[this.#id];
    let result = this.#result(at);
    const status = load(entries, at);
    // A chain that was begun elsewhere: what has its result is skipped.
    if (status !== STATUS.done) {
      if (status === STATUS.abandoned) this.#failed = true;
      result = -ERRNO.ECANCELED;
      const isHead = this.#id === this.head;
      if (this.#runs(flags) && !(isHead && status === STATUS.abandoned)) {
        result = attempt({ number, flags }, this.#args(flags));
        if (result === WOULD_BLOCK) return 'blocked';
      }
      entries[at + WORD.result] = result;
      entries[at + WORD.result + 1] = Math.floor(result / TWO_32);
      publish(entries, at, STATUS.done);
    }
    if (this.#id === this.head) this.#headResult = result;
    if (result < 0 && result !== -ERRNO.ECANCELED) this.#failed = true;
    this.#previousResult = result;
    this.#previousLength = length;
    if (!(flags & FLAG.link)) return 'done';
    this.#id = next;
    return 'more';
  }

  #runs(flags: number): boolean {
    if (this.#id === this.head) return true;
    if (flags & FLAG.headFd && this.#headResult < 0) return false;
    if (flags & FLAG.atEof && this.#previousResult !== 0 && !this.#failed) return false;
    if (flags & FLAG.ifFull && !this.#failed && this.#previousResult !== this.#previousLength)
      return false;
    return !this.#failed || (flags & FLAG.always) !== 0;
  }

  #result(at: number): number {
    const { entries } = this.#desk;
    return entries[at + WORD.result + 1] * TWO_32 + (entries[at + WORD.result] >>> 0);
  }

  #arg(index: number): number {
    const { entries } = this.#desk;
    const at = this.#id * ENTRY_WORDS + WORD.args + index * 2;
    return entries[at + 1] * TWO_32 + (entries[at] >>> 0);
  }

  #args(flags: number): Args {
    const args = [0, 1, 2, 3, 4, 5].map((index) => this.#arg(index));
    if (this.#id === this.head) return args;
    if (flags & FLAG.headFd) args[0] = this.#headResult;
    if (flags & FLAG.after && this.#previousResult > 0) args[3] += this.#previousResult;
    return args;
  }
}

/**
 * On a crew thread. An interrupted call is begun anew, an interrupted close is over: as libuv
 * does, and as a crew thread must whose signals are not the program's.
 */
export function runBlocking(machine: SimMachine): Attempt {
  return ({ number }, args) => {
    const name = callName(number);
    while (machine.faults.interrupts(name)) if (name === 'close') return machine.call(number, args);
    return machine.call(number, args);
  };
}

/** Longest transfer on the JS thread: TL_SPOT_BYTES_MAX. */
const SPOT_BYTES_MAX = 256 * 1024;

/** On the JS thread: what Linux can answer without blocking. */
export function tryNow(machine: SimMachine): Attempt {
  return ({ number, flags }, args) => {
    const name = callName(number);
    if (!answersNow(machine, name, flags, args)) return WOULD_BLOCK;
    if (machine.faults.wouldBlock(name)) return WOULD_BLOCK;
    return machine.call(number, args);
  };
}

function answersNow(machine: SimMachine, name: string, flags: number, args: Args): boolean {
  switch (name) {
    case 'openat':
      if (args[2] & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))) return false;
      return (args[2] & O_ACCMODE) === O_RDONLY || (args[2] & O_PATH) !== 0;
    case 'read':
    case 'write':
    case 'pread64':
    case 'pwrite64':
      return args[2] <= SPOT_BYTES_MAX;
    case 'close':
      return (flags & FLAG.headFd) !== 0 || isReadOnly(machine, args[0]);
    case 'statx':
    case 'faccessat':
    case 'readlinkat':
    case 'lseek':
    case 'getpid':
    case 'getppid':
    case 'nop':
      return true;
    default:
      return false;
  }
}

/** Closing what was written may wait for the disk. */
function isReadOnly(machine: SimMachine, fd: number): boolean {
  let flags = -1;
  resultOf(() => {
    flags = machine.files.get(fd).flags;
    return 0;
  });
  return flags !== -1 && (flags & O_ACCMODE) === O_RDONLY;
}
