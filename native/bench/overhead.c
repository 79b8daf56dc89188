/* The C limit of the benchmark `overhead` (FlexSC figures 9 and 10): what a call costs in C, in
 * batches of 1 to 512, by every way trapless has. TypeScript's figures are compared with these.
 *
 *   cc -O2 -std=c11 -pthread overhead.c ../{ring,crew,spot,attempt,execute,pack}.c -o overhead
 *   ./overhead [--cpu N] [--quick]
 *
 * Prints one JSON line per case and batch: {"case", "batch", "ns", "min", "max"}: nanoseconds per
 * call, median, smallest and largest of the rounds. A case Linux refuses is one line with
 * "skipped". On a busy machine "min" is the better estimate. --cpu: the core that works for us in the cases named sqpoll_ and crew_ (default: the
 * last one allowed); the program itself keeps off it. Without a second core those are skipped.
 *
 * The repository only; nothing of this is in the published package.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../crew.h"
#include "../execute.h"
#include "../ring.h"
#include "../spot.h"

#define BATCH_MAX 512
#define ROUNDS_MAX 15
#define READ_SIZE 1024
#define FILE_SIZE (64 * 1024)
#define PAGES 8
#define SQ_NEED_WAKEUP 1u
#define SQ_TASKRUN 4u
#define CQ_EVENTFD_DISABLED 1u

static int rounds = ROUNDS_MAX;
static double round_ns = 20e6; /* how long one round lasts */
static int file;
static uint8_t buffers[BATCH_MAX][READ_SIZE];

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fail(const char* what, int error) {
  fprintf(stderr, "overhead: %s: %s\n", what, strerror(error));
  exit(1);
}

static int by_value(const void* a, const void* b) {
  double const x = *(const double*)a;
  double const y = *(const double*)b;
  return (x > y) - (x < y);
}

/* run(batch) makes `batch` calls and returns when all of them are done. */
static void measure(const char* name, int batch, void (*run)(int)) {
  double each[ROUNDS_MAX];
  for (int i = 0; i < 20; i++) run(batch);
  for (int r = 0; r < rounds; r++) {
    double const started = now_ns();
    double took = 0;
    double calls = 0;
    while (took < round_ns) {
      for (int i = 0; i < 8; i++) run(batch);
      calls += 8.0 * batch;
      took = now_ns() - started;
    }
    each[r] = took / calls;
  }
  qsort(each, (size_t)rounds, sizeof *each, by_value);
  printf("{\"case\":\"%s\",\"batch\":%d,\"ns\":%.1f,\"min\":%.1f,\"max\":%.1f}\n", name, batch,
         each[rounds / 2], each[0], each[rounds - 1]);
  fflush(stdout);
}

static void measure_batches(const char* name, void (*run)(int)) {
  for (int batch = 1; batch <= BATCH_MAX; batch *= 2) measure(name, batch, run);
}

static void skip(const char* name, const char* why) {
  printf("{\"case\":\"%s\",\"skipped\":\"%s\"}\n", name, why);
}

/* --- The exception: one trap per call ------------------------------------------------------ */

static void sync_getppid(int batch) {
  for (int i = 0; i < batch; i++) syscall(SYS_getppid);
}

static uint64_t offset_of(int i) { return (uint64_t)i * READ_SIZE % FILE_SIZE; }

static void sync_pread(int batch) {
  for (int i = 0; i < batch; i++)
    if (pread(file, buffers[i], READ_SIZE, (off_t)offset_of(i)) != READ_SIZE)
      fail("pread", errno);
}

/* --- The bare ring ------------------------------------------------------------------------- */

static struct tl_ring ring;
static int ring_eventfd;

static _Atomic uint32_t* word(uint32_t offset) {
  return (_Atomic uint32_t*)(void*)(ring.rings + offset);
}

static struct io_uring_sqe* sqe_at(uint32_t tail) {
  return (struct io_uring_sqe*)(void*)ring.sqes + (tail & (ring.sq_entries - 1));
}

static struct io_uring_cqe* cqe_at(uint32_t head) {
  return (struct io_uring_cqe*)(void*)(ring.rings + ring.cqes) + (head & (ring.cq_entries - 1));
}

static void ring_begin(int sqpoll_cpu) {
  struct tl_ring_options const options = {
      .entries = BATCH_MAX, .sqpoll_cpu = sqpoll_cpu, .idle_ms = 1000};
  ring_eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int const failed = tl_ring_open(&ring, &options, ring_eventfd);
  if (failed) {
    ring.fd = -1;
    errno = -failed;
    return;
  }
  atomic_store(word(ring.cq_flags), CQ_EVENTFD_DISABLED);
}

