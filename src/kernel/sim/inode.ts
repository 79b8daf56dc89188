/**
 * What the simulated file system is made of. Names and link texts are latin1 strings: one
 * character per byte, whatever the bytes mean.
 */
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../abi/structs.ts';

interface Common {
  readonly ino: number;
  /** Type and permissions, as in stat(2). */
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  /** Nanoseconds since 1970. */
  atime: bigint;
  mtime: bigint;
  ctime: bigint;
  readonly btime: bigint;
}

export interface File extends Common {
  readonly type: 'file';
  /** Room for the content; what counts is `size`. */
  data: Buffer;
  size: number;
}

export interface Directory extends Common {
  readonly type: 'directory';
  /** In the order of creation, which is the order of getdents64. */
  readonly entries: Map<string, Inode>;
  /** Itself for the root. */
  parent: Directory;
}

export interface Link extends Common {
  readonly type: 'link';
  readonly target: string;
}

export type Inode = File | Directory | Link;

const TYPES = { file: S_IFREG, directory: S_IFDIR, link: S_IFLNK } as const;

/** Bytes in stat's `size`. */
export function sizeOf(inode: Inode): number {
  if (inode.type === 'file') return inode.size;
  return inode.type === 'link' ? inode.target.length : 4096;
}

export function modeOf(type: Inode['type'], permissions: number): number {
  return TYPES[type] | permissions;
}

export function setPermissions(inode: Inode, permissions: number): void {
  inode.mode = (inode.mode & S_IFMT) | (permissions & 0o7777);
}
