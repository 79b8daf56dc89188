/* The life of a kernel's sockets, on io_uring and on readiness: is the memory where it must be, does
 * the end leave nothing in flight and close what nobody else could, is Linux's refusal survived? */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "queue.h"

/* --- Linux, refusing ----------------------------------------------------------------------- */

#define REGISTER_PBUF_RING 22

static int refuse_setup, refuse_buffers; /* errno */
static int refuse_map;                   /* the how manyth from now on; 0: none */
static _Atomic int maps, unmaps;

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
  va_list list;
  long args[6];
  va_start(list, number);
  for (int i = 0; i < 6; i++) args[i] = va_arg(list, long);
  va_end(list);
  errno = number == SYS_io_uring_setup ? refuse_setup
          : number == SYS_io_uring_register && args[1] == REGISTER_PBUF_RING ? refuse_buffers
                                                                              : 0;
  if (errno) return -1;
  return __real_syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

void* __real_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset);
void* __wrap_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset);
void* __wrap_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  if (refuse_map && --refuse_map == 0) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void* const p = __real_mmap(at, size, protection, flags, fd, offset);
  if (p != MAP_FAILED && !(flags & MAP_FIXED)) maps++;
  return p;
}

int __real_munmap(void* at, size_t size);
int __wrap_munmap(void* at, size_t size);
int __wrap_munmap(void* at, size_t size) {
  unmaps++;
  return __real_munmap(at, size);
}

/* Of a number that is not open, and could be another thread's new file. */
static _Atomic int closed_twice;

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) {
  int const result = __real_close(fd);
  if (result && errno == EBADF) closed_twice++;
  return result;
}

/* --- Helpers ------------------------------------------------------------------------------- */

/* As src/kernel/sockets/ does: closed with the thread from here on. */
static void note_descriptor(uint32_t slot, int fd) {
  atomic_store((_Atomic int32_t*)(void*)(queue.arena + TL_SOCKETS_BUFFER_RING) + slot, fd + 1);
}

static uint64_t accept_data(uint32_t slot) {
  return slot | (uint64_t)TL_SOCKET_KIND_ACCEPT << TL_SOCKET_SLOT_BITS;
}

static int is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

/* --- Opening ------------------------------------------------------------------------------- */

TEST(memory_is_laid_out) {
  QUEUE_OPEN(8);
  uintptr_t const from = (uintptr_t)queue.arena;
  CHECK_EQ(from % 4096, 0);
  CHECK_EQ(from >> 32, (from + queue.arena_size - 1) >> 32); /* crosses no 4 GiB line */
  for (uint32_t i = 0; i < SLOTS * 4; i++) CHECK_EQ(queue.arena[TL_SOCKETS_BUFFER_RING + i], 0);
  CHECK_EQ(queue.ring.sq_entries, ENTRIES);
  CHECK_EQ(queue.ring.cq_entries, COMPLETIONS);
  CHECK_EQ(queue.ready == NULL, on_ring);
  CHECK_EQ(tl_sockets_ready_fd(&queue) >= 0, !on_ring);
  /* Every word is inside the mapping. */
  CHECK(queue.ring.sqes_size >= ENTRIES * sizeof(struct io_uring_sqe));
  CHECK(queue.ring.rings_size >= queue.ring.cqes + COMPLETIONS * sizeof(struct io_uring_cqe));
  queue_close();
}

TEST(options_that_make_no_sense) {
  struct tl_sockets_options const good = queue_options(8);
  struct tl_sockets_options bad[10];
  for (int i = 0; i < 10; i++) bad[i] = good;
  bad[0].buffers = 0;
  bad[1].buffers = 7;
  bad[2].buffers = 512; /* more than the page holds */
  bad[3].entries = 0;
  bad[4].entries = 100;
  bad[5].entries = 1u << 31;
  bad[6].arena_size = 0;
  bad[7].arena_size = BUFFERS_AT - 1; /* no room for the descriptors */
  bad[8].slots = UINT32_MAX;
  bad[9].slots = 1u << 30;
  for (int i = 0; i < 10; i++) {
    memset(&queue, 0, sizeof queue);
    CHECK_EQ(tl_sockets_open(&queue, &bad[i], -1), -EINVAL);
    CHECK(queue.arena == NULL);
    if (test_failures) printf("    option %d\n", i);
    if (test_failures) break;
  }
  CHECK_EQ(maps, unmaps);
}

