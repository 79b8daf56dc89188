/* A program's side of the sockets' queue, for tests: what src/kernel/sockets/ does in TypeScript.
 *
 *   QUEUE_OPEN(8);                       eight receive buffers of BUFFER bytes; skips without a ring
 *   put_recv(fd, 7); enter();            queued; handed over
 *   struct completion c = await(7);      the next one with that user_data; it fails after 5 s
 *   quiet();                             nothing more comes
 *   give(c.buffer);                      back into the buffer ring
 *   queue_close();
 *
 *   RUN_BOTH(test)                       runs it on io_uring and on readiness (test_ring, test_ready)
 */
#ifndef TL_TEST_QUEUE_H
#define TL_TEST_QUEUE_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../sockets.h"
#include "test.h"

#define ENTRIES 64u /* and eight times as many completions */
#define COMPLETIONS (ENTRIES * 8)
#define SLOTS 128u
#define BUFFER 256u
#define BUFFERS_AT (TL_SOCKETS_BUFFER_RING + SLOTS * 4)
#define NONE (-1)
#define SQ_OVERFLOW 2u
#define SQ_WORK 4u
#define CANCEL_ALL_ON_FD 3u

struct completion {
  uint64_t user_data;
  int32_t result;
  int more, buffer; /* buffer: its number, or NONE */
};

static struct tl_sockets queue;
static int queue_event = -1;
static int on_ring; /* the tier of this run */
static uint32_t given;
static struct completion kept[4096]; /* those that await() found on its way */
static uint32_t kept_count;

static inline _Atomic uint32_t* queue_word(uint32_t offset) {
  return (_Atomic uint32_t*)(void*)(queue.ring.rings + offset);
}

static inline uint8_t* buffer_of(int buffer) {
  return queue.arena + BUFFERS_AT + (uint32_t)buffer * BUFFER;
}

/* --- Buffers ------------------------------------------------------------------------------- */

static uint32_t buffers_in_ring;

static inline void give(int buffer) {
  struct io_uring_buf* const entries = (struct io_uring_buf*)(void*)queue.arena;
  struct io_uring_buf* const entry = &entries[given & (buffers_in_ring - 1)];
  entry->addr = (uint64_t)(uintptr_t)buffer_of(buffer);
  entry->len = BUFFER;
  entry->bid = (uint16_t)buffer;
  given++;
  atomic_store((_Atomic uint16_t*)(void*)&entries[0].resv, (uint16_t)given);
}

/* --- Life ---------------------------------------------------------------------------------- */

static inline struct tl_sockets_options queue_options(uint32_t buffers) {
  return (struct tl_sockets_options){.want_ring = on_ring,
                                     .entries = ENTRIES,
                                     .buffers = buffers,
                                     .slots = SLOTS,
                                     .arena_size = BUFFERS_AT + 256 * BUFFER};
}

static inline int queue_open(uint32_t buffers) {
  struct tl_sockets_options const options = queue_options(buffers);
  queue_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int const failed = tl_sockets_open(&queue, &options, queue_event);
  buffers_in_ring = buffers;
  given = 0;
  for (uint32_t i = 0; !failed && i < buffers; i++) give((int)i);
  return failed;
}

#define QUEUE_OPEN(buffers)                                                    \
  do {                                                                         \
    CHECK_EQ(queue_open(buffers), 0);                                          \
    if (test_failures) return;                                                 \
    if (on_ring && queue.ready) SKIP("no io_uring here");                      \
  } while (0)

static inline void queue_close(void) {
  CHECK_EQ(tl_sockets_close(&queue), 1);
  tl_sockets_release(&queue);
  close(queue_event);
}

/* --- Requests ------------------------------------------------------------------------------ */

static inline uint32_t waiting(void) {
  return atomic_load(queue_word(queue.ring.sq_tail)) -
         atomic_load(queue_word(queue.ring.sq_head));
}

static inline int enter(void) { return tl_sockets_enter(&queue, waiting(), IORING_ENTER_GETEVENTS); }

/* Linux reads the entry at the next enter: it may be filled in after this. */
static inline struct io_uring_sqe* put(int op, int fd, uint64_t user_data) {
  if (waiting() == ENTRIES) enter();
  uint32_t const tail = atomic_load(queue_word(queue.ring.sq_tail));
  struct io_uring_sqe* const sqe =
      (struct io_uring_sqe*)(void*)queue.ring.sqes + (tail & (ENTRIES - 1));
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = (uint8_t)op;
  sqe->fd = fd;
  sqe->user_data = user_data;
  atomic_store(queue_word(queue.ring.sq_tail), tail + 1);
  return sqe;
}

