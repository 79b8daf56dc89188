/**
 * The syscall entry and its page (FlexSC figure 6), as TypeScript reads and writes them: indexes
 * into Int32Array views. The C side is native/layout.h; `checkLayout` compares the two when the
 * addon is loaded, so a field that moved on one side only is an error, not a corruption.
 *
 *   byte  0        4        6     7      8 … 55          56 … 63
 *         status   number   argc  flags  six arguments   result
 */

import { SOCKET } from './sockets.ts';

/** free -> submitted -> busy -> done -> free (FlexSC 3.2); abandoned: the caller gave up. */
export const STATUS = { free: 0, submitted: 1, busy: 2, done: 3, abandoned: 4 } as const;
export type StatusName = keyof typeof STATUS;
export const STATUS_NAMES: readonly StatusName[] = [
  'free',
  'submitted',
  'busy',
  'done',
  'abandoned',
];

/** How the entries of a chain (a looped multi-call, FlexSC 6.1) feed each other. */
export const FLAG = {
  /** Another entry follows: links[id]. */
  link: 1,
  /** Argument 0 is the result of the chain's first entry. */
  headFd: 2,
  /** Runs even if an earlier entry failed. */
  always: 4,
  /** Runs only if the entry before returned 0. */
  atEof: 8,
  /** Argument 3, an offset, is raised by the result of the entry before. */
  after: 16,
  /** A pread that, on a pipe or terminal, waits for data and reads. */
  stream: 32,
  /** Runs only if the entry before transferred all of its argument 2, or failed. */
  ifFull: 64,
  /** Set on the spot: its file does not know RWF_NOWAIT (overlayfs); the ring would be slower. */
  forCrew: 128,
} as const;

/** Not a Linux call: returns 0. */
export const NUMBER_NOP = 0xfff;
/** Nor is this: sorts the directory listing that the entry before read (native/pack.h). */
export const NUMBER_PACK = 0xffe;
/** links[id] of an entry that ends its chain. */
export const NO_LINK = 0xffff;

export const ABI_VERSION = 1;
export const ENTRY_SIZE = 64;
export const ENTRIES_PER_PAGE = 64;
export const SLOT_SIZE = 1088;
export const DESC_SIZE = 128;
export const PAGES_LIMIT = 256;

/** Int32 indexes within an entry: view[id * ENTRY_WORDS + …]. */
export const ENTRY_WORDS = ENTRY_SIZE / 4;
export const WORD = { status: 0, call: 1, args: 2, result: 14 } as const;

/** Int32 indexes within a page descriptor. */
export const DESC_WORDS = DESC_SIZE / 4;
export const DESC = { ready: 0, done: 16 } as const;

/** Int32 indexes within the control block. */
export const CONTROL = {
  pagesInUse: 0,
  order: 1,
  wantDrain: 2,
  crewInFlight: 3,
  ringInFlight: 4,
  spinUs: 5,
  bellSeen: 6,
  asleep: 16,
  wakesByEventfd: 18,
  spinsWon: 19,
  spinsLost: 20,
  spotNs: 21,
  bell: 32,
  awake: 33,
  crewChains: 35,
  crewHandoffs: 36,
  crewWakes: 37,
  crewPagesLocked: 38,
  crewSecondCore: 39,
} as const;

/** Word 1 of an entry: number, argument count and flags. */
export function callWord(number: number, argc: number, flags: number): number {
  return number | (argc << 16) | (flags << 24);
}

/** The layout as this file has it, under the names of native/addon.c. */
function ownLayout(): Record<string, number> {
  const layout: Record<string, number> = {
    abiVersion: ABI_VERSION,
    entrySize: ENTRY_SIZE,
    entriesPerPage: ENTRIES_PER_PAGE,
    slotSize: SLOT_SIZE,
    descSize: DESC_SIZE,
    pagesLimit: PAGES_LIMIT,
    entryStatus: WORD.status * 4,
    entryNumber: WORD.call * 4,
    entryArgc: WORD.call * 4 + 2,
    entryFlags: WORD.call * 4 + 3,
    entryArgs: WORD.args * 4,
    entryResult: WORD.result * 4,
    descReady: DESC.ready * 4,
    descDone: DESC.done * 4,
    socketSlotBits: SOCKET.slotBits,
    socketKindAccept: SOCKET.kindAccept,
    socketDescriptorsAt: SOCKET.descriptorsAt,
  };
  for (const [name, index] of Object.entries(CONTROL)) layout[name] = index * 4;
  return layout;
}

/** Throws when the addon was built from another layout. */
export function checkLayout(native: Readonly<Record<string, number>>): void {
  const own = ownLayout();
  for (const name of new Set([...Object.keys(own), ...Object.keys(native)])) {
    if (own[name] === native[name]) continue;
    throw new Error(
      `trapless: the addon's layout differs (${name}: ${native[name]}, expected ${own[name]}); rebuild it: npm run build`,
    );
  }
}
