/* See ring.h. Struct layouts and numbers are those of linux/io_uring.h, io_uring_setup(2). */
#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Newer than some distributions' headers. */
#define TL_SETUP_SUBMIT_ALL (1u << 7)
#define TL_SETUP_COOP_TASKRUN (1u << 8)
#define TL_SETUP_TASKRUN_FLAG (1u << 9)
#define TL_SETUP_SINGLE_ISSUER (1u << 12)
#define TL_SETUP_DEFER_TASKRUN (1u << 13)
#define TL_ENTRIES_MIN 64u
#define TL_CLOSE_TRIES 1000 /* x 1 ms */
#define TL_CANCEL_EVERY 100 /* a request may have gone to a worker since the last try */
#define TL_CANCEL_ALL (1u << 0)
#define TL_CANCEL_ANY (1u << 2)
#define TL_CQ_EVENTFD_DISABLED (1u << 0)

static int ring_setup(uint32_t entries, struct io_uring_params* p) {
  long const r = syscall(SYS_io_uring_setup, entries, p);
  return r < 0 ? -errno : (int)r;
}

/* Halves the ring when locked memory does not suffice (RLIMIT_MEMLOCK is per user, shared by
 * all its processes). */
static int setup_within_limits(struct tl_ring* ring, const struct tl_ring_options* options,
                               uint32_t flags, struct io_uring_params* p) {
  int fd = -ENOMEM;
  if (options->entries < TL_ENTRIES_MIN) return -EINVAL;
  for (uint32_t n = options->entries; n >= TL_ENTRIES_MIN && fd == -ENOMEM; n /= 2) {
    memset(p, 0, sizeof *p);
    p->flags = flags | IORING_SETUP_CQSIZE | TL_SETUP_SUBMIT_ALL;
    p->cq_entries = n * (options->cq_per_sq ? options->cq_per_sq : 4); /* completions may lag behind several submissions */
    if (options->sqpoll_cpu >= 0) {
      p->flags |= IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF;
      p->sq_thread_cpu = (uint32_t)options->sqpoll_cpu;
      p->sq_thread_idle = options->idle_ms;
    }
    fd = ring_setup(n, p);
  }
  ring->setup_flags = p->flags;
  return fd;
}

static int map_rings(struct tl_ring* ring, const struct io_uring_params* p) {
  size_t const sq = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
  size_t const cq = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
  ring->rings_size = sq > cq ? sq : cq;
  ring->rings = mmap(NULL, ring->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                     ring->fd, IORING_OFF_SQ_RING);
  if (ring->rings == MAP_FAILED) return -errno;
  ring->sqes_size = p->sq_entries * sizeof(struct io_uring_sqe);
  ring->sqes = mmap(NULL, ring->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                    ring->fd, IORING_OFF_SQES);
  if (ring->sqes == MAP_FAILED) return -errno;
  /* A child between fork and exec must not share the queues. */
  madvise(ring->rings, ring->rings_size, MADV_DONTFORK);
  madvise(ring->sqes, ring->sqes_size, MADV_DONTFORK);
  return 0;
}

static void note_offsets(struct tl_ring* ring, const struct io_uring_params* p) {
  ring->sq_entries = p->sq_entries;
  ring->cq_entries = p->cq_entries;
  ring->features = p->features;
  ring->sq_head = p->sq_off.head;
  ring->sq_tail = p->sq_off.tail;
  ring->sq_mask = p->sq_off.ring_mask;
  ring->sq_flags = p->sq_off.flags;
  ring->sq_array = p->sq_off.array;
  ring->cq_head = p->cq_off.head;
  ring->cq_tail = p->cq_off.tail;
  ring->cq_mask = p->cq_off.ring_mask;
  ring->cq_overflow = p->cq_off.overflow;
  ring->cq_flags = p->cq_off.flags;
  ring->cqes = p->cq_off.cqes;
  /* Slot i always holds SQE i: TypeScript never touches the index array. */
  uint32_t* const array = (uint32_t*)(void*)(ring->rings + ring->sq_array);
  for (uint32_t i = 0; i < ring->sq_entries; i++) array[i] = i;
}

void tl_ring_unmap(struct tl_ring* ring) {
  if (ring->rings && ring->rings != MAP_FAILED) munmap(ring->rings, ring->rings_size);
  if (ring->sqes && ring->sqes != MAP_FAILED) munmap(ring->sqes, ring->sqes_size);
  ring->rings = NULL;
  ring->sqes = NULL;
}

