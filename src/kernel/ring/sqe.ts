/**
 * From a syscall entry to an SQE: what the paper's syscall thread does when it moves arguments
 * from the page to registers (FlexSC 3.4), here from page to ring, in TypeScript.
 *
 *   const encode = encoders[pages.number(id)];   // undefined: the ring has no such call
 *   encode(sqes, slot, entries, id)
 *
 * An encoder writes the SQE's words up to user_data. Those behind it (buffer index, splice_fd and
 * so on) are zero from the start and stay so: no call here uses them, and Linux only reads SQEs.
 */
import { ENTRY_WORDS, NUMBER_NOP, WORD } from '../../abi/entry.ts';
import { FSYNC_DATASYNC, OP, SQE, SQE_WORDS } from '../../abi/ring.ts';
import type { SyscallName } from '../../abi/syscalls.ts';
import { syscallNumber } from '../../abi/syscalls.ts';

export type Encode = (sqes: Int32Array, slot: number, entries: Int32Array, id: number) => void;

/** Index of argument `n`'s low word. */
const arg = (id: number, n: number): number => id * ENTRY_WORDS + WORD.args + n * 2;

function begin(sqes: Int32Array, slot: number, op: number, fd: number): number {
  const at = slot * SQE_WORDS;
  sqes[at + SQE.op] = op;
  sqes[at + SQE.fd] = fd;
  sqes[at + SQE.off] = 0;
  sqes[at + SQE.off + 1] = 0;
  sqes[at + SQE.addr] = 0;
  sqes[at + SQE.addr + 1] = 0;
  sqes[at + SQE.len] = 0;
  sqes[at + SQE.opFlags] = 0;
  return at;
}

function copyPair(sqes: Int32Array, to: number, entries: Int32Array, from: number): void {
  sqes[to] = entries[from];
  sqes[to + 1] = entries[from + 1];
}

/** read(fd, buf, len), pread64(fd, buf, len, offset) and the writes. */
function transfer(op: number, positioned: boolean): Encode {
  return (sqes, slot, entries, id) => {
    const at = begin(sqes, slot, op, entries[arg(id, 0)]);
    copyPair(sqes, at + SQE.addr, entries, arg(id, 1));
    sqes[at + SQE.len] = entries[arg(id, 2)];
    if (positioned) {
      copyPair(sqes, at + SQE.off, entries, arg(id, 3));
    } else {
      sqes[at + SQE.off] = -1; // the file's own position
      sqes[at + SQE.off + 1] = -1;
    }
  };
}

function fsync(flags: number): Encode {
  return (sqes, slot, entries, id) => {
    const at = begin(sqes, slot, OP.fsync, entries[arg(id, 0)]);
    sqes[at + SQE.opFlags] = flags;
  };
}

/** Linux looks at nothing else of a no-op. */
const nop: Encode = (sqes, slot) => {
  const at = slot * SQE_WORDS;
  sqes[at + SQE.op] = OP.nop;
  sqes[at + SQE.opFlags] = 0;
};

const close: Encode = (sqes, slot, entries, id) => {
  begin(sqes, slot, OP.close, entries[arg(id, 0)]);
};

/** openat(dirfd, path, flags, mode). */
const openat: Encode = (sqes, slot, entries, id) => {
  const at = begin(sqes, slot, OP.openat, entries[arg(id, 0)]);
  copyPair(sqes, at + SQE.addr, entries, arg(id, 1));
  sqes[at + SQE.opFlags] = entries[arg(id, 2)];
  sqes[at + SQE.len] = entries[arg(id, 3)];
};

/** statx(dirfd, path, flags, mask, buffer). */
const statx: Encode = (sqes, slot, entries, id) => {
  const at = begin(sqes, slot, OP.statx, entries[arg(id, 0)]);
  copyPair(sqes, at + SQE.addr, entries, arg(id, 1));
  sqes[at + SQE.opFlags] = entries[arg(id, 2)];
  sqes[at + SQE.len] = entries[arg(id, 3)];
  copyPair(sqes, at + SQE.off, entries, arg(id, 4));
};

/** unlinkat(dirfd, path, flags). */
const unlinkat: Encode = (sqes, slot, entries, id) => {
  const at = begin(sqes, slot, OP.unlinkat, entries[arg(id, 0)]);
  copyPair(sqes, at + SQE.addr, entries, arg(id, 1));
  sqes[at + SQE.opFlags] = entries[arg(id, 2)];
};

/** mkdirat(dirfd, path, mode). */
const mkdirat: Encode = (sqes, slot, entries, id) => {
  const at = begin(sqes, slot, OP.mkdirat, entries[arg(id, 0)]);
  copyPair(sqes, at + SQE.addr, entries, arg(id, 1));
  sqes[at + SQE.len] = entries[arg(id, 2)];
};

interface Encoder {
  readonly op: number;
  readonly encode: Encode;
}

const ENCODERS: Partial<Record<SyscallName | 'nop', Encoder>> = {
  nop: { op: OP.nop, encode: nop },
  read: { op: OP.read, encode: transfer(OP.read, false) },
  write: { op: OP.write, encode: transfer(OP.write, false) },
  pread64: { op: OP.read, encode: transfer(OP.read, true) },
  pwrite64: { op: OP.write, encode: transfer(OP.write, true) },
  fsync: { op: OP.fsync, encode: fsync(0) },
  fdatasync: { op: OP.fsync, encode: fsync(FSYNC_DATASYNC) },
  close: { op: OP.close, encode: close },
  openat: { op: OP.openat, encode: openat },
  statx: { op: OP.statx, encode: statx },
  unlinkat: { op: OP.unlinkat, encode: unlinkat },
  mkdirat: { op: OP.mkdirat, encode: mkdirat },
};

/** Encoders by syscall number, for the opcodes this Linux supports (IORING_REGISTER_PROBE). */
export function encodersFor(opsLow: number, opsHigh: number): (Encode | undefined)[] {
  const table: (Encode | undefined)[] = new Array(NUMBER_NOP + 1).fill(undefined);
  for (const [name, { op, encode }] of Object.entries(ENCODERS)) {
    const supported = op < 32 ? (opsLow >>> op) & 1 : (opsHigh >>> (op - 32)) & 1;
    if (!supported) continue;
    table[name === 'nop' ? NUMBER_NOP : syscallNumber(name as SyscallName)] = encode;
  }
  return table;
}
