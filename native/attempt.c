/* See attempt.h. */
#define _GNU_SOURCE
#include "attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "execute.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif
#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

/* Longest transfer that may run on the JS thread: copying more stalls the program. */
#define TL_SPOT_BYTES_MAX (256u * 1024u)
#define TL_TMPFS_MAGIC 0x01021994u
#define TL_EXT4_MAGIC 0xef53u
#define TL_XFS_MAGIC 0x58465342u
#define TL_BTRFS_MAGIC 0x9123683eu

static int64_t tl__raw(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                       uint64_t f) {
  uint64_t const args[6] = {a, b, c, d, e, f};
  return tl_syscall((uint32_t)number, args);
}

static int64_t tl__openat2(uint64_t dirfd, uint64_t path, uint64_t flags, uint64_t mode) {
  struct open_how how = {.flags = flags, .mode = mode, .resolve = RESOLVE_CACHED};
  return tl__raw(SYS_openat2, dirfd, path, (uint64_t)(uintptr_t)&how, sizeof how, 0, 0);
}

/* EAGAIN: not cached. EINVAL, ENOSYS: Linux before 5.12. Either way: not here. */
static int tl__not_cached(int64_t result) {
  return result == -EAGAIN || result == -EINVAL || result == -ENOSYS || result == -EPERM;
}

static int tl__device_blocks(int64_t fd, struct tl_mind* mind) {
  struct statx s;
  int64_t const r = tl__raw(SYS_statx, (uint64_t)fd, (uint64_t)(uintptr_t) "",
                            AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE,
                            (uint64_t)(uintptr_t)&s, 0);
  return r < 0 || mind->device_blocks(s.stx_dev_major, s.stx_dev_minor);
}

/* Paths we read ourselves are those in our own slots, which end with a zero. Any other address is
 * the program's affair: Linux looks at it, and says EFAULT where we would crash. */
static int tl__own_path(uint64_t path, const struct tl_mind* mind) {
  return path >= mind->slots_from && path < mind->slots_to;
}

static uint32_t tl__hash(uint64_t dirfd, const char* path) {
  uint64_t h = 0x9e3779b97f4a7c15u ^ dirfd;
  for (; *path; path++) h = (h ^ (uint8_t)*path) * 0x100000001b3u;
  return (uint32_t)(h ^ (h >> 32)) | 1u;
}

/* Is everything this path leads through in the kernel's caches? Asked of the kernel with an
 * O_PATH open the first time, then remembered for TL_KNOWN_SECONDS: the dentry of a path in
 * use stays. (Measured: the question costs as much as a stat.) */
static int tl__path_cached(uint64_t dirfd, uint64_t path, int nofollow, struct tl_mind* mind) {
  if (!tl__own_path(path, mind)) return 0;
  uint32_t const hash = tl__hash(dirfd, (const char*)(uintptr_t)path);
  uint32_t* const known = mind->known_paths + (size_t)(hash >> 1) % TL_KNOWN_PATHS * 2;
  if (!mind->careful && known[0] == hash && mind->now_s - known[1] < TL_KNOWN_SECONDS) return 1;

  uint64_t const flags = O_PATH | O_CLOEXEC | (nofollow ? O_NOFOLLOW : 0);
  int64_t const fd = tl__openat2(dirfd, path, flags, 0);
  if (tl__not_cached(fd)) return 0;
  if (fd >= 0) {
    int const blocks = mind->careful && tl__device_blocks(fd, mind);
    close((int)fd);
    if (blocks) return 0;
  } else if (mind->careful) {
    return 0;
  }
  known[0] = hash;
  known[1] = mind->now_s;
  return 1;
}

/* --- What a file is ------------------------------------------------------------------------
 * Found out once, from the descriptor, and remembered for some seconds by the path that opened
 * it: the question costs as much as the call it saves. One table for all threads; a word is
 * {key 32, seconds 30, kind 2}, so that it is read and written in one piece. */

enum tl__kind {
  TL_UNKNOWN,
  TL_OTHER,
  TL_EXACT, /* a blocking read that comes out short has reached the end (not so in /proc) */
  TL_MEMORY /* the same, and it never blocks: tmpfs */
};

static _Atomic uint64_t tl__files[TL_KNOWN_PATHS];

