/**
 * statfs(2) into the entry's slot.
 */
import { SLOT_SIZE } from '../abi/entry.ts';
import { STATFS } from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { SLOT_RESULT } from '../page/pages.ts';
import { Call, type Fail, number, type Path, putPath, type Resolve } from './call.ts';

/** In the order of fs.StatFs since Node 24; before, it has no frsize. */
export interface StatFsFields {
  readonly type: bigint;
  readonly bsize: bigint;
  readonly frsize: bigint;
  readonly blocks: bigint;
  readonly bfree: bigint;
  readonly bavail: bigint;
  readonly files: bigint;
  readonly ffree: bigint;
}

function decode(kernel: Kernel, id: number): StatFsFields {
  const { slots } = kernel.desk;
  const field = (offset: number) => slots.readBigUInt64LE(id * SLOT_SIZE + SLOT_RESULT + offset);
  return {
    type: field(STATFS.type),
    bsize: field(STATFS.bsize),
    frsize: field(STATFS.frsize),
    blocks: field(STATFS.blocks),
    bfree: field(STATFS.bfree),
    bavail: field(STATFS.bavail),
    files: field(STATFS.files),
    ffree: field(STATFS.ffree),
  };
}

export function statfs(
  kernel: Kernel,
  path: Path,
  resolve: Resolve<StatFsFields>,
  fail?: Fail,
): void {
  const id = kernel.pages.claim();
  if (id === -1) return kernel.whenRoom(() => statfs(kernel, path, resolve, fail));
  kernel.pages.call(id, number('statfs'), 2, 0);
  putPath(kernel, id, 0, path);
  kernel.pages.setSlot(id, 1, SLOT_RESULT);
  kernel.post(id, new Call('statfs', path, undefined, decode, resolve, fail));
}