int tl_ring_open(struct tl_ring* ring, const struct tl_ring_options* options, int eventfd) {
  memset(ring, 0, sizeof *ring);
  /* Probe, never version-check. Completions that run when we ask for them (6.1) are what makes
   * a batch one kernel entry; without them the crew is the better syscall thread. SQPOLL
   * excludes them: there the kernel thread completes. */
  uint32_t const flags =
      options->sqpoll_cpu >= 0
          ? TL_SETUP_SINGLE_ISSUER
          : TL_SETUP_SINGLE_ISSUER | TL_SETUP_DEFER_TASKRUN | TL_SETUP_TASKRUN_FLAG;
  struct io_uring_params p = {0};
  ring->fd = setup_within_limits(ring, options, flags, &p);
  if (ring->fd < 0) return ring->fd;

  int failed = map_rings(ring, &p);
  if (!failed && syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_EVENTFD, &eventfd, 1))
    failed = -errno;
  if (failed) {
    tl_ring_unmap(ring);
    close(ring->fd);
    ring->fd = -1;
    return failed;
  }
  note_offsets(ring, &p);
  return 0;
}

int tl_ring_enter(const struct tl_ring* ring, uint32_t submit, uint32_t min, uint32_t flags) {
  long const r = syscall(SYS_io_uring_enter, ring->fd, submit, min, flags, NULL, 0);
  return r < 0 ? -errno : (int)r;
}

int tl_ring_probe(const struct tl_ring* ring, uint64_t* ops) {
  union {
    struct io_uring_probe head;
    uint8_t bytes[sizeof(struct io_uring_probe) + 256 * sizeof(struct io_uring_probe_op)];
  } probe;
  memset(&probe, 0, sizeof probe);
  if (syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_PROBE, &probe, 256)) return -errno;
  *ops = 0;
  for (unsigned i = 0; i < probe.head.ops_len && i < 64; i++)
    if (probe.head.ops[i].flags & IO_URING_OP_SUPPORTED) *ops |= 1ull << i;
  return 0;
}

/* Puts empty memory in the place of a mapping, in one go. */
static void forget(uint8_t* mapping, size_t size) {
  if (mmap(mapping, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
           0) == MAP_FAILED)
    munmap(mapping, size);
}

static _Atomic uint32_t* word(const struct tl_ring* ring, uint32_t offset) {
  return (_Atomic uint32_t*)(void*)(ring->rings + offset);
}

/* Not yet completed: each request Linux took gives exactly one completion (we use no multishot),
 * and both counters start at 0. */
static uint32_t in_flight(const struct tl_ring* ring) {
  return atomic_load(word(ring, ring->sq_head)) - atomic_load(word(ring, ring->cq_head));
}

/* One request "cancel everything" through the ring itself. */
static void cancel_all(const struct tl_ring* ring) {
  uint32_t const tail = atomic_load(word(ring, ring->sq_tail));
  uint32_t const head = atomic_load(word(ring, ring->sq_head));
  if (tail - head >= ring->sq_entries) return; /* full: nothing was taken lately, nothing runs */
  struct io_uring_sqe* const sqe =
      (struct io_uring_sqe*)(void*)ring->sqes + (tail & (ring->sq_entries - 1));
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = IORING_OP_ASYNC_CANCEL;
  sqe->cancel_flags = TL_CANCEL_ALL | TL_CANCEL_ANY;
  sqe->user_data = UINT64_MAX;
  atomic_store(word(ring, ring->sq_tail), tail + 1);
  tl_ring_enter(ring, tail + 1 - head, 0, IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP);
}

/* Cancels, then reaps until nothing is left: closing the descriptor alone would let Linux go on
 * writing for a while. */
int tl_ring_close(struct tl_ring* ring) {
  if (ring->fd < 0) return 1;
  struct timespec const pause = {.tv_nsec = 1000000};
  int const sqpoll = (ring->setup_flags & IORING_SETUP_SQPOLL) != 0;
  atomic_store(word(ring, ring->cq_flags), TL_CQ_EVENTFD_DISABLED); /* nobody listens any more */
  for (int i = 0; i < TL_CLOSE_TRIES; i++) {
    atomic_store(word(ring, ring->cq_head), atomic_load(word(ring, ring->cq_tail)));
    /* SQPOLL takes requests whenever it likes: none may be left to take. */
    int const taken = !sqpoll || atomic_load(word(ring, ring->sq_head)) ==
                                     atomic_load(word(ring, ring->sq_tail));
    if (taken && !in_flight(ring)) break;
    if (i % TL_CANCEL_EVERY == 0) cancel_all(ring);
    tl_ring_enter(ring, 0, 0, IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP);
    if (i > 2) nanosleep(&pause, NULL);
  }
  int const quiet = !in_flight(ring);
  tl_ring_drop(ring);
  return quiet;
}

void tl_ring_drop(struct tl_ring* ring) {
  close(ring->fd);
  ring->fd = -1;
  /* The queues stay readable: JavaScript may hold views of them. What it finds is zeroes. A
   * mapping keeps the ring alive, so it must go. */
  forget(ring->rings, ring->rings_size);
  forget(ring->sqes, ring->sqes_size);
}
