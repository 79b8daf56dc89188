/* See execute.h. */
#define _GNU_SOURCE
#include "execute.h"
#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif
#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

/* Longest transfer that may run on the JS thread: copying more stalls the program. */
#define TL_SPOT_BYTES_MAX (256u * 1024u)
#define TL_TMPFS_MAGIC 0x01021994
/* "Not answered": never a value Linux returns. */
#define TL_WOULD_BLOCK INT64_MIN

static int64_t tl__raw(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                       uint64_t f) {
  long const result = syscall(number, a, b, c, d, e, f);
  return result == -1 ? -(int64_t)errno : (int64_t)result;
}

int tl_is_io(uint32_t number) {
  return number == SYS_read || number == SYS_write || number == SYS_pread64 ||
         number == SYS_pwrite64 || number == SYS_readv || number == SYS_writev;
}

int64_t tl_syscall(uint32_t number, const uint64_t args[6]) {
  if (number == TL_NUMBER_NOP) return 0;
  if (number == TL_NUMBER_PACK)
    return tl_pack_listing((uint8_t*)(uintptr_t)args[0], args[3]);
  return tl__raw((long)number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* --- Chains ------------------------------------------------------------------------------ */

struct tl__step {
  struct tl_entry* entry;
  int64_t head_result;     /* of the chain's first entry, once that is done */
  int64_t previous_result; /* of the entry before this one */
  uint64_t previous_length; /* what the entry before this one was asked to transfer */
  int failed;              /* an entry before this one failed */
};

/* Whether this entry runs at all, given what went before. */
static int tl__step_runs(const struct tl__step* s, int is_head) {
  uint8_t const flags = s->entry->flags;
  if (is_head) return 1;
  if ((flags & TL_HEAD_FD) && s->head_result < 0) return 0;
  if ((flags & TL_AT_EOF) && s->previous_result != 0 && !s->failed) return 0;
  if ((flags & TL_IF_FULL) && !s->failed && s->previous_result != (int64_t)s->previous_length)
    return 0;
  if (s->failed && !(flags & TL_ALWAYS)) return 0;
  return 1;
}

static void tl__step_args(const struct tl__step* s, int is_head, uint64_t args[6]) {
  memcpy(args, s->entry->args, sizeof(uint64_t) * 6);
  if (is_head) return;
  if (s->entry->flags & TL_HEAD_FD) args[0] = (uint64_t)s->head_result;
  if ((s->entry->flags & TL_AFTER) && s->previous_result > 0)
    args[3] += (uint64_t)s->previous_result;
}

/* Walks a chain; attempt() answers an entry or says TL_WOULD_BLOCK. Returns 1 when all done. */
static int tl__chain_walk(const struct tl_desk* desk, uint32_t head, struct tl_mind* mind,
                          int64_t (*attempt)(const struct tl_entry*, const uint64_t*,
                                             struct tl_mind*)) {
  struct tl__step s = {.entry = &desk->entries[head]};
  for (uint32_t id = head;;) {
    s.entry = &desk->entries[id];
    int const is_head = id == head;
    int64_t result = s.entry->result;
    uint64_t const length = s.entry->args[2];
    int const linked = s.entry->flags & TL_LINK;
    uint32_t const next = desk->links[id];
    int32_t const status = atomic_load_explicit(&s.entry->status, memory_order_relaxed);
    /* A chain that was begun elsewhere: skip what has its result already. */
    if (status != TL_DONE) {
      /* The caller gave up before this entry was begun: what must be closed is, nothing else. */
      if (status == TL_ABANDONED) s.failed = 1;
      result = -ECANCELED;
      if (tl__step_runs(&s, is_head) && !(is_head && status == TL_ABANDONED)) {
        uint64_t args[6];
        tl__step_args(&s, is_head, args);
        result = attempt(s.entry, args, mind);
        if (result == TL_WOULD_BLOCK) return 0;
      }
      s.entry->result = result;
      /* Pairs with status() in src/page/: the result first, then done. From here on the entry
       * is the poster's again: it may be free, or another call, before we look. */
      atomic_store_explicit(&s.entry->status, TL_DONE, memory_order_release);
    }
    if (is_head) s.head_result = result;
    if (result < 0 && result != -ECANCELED) s.failed = 1;
    s.previous_result = result;
    s.previous_length = length;
    if (!linked) return 1;
    id = next;
  }
}

/* --- May block --------------------------------------------------------------------------- */

/* A pread on something that cannot seek. The file may have been opened O_NONBLOCK by the
 * attempt on the JS thread; poll() then stands for the wait that a blocking open does: on a
 * FIFO it reports nothing until a writer has come (data) and gone (hang-up). */
static int64_t tl__read_stream(const uint64_t args[6]) {
  int const fd = (int)args[0];
  int const flags = fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK)) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, -1) < 0) return -(int64_t)errno;
    fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
  return tl__raw(SYS_read, args[0], args[1], args[2], 0, 0, 0);
}