static void ring_end(void) {
  tl_ring_close(&ring);
  close(ring_eventfd);
}

static void fill(struct io_uring_sqe* sqe, int op, int i) {
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = (uint8_t)op;
  sqe->user_data = (uint32_t)i;
  if (op != IORING_OP_READ) return;
  sqe->fd = file;
  sqe->addr = (uint64_t)(uintptr_t)buffers[i];
  sqe->len = READ_SIZE;
  sqe->off = offset_of(i);
}

/* Enters for the completions that need it, and for those that are not there yet. */
static void ring_await(uint32_t head, int more) {
  if (atomic_load_explicit(word(ring.cq_tail), memory_order_acquire) != head) return;
  int const r = tl_ring_enter(&ring, 0, more > 0, IORING_ENTER_GETEVENTS);
  if (r < 0 && r != -EINTR) fail("io_uring_enter", -r);
}

static void ring_batch(int batch, int op) {
  uint32_t tail = atomic_load_explicit(word(ring.sq_tail), memory_order_relaxed);
  uint32_t head = atomic_load_explicit(word(ring.cq_head), memory_order_relaxed);
  for (int i = 0; i < batch; i++) fill(sqe_at(tail++), op, i);
  atomic_store_explicit(word(ring.sq_tail), tail, memory_order_release);
  int const took = tl_ring_enter(&ring, (uint32_t)batch, 0, IORING_ENTER_GETEVENTS);
  if (took != batch) fail("io_uring_enter", took < 0 ? -took : EAGAIN);
  for (int left = batch; left > 0;) {
    uint32_t const end = atomic_load_explicit(word(ring.cq_tail), memory_order_acquire);
    for (; head != end; head++, left--)
      if (cqe_at(head)->res < 0) fail("ring", -cqe_at(head)->res);
    atomic_store_explicit(word(ring.cq_head), head, memory_order_release);
    if (left > 0) ring_await(head, left);
  }
}

static void ring_nop(int batch) { ring_batch(batch, IORING_OP_NOP); }
static void ring_read(int batch) { ring_batch(batch, IORING_OP_READ); }

/* Linux's polling thread on the other core: no kernel entry at all. */
static void sqpoll_batch(int batch, int op) {
  uint32_t tail = atomic_load_explicit(word(ring.sq_tail), memory_order_relaxed);
  uint32_t head = atomic_load_explicit(word(ring.cq_head), memory_order_relaxed);
  for (int i = 0; i < batch; i++) fill(sqe_at(tail++), op, i);
  atomic_store(word(ring.sq_tail), tail);
  if (atomic_load(word(ring.sq_flags)) & SQ_NEED_WAKEUP)
    tl_ring_enter(&ring, 0, 0, IORING_ENTER_SQ_WAKEUP);
  for (int left = batch; left > 0;) {
    uint32_t const end = atomic_load_explicit(word(ring.cq_tail), memory_order_acquire);
    for (; head != end; head++, left--)
      if (cqe_at(head)->res < 0) fail("sqpoll", -cqe_at(head)->res);
    atomic_store_explicit(word(ring.cq_head), head, memory_order_release);
  }
}

static void sqpoll_nop(int batch) { sqpoll_batch(batch, IORING_OP_NOP); }
static void sqpoll_read(int batch) { sqpoll_batch(batch, IORING_OP_READ); }

/* --- Syscall pages: what src/page/, src/kernel/ and src/kernel/ring/ do, in C ---------------- */

static struct tl_crew_member member; /* its desk is used by all cases below */
static struct tl_desk* const desk = &member.desk;
static uint16_t free_ids[PAGES * TL_ENTRIES_PER_PAGE];
static uint32_t free_top;
static uint16_t posted[BATCH_MAX];
static uint16_t head_of[PAGES * TL_ENTRIES_PER_PAGE];

static void desk_begin(void) {
  size_t const size = tl_desk_lay_out(desk, NULL, PAGES);
  uint8_t* const base =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) fail("mmap", errno);
  tl_desk_lay_out(desk, base, PAGES);
  desk->control->pages_in_use = PAGES;
  for (uint32_t i = 0; i < PAGES * TL_ENTRIES_PER_PAGE; i++) /* as SyscallPages stripes them */
    free_ids[free_top++] = (uint16_t)(PAGES * TL_ENTRIES_PER_PAGE - 1 - i);
}

