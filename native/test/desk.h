/* A program's side of a desk, for tests: what src/page/ and src/kernel/ do in TypeScript.
 *
 *   desk_open(&p, pages);                    maps it; crew tests also tl_crew_join(&p.member)
 *   desk_fill(&p, id, number, flags, a, b…)  up to six arguments
 *   desk_link(&p, id, next)
 *   desk_post(&p, id); desk_await(&p, id)    through the crew; desk_await fails after 10 s
 *   desk_close(&p)
 */
#ifndef TL_TEST_DESK_H
#define TL_TEST_DESK_H

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../crew.h"
#include "../execute.h"
#include "test.h"

struct desk {
  struct tl_crew_member member;
  struct tl_desk* desk;
};

static inline void desk_open(struct desk* p, uint32_t pages) {
  memset(p, 0, sizeof *p);
  p->desk = &p->member.desk;
  size_t const size = tl_desk_lay_out(p->desk, NULL, pages);
  uint8_t* const base =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) abort();
  tl_desk_lay_out(p->desk, base, pages);
  atomic_store(&p->desk->control->pages_in_use, (int32_t)pages);
  p->member.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static inline void desk_close(struct desk* p) {
  munmap(p->desk->base, p->desk->size);
  close(p->member.eventfd);
}

static inline struct tl_entry* desk_entry(const struct desk* p, uint32_t id) {
  return &p->desk->entries[id];
}

static inline int64_t desk_result(const struct desk* p, uint32_t id) {
  return desk_entry(p, id)->result;
}

static inline int32_t desk_status(const struct desk* p, uint32_t id) {
  return atomic_load(&desk_entry(p, id)->status);
}

static inline void desk_fill_args(const struct desk* p, uint32_t id, uint32_t number, int flags,
                                  const uint64_t args[6]) {
  struct tl_entry* const e = desk_entry(p, id);
  e->number = (uint16_t)number;
  e->argc = 6;
  e->flags = (uint8_t)flags;
  memcpy(e->args, args, sizeof e->args);
  e->result = 0;
  atomic_store(&e->status, TL_SUBMITTED);
}
#define ARG(x) ((uint64_t)(uintptr_t)(x))
#define desk_fill(p, id, number, flags, ...) \
  desk_fill_args(p, id, number, flags, (const uint64_t[6]){__VA_ARGS__})

static inline void desk_link(const struct desk* p, uint32_t id, uint32_t next) {
  desk_entry(p, id)->flags |= TL_LINK;
  p->desk->links[id] = (uint16_t)next;
}

/* Puts a path into the entry's slot and returns its address. */
static inline uint64_t desk_path(const struct desk* p, uint32_t id, const char* path) {
  char* const slot = (char*)p->desk->slots + (size_t)id * TL_SLOT_SIZE;
  strcpy(slot, path);
  return ARG(slot);
}

static inline void desk_ready(const struct desk* p, uint32_t id) {
  atomic_fetch_or(&p->desk->descs[id / TL_ENTRIES_PER_PAGE].ready[id >> 5 & 1], 1u << (id & 31));
}

static inline void desk_ring_bell(const struct desk* p) {
  if (!atomic_load(&p->desk->control->awake)) tl_crew_wake();
}

static inline void desk_post(const struct desk* p, uint32_t id) {
  desk_ready(p, id);
  desk_ring_bell(p);
}

/* Takes the done bit of a chain. */
static inline int desk_take(const struct desk* p, uint32_t id) {
  uint32_t const mask = 1u << (id & 31);
  _Atomic uint32_t* const word = &p->desk->descs[id / TL_ENTRIES_PER_PAGE].done[id >> 5 & 1];
  return (atomic_load(word) & mask) && (atomic_fetch_and(word, ~mask) & mask);
}

/* Looks for a moment, as src/kernel/ does, then gives the core to others. */
static inline int desk_await_ms(const struct desk* p, uint32_t id, unsigned ms) {
  uint64_t const started = test_now_ns();
  while (!desk_take(p, id)) {
    uint64_t const waited = test_now_ns() - started;
    if (waited > ms * 1000000ull) return 0;
    if (waited > 200000) sched_yield();
  }
  return 1;
}

static inline void desk_await(const struct desk* p, uint32_t id) {
  if (desk_await_ms(p, id, 10000)) return;
  printf("    entry %u was never done (status %d)\n", id, desk_status(p, id));
  test_failures++;
}

static inline void desk_leave(struct desk* p) {
  CHECK_EQ(tl_crew_leave(&p->member), 1);
  desk_close(p);
}

/* A directory of the test's own, removed with what is in it by temp_remove. */
static char temp_dir[256];
static inline const char* temp_path(const char* name) {
  static char paths[8][512];
  static int next;
  char* const path = paths[next++ % 8];
  if (!*temp_dir) {
    const char* const root = getenv("TMPDIR");
    snprintf(temp_dir, sizeof temp_dir, "%.200s/trapless-native.XXXXXX", root ? root : "/tmp");
    if (!mkdtemp(temp_dir)) abort();
  }
  snprintf(path, sizeof paths[0], "%s/%s", temp_dir, name);
  return path;
}

static inline void temp_remove(void) {
  if (!*temp_dir) return;
  DIR* const dir = opendir(temp_dir);
  for (struct dirent* d; dir && (d = readdir(dir));)
    if (strcmp(d->d_name, ".") && strcmp(d->d_name, "..")) unlink(temp_path(d->d_name));
  if (dir) closedir(dir);
  rmdir(temp_dir);
  *temp_dir = 0;
}

static inline void temp_file(const char* path, const void* data, size_t size) {
  int const fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
  close(fd);
}

#endif
