/**
 * What native/sockets.h and the sockets of a kernel (src/kernel/sockets/) have in common; compared
 * when the addon is loaded (checkLayout in entry.ts).
 */
export const SOCKET = {
  /** Low bits of user_data: the slot. The kind of request stands above. */
  slotBits: 18,
  /** The kind whose completions carry a new descriptor, which the addon closes if nobody took it. */
  kindAccept: 1,
  /** Byte of the arena where the descriptors in use begin; the buffer ring lies before it. */
  descriptorsAt: 4096,
} as const;
