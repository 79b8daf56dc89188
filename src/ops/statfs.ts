/**
 * statfs(2) into the entry's slot.
 */
import { SLOT_SIZE } from '../abi/entry.ts';
import { STATFS } from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { SLOT_RESULT } from '../page/pages.ts';
import { Call, type Fail, number, type Path, putPath, type Resolve } from './call.ts';

/** type, bsize, blocks, bfree, bavail, files, ffree: the order of fs.StatFs. */
export type StatFsFields = [bigint, bigint, bigint, bigint, bigint, bigint, bigint];

function decode(kernel: Kernel, id: number): StatFsFields {
  const { slots } = kernel.desk;
  const field = (offset: number) => slots.readBigUInt64LE(id * SLOT_SIZE + SLOT_RESULT + offset);
  return [
    field(STATFS.type),
    field(STATFS.bsize),
    field(STATFS.blocks),
    field(STATFS.bfree),
    field(STATFS.bavail),
    field(STATFS.files),
    field(STATFS.ffree),
  ];
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