TEST(no_ring_no_matter) {
  on_ring = 1;
  refuse_setup = EPERM;
  CHECK_EQ(queue_open(8), 0);
  CHECK(queue.ready != NULL);
  queue_close();
  refuse_setup = 0;
  refuse_buffers = EINVAL; /* a kernel before 5.19 */
  int const before = maps - unmaps;
  CHECK_EQ(queue_open(8), 0);
  CHECK(queue.ready != NULL);
  CHECK_EQ(tl_sockets_close(&queue), 1);
  tl_sockets_release(&queue);
  close(queue_event);
  CHECK_EQ(maps - unmaps, before);
}

TEST(no_memory) {
  for (int nth = 1; nth < 6; nth++) {
    int const before = maps - unmaps;
    memset(&queue, 0, sizeof queue);
    refuse_map = nth;
    int const failed = queue_open(8);
    if (failed) {
      CHECK_EQ(failed, -ENOMEM);
      CHECK(queue.arena == NULL);
      CHECK(!tl_sockets_has_news(&queue));
      CHECK_EQ(tl_sockets_close(&queue), 1);
      tl_sockets_release(&queue);
      close(queue_event);
    } else {
      refuse_map = 0;
      queue_close();
    }
    CHECK_EQ(maps - unmaps, before);
    if (test_failures) printf("    mapping %d\n", nth);
    if (test_failures) break;
  }
}

TEST(nothing_is_done_before_it_is_open_or_after) {
  memset(&queue, 0, sizeof queue);
  CHECK_EQ(tl_sockets_enter(&queue, 1, IORING_ENTER_GETEVENTS), -EBADF);
  CHECK(!tl_sockets_has_news(&queue));
  CHECK_EQ(tl_sockets_ready_fd(&queue), -1);
  tl_sockets_note(&queue);
  tl_sockets_mute(&queue, 0);
  CHECK_EQ(tl_sockets_close(&queue), 1);
  tl_sockets_release(&queue);
  QUEUE_OPEN(8);
  int const listening = listener();
  put_accept(listening, accept_data(0));
  enter();
  CHECK_EQ(tl_sockets_close(&queue), 1);
  int const fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* of a number that was the queue's */
  CHECK_EQ(tl_sockets_enter(&queue, 1, IORING_ENTER_GETEVENTS), -EBADF);
  CHECK(!tl_sockets_has_news(&queue));
  tl_sockets_note(&queue);
  tl_sockets_mute(&queue, 0);
  CHECK_EQ(tl_sockets_close(&queue), 1);
  /* JavaScript may still look at the words. */
  CHECK_EQ(atomic_load(queue_word(queue.ring.sq_tail)) -
               atomic_load(queue_word(queue.ring.sq_head)), 0);
  CHECK(is_open(fd));
  close(fd);
  tl_sockets_release(&queue);
  tl_sockets_release(&queue);
  close(listening);
  close(queue_event);
}

/* --- The end ------------------------------------------------------------------------------- */