static int64_t tl__run_entry(const struct tl_entry* entry, const uint64_t args[6]) {
  int64_t const result = tl_syscall(entry->number, args);
  if (result == -ESPIPE && (entry->flags & TL_STREAM)) return tl__read_stream(args);
  return result;
}

static int64_t tl__attempt_blocking(const struct tl_entry* entry, const uint64_t* args,
                                    struct tl_mind* mind) {
  (void)mind;
  return tl__run_entry(entry, args);
}

void tl_chain_run(const struct tl_desk* desk, uint32_t head) {
  tl__chain_walk(desk, head, NULL, tl__attempt_blocking);
}

static int64_t tl__attempt_refused(const struct tl_entry* entry, const uint64_t* args,
                                   struct tl_mind* mind) {
  (void)mind;
  return entry->flags & TL_ALWAYS ? tl_syscall(entry->number, args) : -EAGAIN;
}

void tl_chain_refuse(const struct tl_desk* desk, uint32_t head) {
  tl__chain_walk(desk, head, NULL, tl__attempt_refused);
}

/* --- Must not block ---------------------------------------------------------------------- */

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
  int64_t const fd = tl__openat2(args[0], args[1], flags | O_NONBLOCK, 0);
  return tl__not_cached(fd) ? TL_WOULD_BLOCK : fd;
}

/* Files that are memory and nothing else do not know RWF_NOWAIT, and need it least. */
static int tl__in_memory(uint64_t fd) {
  struct statfs fs;
  return fstatfs((int)fd, &fs) == 0 && fs.f_type == TL_TMPFS_MAGIC;
}

static int64_t tl__try_buffer(long number, const uint64_t args[6], uint64_t offset) {
  if (args[2] > TL_SPOT_BYTES_MAX) return TL_WOULD_BLOCK;
  struct iovec iov = {.iov_base = (void*)(uintptr_t)args[1], .iov_len = args[2]};
  uint64_t const at = (uint64_t)(uintptr_t)&iov;
  int64_t r = tl__raw(number, args[0], at, 1, offset, 0, RWF_NOWAIT);
  if (r == -EOPNOTSUPP && tl__in_memory(args[0])) r = tl__raw(number, args[0], at, 1, offset, 0, 0);
  if (r == -EAGAIN || r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL || r == -ESPIPE)
    return TL_WOULD_BLOCK; /* the blocking call decides what the error really is */
  return r;
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

static int64_t tl__attempt_now(const struct tl_entry* entry, const uint64_t* args,
                               struct tl_mind* mind) {
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
      return tl__try_buffer(SYS_preadv2, args, args[3]);
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

int tl_chain_try(const struct tl_desk* desk, uint32_t head, struct tl_mind* mind) {
  mind->slots_from = (uint64_t)(uintptr_t)desk->slots;
  mind->slots_to = mind->slots_from + (uint64_t)desk->pages_max * TL_ENTRIES_PER_PAGE * TL_SLOT_SIZE;
  return tl__chain_walk(desk, head, mind, tl__attempt_now);
}
