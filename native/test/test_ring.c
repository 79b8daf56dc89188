/* The ring: does it open within limits, say why it does not, and close with nothing in flight? */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../ring.h"
#include "desk.h"

#define SQ_NEED_WAKEUP 1u

/* --- Linux, refusing ----------------------------------------------------------------------- */

static int refuse_errno;               /* io_uring_setup fails with this ... */
static uint32_t refuse_above;          /* ... for rings larger than this */
static int setups;
static int refuse_maps;

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
  va_list list;
  long args[6];
  va_start(list, number);
  for (int i = 0; i < 6; i++) args[i] = va_arg(list, long);
  va_end(list);
  if (number == SYS_io_uring_setup) {
    setups++;
    if (refuse_errno && (uint32_t)args[0] > refuse_above) {
      errno = refuse_errno;
      return -1;
    }
  }
  return __real_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

void* __real_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset);
void* __wrap_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset);
void* __wrap_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  if (refuse_maps && fd >= 0 && --refuse_maps == 0) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return __real_mmap(at, size, protection, flags, fd, offset);
}

/* --- Helpers ------------------------------------------------------------------------------- */

static struct tl_ring ring;
static int event;

static _Atomic uint32_t* word(uint32_t offset) {
  return (_Atomic uint32_t*)(void*)(ring.rings + offset);
}

static int begin(uint32_t entries, int sqpoll_cpu) {
  struct tl_ring_options const options = {
      .entries = entries, .sqpoll_cpu = sqpoll_cpu, .idle_ms = 50};
  event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int const failed = tl_ring_open(&ring, &options, event);
  if (failed) close(event);
  return failed;
}

#define BEGIN(entries, cpu)                                                    \
  do {                                                                         \
    int const begin_failed = begin(entries, cpu);                              \
    if (begin_failed == -EPERM || begin_failed == -ENOSYS) SKIP("no io_uring here"); \
    CHECK_EQ(begin_failed, 0);                                                 \
    if (begin_failed) return;                                                  \
  } while (0)

/* Closes, quickly, with nothing in flight, and unmaps as the addon does. */
static void end(void) {
  uint8_t* const rings = ring.rings;
  uint8_t* const sqes = ring.sqes;
  uint64_t const started = test_now_ns();
  CHECK_EQ(tl_ring_close(&ring), 1);
  CHECK_LE(test_now_ns() - started, 500000000);
  CHECK_EQ(ring.fd, -1);
  /* Views that JavaScript may still have are readable, and say that nothing is there. */
  CHECK_EQ(*word(ring.cq_tail), 0);
  CHECK_EQ(sqes[0], 0);
  CHECK_EQ(tl_ring_close(&ring), 1); /* again: nothing happens */
  munmap(rings, ring.rings_size);
  munmap(sqes, ring.sqes_size);
  close(event);
}

static struct io_uring_sqe* next_sqe(uint64_t user_data, int op) {
  uint32_t const tail = atomic_load(word(ring.sq_tail));
  struct io_uring_sqe* const sqe =
      (struct io_uring_sqe*)(void*)ring.sqes + (tail & (ring.sq_entries - 1));
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = (uint8_t)op;
  sqe->user_data = user_data;
  return sqe;
}

static void publish(void) { atomic_fetch_add(word(ring.sq_tail), 1); }

static void add_read(uint64_t user_data, int fd, void* buffer, uint32_t size) {
  struct io_uring_sqe* const sqe = next_sqe(user_data, IORING_OP_READ);
  sqe->fd = fd;
  sqe->addr = ARG(buffer);
  sqe->len = size;
  sqe->off = UINT64_MAX;
  publish();
}

/* --- Tests --------------------------------------------------------------------------------- */

TEST(batch_of_nops) {
  BEGIN(64, -1);
  for (int round = 0; round < 100; round++) {
    for (uint64_t i = 0; i < 64; i++) {
      next_sqe(i, IORING_OP_NOP);
      publish();
    }
    CHECK_EQ(tl_ring_enter(&ring, 64, 64, IORING_ENTER_GETEVENTS), 64);
    uint32_t head = atomic_load(word(ring.cq_head));
    CHECK_EQ(atomic_load(word(ring.cq_tail)) - head, 64);
    struct io_uring_cqe const* const cqes = (struct io_uring_cqe*)(void*)(ring.rings + ring.cqes);
    for (uint64_t i = 0; i < 64; i++, head++) {
      CHECK_EQ(cqes[head & (ring.cq_entries - 1)].user_data, i);
      CHECK_EQ(cqes[head & (ring.cq_entries - 1)].res, 0);
    }
    atomic_store(word(ring.cq_head), head);
  }
  end();
}

TEST(probe_knows_the_basics) {
  BEGIN(64, -1);
  uint64_t ops = 0;
  CHECK_EQ(tl_ring_probe(&ring, &ops), 0);
  CHECK((ops >> IORING_OP_NOP & 1) && (ops >> IORING_OP_READ & 1) && (ops >> IORING_OP_STATX & 1));
  end();
}

TEST(close_cancels_a_pending_read) {
  BEGIN(64, -1);
  int fds[2];
  char buffer[16];
  REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
  for (uint64_t i = 0; i < 40; i++) add_read(i, fds[0], buffer, sizeof buffer);
  CHECK_EQ(tl_ring_enter(&ring, 40, 0, IORING_ENTER_GETEVENTS), 40);
  end();
  /* Nobody reads any more. */
  CHECK_EQ(write(fds[1], "abc", 3), 3);
  CHECK_EQ(read(fds[0], buffer, sizeof buffer), 3);
  close(fds[0]);
  close(fds[1]);
}