/* Everything at once in flight; descriptors that were noted are closed, others are not ours. */
TEST(the_end_of_everything_in_flight) {
  int const before = maps - unmaps;
  QUEUE_OPEN(8);
  enum { COUNT = 20 };
  int const listening = listener();
  int const full = bound(SOCK_STREAM);
  CHECK_EQ(listen(full, 0), 0);
  struct sockaddr_in const to_full = address_of(full);
  int fds[COUNT][2];
  int hanging[8];
  static uint8_t data[300000];
  note_descriptor(0, listening);
  put_accept(listening, accept_data(0));
  for (int i = 0; i < COUNT; i++) {
    tcp_pair(fds[i]);
    put_recv(fds[i][0], 1);
    if (i % 2) fill_up(fds[i][0]);
    if (i % 2) put_send(fds[i][0], data, sizeof data, MSG_WAITALL, 2);
    if (i > 0) note_descriptor((uint32_t)i, fds[i][0]);
  }
  for (int i = 0; i < 8; i++) {
    hanging[i] = ours(AF_INET, SOCK_STREAM);
    note_descriptor(SLOTS - 1 - (uint32_t)i, hanging[i]);
    put_connect(hanging[i], &to_full, 3);
  }
  enter();
  uint64_t const started = test_now_ns();
  queue_close();
  CHECK_LE(test_now_ns() - started, 1000000000);
  CHECK_EQ(closed_twice, 0);
  CHECK(!is_open(listening));
  CHECK(is_open(fds[0][0])); /* borrowed */
  for (int i = 1; i < COUNT; i++) CHECK(!is_open(fds[i][0]));
  for (int i = 0; i < 8; i++) CHECK(!is_open(hanging[i]));
  CHECK_EQ(send(fds[0][0], "x", 1, 0), 1); /* and nothing of it was shut down */
  close(fds[0][0]);
  for (int i = 0; i < COUNT; i++) close(fds[i][1]);
  close(full);
  CHECK_EQ(maps - unmaps, before);
}

/* Taken out of a backlog: noted from a slot on, no more than there is room for, and closed at the
 * end. */
TEST(a_backlog_is_taken) {
  QUEUE_OPEN(8);
  int const listening = listener();
  fcntl(listening, F_SETFL, O_NONBLOCK);
  CHECK_EQ(tl_sockets_accept_all(&queue, listening, 1, 3), 0);
  int peers[4];
  for (int i = 0; i < 4; i++) peers[i] = peer_of(listening);
  CHECK_EQ(tl_sockets_accept_all(&queue, listening, SLOTS - 2, 3), 0); /* beyond the slots */
  CHECK_EQ(tl_sockets_accept_all(&queue, listening, 1, 3), 3);
  CHECK_EQ(tl_sockets_accept_all(&queue, listening, 4, 3), 1);
  const _Atomic int32_t* const noted =
      (const _Atomic int32_t*)(const void*)(queue.arena + TL_SOCKETS_BUFFER_RING);
  int fds[4];
  for (int i = 0; i < 4; i++) fds[i] = noted[1 + i] - 1;
  CHECK_EQ(noted[5], 0);
  for (int i = 0; i < 4; i++) CHECK(is_open(fds[i]));
  CHECK_EQ(tl_sockets_accept_all(&queue, -1, 1, 3), 0);
  queue_close();
  for (int i = 0; i < 4; i++) CHECK(!is_open(fds[i]));
  CHECK_EQ(closed_twice, 0);
  close(listening);
  for (int i = 0; i < 4; i++) close(peers[i]);
}

/* Accepted, and the thread ended before TypeScript saw it: closed. Seen: closed once only. */
TEST(connections_accepted_at_the_end) {
  QUEUE_OPEN(8);
  int const listening = listener();
  put_accept(listening, accept_data(0));
  enter();
  int peers[4];
  for (int i = 0; i < 4; i++) peers[i] = peer_of(listening);
  uint32_t const head = atomic_load(queue_word(queue.ring.cq_head));
  for (int i = 0; i < 100 && atomic_load(queue_word(queue.ring.cq_tail)) - head < 4; i++) {
    enter();
    test_sleep_us(1000);
  }
  struct completion c = {0};
  REQUIRE(next(&c));
  int const seen = c.result;
  note_descriptor(5, seen);
  REQUIRE(next(&c));
  int const seen_too = c.result;
  note_descriptor(6, seen_too);
  /* ... whose completion is still in the queue. */
  atomic_fetch_sub(queue_word(queue.ring.cq_head), 1);
  queue_close();
  CHECK_EQ(closed_twice, 0);
  CHECK(!is_open(seen));
  CHECK(!is_open(seen_too));
  close(listening);
  char byte;
  for (int i = 0; i < 4; i++) {
    CHECK_LE(recv(peers[i], &byte, 1, 0), 0);
    close(peers[i]);
  }
}

