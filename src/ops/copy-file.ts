/**
 * copyFile, in three postings, which do what libuv does in the same order:
 *
 *   open source ─► statx                    on the spot, when cached
 *   open destination ─► statx               is it the same file? then done
 *   ftruncate ─► fchmod ─► copy_file_range ─► close ─► close
 *
 * copy_file_range(2) shares blocks where the filesystem can; between two filesystems it is
 * sendfile(2). Whatever goes wrong in the last posting, or stops half-way, is NotOurs: copying is
 * begun anew by Node.
 */
import { FLAG, SLOT_SIZE } from '../abi/entry.ts';
import {
  AT_EMPTY_PATH,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_WRONLY,
  STATX,
  STATX_MASK,
} from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { SLOT_RESULT } from '../page/pages.ts';
import {
  type Fail,
  NotOurs,
  number,
  type Path,
  pathText,
  putPath,
  type Resolve,
  settleError,
} from './call.ts';
import { claimChain, following } from './chain.ts';
import { closeQuietly } from './descriptor.ts';
import { systemError } from './error.ts';
import { fillOpen } from './open.ts';
import { unlink } from './paths.ts';

interface OpenFile {
  readonly fd: number;
  readonly mode: number;
  readonly size: number;
  readonly device: string;
  readonly inode: bigint;
}

function decodeFile(kernel: Kernel, id: number, fd: number): OpenFile {
  const { slots } = kernel.desk;
  const at = id * SLOT_SIZE + SLOT_RESULT;
  return {
    fd,
    mode: slots.readUInt16LE(at + STATX.mode),
    size: Number(slots.readBigUInt64LE(at + STATX.size)),
    device: `${slots.readUInt32LE(at + STATX.dev_major)}:${slots.readUInt32LE(at + STATX.dev_minor)}`,
    inode: slots.readBigUInt64LE(at + STATX.ino),
  };
}

/** Resolves to the open file, or to the negative errno. */
function openFile(
  kernel: Kernel,
  path: Path,
  flags: number,
  mode: number,
  resolve: (file: OpenFile | number) => void,
): void {
  const head = claimChain(kernel, 2);
  if (head === -1) return kernel.whenRoom(() => openFile(kernel, path, flags, mode, resolve));
  const { pages } = kernel;
  fillOpen(kernel, head, path, flags, mode, FLAG.link);
  const looking = following(kernel, head);
  pages.call(looking, number('statx'), 5, FLAG.headFd);
  putPath(kernel, looking, 1, '');
  pages.setInt(looking, 2, AT_EMPTY_PATH);
  pages.setInt(looking, 3, STATX_MASK);
  pages.setSlot(looking, 4, SLOT_RESULT);
  const done = () => {
    const fd = pages.result(head);
    const looked = pages.result(looking);
    const file = fd >= 0 && looked >= 0 ? decodeFile(kernel, looking, fd) : fd;
    if (fd >= 0) kernel.own.add(fd);
    pages.free(head);
    if (fd >= 0 && looked < 0) closeQuietly(kernel, fd).then(() => resolve(looked));
    else resolve(file);
  };
  kernel.post(head, { done, mayBlock: flags !== O_RDONLY });
}

/** Fills `id` with copying everything from one file to the other. */
function fillCopy(kernel: Kernel, id: number, from: OpenFile, to: OpenFile): void {
  const { pages } = kernel;
  if (from.device === to.device) {
    pages.call(id, number('copy_file_range'), 6, FLAG.link);
    pages.setInt(id, 0, from.fd);
    pages.setInt(id, 1, 0);
    pages.setInt(id, 2, to.fd);
    pages.setInt(id, 3, 0);
    pages.setNumber(id, 4, from.size);
    pages.setInt(id, 5, 0);
  } else {
    pages.call(id, number('sendfile'), 4, FLAG.link);
    pages.setInt(id, 0, to.fd);
    pages.setInt(id, 1, from.fd);
    pages.setInt(id, 2, 0);
    pages.setNumber(id, 3, from.size);
  }
}

/** Resolves to whether everything was copied. Closes both files. */
function transfer(
  kernel: Kernel,
  from: OpenFile,
  to: OpenFile,
  resolve: (whole: boolean) => void,
): void {
  const head = claimChain(kernel, 5);
  if (head === -1) return kernel.whenRoom(() => transfer(kernel, from, to, resolve));
  const { pages } = kernel;
  const on = (id: number, name: 'ftruncate' | 'fchmod' | 'close', fd: number, flags: number) => {
    pages.setInt(id, 0, fd);
    pages.call(id, number(name), name === 'close' ? 1 : 2, flags);
  };
  on(head, 'ftruncate', to.fd, FLAG.link);
  pages.setInt(head, 1, 0);
  const changing = following(kernel, head);
  on(changing, 'fchmod', to.fd, FLAG.link);
  pages.setInt(changing, 1, from.mode);
  const copying = following(kernel, changing);
  fillCopy(kernel, copying, from, to);
  const closing = following(kernel, copying);
  on(closing, 'close', to.fd, FLAG.link | FLAG.always);
  on(following(kernel, closing), 'close', from.fd, FLAG.always);
  const done = () => {
    const whole = pages.result(copying) === from.size && pages.result(closing) === 0;
    pages.free(head);
    resolve(whole);
  };
  kernel.post(head, { done, mayBlock: true });
  kernel.own.remove(from.fd);
  kernel.own.remove(to.fd);
}

async function copy(kernel: Kernel, from: Path, to: Path, exclusive: boolean): Promise<undefined> {
  const opened = (path: Path, flags: number, mode: number) =>
    new Promise<OpenFile | number>((resolve) => openFile(kernel, path, flags, mode, resolve));
  const failure = (errno: number) => systemError(errno, 'copyfile', pathText(from), pathText(to));

  const source = await opened(from, O_RDONLY, 0);
  if (typeof source === 'number') throw failure(source);
  const flags = O_WRONLY | O_CREAT | (exclusive ? O_EXCL : 0);
  const target = await opened(to, flags, source.mode & 0o7777);
  if (typeof target === 'number') {
    await closeQuietly(kernel, source.fd);
    throw failure(target);
  }
  if (source.device === target.device && source.inode === target.inode) {
    await Promise.all([closeQuietly(kernel, source.fd), closeQuietly(kernel, target.fd)]);
    return;
  }
  if (await new Promise((resolve) => transfer(kernel, source, target, resolve))) return;
  if (exclusive) await new Promise((resolve) => unlink(kernel, to, resolve, resolve));
  throw new NotOurs('copyFile');
}

/** `exclusive`: the destination must not exist. */
export function copyFile(
  kernel: Kernel,
  from: Path,
  to: Path,
  exclusive: boolean,
  resolve: Resolve<undefined>,
  fail?: Fail,
): void {
  const { openFiles } = kernel;
  if (openFiles.full)
    return openFiles.later(() => copyFile(kernel, from, to, exclusive, resolve, fail));
  openFiles.enter();
  const copied = copy(kernel, from, to, exclusive).finally(() => openFiles.leave());
  copied.then(resolve, (error: Error) => settleError(error, resolve, fail));
}