static enum tl__kind tl__known_kind(uint32_t key, uint32_t now_s) {
  uint64_t const word =
      atomic_load_explicit(&tl__files[(key >> 1) % TL_KNOWN_PATHS], memory_order_relaxed);
  uint32_t const age = (now_s - (uint32_t)(word >> 2)) & 0x3fffffffu;
  return (uint32_t)(word >> 32) == key && age < TL_KNOWN_SECONDS ? word & 3 : TL_UNKNOWN;
}

static enum tl__kind tl__ask_kind(uint64_t fd) {
  struct statfs fs;
  if (fstatfs((int)fd, &fs) != 0) return TL_OTHER;
  switch ((uint32_t)fs.f_type) {
    case TL_TMPFS_MAGIC:
      return TL_MEMORY;
    case TL_EXT4_MAGIC:
    case TL_XFS_MAGIC:
    case TL_BTRFS_MAGIC:
      return TL_EXACT;
    default:
      return TL_OTHER;
  }
}

static void tl__note_kind(uint32_t key, uint32_t now_s, enum tl__kind kind) {
  uint64_t const word = (uint64_t)key << 32 | (uint64_t)(now_s & 0x3fffffffu) << 2 | kind;
  atomic_store_explicit(&tl__files[(key >> 1) % TL_KNOWN_PATHS], word, memory_order_relaxed);
}

void tl_mind_begin(struct tl_mind* mind, const struct tl_desk* desk) {
  mind->slots_from = (uint64_t)(uintptr_t)desk->slots;
  mind->slots_to = mind->slots_from + (uint64_t)desk->pages_max * TL_ENTRIES_PER_PAGE * TL_SLOT_SIZE;
  mind->chain_path = 0;
  mind->at_end = 0;
}

void tl_mind_opens(struct tl_mind* mind, uint64_t dirfd, uint64_t path) {
  if (tl__own_path(path, mind))
    mind->chain_path = tl__hash(dirfd, (const char*)(uintptr_t)path);
}

void tl_mind_read(struct tl_mind* mind, uint64_t fd, int64_t r, uint64_t length) {
  if (r < 0 || (uint64_t)r >= length || mind->chain_path == 0) return;
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  uint32_t const now_s = (uint32_t)t.tv_sec;
  enum tl__kind kind = tl__known_kind(mind->chain_path, now_s);
  if (kind == TL_UNKNOWN) {
    kind = tl__ask_kind(fd);
    tl__note_kind(mind->chain_path, now_s, kind);
  }
  mind->at_end = kind >= TL_EXACT;
}

static int64_t tl__try_open(const struct tl_entry* entry, const uint64_t args[6],
                            struct tl_mind* mind) {
  uint64_t const flags = args[2];
  if (flags & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))) return TL_WOULD_BLOCK;
  if ((flags & O_ACCMODE) != O_RDONLY || mind->careful) {
    /* Opening for writing may wait for a reader (FIFO), a lease or a journal. */
    if (!(flags & O_PATH)) return TL_WOULD_BLOCK;
  }
  /* Alone, the descriptor is the program's: it must not carry our O_NONBLOCK, and without it
   * a FIFO blocks. So look at the type first. In a chain, TL_STREAM reads make up for it. */
  if (!(entry->flags & TL_LINK) && !(flags & (O_NONBLOCK | O_PATH | O_DIRECTORY))) {
    int64_t const fd = tl__openat2(args[0], args[1],
                                   O_PATH | O_CLOEXEC | (flags & O_NOFOLLOW), 0);
    if (fd < 0) return TL_WOULD_BLOCK;
    struct statx s;
    int64_t const r = tl__raw(SYS_statx, (uint64_t)fd, (uint64_t)(uintptr_t) "",
                              AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE,
                              (uint64_t)(uintptr_t)&s, 0);
    close((int)fd);
    if (r < 0 || !(S_ISREG(s.stx_mode) || S_ISDIR(s.stx_mode))) return TL_WOULD_BLOCK;
    /* It may have been replaced, and a lease blocks a regular file: non-blocking all the same. */
    int64_t const plain = tl__openat2(args[0], args[1], flags | O_NONBLOCK, 0);
    if (tl__not_cached(plain)) return TL_WOULD_BLOCK;
    if (plain >= 0) fcntl((int)plain, F_SETFL, (int)flags);
    return plain;
  }
  tl_mind_opens(mind, args[0], args[1]);
  /* A path on tmpfs is looked up in memory: no need to say that it must be. */
  if (!mind->careful && mind->chain_path &&
      tl__known_kind(mind->chain_path, mind->now_s) == TL_MEMORY)
    return tl__raw(SYS_openat, args[0], args[1], flags | O_NONBLOCK, 0, 0, 0);
  int64_t const fd = tl__openat2(args[0], args[1], flags | O_NONBLOCK, 0);
  return tl__not_cached(fd) ? TL_WOULD_BLOCK : fd;
}

