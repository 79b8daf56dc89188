/**
 * Sizes of the sockets' memory (native/sockets.h), and what completions are about.
 *
 *   arena:  buffer ring | descriptors | receive buffers | send blocks, small and large
 *
 * All of it is reserved, not committed: what is never touched costs nothing.
 */
import { SOCKET } from '../../abi/sockets.ts';

/** Slots: one per socket. The low bits of user_data; the kind of request stands above. */
export const SLOT_BITS = SOCKET.slotBits;
export const SLOTS_MAX = 1 << SLOT_BITS;
export const SLOT_MASK = SLOTS_MAX - 1;
/** The last slots note connections that were taken out of a backlog and not delivered yet. */
export const BACKLOG_SLOTS = 512;
export const BACKLOG_AT = SLOTS_MAX - BACKLOG_SLOTS;

/** What was requested. native/sockets.h knows `accept`. */
export const KIND = {
  /** Nobody waits for it: a cancel. */
  none: 0,
  accept: SOCKET.kindAccept,
  receive: 2,
  send: 3,
  connect: 4,
  close: 5,
  /** Connections wait on a listening descriptor that does not block. */
  backlog: 6,
} as const;

/** Submission entries; eight times as many completions (native/sockets.c). */
export const QUEUE_ENTRIES = 512;

/** Blocks are further apart than they are long: at equal distances of 2^n bytes all of them would
 *  begin in the same cache set. */
const SKEW = 192;

/** Receive buffers: Linux takes them in order. Each holds the largest datagram with its header;
 *  of a stream, as much as Node reads at a time. */
export const BUFFERS = 128;
export const BUFFER_BYTES = 64 * 1024 + SKEW;

/** Send blocks: what a turn usually writes, and what a stream does. */
export const SMALL_BLOCK = 4096;
export const LARGE_BLOCK = 64 * 1024;
const SMALL_BLOCKS = 4096;
const LARGE_BLOCKS = 128;

export const DESCRIPTORS_AT = SOCKET.descriptorsAt;
export const BUFFERS_AT = DESCRIPTORS_AT + SLOTS_MAX * 4;
export const SMALL_AT = BUFFERS_AT + BUFFERS * BUFFER_BYTES;
export const LARGE_AT = SMALL_AT + SMALL_BLOCKS * (SMALL_BLOCK + SKEW);
export const ARENA_BYTES = LARGE_AT + LARGE_BLOCKS * (LARGE_BLOCK + SKEW);

export const SEND_CLASSES = [
  { at: SMALL_AT, size: SMALL_BLOCK, stride: SMALL_BLOCK + SKEW, count: SMALL_BLOCKS },
  { at: LARGE_AT, size: LARGE_BLOCK, stride: LARGE_BLOCK + SKEW, count: LARGE_BLOCKS },
] as const;
