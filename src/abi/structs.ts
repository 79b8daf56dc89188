/**
 * Layouts and constants of Linux's file-system interface, for x86_64 and arm64.
 *
 *   view.getUint16(at + STATX.mode, true) & S_IFMT     a field's offset in a struct
 *   arena.alloc(SIZEOF_STATX)                          a struct's size
 *   O_RDONLY | O_CLOEXEC | O_DIRECTORY                 a constant, by its C name
 *
 * `STATX.size` is the offset of `stx_size`, so sizes are `SIZEOF_*` (and Linux has a mask bit called
 * STATX_SIZE). Comments give the type at each offset; everything is little-endian. Data only.
 *
 * `test/unit/abi.test.ts` compares every export with the C headers of the machine, by way of
 * `native/test/abi_offsets.c`: a new line here needs a line there.
 */

// struct statx: statx(2)
export const SIZEOF_STATX = 256;
export const STATX = {
  mask: 0, // u32
  blksize: 4, // u32
  attributes: 8, // u64
  nlink: 16, // u32
  uid: 20, // u32
  gid: 24, // u32
  mode: 28, // u16
  ino: 32, // u64
  size: 40, // u64
  blocks: 48, // u64
  attributes_mask: 56, // u64
  atime_sec: 64, // i64
  atime_nsec: 72, // u32
  btime_sec: 80, // i64
  btime_nsec: 88, // u32
  ctime_sec: 96, // i64
  ctime_nsec: 104, // u32
  mtime_sec: 112, // i64
  mtime_nsec: 120, // u32
  rdev_major: 128, // u32
  rdev_minor: 132, // u32
  dev_major: 136, // u32
  dev_minor: 140, // u32
  mnt_id: 144, // u64
} as const;

export const STATX_BASIC_STATS = 0x7ff;
export const STATX_BTIME = 0x800;
/** What fs.Stats shows: STATX_BASIC_STATS | STATX_BTIME. */
export const STATX_MASK = 0xfff;

// struct statfs: statfs(2), fstatfs(2)
export const SIZEOF_STATFS = 120;
export const STATFS = {
  type: 0, // i64
  bsize: 8, // i64
  blocks: 16, // u64
  bfree: 24, // u64
  bavail: 32, // u64
  files: 40, // u64
  ffree: 48, // u64
  fsid: 56, // 2 x i32
  namelen: 64, // i64
  frsize: 72, // i64
  flags: 80, // i64
} as const;

// struct linux_dirent64: getdents64(2). Each record is `reclen` bytes long; its name ends with a NUL.
export const DIRENT64 = {
  ino: 0, // u64
  off: 8, // i64
  reclen: 16, // u16
  type: 18, // u8
  name: 19, // bytes
} as const;

// struct open_how: openat2(2)
export const SIZEOF_OPEN_HOW = 24;
export const OPEN_HOW = {
  flags: 0, // u64
  mode: 8, // u64
  resolve: 16, // u64
} as const;

// struct __kernel_timespec: utimensat(2), io_uring's timeouts
export const SIZEOF_TIMESPEC = 16;
export const TIMESPEC = {
  sec: 0, // i64
  nsec: 8, // i64
} as const;

// struct iovec: readv(2), writev(2), preadv2(2), pwritev2(2)
export const SIZEOF_IOVEC = 16;
export const IOVEC = {
  base: 0, // address
  len: 8, // u64
} as const;

// The *at() calls
export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
/** The same bit as AT_REMOVEDIR; which one it is depends on the call. */
export const AT_EACCESS = 0x200;
export const AT_SYMLINK_FOLLOW = 0x400;
export const AT_NO_AUTOMOUNT = 0x800;
export const AT_EMPTY_PATH = 0x1000;

// open(2), the same on both architectures
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_ACCMODE = 3;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NOCTTY = 0o400;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_DSYNC = 0o10000;
export const O_NOATIME = 0o1000000;
export const O_CLOEXEC = 0o2000000;
export const O_SYNC = 0o4010000;
export const O_PATH = 0o10000000;

// open(2), where arm64 differs (its arch/arm64/include/uapi/asm/fcntl.h)
const arm64 = process.arch === 'arm64';
export const O_DIRECT = arm64 ? 0o200000 : 0o40000;
export const O_LARGEFILE = arm64 ? 0o400000 : 0o100000;
export const O_DIRECTORY = arm64 ? 0o40000 : 0o200000;
export const O_NOFOLLOW = arm64 ? 0o100000 : 0o400000;
/** Contains O_DIRECTORY, so it differs too. */
export const O_TMPFILE = 0o20000000 | O_DIRECTORY;

/** openat2(2), Linux 5.12: only if the path lookup needs no I/O and no waiting, else EAGAIN. */
export const RESOLVE_CACHED = 0x20;
/** preadv2(2): only what is in the page cache, else EAGAIN. */
export const RWF_NOWAIT = 0x8;
/** ioctl(2): copy by sharing blocks. */
export const FICLONE = 0x40049409;

// access(2)
export const F_OK = 0;
export const X_OK = 1;
export const W_OK = 2;
export const R_OK = 4;

// DIRENT64.type
export const DT_UNKNOWN = 0;
export const DT_FIFO = 1;
export const DT_CHR = 2;
export const DT_DIR = 4;
export const DT_BLK = 6;
export const DT_REG = 8;
export const DT_LNK = 10;
export const DT_SOCK = 12;
export const DT_WHT = 14;

// STATX.mode
export const S_IFMT = 0o170000;
export const S_IFIFO = 0o10000;
export const S_IFCHR = 0o20000;
export const S_IFDIR = 0o40000;
export const S_IFBLK = 0o60000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFSOCK = 0o140000;
