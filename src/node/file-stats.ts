/**
 * fs.Stats, fs.BigIntStats and fs.StatFs of the running Node, made from our fields.
 *
 * `new fs.Stats()` is deprecated for programs since Node 22, so ours is a function of its own
 * that shares the prototype: same instanceof, same methods, same own properties in the same
 * order. Where the prototype computes dates lazily (Node 22), they are not own properties.
 */
import fs from 'node:fs';
import { decodeBigIntStats, decodeStats } from '../ops/stat.ts';
import type { StatFsFields } from '../ops/statfs.ts';

interface StatsShape {
  [name: string]: number | Date;
}

const lazyDates = 'atime' in fs.Stats.prototype;
const date = (ms: number) => new Date(Math.round(ms));

function Stats(
  this: StatsShape,
  dev: number,
  mode: number,
  nlink: number,
  uid: number,
  gid: number,
  rdev: number,
  blksize: number,
  ino: number,
  size: number,
  blocks: number,
  atimeMs: number,
  mtimeMs: number,
  ctimeMs: number,
  birthtimeMs: number,
): void {
  this.dev = dev;
  this.mode = mode;
  this.nlink = nlink;
  this.uid = uid;
  this.gid = gid;
  this.rdev = rdev;
  this.blksize = blksize;
  this.ino = ino;
  this.size = size;
  this.blocks = blocks;
  this.atimeMs = atimeMs;
  this.mtimeMs = mtimeMs;
  this.ctimeMs = ctimeMs;
  this.birthtimeMs = birthtimeMs;
  if (lazyDates) return;
  this.atime = date(atimeMs);
  this.mtime = date(mtimeMs);
  this.ctime = date(ctimeMs);
  this.birthtime = date(birthtimeMs);
}
Stats.prototype = fs.Stats.prototype;

const OurStats = Stats as unknown as new (...fields: number[]) => fs.Stats;

/** A statx in an entry's slot as fs.Stats. */
export const statsOf = decodeStats<fs.Stats>(
  (dev, mode, nlink, uid, gid, rdev, blksize, ino, size, blocks, atime, mtime, ctime, birthtime) =>
    new OurStats(
      dev,
      mode,
      nlink,
      uid,
      gid,
      rdev,
      blksize,
      ino,
      size,
      blocks,
      atime,
      mtime,
      ctime,
      birthtime,
    ),
);

const originalStatSync = fs.statSync;
const originalStatfsSync = fs.statfsSync;

type BigIntStatsConstructor = new (...fields: bigint[]) => fs.BigIntStats;
let BigIntStats: BigIntStatsConstructor | undefined;

/** The same as fs.BigIntStats, whose constructor is only to be had from an instance. */
export const bigIntStatsOf = decodeBigIntStats<fs.BigIntStats>((...fields) => {
  BigIntStats ??= originalStatSync('/', { bigint: true }).constructor as BigIntStatsConstructor;
  return new BigIntStats(...fields);
});

type StatFsConstructor = new (...fields: (number | bigint)[]) => fs.StatsFs;
let StatFs: StatFsConstructor | undefined;

export function statFsOf(fields: StatFsFields, bigint: boolean): fs.StatsFs {
  StatFs ??= originalStatfsSync('/').constructor as StatFsConstructor;
  return bigint ? new StatFs(...fields) : new StatFs(...fields.map(Number));
}
