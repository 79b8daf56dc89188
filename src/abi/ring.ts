/**
 * io_uring's numbers and layouts: linux/io_uring.h, io_uring_enter(2). Data only. Offsets in an
 * SQE and a CQE are Int32 indexes.
 */
export const OP = {
  nop: 0,
  readv: 1,
  writev: 2,
  fsync: 3,
  pollAdd: 6,
  sendmsg: 9,
  recvmsg: 10,
  accept: 13,
  asyncCancel: 14,
  connect: 16,
  fallocate: 17,
  openat: 18,
  close: 19,
  statx: 21,
  read: 22,
  write: 23,
  send: 26,
  recv: 27,
  renameat: 35,
  unlinkat: 36,
  mkdirat: 37,
  symlinkat: 38,
  linkat: 39,
} as const;

export const SQE_WORDS = 16;
/** op: opcode u8, flags u8, ioprio u16. */
export const SQE = {
  op: 0,
  fd: 1,
  off: 2,
  addr: 4,
  len: 6,
  opFlags: 7,
  userData: 8,
  bufIndex: 10,
  spliceFd: 11,
  /** Of send to an address: its length, u16. */
  addrLen: 11,
} as const;

export const CQE_WORDS = 4;
export const CQE = { userData: 0, generation: 1, result: 2, flags: 3 } as const;

export const ENTER_GETEVENTS = 1;
export const ENTER_SQ_WAKEUP = 2;
export const CQ_EVENTFD_DISABLED = 1;
export const SQ_NEED_WAKEUP = 1;
export const SQ_CQ_OVERFLOW = 2;
export const SQ_TASKRUN = 4;
export const FSYNC_DATASYNC = 1;
export const SETUP_SQPOLL = 2;
/** In the SQE's flags byte, and in ioprio, both in word 0. */
export const SQE_BUFFER_SELECT = (1 << 5) << 8;
/** In the length of a pollAdd. */
export const POLL_MULTISHOT = 1;
export const ACCEPT_MULTISHOT = 1 << 16;
export const RECV_MULTISHOT = 2 << 16;
/** cqe.flags: a provided buffer was used (its number in the upper half); more will follow. */
export const CQE_BUFFER = 1;
export const CQE_MORE = 2;
export const CQE_BUFFER_SHIFT = 16;
/** Everything on this descriptor: FD | ALL. */
export const CANCEL_DESCRIPTOR = 2 | 1;
/** Every request there is: ALL | ANY. */
export const CANCEL_EVERYTHING = 1 | 4;