static uint32_t claim(uint16_t number, int i) {
  uint32_t const id = free_ids[--free_top];
  struct tl_entry* const e = &desk->entries[id];
  atomic_store_explicit(&e->status, TL_SUBMITTED, memory_order_relaxed);
  e->number = number;
  e->argc = 0;
  e->flags = 0;
  if (number == SYS_pread64) {
    e->argc = 4;
    e->args[0] = (uint64_t)file;
    e->args[1] = (uint64_t)(uintptr_t)buffers[i];
    e->args[2] = READ_SIZE;
    e->args[3] = offset_of(i);
  }
  return id;
}

static void take(uint32_t id) {
  struct tl_entry* const e = &desk->entries[id];
  if (e->result < 0) fail("entry", (int)-e->result);
  atomic_store_explicit(&e->status, TL_FREE, memory_order_relaxed);
  free_ids[free_top++] = (uint16_t)id;
}

static void encode(struct io_uring_sqe* sqe, const struct tl_entry* e, uint32_t id) {
  memset(sqe, 0, sizeof *sqe);
  sqe->user_data = id;
  switch (e->number) {
    case SYS_pread64:
      sqe->opcode = IORING_OP_READ;
      sqe->fd = (int)e->args[0];
      sqe->addr = e->args[1];
      sqe->len = (uint32_t)e->args[2];
      sqe->off = e->args[3];
      break;
    default:
      sqe->opcode = IORING_OP_NOP;
      sqe->fd = -1;
  }
}

static void page_ring_batch(int batch, uint16_t number) {
  for (int i = 0; i < batch; i++) posted[i] = (uint16_t)claim(number, i);
  uint32_t tail = atomic_load_explicit(word(ring.sq_tail), memory_order_relaxed);
  for (int i = 0; i < batch; i++) {
    struct tl_entry* const e = &desk->entries[posted[i]];
    encode(sqe_at(tail++), e, posted[i]);
    atomic_store_explicit(&e->status, TL_BUSY, memory_order_relaxed);
    head_of[posted[i]] = posted[i];
  }
  atomic_store_explicit(word(ring.sq_tail), tail, memory_order_release);
  int const took = tl_ring_enter(&ring, (uint32_t)batch, 0, IORING_ENTER_GETEVENTS);
  if (took != batch) fail("io_uring_enter", took < 0 ? -took : EAGAIN);

  uint32_t head = atomic_load_explicit(word(ring.cq_head), memory_order_relaxed);
  int finished = 0;
  while (finished < batch) {
    uint32_t const end = atomic_load_explicit(word(ring.cq_tail), memory_order_acquire);
    for (; head != end; head++) {
      struct io_uring_cqe const* const cqe = cqe_at(head);
      struct tl_entry* const e = &desk->entries[cqe->user_data];
      e->result = cqe->res;
      atomic_store_explicit(&e->status, TL_DONE, memory_order_relaxed);
      posted[finished++] = head_of[cqe->user_data];
    }
    atomic_store_explicit(word(ring.cq_head), head, memory_order_release);
    if (finished < batch) ring_await(head, batch - finished);
  }
  for (int i = 0; i < batch; i++) take(posted[i]);
}

static void page_ring_nop(int batch) { page_ring_batch(batch, TL_NUMBER_NOP); }
static void page_ring_read(int batch) { page_ring_batch(batch, SYS_pread64); }

/* --- On the spot: the batch in one call, here without Node-API ------------------------------ */

static struct tl_spot spot;

static void spot_batch(int batch, uint16_t number) {
  for (int i = 0; i < batch; i++) desk->spot_list[i] = (uint16_t)claim(number, i);
  tl_spot_run(&spot, desk, (uint32_t)batch);
  for (int i = 0; i < batch; i++) {
    if (atomic_load(&desk->entries[desk->spot_list[i]].status) != TL_DONE) fail("spot", EAGAIN);
    take(desk->spot_list[i]);
  }
}

static void spot_getppid(int batch) { spot_batch(batch, SYS_getppid); }
static void spot_read(int batch) { spot_batch(batch, SYS_pread64); }

/* --- The crew: native threads, on another core where there is one --------------------------- */