/* Connections keep coming while it ends. */
static int stop_connecting;
static struct sockaddr_in connect_to;
static void* connecting(void* unused) {
  (void)unused;
  while (!__atomic_load_n(&stop_connecting, __ATOMIC_ACQUIRE)) {
    int const fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr*)&connect_to, sizeof connect_to) == 0)
      (void)!send(fd, "x", 1, MSG_NOSIGNAL);
    reset_on_close(fd);
    close(fd);
  }
  return NULL;
}

TEST(the_end_under_load) {
  int const listening = listener();
  connect_to = address_of(listening);
  pthread_t thread;
  pthread_create(&thread, NULL, connecting, NULL);
  for (int round = 0; round < 20; round++) {
    if (queue_open(8)) abort();
    if (on_ring && queue.ready) SKIP("no io_uring here");
    put_accept(listening, accept_data(0));
    for (int i = 0; i < 5 + round; i++) {
      enter();
      struct completion c;
      while (next(&c)) {
        if (c.result < 0 || c.user_data != accept_data(0)) continue;
        if ((uint32_t)c.result >= SLOTS) {
          close(c.result);
          continue;
        }
        put_recv(c.result, 2);
        note_descriptor((uint32_t)c.result, c.result);
      }
    }
    queue_close();
  }
  __atomic_store_n(&stop_connecting, 1, __ATOMIC_RELEASE);
  close(listening);
  pthread_join(thread, NULL);
}

TEST(what_was_queued_last_still_leaves) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  note_descriptor(0, fds[0]);
  put_send(fds[0], "first ", 6, MSG_WAITALL, 1);
  enter();
  put_send(fds[0], "last", 4, MSG_WAITALL, 2); /* not handed over */
  queue_close();
  char text[16];
  CHECK_EQ(recv(fds[1], text, 10, MSG_WAITALL), 10);
  CHECK_BYTES(text, "first last", 10);
  CHECK_EQ(recv(fds[1], text, 1, 0), 0);
  close(fds[1]);
}

/* A full completion queue must not keep the end from cancelling. */
TEST(the_end_with_a_full_queue) {
  QUEUE_OPEN(8);
  int const from = bound(SOCK_DGRAM);
  struct sockaddr_in const name = address_of(from);
  int fds[2];
  tcp_pair(fds);
  note_descriptor(0, fds[0]);
  note_descriptor(1, from);
  put_recv(fds[0], 1);
  for (uint32_t i = 0; i < COMPLETIONS + 2 * ENTRIES; i++) {
    if (waiting() == ENTRIES && enter() == 0) break;
    put_send_to(from, "x", 1, &name, 2);
  }
  queue_close();
  CHECK(!is_open(fds[0]));
  CHECK(!is_open(from));
  close(fds[1]);
}

/* More of them than there are tries: one cancel ends all. */
TEST(the_end_of_many) {
  QUEUE_OPEN(8);
  enum { COUNT = 300 };
  static int fds[COUNT][2];
  for (int i = 0; i < COUNT; i++) {
    unix_pair(fds[i], SOCK_STREAM);
    put_recv(fds[i][0], 1);
  }
  enter();
  queue_close();
  for (int i = 0; i < COUNT; i++) {
    close(fds[i][0]);
    close(fds[i][1]);
  }
}