TEST(close_cancels_a_worker) {
  BEGIN(64, -1);
  mkfifo(temp_path("fifo"), 0600);
  struct io_uring_sqe* const sqe = next_sqe(1, IORING_OP_OPENAT);
  sqe->fd = AT_FDCWD;
  sqe->addr = ARG(temp_path("fifo"));
  sqe->open_flags = O_RDONLY | O_CLOEXEC;
  sqe->flags = IOSQE_ASYNC;
  publish();
  CHECK_EQ(tl_ring_enter(&ring, 1, 0, IORING_ENTER_GETEVENTS), 1);
  test_sleep_us(20000); /* a worker sits in open(2) */
  end();
  temp_remove();
}

/* Published and never entered: what a failing io_uring_enter leaves behind. */
TEST(close_with_requests_linux_never_took) {
  BEGIN(64, -1);
  int fds[2];
  char buffer[16];
  REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
  for (uint64_t i = 0; i < 10; i++) add_read(i, fds[0], buffer, sizeof buffer);
  end();
  close(fds[0]);
  close(fds[1]);
}

TEST(close_with_completions_nobody_took) {
  BEGIN(64, -1);
  for (int round = 0; round < 4; round++) {
    for (uint64_t i = 0; i < 64; i++) {
      next_sqe(i, IORING_OP_NOP);
      publish();
    }
    CHECK_EQ(tl_ring_enter(&ring, 64, 0, IORING_ENTER_GETEVENTS), 64);
  }
  end();
}

TEST(sqpoll) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) || CPU_COUNT(&set) < 2) SKIP("needs a second core");
  int cpu = CPU_SETSIZE - 1;
  while (!CPU_ISSET((unsigned)cpu, &set)) cpu--;
  BEGIN(64, cpu);
  next_sqe(7, IORING_OP_NOP);
  publish();
  if (atomic_load(word(ring.sq_flags)) & SQ_NEED_WAKEUP)
    tl_ring_enter(&ring, 0, 0, IORING_ENTER_SQ_WAKEUP);
  uint64_t const until = test_now_ns() + 5000000000u;
  while (atomic_load(word(ring.cq_tail)) == 0 && test_now_ns() < until) sched_yield();
  CHECK_EQ(atomic_load(word(ring.cq_tail)), 1);
  /* Closes with requests the polling thread, asleep by now, has not seen. */
  int fds[2];
  char buffer[16];
  REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
  test_sleep_us(100000);
  for (uint64_t i = 0; i < 10; i++) add_read(i, fds[0], buffer, sizeof buffer);
  end();
  close(fds[0]);
  close(fds[1]);
}

TEST(eventfd_rings) {
  BEGIN(64, -1);
  int fds[2];
  char buffer[16];
  uint64_t count = 0;
  REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
  add_read(1, fds[0], buffer, sizeof buffer);
  CHECK_EQ(tl_ring_enter(&ring, 1, 0, IORING_ENTER_GETEVENTS), 1);
  CHECK_EQ(read(event, &count, sizeof count), -1);
  CHECK_EQ(write(fds[1], "abc", 3), 3);
  CHECK_EQ(read(event, &count, sizeof count), 8);
  end();
  close(fds[0]);
  close(fds[1]);
}

TEST(halves_itself_for_want_of_memory) {
  refuse_errno = ENOMEM;
  refuse_above = 128;
  BEGIN(1024, -1);
  CHECK_EQ(setups, 4);
  CHECK_EQ(ring.sq_entries, 128);
  CHECK_EQ(ring.cq_entries, 512);
  end();
}

TEST(gives_up_below_the_smallest) {
  refuse_errno = ENOMEM;
  CHECK_EQ(begin(1024, -1), -ENOMEM);
  CHECK_EQ(setups, 5); /* 1024, 512, 256, 128, 64 */
  CHECK(ring.fd < 0);
  CHECK_EQ(tl_ring_close(&ring), 1);
  CHECK_EQ(begin(32, -1), -EINVAL);
}

TEST(refused) {
  int const reasons[] = {EPERM, ENOSYS, EINVAL};
  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
    refuse_errno = reasons[i];
    setups = 0;
    CHECK_EQ(begin(1024, -1), -reasons[i]);
    CHECK_EQ(setups, 1); /* asking again would not help */
    CHECK_EQ(tl_ring_close(&ring), 1);
  }
}

TEST(mapping_refused_leaks_nothing) {
  for (int i = 1; i <= 2; i++) {
    refuse_maps = i;
    int const failed = begin(64, -1);
    if (failed == -EPERM || failed == -ENOSYS) SKIP("no io_uring here");
    CHECK_EQ(failed, -ENOMEM);
    CHECK(ring.fd < 0);
    CHECK(!ring.rings && !ring.sqes);
  }
}

TEST(opens_and_closes_many_times) {
  for (int i = 0; i < 200; i++) {
    BEGIN(256, -1);
    end();
  }
}

int main(int argc, char** argv) {
  if (argc > 1) test_filter = argv[1];
  RUN(batch_of_nops);
  RUN(probe_knows_the_basics);
  RUN(close_cancels_a_pending_read);
  RUN(close_cancels_a_worker);
  RUN(close_with_requests_linux_never_took);
  RUN(close_with_completions_nobody_took);
  RUN(sqpoll);
  RUN(eventfd_rings);
  RUN(halves_itself_for_want_of_memory);
  RUN(gives_up_below_the_smallest);
  RUN(refused);
  RUN(mapping_refused_leaks_nothing);
  RUN(opens_and_closes_many_times);
  return summary();
}
