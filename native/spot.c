/* See spot.h. */
#define _GNU_SOURCE
#include "spot.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- Mounts --------------------------------------------------------------------------------
 * RESOLVE_CACHED answers for the path, not for the filesystem behind it: opening a file on FUSE
 * or NFS waits for a server (FUSE: perhaps for this very thread). While any such filesystem is
 * mounted, path calls on the spot are "careful": they look at the device first. */

static const char* const blocking_types[] = {
    "fuse", "nfs", "cifs", "smb3", "9p",   "ceph",  "afs",  "autofs",
    "coda", "gfs", "ocfs", "glusterfs", "lustre", "orangefs", "virtiofs", "ncpfs"};

static int type_blocks(const char* type) {
  for (size_t i = 0; i < sizeof blocking_types / sizeof *blocking_types; i++)
    if (strncmp(type, blocking_types[i], strlen(blocking_types[i])) == 0) return 1;
  return 0;
}

/* The devices to keep away from. Process-wide: mounts are. Only grows between two readings;
 * a stale device costs speed, never correctness. */
#define BLOCKED_MAX 64
static _Atomic uint64_t blocked[BLOCKED_MAX];
static _Atomic uint32_t blocked_count;

static int device_blocks(uint32_t major, uint32_t minor) {
  uint64_t const device = (uint64_t)major << 32 | minor;
  uint32_t const count = atomic_load(&blocked_count);
  if (count > BLOCKED_MAX) return 1; /* too many to list: all are suspect */
  for (uint32_t i = 0; i < count; i++)
    if (atomic_load(&blocked[i]) == device) return 1;
  return 0;
}

static void add_blocked(uint64_t device) {
  if (device_blocks((uint32_t)(device >> 32), (uint32_t)device)) return;
  uint32_t const at = atomic_fetch_add(&blocked_count, 1);
  if (at < BLOCKED_MAX) atomic_store(&blocked[at], device);
}

/* mountinfo(5): "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw". Returns
 * whether any blocking filesystem is mounted. */
static int read_mounts(int fd) {
  int careful = 0;
  int const copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  FILE* const file = copy < 0 ? NULL : fdopen(copy, "r");
  if (!file) {
    if (copy >= 0) close(copy);
    return 1;
  }
  rewind(file); /* the copy shares the original's position */
  char* line = NULL;
  size_t capacity = 0;
  while (getline(&line, &capacity, file) > 0) {
    unsigned major = 0;
    unsigned minor = 0;
    const char* const dash = strstr(line, " - ");
    if (!dash || sscanf(line, "%*d %*d %u:%u", &major, &minor) != 2) continue;
    if (!type_blocks(dash + 3)) continue;
    careful = 1;
    add_blocked((uint64_t)major << 32 | minor);
  }
  free(line);
  fclose(file);
  return careful;
}

static void look_at_mounts(struct tl_spot* spot) {
  if (spot->mounts_fd < 0) {
    spot->mind.careful = 1;
    return;
  }
  struct pollfd p = {.fd = spot->mounts_fd, .events = POLLPRI};
  /* The first look always reads; later ones only when Linux says that mounts changed. */
  if (spot->mounts_checked && poll(&p, 1, 0) == 0) return;
  spot->mind.careful = read_mounts(spot->mounts_fd);
}

int tl_spot_open(struct tl_spot* spot) {
  memset(spot, 0, sizeof *spot);
  spot->mind.device_blocks = device_blocks;
  /* One allocation for both tables, touched only where keys fall. */
  spot->mind.known_paths = calloc(TL_KNOWN_PATHS * 2 + TL_MEMORY_FDS * 2, sizeof(uint32_t));
  spot->mind.memory_fds = spot->mind.known_paths + TL_KNOWN_PATHS * 2;
  spot->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  return spot->mind.known_paths ? 0 : -1;
}

void tl_spot_close(struct tl_spot* spot) {
  free(spot->mind.known_paths);
  spot->mind.known_paths = NULL;
  if (spot->mounts_fd >= 0) close(spot->mounts_fd);
  spot->mounts_fd = -1;
}

/* --- The batch ------------------------------------------------------------------------------ */

static uint64_t monotonic_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Selection order (FlexSC 7): a stable insertion sort of the batch by its key. */
static uint32_t order_key(const struct tl_desk* desk, uint32_t id, int order) {
  uint32_t const number = desk->entries[id].number;
  if (order == TL_GROUPED) return number;
  return desk->entries[id].flags & TL_LINK || !tl_is_io(number);
}

static void sort_list(const struct tl_desk* desk, uint32_t count, int order) {
  uint16_t* const list = desk->spot_list;
  for (uint32_t i = 1; i < count; i++) {
    uint16_t const id = list[i];
    uint32_t const key = order_key(desk, id, order);
    uint32_t j = i;
    for (; j > 0 && order_key(desk, list[j - 1], order) > key; j--) list[j] = list[j - 1];
    list[j] = id;
  }
}

uint32_t tl_spot_run(struct tl_spot* spot, const struct tl_desk* desk, uint32_t count) {
  uint64_t const started = monotonic_ns(CLOCK_MONOTONIC);
  uint64_t const second = started / 1000000000u;
  if (second != spot->mounts_checked) {
    look_at_mounts(spot);
    spot->mounts_checked = second;
  }
  spot->mind.now_s = (uint32_t)second;
  int const order = atomic_load_explicit(&desk->control->order, memory_order_relaxed);
  if (order != TL_AS_FOUND) sort_list(desk, count, order);

  uint32_t done = 0;
  for (uint32_t i = 0; i < count; i++)
    done += (uint32_t)tl_chain_try(desk, desk->spot_list[i], &spot->mind);

  spot->ended_ns = monotonic_ns(CLOCK_MONOTONIC);
  uint64_t const took = spot->ended_ns - started;
  atomic_store_explicit(&desk->control->spot_ns,
                        took > UINT32_MAX ? UINT32_MAX : (uint32_t)took, memory_order_relaxed);
  return done;
}
