/** Starts of what answers with numbers about a file: stat, lstat, fstat, statfs, access. */
import type { Fail } from '../../ops/call.ts';
import { access as accessPath } from '../../ops/paths.ts';
import { fstat as statDescriptor, stat as statPath } from '../../ops/stat.ts';
import { statfs as statFilesystem } from '../../ops/statfs.ts';
import { acceptDescriptor, acceptInteger, acceptPath } from '../accept.ts';
import { acceptBigInt } from '../accept-options.ts';
import { bigIntStatsOf, statFsOf, statsOf } from '../file-stats.ts';
import type { Settle, Start } from './start.ts';

function statLike(nofollow: boolean): Start {
  return (kernel, [path, options], resolve, fail) => {
    const accepted = acceptPath(path);
    const bigint = acceptBigInt(options);
    if (accepted === undefined || bigint === undefined || statsOf === null) return false;
    if (bigint) statPath(kernel, accepted, nofollow, bigIntStatsOf, resolve, fail);
    else statPath(kernel, accepted, nofollow, statsOf, resolve, fail);
    return true;
  };
}

export const stat = statLike(false);
export const lstat = statLike(true);

export const fstat: Start = (kernel, [fd, options], resolve, fail) => {
  const accepted = acceptDescriptor(fd);
  const bigint = acceptBigInt(options);
  if (accepted === undefined || bigint === undefined || statsOf === null) return false;
  if (bigint) statDescriptor(kernel, accepted, bigIntStatsOf, resolve, fail);
  else statDescriptor(kernel, accepted, statsOf, resolve, fail);
  return true;
};

export const statfs: Start = (kernel, [path, options], resolve: Settle, fail?: Fail) => {
  const accepted = acceptPath(path);
  const bigint = acceptBigInt(options);
  if (accepted === undefined || bigint === undefined) return false;
  statFilesystem(
    kernel,
    accepted,
    (fields) => resolve('then' in fields ? fields : statFsOf(fields, bigint)),
    fail,
  );
  return true;
};

export const access: Start = (kernel, [path, mode], resolve, fail) => {
  const accepted = acceptPath(path);
  const bits = mode === undefined ? 0 : acceptInteger(mode, 0, 7);
  if (accepted === undefined || bits === undefined) return false;
  accessPath(kernel, accepted, bits, resolve, fail);
  return true;
};
