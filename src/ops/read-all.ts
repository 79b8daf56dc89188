/**
 * Everything an open file has to say, from its position on. The descriptor stays open.
 *
 *   const data = await readAll(kernel, fd);
 *   const data = await readAll(kernel, fd, () => signal.throwIfAborted());
 *
 * In Node's steps: fstat; then reads until the size it told is reached, or, where there is no size
 * (pipes, /proc), until nothing comes. `check` is called before each step and may throw. A file
 * longer than a Buffer of Node's may be is NotOurs.
 */
import { SLOT_SIZE } from '../abi/entry.ts';
import { S_IFMT, S_IFREG, STATX } from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { SLOT_RESULT } from '../page/pages.ts';
import { NotOurs } from './call.ts';
import { fstat } from './stat.ts';
import { CURRENT, read } from './transfer.ts';

export type Check = () => void;

/** What one read asks for: short enough to be tried on the spot. */
const CHUNK = 256 * 1024;
const UNSIZED_CHUNK = 64 * 1024;
/** Node's limit (ERR_FS_FILE_TOO_LARGE). */
const FILE_MAX = 2 ** 31 - 1;

function nothing(): void {}

/** The size of a regular file; 0 for everything else. */
function sizeOf(kernel: Kernel, fd: number): Promise<number> {
  const decode = (k: Kernel, id: number) => {
    const at = id * SLOT_SIZE + SLOT_RESULT;
    const { slots } = k.desk;
    if ((slots.readUInt16LE(at + STATX.mode) & S_IFMT) !== S_IFREG) return 0;
    return Number(slots.readBigUInt64LE(at + STATX.size));
  };
  return new Promise((resolve) => fstat<number>(kernel, fd, decode, resolve));
}

function readInto(kernel: Kernel, fd: number, target: Buffer): Promise<number> {
  return new Promise((resolve) => read(kernel, fd, target, CURRENT, resolve));
}

async function readSized(kernel: Kernel, fd: number, size: number, check: Check): Promise<Buffer> {
  const data = Buffer.allocUnsafeSlow(size);
  for (let at = 0; at < size; ) {
    check();
    const bytes = await readInto(kernel, fd, data.subarray(at, Math.min(size, at + CHUNK)));
    if (bytes === 0) return data.subarray(0, at);
    at += bytes;
  }
  return data;
}

async function readUnsized(kernel: Kernel, fd: number, check: Check): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for (;;) {
    check();
    const part = Buffer.allocUnsafeSlow(UNSIZED_CHUNK);
    const bytes = await readInto(kernel, fd, part);
    if (bytes === 0) return Buffer.concat(parts, length);
    parts.push(part.subarray(0, bytes));
    length += bytes;
    if (length > FILE_MAX) throw new NotOurs('too large');
  }
}

export async function readAll(kernel: Kernel, fd: number, check: Check = nothing): Promise<Buffer> {
  check();
  const size = await sizeOf(kernel, fd);
  if (size > FILE_MAX) throw new NotOurs('too large');
  check();
  return size > 0 ? readSized(kernel, fd, size, check) : readUnsized(kernel, fd, check);
}
