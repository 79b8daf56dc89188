/* See sockets.h. */
#define _GNU_SOURCE
#include "sockets.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "map.h"
#include "ready.h"

#define TL_REGISTER_PBUF_RING 22
#define TL_CQ_EVENTFD_DISABLED 1u
#define TL_SQ_CQ_OVERFLOW 2u
#define TL_SQ_TASKRUN 4u
#define TL_CQ_PER_SQ 8 /* a standing request completes many times */
#define TL_ENTRIES_MAX 4096u
#define TL_BUFFERS_MAX (TL_SOCKETS_BUFFER_RING / 16u) /* entries of 16 bytes */
#define TL_CLOSE_TRIES 200 /* x 1 ms */

/* struct io_uring_buf_reg, which older headers lack. */
struct buffer_registration {
  uint64_t ring_addr;
  uint32_t ring_entries;
  uint16_t bgid, flags;
  uint64_t reserved[3];
};

static _Atomic uint32_t* word(const struct tl_sockets* s, uint32_t offset) {
  return (_Atomic uint32_t*)(void*)(s->ring.rings + offset);
}

static _Atomic int32_t* descriptors(const struct tl_sockets* s) {
  return (_Atomic int32_t*)(void*)(s->arena + TL_SOCKETS_BUFFER_RING);
}

static int open_ring(struct tl_sockets* s, const struct tl_sockets_options* o, int eventfd) {
  struct tl_ring_options const options = {
      .entries = o->entries, .sqpoll_cpu = -1, .cq_per_sq = TL_CQ_PER_SQ};
  int failed = tl_ring_open(&s->ring, &options, eventfd);
  if (failed) return failed;
  struct buffer_registration registration = {
      .ring_addr = (uint64_t)(uintptr_t)s->arena, .ring_entries = o->buffers, .bgid = 0};
  if (!syscall(SYS_io_uring_register, s->ring.fd, TL_REGISTER_PBUF_RING, &registration, 1))
    return 0;
  failed = -errno;
  tl_ring_close(&s->ring);
  tl_ring_unmap(&s->ring);
  return failed;
}

static int is_power_of_two(uint32_t n) { return n && !(n & (n - 1)); }

static int make_sense(const struct tl_sockets_options* o) {
  return is_power_of_two(o->entries) && o->entries <= TL_ENTRIES_MAX &&
         is_power_of_two(o->buffers) && o->buffers <= TL_BUFFERS_MAX &&
         o->arena_size >= TL_SOCKETS_BUFFER_RING &&
         o->slots <= (o->arena_size - TL_SOCKETS_BUFFER_RING) / sizeof(int32_t);
}

int tl_sockets_open(struct tl_sockets* s, const struct tl_sockets_options* o, int eventfd) {
  if (!make_sense(o)) return -EINVAL;
  s->arena_size = o->arena_size;
  s->slots = o->slots;
  s->arena = tl_map(s->arena_size);
  if (!s->arena) return -errno;
  madvise(s->arena, s->arena_size, MADV_DONTFORK);
  if (!o->want_ring || open_ring(s, o, eventfd)) {
    s->ready = tl_ready_open(&s->ring, o->entries, o->entries * TL_CQ_PER_SQ, s->arena, o->buffers);
    if (!s->ready) {
      int const failed = -errno;
      munmap(s->arena, s->arena_size);
      s->arena = NULL;
      return failed;
    }
  }
  s->open = 1;
  return 0;
}

int tl_sockets_enter(struct tl_sockets* s, uint32_t submit, uint32_t flags) {
  if (!s->open) return -EBADF;
  return s->ready ? tl_ready_enter(s->ready, submit, flags)
                  : tl_ring_enter(&s->ring, submit, 0, flags);
}

int tl_sockets_has_news(const struct tl_sockets* s) {
  if (!s->open) return 0;
  return atomic_load(word(s, s->ring.cq_head)) != atomic_load(word(s, s->ring.cq_tail)) ||
         (atomic_load(word(s, s->ring.sq_flags)) & (TL_SQ_TASKRUN | TL_SQ_CQ_OVERFLOW));
}

void tl_sockets_mute(const struct tl_sockets* s, int mute) {
  if (!s->open || s->ready) return;
  atomic_store(word(s, s->ring.cq_flags), mute ? TL_CQ_EVENTFD_DISABLED : 0);
}