static inline struct io_uring_sqe* put_accept(int fd, uint64_t user_data) {
  struct io_uring_sqe* const sqe = put(IORING_OP_ACCEPT, fd, user_data);
  sqe->ioprio = 1; /* multishot */
  sqe->accept_flags = SOCK_CLOEXEC;
  return sqe;
}

static inline struct io_uring_sqe* put_recv(int fd, uint64_t user_data) {
  struct io_uring_sqe* const sqe = put(IORING_OP_RECV, fd, user_data);
  sqe->ioprio = 2; /* multishot */
  sqe->flags = IOSQE_BUFFER_SELECT;
  return sqe;
}

static inline struct io_uring_sqe* put_recvmsg(int fd, const struct msghdr* header,
                                               uint64_t user_data) {
  struct io_uring_sqe* const sqe = put_recv(fd, user_data);
  sqe->opcode = IORING_OP_RECVMSG;
  sqe->addr = (uint64_t)(uintptr_t)header;
  sqe->len = 1;
  return sqe;
}

static inline struct io_uring_sqe* put_send(int fd, const void* data, size_t size, int flags,
                                            uint64_t user_data) {
  struct io_uring_sqe* const sqe = put(IORING_OP_SEND, fd, user_data);
  sqe->addr = (uint64_t)(uintptr_t)data;
  sqe->len = (uint32_t)size;
  sqe->msg_flags = (uint32_t)(flags | MSG_NOSIGNAL);
  return sqe;
}

static inline void put_send_to(int fd, const void* data, size_t size,
                               const struct sockaddr_in* to, uint64_t user_data) {
  struct io_uring_sqe* const sqe = put_send(fd, data, size, 0, user_data);
  uint16_t const length = sizeof *to;
  sqe->addr2 = (uint64_t)(uintptr_t)to;
  memcpy((uint8_t*)sqe + 44, &length, sizeof length); /* addr_len: not in older headers */
}

static inline void put_connect(int fd, const struct sockaddr_in* to, uint64_t user_data) {
  struct io_uring_sqe* const sqe = put(IORING_OP_CONNECT, fd, user_data);
  sqe->addr = (uint64_t)(uintptr_t)to;
  sqe->off = sizeof *to;
}

static inline void put_cancel_fd(int fd, uint64_t user_data) {
  put(IORING_OP_ASYNC_CANCEL, fd, user_data)->cancel_flags = CANCEL_ALL_ON_FD;
}

static inline void put_cancel(int fd, uint64_t what, uint64_t user_data) {
  put(IORING_OP_ASYNC_CANCEL, fd, user_data)->addr = what;
}

static inline void put_close(int fd, uint64_t user_data) { put(IORING_OP_CLOSE, fd, user_data); }

/* --- Completions --------------------------------------------------------------------------- */

static inline int next(struct completion* c) {
  uint32_t const head = atomic_load(queue_word(queue.ring.cq_head));
  if (head == atomic_load(queue_word(queue.ring.cq_tail))) return 0;
  const struct io_uring_cqe* const cqe =
      (const struct io_uring_cqe*)(const void*)(queue.ring.rings + queue.ring.cqes) +
      (head & (queue.ring.cq_entries - 1));
  *c = (struct completion){
      .user_data = cqe->user_data,
      .result = cqe->res,
      .more = (cqe->flags & IORING_CQE_F_MORE) != 0,
      .buffer = cqe->flags & IORING_CQE_F_BUFFER ? (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT)
                                                 : NONE};
  atomic_store(queue_word(queue.ring.cq_head), head + 1);
  return 1;
}

static inline int take_kept(uint64_t user_data, struct completion* c) {
  for (uint32_t i = 0; i < kept_count; i++) {
    if (kept[i].user_data != user_data) continue;
    *c = kept[i];
    kept_count--;
    memmove(&kept[i], &kept[i + 1], (kept_count - i) * sizeof *kept);
    return 1;
  }
  return 0;
}

static inline int await_ms(uint64_t user_data, struct completion* c, unsigned ms) {
  uint64_t const started = test_now_ns();
  for (;;) {
    if (take_kept(user_data, c)) return 1;
    struct completion other;
    while (next(&other))
      if (kept_count < sizeof kept / sizeof *kept) kept[kept_count++] = other;
    if (take_kept(user_data, c)) return 1;
    if (test_now_ns() - started > ms * 1000000ull) return 0;
    enter();
    if (!tl_sockets_has_news(&queue)) test_sleep_us(200);
  }
}