/* --- Reading and writing ------------------------------------------------------------------
 * Files that are memory and nothing else (tmpfs) do not know RWF_NOWAIT, and need it least: they
 * are read as they are once it is known. Only positioned reads rely on it: a pipe that took the
 * number over meanwhile answers them with ESPIPE, and does not block. */

static int tl__in_memory(uint64_t fd) { return tl__ask_kind(fd) == TL_MEMORY; }

/* In a chain the path it opened is the key, else the descriptor. */
static uint32_t* tl__fd_mark(uint64_t fd, const struct tl_mind* mind) {
  return mind->memory_fds + (size_t)fd % TL_MEMORY_FDS * 2;
}

static int tl__known_in_memory(const struct tl_entry* entry, uint64_t fd,
                               const struct tl_mind* mind) {
  if (entry->flags & TL_HEAD_FD)
    return mind->chain_path && tl__known_kind(mind->chain_path, mind->now_s) == TL_MEMORY;
  const uint32_t* const mark = tl__fd_mark(fd, mind);
  return mark[0] == (uint32_t)fd + 1 && mind->now_s - mark[1] < TL_KNOWN_SECONDS;
}

static void tl__note_in_memory(const struct tl_entry* entry, uint64_t fd, struct tl_mind* mind) {
  if (entry->flags & TL_HEAD_FD) {
    if (mind->chain_path) tl__note_kind(mind->chain_path, mind->now_s, TL_MEMORY);
    return;
  }
  uint32_t* const mark = tl__fd_mark(fd, mind);
  mark[0] = (uint32_t)fd + 1;
  mark[1] = mind->now_s;
}

/* A plain pread of a file in memory. A short one is the end of the file: what asks for the bytes
 * behind it (TL_AFTER) needs no call. */
static int64_t tl__read_memory(const struct tl_entry* entry, const uint64_t args[6],
                               struct tl_mind* mind) {
  if (mind->at_end && (entry->flags & TL_AFTER)) return 0;
  int64_t const r = tl__raw(SYS_pread64, args[0], args[1], args[2], args[3], 0, 0);
  mind->at_end = r >= 0 && (uint64_t)r < args[2];
  return r == -ESPIPE ? TL_WOULD_BLOCK : r;
}

static int64_t tl__try_transfer(long number, const uint64_t args[6], uint64_t offset) {
  struct iovec iov = {.iov_base = (void*)(uintptr_t)args[1], .iov_len = args[2]};
  uint64_t const vector = (uint64_t)(uintptr_t)&iov;
  int64_t const r = tl__raw(number, args[0], vector, 1, offset, 0, RWF_NOWAIT);
  if (r == -EOPNOTSUPP) return r;
  if (r == -EAGAIN || r == -ENOSYS || r == -EINVAL)
    return TL_WOULD_BLOCK; /* the blocking call decides what the error really is */
  return r;
}

/* A pipe, socket or terminal that the program itself made O_NONBLOCK: then EAGAIN is its answer.
 * The ring's is not: it takes O_NONBLOCK for leave to wait until there is data. */
static int tl__never_blocks(uint64_t fd) {
  int const flags = fcntl((int)fd, F_GETFL);
  if (flags < 0 || !(flags & O_NONBLOCK)) return 0;
  struct stat s;
  return fstat((int)fd, &s) == 0 &&
         (S_ISFIFO(s.st_mode) || S_ISSOCK(s.st_mode) || S_ISCHR(s.st_mode));
}

/* Not on the spot. A pipe or terminal that does not know RWF_NOWAIT can be waited for, a file cannot:
 * overlayfs, /proc. */
static int64_t tl__passed_on(uint64_t fd, int64_t result) {
  struct stat s;
  int const is_file = result == -EOPNOTSUPP && fstat((int)fd, &s) == 0 && S_ISREG(s.st_mode);
  return is_file ? TL_NEEDS_THREAD : TL_WOULD_BLOCK;
}