int tl_sockets_accept_all(struct tl_sockets* s, int fd, uint32_t first, uint32_t count) {
  uint32_t accepted = 0;
  if (!s->open || first > s->slots || count > s->slots - first) return 0;
  while (accepted < count) {
    int const got = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (got >= 0) atomic_store(&descriptors(s)[first + accepted++], got + 1);
    else if (errno != EINTR && errno != ECONNABORTED) break;
  }
  return (int)accepted;
}

void tl_sockets_note(struct tl_sockets* s) {
  if (s->ready) tl_ready_note(s->ready);
}

int tl_sockets_ready_fd(const struct tl_sockets* s) {
  return s->ready ? tl_ready_fd(s->ready) : -1;
}

/* --- The end ------------------------------------------------------------------------------- */

/* What was written in the last turn still leaves: process.exit() right after a write must not
 * lose it. Then no new request may begin. */
static void submit_rest(struct tl_sockets* s) {
  uint32_t const waiting =
      atomic_load(word(s, s->ring.sq_tail)) - atomic_load(word(s, s->ring.sq_head));
  if (waiting) tl_sockets_enter(s, waiting, 0);
  atomic_store(word(s, s->ring.sq_tail), atomic_load(word(s, s->ring.sq_head)));
}

static int is_ours(const struct tl_sockets* s, int fd) {
  for (uint32_t i = 0; i < s->slots; i++)
    if (atomic_load_explicit(&descriptors(s)[i], memory_order_relaxed) == fd + 1) return 1;
  return 0;
}

/* Empties the completion queue; returns the result of the cancel request, if it was there.
 * Connections that were accepted and never seen by TypeScript are closed: it enters a descriptor
 * in the table before it moves the head, so one that is in both was seen. */
static int reap(struct tl_sockets* s, int otherwise) {
  uint32_t head = atomic_load(word(s, s->ring.cq_head));
  uint32_t const tail = atomic_load(word(s, s->ring.cq_tail));
  int result = otherwise;
  for (; head != tail; head++) {
    const struct io_uring_cqe* const cqe =
        (const struct io_uring_cqe*)(const void*)(s->ring.rings + s->ring.cqes) +
        (head & (s->ring.cq_entries - 1));
    if (cqe->user_data == UINT64_MAX) result = cqe->res;
    else if ((uint32_t)cqe->user_data >> TL_SOCKET_SLOT_BITS == TL_SOCKET_KIND_ACCEPT &&
             cqe->res >= 0 && !is_ours(s, cqe->res))
      close(cqe->res);
  }
  atomic_store(word(s, s->ring.cq_head), head);
  return result;
}

/* Cancels until Linux finds nothing to cancel: then nothing is left that could write. A request
 * that completes on its own meanwhile is as good. */
static int quiesce(struct tl_sockets* s) {
  struct timespec const pause = {.tv_nsec = 1000000};
  tl_sockets_mute(s, 1);
  for (int i = 0; i < TL_CLOSE_TRIES; i++) {
    uint32_t const tail = atomic_load(word(s, s->ring.sq_tail));
    struct io_uring_sqe* const sqe =
        (struct io_uring_sqe*)(void*)s->ring.sqes + (tail & (s->ring.sq_entries - 1));
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->cancel_flags = 1u | 4u; /* ALL | ANY */
    sqe->user_data = UINT64_MAX;
    atomic_store(word(s, s->ring.sq_tail), tail + 1);
    tl_sockets_enter(s, 1, IORING_ENTER_GETEVENTS);
    int result = reap(s, -EAGAIN);
    while (tl_sockets_has_news(s)) {
      tl_sockets_enter(s, 0, IORING_ENTER_GETEVENTS);
      result = reap(s, result);
    }
    if (result == -ENOENT || result == 0) return 1;
    if (i > 4) nanosleep(&pause, NULL);
  }
  return 0;
}

int tl_sockets_close(struct tl_sockets* s) {
  if (!s->open) return 1;
  submit_rest(s);
  int quiet = 1;
  if (!s->ready) quiet = quiesce(s);
  reap(s, 0);
  s->open = 0;
  for (uint32_t i = 0; i < s->slots; i++) {
    int const fd = atomic_load(&descriptors(s)[i]) - 1;
    if (fd >= 0) close(fd);
  }
  if (s->ready) tl_ready_close(s->ready);
  s->ready = NULL;
  if (s->ring.fd >= 0) tl_ring_drop(&s->ring);
  return quiet;
}

void tl_sockets_release(struct tl_sockets* s) {
  if (!s->arena) return;
  tl_ring_unmap(&s->ring);
  munmap(s->arena, s->arena_size);
  s->arena = NULL;
}