static void crew_batch(int batch, uint16_t number) {
  for (int i = 0; i < batch; i++) {
    uint32_t const id = claim(number, i);
    atomic_fetch_or(&desk->descs[id / TL_ENTRIES_PER_PAGE].ready[id >> 5 & 1], 1u << (id & 31));
  }
  if (!atomic_load(&desk->control->awake)) tl_crew_wake();
  uint32_t seen = atomic_load(&desk->control->bell_seen);
  for (int left = batch; left > 0;) {
    uint32_t const bell = atomic_load(&desk->control->bell);
    if (bell == seen) {
      for (int i = 0; i < 8; i++) __asm__ volatile("" ::: "memory");
      continue;
    }
    seen = bell;
    for (uint32_t w = 0; w < PAGES * 2; w++) {
      _Atomic uint32_t* const done = &desk->descs[w / 2].done[w & 1];
      if (!atomic_load_explicit(done, memory_order_relaxed)) continue;
      for (uint32_t bits = atomic_exchange(done, 0); bits; bits &= bits - 1, left--)
        take(w * 32 + (uint32_t)__builtin_ctz(bits));
    }
  }
  atomic_store(&desk->control->bell_seen, seen);
}

static void crew_nop(int batch) { crew_batch(batch, TL_NUMBER_NOP); }
static void crew_getppid(int batch) { crew_batch(batch, SYS_getppid); }
static void crew_read(int batch) { crew_batch(batch, SYS_pread64); }

/* --- Main ---------------------------------------------------------------------------------- */

static void make_file(void) {
  static uint8_t content[FILE_SIZE];
  const char* const dir = getenv("TMPDIR");
  char path[4096];
  snprintf(path, sizeof path, "%s/trapless-overhead.XXXXXX", dir ? dir : "/tmp");
  file = mkostemp(path, O_CLOEXEC);
  if (file < 0 || unlink(path) || write(file, content, sizeof content) != FILE_SIZE)
    fail(path, errno);
}

/* Keeps this thread off `cpu`; returns 0 when there is no other core. */
static int keep_off(int cpu) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set)) return 0;
  CPU_CLR((unsigned)cpu, &set);
  return CPU_COUNT(&set) > 0 && sched_setaffinity(0, sizeof set, &set) == 0;
}

static int last_cpu(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set)) return 0;
  int last = 0;
  for (int i = 0; i < CPU_SETSIZE; i++)
    if (CPU_ISSET((unsigned)i, &set)) last = i;
  return last;
}

int main(int argc, char** argv) {
  int cpu = last_cpu();
  const char* only = "";
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--quick") == 0) {
      rounds = 5;
      round_ns = 4e6;
    } else if (strcmp(argv[i], "--cpu") == 0 && i + 1 < argc) {
      cpu = atoi(argv[++i]);
    } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else {
      fprintf(stderr, "usage: overhead [--cpu N] [--quick] [--only PREFIX]\n");
      return 2;
    }
  }
  make_file();
  desk_begin();
  member.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int const two = keep_off(cpu);
  size_t const n = strlen(only);

  if (strncmp("sync", only, n) == 0) {
    measure("sync_getppid", 1, sync_getppid);
    measure("sync_pread_1k", 1, sync_pread);
  }
  if (strncmp("ring", only, n) == 0 || strncmp("page", only, n) == 0) {
    ring_begin(-1);
    if (ring.fd < 0) {
      skip("ring_nop", strerror(errno));
    } else {
      if (strncmp("ring", only, n) == 0) {
        measure_batches("ring_nop", ring_nop);
        measure_batches("ring_read_1k", ring_read);
      }
      measure_batches("page_ring_nop", page_ring_nop);
      measure_batches("page_ring_read_1k", page_ring_read);
      ring_end();
    }
  }
  if (strncmp("sqpoll", only, n) == 0) {
    if (!two) {
      skip("sqpoll_nop", "needs a second core");
    } else {
      ring_begin(cpu);
      if (ring.fd < 0) {
        skip("sqpoll_nop", strerror(errno));
      } else {
        measure_batches("sqpoll_nop", sqpoll_nop);
        measure_batches("sqpoll_read_1k", sqpoll_read);
        ring_end();
      }
    }
  }
  if (strncmp("spot", only, n) == 0) {
    if (tl_spot_open(&spot)) fail("spot", errno);
    measure_batches("spot_getppid", spot_getppid);
    measure_batches("spot_read_1k", spot_read);
    tl_spot_close(&spot);
  }
  if (strncmp("crew", only, n) == 0) {
    if (!two) {
      skip("crew_nop", "needs a second core");
    } else {
      tl_crew_cores(&cpu, 1);
      tl_crew_join(&member);
      measure_batches("crew_nop", crew_nop);
      measure_batches("crew_getppid", crew_getppid);
      measure_batches("crew_read_1k", crew_read);
      if (!tl_crew_leave(&member)) fail("leave", EBUSY);
    }
  }
  return 0;
}
