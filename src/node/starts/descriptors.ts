/** Starts of what works on an open descriptor and answers with nothing. */
import * as descriptor from '../../ops/descriptor.ts';
import { setTimes } from '../../ops/times.ts';
import { acceptDescriptor, acceptInteger, acceptOwner, acceptTime } from '../accept.ts';
import { byNode } from '../plain.ts';
import { isNodes } from '../unmanaged.ts';
import { onDescriptor, type Start } from './start.ts';

/** What Node keeps on a list of its own is for Node to close, after our calls on it. */
export const close: Start = (kernel, [fd], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  if (accepted === undefined) return false;
  if (!isNodes(kernel, accepted)) descriptor.close(kernel, accepted, resolve, fail);
  else if (kernel.inFlight === 0) return false;
  else descriptor.quiet(kernel, accepted, byNodes, byNodes);
  return true;

  function byNodes(): void {
    byNode('close', [accepted], resolve, fail);
  }
};
export const fsync = onDescriptor(descriptor.fsync);
export const fdatasync = onDescriptor(descriptor.fdatasync);

const LENGTH_MAX = Number.MAX_SAFE_INTEGER;

/** The new length of a file; negative ones mean 0. */
export function acceptLength(length: unknown): number | undefined {
  if (length === undefined) return 0;
  const bytes = acceptInteger(length, -LENGTH_MAX, LENGTH_MAX);
  return bytes === undefined ? undefined : Math.max(0, bytes);
}

export const ftruncate: Start = (kernel, [fd, length], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  const bytes = acceptLength(length);
  if (accepted === undefined || bytes === undefined) return false;
  descriptor.ftruncate(kernel, accepted, bytes, resolve, fail);
  return true;
};

export const fchmod: Start = (kernel, [fd, mode], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  const permissions = acceptInteger(mode, 0, 0o7777);
  if (accepted === undefined || permissions === undefined) return false;
  descriptor.fchmod(kernel, accepted, permissions, resolve, fail);
  return true;
};

export const fchown: Start = (kernel, [fd, uid, gid], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  const user = acceptOwner(uid);
  const group = acceptOwner(gid);
  if (accepted === undefined || user === undefined || group === undefined) return false;
  descriptor.fchown(kernel, accepted, user, group, resolve, fail);
  return true;
};

export const futimes: Start = (kernel, [fd, atime, mtime], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  const accessed = acceptTime(atime);
  const modified = acceptTime(mtime);
  if (accepted === undefined || accessed === undefined || modified === undefined) return false;
  setTimes(kernel, accepted, false, accessed, modified, resolve, fail);
  return true;
};