/* After the end nothing is written: the arena would be other memory by then. */
TEST(memory_is_left_alone_after_the_end) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  put_recv(fds[0], 1); /* borrowed: it stays open */
  enter();
  CHECK_EQ(tl_sockets_close(&queue), 1);
  uint8_t before[BUFFER];
  memset(buffer_of(0), 0x55, BUFFER);
  memcpy(before, buffer_of(0), BUFFER);
  CHECK_EQ(send(fds[1], "overwritten", 11, 0), 11);
  test_sleep_us(20000);
  CHECK_BYTES(buffer_of(0), before, BUFFER);
  char text[11];
  CHECK_EQ(recv(fds[0], text, 11, MSG_DONTWAIT), 11); /* it is there for whoever reads next */
  for (int i = 0; i < 2; i++) close(fds[i]);
  tl_sockets_release(&queue);
  close(queue_event);
}

/* --- The eventfd --------------------------------------------------------------------------- */

TEST(completions_ring_the_eventfd_unless_muted) {
  QUEUE_OPEN(8);
  int fds[2];
  tcp_pair(fds);
  put_recv(fds[0], 1);
  enter();
  uint64_t rung;
  (void)!read(queue_event, &rung, sizeof rung);
  for (int mute = 1; mute >= 0; mute--) {
    tl_sockets_mute(&queue, mute);
    CHECK_EQ(send(fds[1], "x", 1, 0), 1);
    test_sleep_us(5000);
    if (on_ring) CHECK_EQ(read(queue_event, &rung, sizeof rung) > 0, !mute);
    else CHECK(read(queue_event, &rung, sizeof rung) < 0); /* the loop watches the epoll instead */
    await(1);
  }
  for (int i = 0; i < 2; i++) close(fds[i]);
  queue_close();
}

/* --- Many of them -------------------------------------------------------------------------- */

static void* lives(void* seed) {
  for (int round = 0; round < 20; round++) {
    struct tl_sockets s = {0};
    int const event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct tl_sockets_options options = queue_options(8);
    options.want_ring = on_ring && ((uintptr_t)seed + (unsigned)round) % 2;
    if (tl_sockets_open(&s, &options, event)) abort();
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) abort();
    _Atomic uint32_t* const tail = (_Atomic uint32_t*)(void*)(s.ring.rings + s.ring.sq_tail);
    struct io_uring_sqe* const sqe = (struct io_uring_sqe*)(void*)s.ring.sqes;
    sqe->opcode = IORING_OP_RECV;
    sqe->ioprio = 2;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->fd = fds[0];
    atomic_store((_Atomic int32_t*)(void*)(s.arena + TL_SOCKETS_BUFFER_RING), fds[0] + 1);
    atomic_store(tail, 1);
    tl_sockets_enter(&s, 1, IORING_ENTER_GETEVENTS);
    if (tl_sockets_close(&s) != 1) abort();
    tl_sockets_release(&s);
    close(fds[1]);
    close(event);
  }
  return NULL;
}

TEST(one_per_thread) {
  pthread_t threads[4];
  for (uintptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, lives, (void*)i);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

int main(int argc, char** argv) {
  if (argc > 1) test_filter = argv[1];
  RUN_BOTH(memory_is_laid_out);
  RUN_BOTH(options_that_make_no_sense);
  RUN(no_ring_no_matter);
  RUN_BOTH(no_memory);
  RUN_BOTH(nothing_is_done_before_it_is_open_or_after);
  RUN_BOTH(the_end_of_everything_in_flight);
  RUN_BOTH(a_backlog_is_taken);
  RUN_BOTH(connections_accepted_at_the_end);
  RUN_BOTH(the_end_under_load);
  RUN_BOTH(what_was_queued_last_still_leaves);
  RUN_BOTH(the_end_with_a_full_queue);
  RUN_BOTH(the_end_of_many);
  RUN_BOTH(memory_is_left_alone_after_the_end);
  RUN_BOTH(completions_ring_the_eventfd_unless_muted);
  RUN_BOTH(one_per_thread);
  return summary();
}
