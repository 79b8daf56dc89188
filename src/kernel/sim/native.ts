/**
 * The in-memory kernel: what native/ offers, over a simulated machine whose faults can be had
 * again from their seed. The pages, the scheduler, the operations and fs above it are the real
 * ones.
 *
 *   const sim = new SimKernel({ seed: 1, pagesMax: 4, … });
 *   const kernel = Kernel.over((drain) => sim.open(drain), { pages: 1, pagesMax: 4 });
 *   … operations …
 *   sim.faults.log, sim.machine.files.count
 *   kernel.close();
 *
 * Time is virtual. One turn of the event loop is one step: the drain (if there is news, as in
 * native/loop.c), then the crew. No ring: Linux refuses it, so that everything is served on the
 * spot or by the crew. What cannot go on throws, in words, instead of waiting for ever.
 */
import {
  CONTROL,
  DESC_SIZE,
  ENTRIES_PER_PAGE,
  ENTRY_SIZE,
  ENTRY_WORDS,
  PAGES_LIMIT,
  SLOT_SIZE,
  WORD,
} from '../../abi/entry.ts';
import { ERRNO } from '../../abi/errno.ts';
import { load } from '../../memory/barrier.ts';
import { Desk } from '../../memory/desk.ts';
import { POOL_BYTES } from '../../memory/pool.ts';
import type { NativeKernel, NativeRing } from '../../native/addon.ts';
import { SimCrew } from './crew.ts';
import { ChainRun, tryNow } from './execute.ts';
import { type FaultPlan, Faults } from './faults.ts';
import { SimFileSystem, type SimFileSystemOptions } from './file-system.ts';
import { Prng } from './prng.ts';
import { SimMachine } from './syscalls.ts';

export interface SimOptions {
  readonly seed: number;
  /** As the kernel above it has it. */
  readonly pagesMax: number;
  readonly faults: FaultPlan;
  readonly fileSystem: SimFileSystemOptions;
  /** RLIMIT_NOFILE. */
  readonly openFilesMax: number;
}

/** Turns without anything happening after which a run is called stuck. */
const STUCK_TURNS = 1000;

export class SimKernel implements NativeKernel {
  readonly desk: ArrayBuffer;
  readonly pool: ArrayBuffer;
  readonly deskAddress: bigint;
  readonly poolAddress: bigint;
  readonly control: number;
  readonly descs: number;
  readonly links: number;
  readonly spotList: number;
  readonly directList: number;
  readonly entries: number;
  readonly slots: number;

  readonly machine: SimMachine;
  readonly faults: Faults;
  readonly crew: SimCrew;
  /** Times that the kernel asked us to stay alive, or no longer. */
  refs = 0;

  readonly #view: Desk;
  readonly #random: Prng;
  #drain: () => number = () => 0;
  #alive = false;
  #scheduled = false;
  #closed = false;
  #quietTurns = 0;

  constructor(options: SimOptions) {
    const random = new Prng(options.seed);
    this.#random = random.fork();
    this.faults = new Faults(random.fork(), options.faults);
    const fs = new SimFileSystem(options.fileSystem);
    this.machine = new SimMachine(fs, options.openFilesMax, this.faults);

    // native/layout.h, tl_desk_lay_out.
    const entries = options.pagesMax * ENTRIES_PER_PAGE;
    if (options.pagesMax > PAGES_LIMIT) throw new RangeError('sim: too many pages');
    let at = 0;
    const part = (size: number, alignment = 2) => {
      const start = Math.ceil(at / alignment) * alignment;
      at = start + size;
      return start;
    };
    this.control = part(192);
    this.descs = part(DESC_SIZE * options.pagesMax, 256);
    this.links = part(2 * entries);
    this.spotList = part(2 * entries);
    this.directList = part(2 * entries);
    this.entries = part(ENTRY_SIZE * entries, 4096);
    this.slots = part(SLOT_SIZE * entries);
    this.desk = new ArrayBuffer(Math.ceil(at / 4096) * 4096);
    this.pool = new ArrayBuffer(POOL_BYTES);
    this.deskAddress = BigInt(this.machine.space.map(Buffer.from(this.desk)));
    this.poolAddress = BigInt(this.machine.space.map(Buffer.from(this.pool)));
    this.#view = new Desk(this, options.pagesMax);
    this.crew = new SimCrew(this.#view, this.machine, random.fork());
  }

  /** What Kernel.over calls. */
  open(drain: () => number): NativeKernel {
    this.#drain = drain;
    return this;
  }

  /* --- NativeKernel ------------------------------------------------------------------------ */

  spot(count: number, directCount: number, directViews: readonly Uint8Array[]): number {
    const { space } = this.machine;
    const { entries, directList, spotList } = this.#view;
    const lent: number[] = [];
    for (let i = 0; i < directCount; i++) {
      const { buffer, byteOffset, byteLength } = directViews[i];
      const address = space.map(Buffer.from(buffer, byteOffset, byteLength));
      lent.push(address);
      const at = directList[i] * ENTRY_WORDS + WORD.args;
      entries[at + 2] = address;
      entries[at + 3] = Math.floor(address / 4294967296);
      const length = entries[at + 5] * 4294967296 + (entries[at + 4] >>> 0);
      if (length > byteLength) {
        entries[at + 4] = byteLength;
        entries[at + 5] = 0;
      }
    }
    const attempt = tryNow(this.machine);
    for (let i = 0; i < count; i++) new ChainRun(this.#view, spotList[i]).run(attempt);
    for (const address of lent) space.unmap(address);
    this.#quietTurns = 0;
    return this.otherWork() ? 1 : 0;
  }

  wake(): void {
    this.crew.wake();
  }

  ref(alive: boolean): void {
    this.refs++;
    this.#alive = alive;
    if (alive) this.#schedule();
  }

  otherWork(): boolean {
    return this.faults.enabled && this.#random.chance(1, 4);
  }

  wait(timeoutMs: number): number {
    for (let turn = 0; turn < STUCK_TURNS; turn++) {
      if (this.#hasNews()) return 1;
      this.crew.step();
    }
    if (timeoutMs < 0) this.#stuck();
    return 0;
  }

  ringOpen(): NativeRing {
    const error = new Error('trapless: io_uring_setup: Operation not permitted');
    throw Object.assign(error, { errno: -ERRNO.EPERM });
  }

  ringEnter(): number {
    return -ERRNO.EBADF;
  }

  ringClose(): void {}

  close(): void {
    this.#closed = true;
    this.#alive = false;
  }

  /* --- The loop ---------------------------------------------------------------------------- */

  #hasNews(): boolean {
    const { control } = this.#view;
    return load(control, CONTROL.bell) !== control[CONTROL.bellSeen];
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    setImmediate(this.#turn);
  }

  readonly #turn = (): void => {
    this.#scheduled = false;
    if (this.#closed) return;
    // Before the drain: a callback that throws must not end the loop.
    if (this.#alive) this.#schedule();
    const worked = this.crew.step();
    if (this.#hasNews() || this.#view.control[CONTROL.wantDrain] !== 0) {
      this.#quietTurns = 0;
      this.#drain();
    } else if (worked) {
      this.#quietTurns = 0;
    } else if (this.#alive && ++this.#quietTurns > STUCK_TURNS) {
      this.#stuck();
    }
  };

  #stuck(): never {
    this.close();
    throw new Error(`sim: in flight, but nothing will ever happen: ${this.crew.describe()}`);
  }
}
