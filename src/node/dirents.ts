/**
 * fs.Dirent objects of a listing. A filesystem that does not tell types (DT_UNKNOWN) is asked
 * with lstat, as Node does.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import {
  DT_BLK,
  DT_CHR,
  DT_DIR,
  DT_FIFO,
  DT_LNK,
  DT_REG,
  DT_SOCK,
  DT_UNKNOWN,
} from '../abi/structs.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { type Fail, NotOurs, type Path, pathFits, type Resolve } from '../ops/call.ts';
import type { Listing } from '../ops/readdir.ts';
import { decodeType, stat } from '../ops/stat.ts';

/** In fs.constants of every Node, but not in its types. */
const constants = fs.constants as unknown as Record<string, number>;
/** DT_ to libuv's UV_DIRENT_, which is what fs.Dirent takes. */
const UV_TYPE = new Uint8Array(16);
UV_TYPE[DT_REG] = constants.UV_DIRENT_FILE;
UV_TYPE[DT_DIR] = constants.UV_DIRENT_DIR;
UV_TYPE[DT_LNK] = constants.UV_DIRENT_LINK;
UV_TYPE[DT_FIFO] = constants.UV_DIRENT_FIFO;
UV_TYPE[DT_SOCK] = constants.UV_DIRENT_SOCKET;
UV_TYPE[DT_CHR] = constants.UV_DIRENT_CHAR;
UV_TYPE[DT_BLK] = constants.UV_DIRENT_BLOCK;

export function uvType(dtType: number): number {
  return UV_TYPE[dtType & 15];
}

type DirentConstructor = new (
  name: string | Buffer,
  type: number,
  path: string | Buffer,
) => fs.Dirent;
const Dirent = fs.Dirent as unknown as DirentConstructor;

export function dirent(name: string | Buffer, dtType: number, path: Path): fs.Dirent {
  return new Dirent(name, UV_TYPE[dtType & 15], path as string | Buffer);
}

function within(path: Path, name: string | Buffer): Path {
  const inner =
    typeof path === 'string' && typeof name === 'string'
      ? join(path, name)
      : Buffer.concat([Buffer.from(path as string), Buffer.from('/'), Buffer.from(name as string)]);
  if (!pathFits(inner)) throw new NotOurs(String(inner));
  return inner;
}

async function learnTypes(kernel: Kernel, path: Path, listing: Listing): Promise<void> {
  for (let i = 0; i < listing.names.length; i++) {
    if (listing.types[i] !== DT_UNKNOWN) continue;
    const inner = within(path, listing.names[i]);
    listing.types[i] = await new Promise<number>((resolve) =>
      stat(kernel, inner, true, decodeType, resolve),
    );
  }
}

export function direntsOf(
  kernel: Kernel,
  path: Path,
  listing: Listing,
  resolve: Resolve<fs.Dirent[]>,
  failed: Fail,
): void {
  const make = () => listing.names.map((name, i) => dirent(name, listing.types[i], path));
  if (!listing.types.includes(DT_UNKNOWN)) resolve(make());
  else learnTypes(kernel, path, listing).then(() => resolve(make()), failed);
}
