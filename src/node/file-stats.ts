/**
 * fs.Stats, fs.BigIntStats and fs.StatFs of the running Node, made from our fields.
 *
 *   statsOf       decodes a statx in an entry's slot to an fs.Stats; null: an unknown kind of Stats
 *   statFsOf(fields, bigint)
 *
 * The constructors are those that make Node's own: `new fs.Stats()` is a deprecated wrapper since
 * Node 22, but its prototype names the one behind it. How many arguments that takes tells which
 * kind it is; of one that we do not know, Node makes its own (starts/stats.ts passes on).
 */
import fs from 'node:fs';
import type { Decode } from '../ops/call.ts';
import { decodeBigIntStats, decodeStats } from '../ops/stat.ts';
import type { StatFsFields } from '../ops/statfs.ts';

// Taken now: a program may replace them later.
const { statSync, statfsSync } = fs;

type Constructor<T> = new (...fields: (number | bigint)[]) => T;

const NodeStats = fs.Stats.prototype.constructor as unknown as Constructor<fs.Stats>;

interface StatsShape {
  [name: string]: number | Date;
}

const lazyDates = 'atime' in fs.Stats.prototype;
const date = (ms: number) => new Date(Math.round(ms));
const milliseconds = (seconds: number, ns: number) => seconds * 1000 + ns / 1e6;

/** Up to Node 24. A function of our own that shares the prototype: same instanceof, same methods,
 *  same own properties in the same order, and faster. Since Node 22 dates are computed lazily. */
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
const OurStats = Stats as unknown as Constructor<fs.Stats>;

const withMilliseconds = decodeStats<fs.Stats>(
  (dev, mode, nlink, uid, gid, rdev, blksize, ino, size, blocks, as, an, ms, mn, cs, cn, bs, bn) =>
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
      milliseconds(as, an),
      milliseconds(ms, mn),
      milliseconds(cs, cn),
      milliseconds(bs, bn),
    ),
);

/** Since Node 26, which keeps the nanoseconds for Temporal. */
const withNanoseconds = decodeStats<fs.Stats>((...fields) => new NodeStats(...fields));

function decoder(): Decode<fs.Stats> | null {
  if (NodeStats.length === 14) return withMilliseconds;
  return NodeStats.length === 18 ? withNanoseconds : null;
}

export const statsOf = decoder();

let BigIntStats: Constructor<fs.BigIntStats> | undefined;

/** The same as fs.BigIntStats, whose constructor is only to be had from an instance. */
export const bigIntStatsOf = decodeBigIntStats<fs.BigIntStats>((...fields) => {
  BigIntStats ??= statSync('/', { bigint: true }).constructor as unknown as typeof BigIntStats;
  return new BigIntStats!(...fields);
});

let StatFs: Constructor<fs.StatsFs> | undefined;

export function statFsOf(fields: StatFsFields, bigint: boolean): fs.StatsFs {
  StatFs ??= statfsSync('/').constructor as unknown as Constructor<fs.StatsFs>;
  const { type, bsize, frsize, ...rest } = fields;
  const values = [type, bsize, ...(StatFs.length === 8 ? [frsize] : []), ...Object.values(rest)];
  return bigint ? new StatFs(...values) : new StatFs(...values.map(Number));
}