static int64_t tl__try_pread(const struct tl_entry* entry, const uint64_t args[6],
                             struct tl_mind* mind) {
  if (args[2] > TL_SPOT_BYTES_MAX) return TL_WOULD_BLOCK;
  /* Where a filesystem may block, no number is trusted: another file may have it by now. */
  if (!mind->careful && tl__known_in_memory(entry, args[0], mind))
    return tl__read_memory(entry, args, mind);
  int64_t const r = tl__try_transfer(SYS_preadv2, args, args[3]);
  /* A chain that reads to the end of whatever it opened goes on without a position. */
  if (r == -ESPIPE && (entry->flags & TL_STREAM)) return TL_WOULD_BLOCK;
  if (r != -EOPNOTSUPP) return r;
  if (!tl__in_memory(args[0])) return tl__passed_on(args[0], r);
  tl__note_in_memory(entry, args[0], mind);
  return tl__read_memory(entry, args, mind);
}

/* At the file's own position, or writing: asked every time. */
static int64_t tl__try_buffer(long number, const uint64_t args[6], uint64_t offset) {
  if (args[2] > TL_SPOT_BYTES_MAX) return TL_WOULD_BLOCK;
  int64_t const r = tl__try_transfer(number, args, offset);
  if (r != -EOPNOTSUPP && r != TL_WOULD_BLOCK) return r;
  int const in_memory = r == -EOPNOTSUPP && tl__in_memory(args[0]);
  if (!in_memory && !tl__never_blocks(args[0])) return tl__passed_on(args[0], r);
  struct iovec iov = {.iov_base = (void*)(uintptr_t)args[1], .iov_len = args[2]};
  return tl__raw(number, args[0], (uint64_t)(uintptr_t)&iov, 1, offset, 0, 0);
}

static int64_t tl__try_close(const struct tl_entry* entry, const uint64_t args[6],
                             struct tl_mind* mind) {
  /* Closing what was written may flush it (ext4, NFS): only read-only files close here. */
  if (!(entry->flags & TL_HEAD_FD)) {
    int const flags = fcntl((int)args[0], F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY) return TL_WOULD_BLOCK;
  }
  if (mind->careful) return TL_WOULD_BLOCK;
  return tl_syscall(SYS_close, args);
}

int64_t tl_attempt_now(const struct tl_entry* entry, const uint64_t* args, struct tl_mind* mind) {
  switch (entry->number) {
    case SYS_statx:
      if (!tl__own_path(args[1], mind)) return TL_WOULD_BLOCK;
      if (*(const char*)(uintptr_t)args[1] == '\0') {
        if (mind->careful && tl__device_blocks((int64_t)args[0], mind)) return TL_WOULD_BLOCK;
        return tl_syscall(SYS_statx, args);
      }
      if (!tl__path_cached(args[0], args[1], (args[2] & AT_SYMLINK_NOFOLLOW) != 0, mind))
        return TL_WOULD_BLOCK;
      return tl_syscall(SYS_statx, args);
    case SYS_faccessat:
      if (!tl__path_cached(args[0], args[1], 0, mind)) return TL_WOULD_BLOCK;
      return tl_syscall(SYS_faccessat, args);
    case SYS_readlinkat:
      if (!tl__path_cached(args[0], args[1], 1, mind)) return TL_WOULD_BLOCK;
      return tl_syscall(SYS_readlinkat, args);
    case SYS_openat:
      return tl__try_open(entry, args, mind);
    case SYS_read:
      return tl__try_buffer(SYS_preadv2, args, (uint64_t)-1);
    case SYS_pread64:
      return tl__try_pread(entry, args, mind);
    case SYS_write:
      return tl__try_buffer(SYS_pwritev2, args, (uint64_t)-1);
    case SYS_pwrite64:
      return tl__try_buffer(SYS_pwritev2, args, args[3]);
    case SYS_close:
      return tl__try_close(entry, args, mind);
    case SYS_getpid:
    case SYS_getppid:
    case SYS_gettid:
    case SYS_getuid:
    case SYS_geteuid:
    case SYS_getgid:
    case SYS_getegid:
    case SYS_lseek:
    case SYS_clock_gettime:
    case TL_NUMBER_NOP:
      return tl_syscall(entry->number, args);
    default:
      return TL_WOULD_BLOCK;
  }
}
