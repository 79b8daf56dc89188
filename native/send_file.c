/* See send_file.h. */
#define _GNU_SOURCE
#include "send_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define TL_TMPFS_MAGIC 0x01021994u
#define TL_OVERLAYFS_MAGIC 0x794c7630u
#define TL_SYS_CACHESTAT 451 /* the same number on every architecture; Linux 6.5 */
/* A byte is asked for in each stretch of this many. */
#define TL_PROBE_EVERY (64 * 1024)
/* Pages that mincore(2) is asked for at a time. */
#define TL_RESIDENT_MAX 256

/* Pages of a range that are in the page cache; -1: Linux does not say. */
static int64_t tl__cached_pages(int fd, int64_t from, int64_t length) {
  struct {
    uint64_t from, length;
  } range = {(uint64_t)from, (uint64_t)length};
  struct {
    uint64_t cached, dirty, written_back, evicted, lately_evicted;
  } counts = {0};
  return syscall(TL_SYS_CACHESTAT, fd, &range, &counts, 0) == 0 ? (int64_t)counts.cached : -1;
}

/* 1: the byte can be read at once; 0: it cannot, or who knows; -1: this file cannot be asked. */
static int tl__probe(int fd, int64_t position) {
  char byte;
  struct iovec iov = {.iov_base = &byte, .iov_len = 1};
  ssize_t const read = preadv2(fd, &iov, 1, position, RWF_NOWAIT);
  return read < 0 && errno == EOPNOTSUPP ? -1 : read == 1;
}

/* overlayfs, where containers live, cannot be asked by reading, and has no pages of its own: those
 * of the file beneath show in a mapping. Linux tells them to whoever may change the file, and says
 * "all" to everybody else. */
static int tl__is_resident(int fd, const struct stat* s, int64_t position, int64_t length) {
  uid_t const user = geteuid();
  if (user != 0 && user != s->st_uid) return 0;
  int64_t const page = sysconf(_SC_PAGESIZE);
  int64_t const from = position / page * page;
  size_t const bytes = (size_t)(position + length - from);
  size_t const pages = (bytes + (size_t)page - 1) / (size_t)page;
  unsigned char resident[TL_RESIDENT_MAX];
  if (pages > TL_RESIDENT_MAX) return 0;
  void* const at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, from);
  if (at == MAP_FAILED) return 0;
  int all = mincore(at, bytes, resident) == 0;
  munmap(at, bytes);
  for (size_t i = 0; all && i < pages; i++) all = resident[i] & 1;
  return all;
}

/* Of a file that cannot be asked by reading: tmpfs is memory unless it was swapped out. */
static int tl__is_in_memory(int fd, const struct stat* s, int64_t position, int64_t length,
                            int all_cached) {
  struct statfs fs;
  if (fstatfs(fd, &fs) != 0) return 0;
  switch ((uint32_t)fs.f_type) {
    case TL_TMPFS_MAGIC:
      return all_cached;
    case TL_OVERLAYFS_MAGIC:
      return tl__is_resident(fd, s, position, length);
    default:
      return 0;
  }
}

int64_t tl_file_at_hand(int fd, int64_t position, int64_t length) {
  struct stat s;
  if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return 0;
  if (position < 0) position = lseek(fd, 0, SEEK_CUR);
  if (position < 0 || position >= s.st_size) return 0;
  if (length > s.st_size - position) length = s.st_size - position;
  if (length <= 0) return 0;

  int64_t const page = sysconf(_SC_PAGESIZE);
  int64_t const last = position + length - 1;
  int64_t const pages = last / page - position / page + 1;
  int64_t const cached = tl__cached_pages(fd, position, length);
  /* None at all is what a file that lies over another one (overlayfs) has. What is cached may still
   * be on its way from the disk: the last byte of it comes last. */
  if (cached > 0 && cached < pages) return 0;
  for (int64_t at = cached > 0 ? last : position;; at += TL_PROBE_EVERY) {
    int const probed = tl__probe(fd, at < last ? at : last);
    if (probed == 0) return 0;
    if (probed < 0)
      return tl__is_in_memory(fd, &s, position, length, cached >= pages) ? length : 0;
    if (at >= last) return length;
  }
}

int64_t tl_send_file(int socket, int fd, int64_t position, int64_t length) {
  int const flags = fcntl(socket, F_GETFL);
  if (flags < 0 || !(flags & O_NONBLOCK)) return -EINVAL; /* it would wait for room */
  for (;;) {
    off_t at = position;
    ssize_t const sent = sendfile(socket, fd, position < 0 ? NULL : &at, (size_t)length);
    if (sent >= 0) return sent;
    if (errno != EINTR) return -errno;
  }
}
