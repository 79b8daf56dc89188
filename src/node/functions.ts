/**
 * What is accelerated: for each name of node:fs its start, how many arguments may stand before
 * the callback, and which forms it has. doors.ts lists the same names, for a program's start.
 */
import * as starts from './starts.ts';

export interface Accelerated {
  readonly start: starts.Start;
  readonly most: number;
  readonly forms: 'both' | 'callback';
}

const both = (start: starts.Start, most: number): Accelerated => ({ start, most, forms: 'both' });
const callback = (start: starts.Start, most: number): Accelerated => ({
  start,
  most,
  forms: 'callback',
});

/** Functions of another shape (open with promises, close, exists, read, write …) are in fs.ts. */
export const FUNCTIONS: Readonly<Record<string, Accelerated>> = {
  access: both(starts.access, 2),
  appendFile: both(starts.appendFile, 3),
  chmod: both(starts.chmod, 2),
  chown: both(starts.chown, 3),
  copyFile: both(starts.copyFile, 3),
  fchmod: callback(starts.fchmod, 2),
  fchown: callback(starts.fchown, 3),
  fdatasync: callback(starts.fdatasync, 1),
  fstat: callback(starts.fstat, 2),
  fsync: callback(starts.fsync, 1),
  ftruncate: callback(starts.ftruncate, 2),
  futimes: callback(starts.futimes, 3),
  lchown: both(starts.lchown, 3),
  link: both(starts.link, 2),
  lstat: both(starts.lstat, 2),
  lutimes: both(starts.lutimes, 3),
  mkdir: both(starts.mkdir, 2),
  mkdtemp: both(starts.mkdtemp, 2),
  open: callback(starts.open, 3),
  opendir: both(starts.opendir, 2),
  readFile: both(starts.readFile, 2),
  readdir: both(starts.readdir, 2),
  readlink: both(starts.readlink, 2),
  rename: both(starts.rename, 2),
  rm: both(starts.rm, 2),
  rmdir: both(starts.rmdir, 2),
  stat: both(starts.stat, 2),
  statfs: both(starts.statfs, 2),
  symlink: both(starts.symlink, 3),
  truncate: both(starts.truncate, 2),
  unlink: both(starts.unlink, 1),
  utimes: both(starts.utimes, 3),
  writeFile: both(starts.writeFile, 3),
};
