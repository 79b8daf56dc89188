/** Starts of what works on an open descriptor and answers with nothing. */
import * as descriptor from '../../ops/descriptor.ts';
import { setTimes } from '../../ops/times.ts';
import { acceptDescriptor, acceptInteger, acceptOwner, acceptTime } from '../accept.ts';
import { onDescriptor, type Start } from './start.ts';

export const close = onDescriptor(descriptor.close);
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