static inline struct completion await(uint64_t user_data) {
  struct completion c = {.result = INT32_MIN, .buffer = NONE};
  if (await_ms(user_data, &c, 5000)) return c;
  printf("    %llu never completed\n", (unsigned long long)user_data);
  test_failures++;
  return c;
}

static inline void quiet(void) {
  struct completion c;
  if (!await_ms(UINT64_MAX - 1, &c, 20) && kept_count == 0) {
    CHECK(!tl_sockets_has_news(&queue)); /* or the loop would never sleep */
    return;
  }
  printf("    unexpected: %llu gave %d\n", (unsigned long long)kept[0].user_data, kept[0].result);
  test_failures++;
}

/* Reads a stream of this receive until `size` bytes are there, gives the buffers back and begins
 * anew where it ended for want of them. Returns what was read, or the result that ended it. */
static inline int64_t receive_all(int fd, uint64_t user_data, uint8_t* to, size_t size) {
  size_t got = 0;
  while (got < size) {
    struct completion const c = await(user_data);
    if (c.result > 0) {
      memcpy(to + got, buffer_of(c.buffer), (size_t)c.result);
      got += (size_t)c.result;
      give(c.buffer);
    } else if (c.result != -ENOBUFS) {
      return c.result;
    }
    if (!c.more) put_recv(fd, user_data);
  }
  return (int64_t)got;
}

/* --- Sockets ------------------------------------------------------------------------------- */

/* As the tier wants them: a ring's sockets block. */
static inline int ours(int family, int type) {
  return socket(family, type | SOCK_CLOEXEC | (on_ring ? 0 : SOCK_NONBLOCK), 0);
}

static inline struct sockaddr_in loopback(int port) {
  return (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = (in_port_t)port,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline struct sockaddr_in address_of(int fd) {
  struct sockaddr_in name = {0};
  socklen_t length = sizeof name;
  if (getsockname(fd, (struct sockaddr*)&name, &length)) abort();
  return name;
}

/* Bound to a free port of 127.0.0.1. */
static inline int bound(int type) {
  int const fd = ours(AF_INET, type);
  struct sockaddr_in const name = loopback(0);
  if (fd < 0 || bind(fd, (const struct sockaddr*)&name, sizeof name)) abort();
  return fd;
}

static inline int listener(void) {
  int const fd = bound(SOCK_STREAM);
  if (listen(fd, 1024)) abort();
  return fd;
}

/* The other end: a plain socket that blocks. */
static inline int peer_of(int listening) {
  int const fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in const name = address_of(listening);
  if (fd < 0 || connect(fd, (const struct sockaddr*)&name, sizeof name)) abort();
  return fd;
}

/* A connection: fds[0] is ours, fds[1] the peer's. */
static inline void tcp_pair(int fds[2]) {
  int const listening = bound(SOCK_STREAM);
  if (listen(listening, 8)) abort();
  fds[1] = peer_of(listening);
  do fds[0] = accept4(listening, NULL, NULL, SOCK_CLOEXEC | (on_ring ? 0 : SOCK_NONBLOCK));
  while (fds[0] < 0 && errno == EAGAIN);
  close(listening);
}

static inline void unix_pair(int fds[2], int type) {
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds)) abort();
  if (!on_ring) fcntl(fds[0], F_SETFL, fcntl(fds[0], F_GETFL) | O_NONBLOCK);
}

/* With close(): RST. */
static inline void reset_on_close(int fd) {
  struct linger const now = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/* Sends plainly until nothing more fits. Returns how much did. */
static inline size_t fill_up(int fd) {
  static const uint8_t zeroes[65536];
  size_t total = 0;
  for (ssize_t n; (n = send(fd, zeroes, sizeof zeroes, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0;)
    total += (size_t)n;
  return total;
}

static inline size_t drain(int fd, size_t size) {
  static uint8_t bytes[65536];
  size_t total = 0;
  while (total < size) {
    ssize_t const n = recv(fd, bytes, size - total < sizeof bytes ? size - total : sizeof bytes, 0);
    if (n <= 0) break;
    total += (size_t)n;
  }
  return total;
}

static inline void fill_pattern(uint8_t* bytes, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(seed * 37 + i * 7 + (i >> 8) * 11);
}

#define RUN_BOTH(name)                                                         \
  do {                                                                         \
    for (on_ring = 1; on_ring >= 0; on_ring--) {                               \
      const char* const both_name = on_ring ? #name "_ring" : #name "_ready";  \
      if (strstr(both_name, test_filter)) test_run(both_name, name);           \
    }                                                                          \
  } while (0)

#endif
