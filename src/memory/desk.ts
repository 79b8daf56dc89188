/**
 * A kernel's desk as typed arrays: control words, page descriptors, chain links, lists, syscall
 * pages and slots, in one mapping with a known address (native/layout.h). The mapping never
 * moves and outlives every call in flight; see native/kernel.h for who keeps it.
 */
import { DESC_WORDS, ENTRIES_PER_PAGE, ENTRY_SIZE, SLOT_SIZE } from '../abi/entry.ts';
import type { NativeKernel } from '../native/addon.ts';

export class Desk {
  readonly pagesMax: number;
  readonly control: Int32Array;
  /** DESC_WORDS per page. */
  readonly descs: Int32Array;
  readonly links: Uint16Array;
  readonly spotList: Uint16Array;
  readonly directList: Uint16Array;
  /** ENTRY_WORDS per entry. */
  readonly entries: Int32Array;
  /** SLOT_SIZE bytes per entry: its path and its small result. */
  readonly slots: Buffer;
  readonly slotWords: Int32Array;
  /** A bit per descriptor: kernel/own-descriptors.ts. Null in a kernel that is not real. */
  readonly ownDescriptors: Int32Array | null;
  /** Address of slots: the low and high halves. No mapping crosses a 4 GiB line. */
  readonly slotsLow: number;
  readonly addressHigh: number;

  constructor(native: NativeKernel, pagesMax: number) {
    const entriesMax = pagesMax * ENTRIES_PER_PAGE;
    this.pagesMax = pagesMax;
    this.control = new Int32Array(native.desk, native.control, 48);
    this.descs = new Int32Array(native.desk, native.descs, pagesMax * DESC_WORDS);
    this.links = new Uint16Array(native.desk, native.links, entriesMax);
    this.spotList = new Uint16Array(native.desk, native.spotList, entriesMax);
    this.directList = new Uint16Array(native.desk, native.directList, entriesMax);
    this.entries = new Int32Array(native.desk, native.entries, (entriesMax * ENTRY_SIZE) / 4);
    this.slots = Buffer.from(native.desk, native.slots, entriesMax * SLOT_SIZE);
    this.slotWords = new Int32Array(native.desk, native.slots, (entriesMax * SLOT_SIZE) / 4);
    const { ownDescriptors: own, ownDescriptorsMax: most } = native;
    this.ownDescriptors = own === undefined ? null : new Int32Array(native.desk, own, most! >> 5);
    const address = native.deskAddress + BigInt(native.slots);
    this.slotsLow = Number(address & 0xffffffffn) | 0;
    this.addressHigh = Number(address >> 32n);
  }
}
