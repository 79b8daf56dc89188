/**
 * A native kernel made of plain memory, for unit tests of what TypeScript does to pages and
 * rings. Nothing executes anything here, unless a test does it.
 */
import {
  CONTROL,
  DESC_SIZE,
  ENTRIES_PER_PAGE,
  ENTRY_SIZE,
  SLOT_SIZE,
} from '../../src/abi/entry.ts';
import { Desk } from '../../src/memory/desk.ts';
import type { NativeKernel, NativeRing } from '../../src/native/addon.ts';

export const DESK_ADDRESS = 0x7f12_8000_0000n;

/** A desk laid out as native/layout.h does it, its address made up. */
export function fakeNative(pagesMax: number, overrides: Partial<NativeKernel> = {}): NativeKernel {
  const entriesMax = pagesMax * ENTRIES_PER_PAGE;
  const sizes = {
    control: Math.max(...Object.values(CONTROL)) * 4 + 64,
    descs: pagesMax * DESC_SIZE,
    links: entriesMax * 2,
    spotList: entriesMax * 2,
    directList: entriesMax * 2,
    entries: entriesMax * ENTRY_SIZE,
    slots: entriesMax * SLOT_SIZE,
  };
  let at = 0;
  const offsets: Record<string, number> = {};
  for (const [name, size] of Object.entries(sizes)) {
    offsets[name] = at;
    at = Math.ceil((at + size) / 4096) * 4096;
  }
  const unexpected = (name: string) => () => {
    throw new Error(`${name} was not expected`);
  };
  return {
    desk: new ArrayBuffer(at),
    pool: new ArrayBuffer(0),
    deskAddress: DESK_ADDRESS,
    poolAddress: 0x7f13_0000_0000n,
    ...offsets,
    spot: unexpected('spot'),
    wake: unexpected('wake'),
    ref: unexpected('ref'),
    otherWork: () => false,
    wait: unexpected('wait'),
    ringOpen: unexpected('ringOpen'),
    ringEnter: unexpected('ringEnter'),
    ringClose: unexpected('ringClose'),
    close: () => {},
    ...overrides,
  } as unknown as NativeKernel;
}

export function fakeDesk(pagesMax: number): Desk {
  return new Desk(fakeNative(pagesMax), pagesMax);
}

/** Byte offsets within `rings` of fakeRing's words. */
const WORDS = { sqHead: 0, sqTail: 64, sqFlags: 128, cqHead: 192, cqTail: 256, cqFlags: 320 };
const CQES = 512;

/** A mapped ring, and Linux' side of it. */
export class FakeRing {
  readonly mapped: NativeRing;
  readonly words: Int32Array;
  readonly sqes: Int32Array;
  /** user_data of what Linux took, in order. */
  readonly taken: number[] = [];

  constructor(sqEntries: number, cqEntries: number, setupFlags = 0) {
    const rings = new ArrayBuffer(CQES + cqEntries * 16);
    const sqes = new ArrayBuffer(sqEntries * 64);
    this.words = new Int32Array(rings);
    this.sqes = new Int32Array(sqes);
    this.mapped = {
      rings,
      sqes,
      features: 0,
      setupFlags,
      sqEntries,
      cqEntries,
      ...WORDS,
      cqOverflow: 384,
      cqes: CQES,
      opsLow: -1,
      opsHigh: -1,
    };
  }

  word(name: keyof typeof WORDS): number {
    return this.words[WORDS[name] / 4];
  }

  setWord(name: keyof typeof WORDS, value: number): void {
    this.words[WORDS[name] / 4] = value;
  }

  /** The SQE words that Linux would read next. */
  next(): Int32Array {
    const slot = this.word('sqHead') & (this.mapped.sqEntries - 1);
    return this.sqes.subarray(slot * 16, slot * 16 + 16);
  }

  /** Linux takes up to `count` submitted requests; how many it took. */
  take(count: number): number {
    let took = 0;
    while (took < count && this.word('sqHead') !== this.word('sqTail')) {
      this.taken.push(this.next()[8]);
      this.setWord('sqHead', (this.word('sqHead') + 1) | 0);
      took++;
    }
    return took;
  }

  /** Linux completes a request. */
  complete(userData: number, result: number): void {
    const tail = this.word('cqTail');
    const at = CQES / 4 + (tail & (this.mapped.cqEntries - 1)) * 4;
    this.words[at] = userData;
    this.words[at + 1] = 0;
    this.words[at + 2] = result;
    this.words[at + 3] = 0;
    this.setWord('cqTail', (tail + 1) | 0);
  }
}
