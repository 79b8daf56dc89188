/* See ready.h.
 *
 *            SQE                       epoll: readable           recv
 *   (none) ───────► in (standing) ───────────────────► listed ─────────► CQE (F_MORE)
 *                        ▲                                │ EAGAIN, or a short read
 *                        └────────────────────────────────┘
 *
 * A descriptor is told to epoll once, edge-triggered, for both directions. `readable` and
 * `writable` remember the edge until a call says otherwise. A short read of a stream proves that
 * nothing more is there, unless the socket is `unsure`: the peer has hung up, or sent urgent data,
 * or may have passed a descriptor (a Unix socket). Then read on to the end.
 */
#define _GNU_SOURCE
#include "ready.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define TL_OP_ACCEPT 13
#define TL_OP_CANCEL 14
#define TL_OP_CONNECT 16
#define TL_OP_CLOSE 19
#define TL_OP_SEND 26
#define TL_OP_RECV 27
#define TL_OP_RECVMSG 10

#define TL_CANCEL_FD 2u
#define TL_CQE_BUFFER 1u
#define TL_CQE_MORE 2u
#define TL_SQ_TASKRUN 4u
#define TL_ENTER_GETEVENTS 1u
#define TL_BATCH 64
#define TL_EVENTS 256
#define TL_FIRST_DESCRIPTORS 256 /* there is room for */

struct request {
  struct request* next;
  uint64_t user_data, addr, name;
  uint32_t len, done, flags;
  uint16_t name_len;
  uint8_t op;
};

/* There is one for every descriptor: an idle one has nothing else, and is small. */
struct watched {
  struct request* out_last; /* of those to send or connect: each leads to the next, the last one to
                               the first; null: there are none */
  uint32_t in;              /* user_data of what stands until it fails: */
  uint8_t in_op;            /* accept, recv or recvmsg; 0: nothing */
  uint8_t told : 1, readable : 1, writable : 1, unsure : 1, listed : 1;
  uint16_t in_name_len; /* of a recvmsg */
  int next;             /* in the list of those to look at; -1: last */
};
_Static_assert(sizeof(struct watched) == 24, "one for every idle connection");

struct tl_ready {
  struct tl_ring* ring;
  int epoll;
  struct watched* fds;
  int64_t fds_size;
  int first, last; /* those to look at */
  struct request* spare;
  /* The provided buffers: TypeScript writes entries and tail, head is ours. */
  const uint8_t* buffer_ring;
  uint16_t buffer_head, buffer_mask;
};

struct buffer {
  uint64_t addr;
  uint32_t len;
  uint16_t bid, tail; /* tail: of the ring, in its first entry only */
};

static _Atomic uint32_t* word(const struct tl_ready* r, uint32_t offset) {
  return (_Atomic uint32_t*)(void*)(r->ring->rings + offset);
}

/* --- Completions --------------------------------------------------------------------------- */

static uint32_t room(const struct tl_ready* r) {
  return r->ring->cq_entries -
         (atomic_load(word(r, r->ring->cq_tail)) - atomic_load(word(r, r->ring->cq_head)));
}

static void complete(struct tl_ready* r, uint64_t user_data, int32_t result, uint32_t flags) {
  uint32_t const tail = atomic_load_explicit(word(r, r->ring->cq_tail), memory_order_relaxed);
  struct io_uring_cqe* const cqe = (struct io_uring_cqe*)(void*)(r->ring->rings + r->ring->cqes) +
                                   (tail & (r->ring->cq_entries - 1));
  cqe->user_data = user_data;
  cqe->res = result;
  cqe->flags = flags;
  atomic_store(word(r, r->ring->cq_tail), tail + 1);
}

static void come_again(struct tl_ready* r) {
  atomic_fetch_or(word(r, r->ring->sq_flags), TL_SQ_TASKRUN);
}

/* --- Buffers ------------------------------------------------------------------------------- */

static const struct buffer* buffer_at(const struct tl_ready* r, uint16_t ahead) {
  /* Pairs with the publishing of the tail in src/kernel/sockets/buffers.ts. */
  const _Atomic uint16_t* const shared_tail =
      (const _Atomic uint16_t*)(const void*)(r->buffer_ring + offsetof(struct buffer, tail));
  uint16_t const left = (uint16_t)(atomic_load(shared_tail) - r->buffer_head);
  if (ahead >= left) return NULL;
  return (const struct buffer*)(const void*)r->buffer_ring +
         ((uint16_t)(r->buffer_head + ahead) & r->buffer_mask);
}

/* --- Requests ------------------------------------------------------------------------------ */

static struct request* first_out(const struct watched* w) {
  return w->out_last ? w->out_last->next : NULL;
}

static struct request* request_from(struct tl_ready* r, const struct io_uring_sqe* sqe) {
  struct request* q = r->spare;
  if (q) {
    r->spare = q->next;
  } else {
    q = malloc(sizeof *q);
    if (!q) return NULL;
  }
  *q = (struct request){.user_data = sqe->user_data, .addr = sqe->addr, .name = sqe->addr2,
                        .len = sqe->len, .flags = sqe->msg_flags, .op = sqe->opcode};
  /* struct io_uring_sqe.addr_len, which older headers do not have */
  memcpy(&q->name_len, (const uint8_t*)sqe + 44, sizeof q->name_len);
  return q;
}

static void request_free(struct tl_ready* r, struct request* q) {
  q->next = r->spare;
  r->spare = q;
}

/* What is known of a descriptor. Null, with errno, when it is not open, or without memory. */
static struct watched* find(struct tl_ready* r, int fd) {
  if (fd >= 0 && fd < r->fds_size) return &r->fds[fd];
  /* Room is made for what is open only: a number that means nothing may be any number. */
  if (fcntl(fd, F_GETFD) < 0) return NULL;
  int64_t size = r->fds_size;
  while (size <= fd) size *= 2;
  /* What is added reads as zeros, and is not there before it is written to. */
  struct watched* const grown = mremap(r->fds, (size_t)r->fds_size * sizeof *grown,
                                       (size_t)size * sizeof *grown, MREMAP_MAYMOVE);
  if (grown == MAP_FAILED) return NULL;
  r->fds = grown;
  r->fds_size = size;
  return &r->fds[fd];
}

static struct watched* known(const struct tl_ready* r, int fd) {
  return fd >= 0 && fd < r->fds_size ? &r->fds[fd] : NULL;
}

static int is_local(int fd) {
  int domain = 0;
  socklen_t size = sizeof domain;
  return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) && domain == AF_UNIX;
}

/* Tells epoll of a descriptor, once. Its first edge comes at once if it is ready already. */
static int tell(struct tl_ready* r, int fd, struct watched* w) {
  if (w->told) return 0;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
                              .data.fd = fd};
  if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &event) &&
      (errno != EEXIST || epoll_ctl(r->epoll, EPOLL_CTL_MOD, fd, &event)))
    return -errno;
  w->told = 1;
  w->readable = 0;
  w->unsure = is_local(fd) != 0;
  w->writable = 1;
  return 0;
}

static void list(struct tl_ready* r, int fd) {
  struct watched* const w = &r->fds[fd];
  if (w->listed) return;
  w->listed = 1;
  w->next = -1;
  if (r->first < 0) r->first = fd;
  else r->fds[r->last].next = fd;
  r->last = fd;
}

static int has_turn(const struct watched* w) {
  return (w->in_op && w->readable) || (w->out_last && w->writable);
}

/* --- Receiving ----------------------------------------------------------------------------- */

static void in_ends(struct tl_ready* r, struct watched* w, int32_t result) {
  w->in_op = 0;
  complete(r, w->in, result, 0);
}

static void accept_ready(struct tl_ready* r, int fd, struct watched* w) {
  for (int i = 0; i < TL_BATCH && room(r) > 1; i++) {
    int const got = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (got >= 0) {
      complete(r, w->in, got, TL_CQE_MORE);
    } else if (errno == EAGAIN) {
      w->readable = 0;
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      in_ends(r, w, -errno);
      return;
    }
  }
}

static void recv_ready(struct tl_ready* r, int fd, struct watched* w) {
  const struct buffer* const b = buffer_at(r, 0);
  if (!b) return;
  ssize_t got;
  do got = recv(fd, (void*)(uintptr_t)b->addr, b->len, MSG_DONTWAIT);
  while (got < 0 && errno == EINTR);
  if (got > 0) {
    r->buffer_head++;
    if ((uint32_t)got < b->len && !w->unsure) w->readable = 0;
    complete(r, w->in, (int32_t)got,
             TL_CQE_MORE | TL_CQE_BUFFER | ((uint32_t)b->bid << IORING_CQE_BUFFER_SHIFT));
  } else if (got < 0 && errno == EAGAIN) {
    w->readable = 0;
  } else {
    in_ends(r, w, got < 0 ? -errno : 0);
  }
}

/* Datagrams, many in one call, each behind a header and its name as Linux lays them out. */
static void recvmsg_ready(struct tl_ready* r, int fd, struct watched* w) {
  size_t const before = sizeof(struct io_uring_recvmsg_out) + w->in_name_len;
  struct mmsghdr messages[TL_BATCH];
  struct iovec vectors[TL_BATCH];
  const struct buffer* buffers[TL_BATCH];
  uint32_t count = 0;
  uint32_t const most = room(r) - 1 < TL_BATCH ? room(r) - 1 : TL_BATCH;
  for (; count < most; count++) {
    const struct buffer* const b = buffer_at(r, (uint16_t)count);
    if (!b) break;
    if (b->len < before) {
      if (count == 0) in_ends(r, w, -EFAULT);
      break;
    }
    uint8_t* const at = (uint8_t*)(uintptr_t)b->addr;
    buffers[count] = b;
    vectors[count] = (struct iovec){.iov_base = at + before, .iov_len = b->len - before};
    messages[count] = (struct mmsghdr){
        .msg_hdr = {.msg_name = at + sizeof(struct io_uring_recvmsg_out),
                    .msg_namelen = w->in_name_len,
                    .msg_iov = &vectors[count],
                    .msg_iovlen = 1}};
  }
  if (count == 0) return;
  int got;
  do got = recvmmsg(fd, messages, count, MSG_DONTWAIT, NULL);
  while (got < 0 && errno == EINTR);
  if (got < 0) {
    if (errno == EAGAIN) w->readable = w->unsure = 0;
    else in_ends(r, w, -errno);
    return;
  }
  for (int i = 0; i < got; i++) {
    struct io_uring_recvmsg_out const out = {.namelen = messages[i].msg_hdr.msg_namelen,
                                             .payloadlen = messages[i].msg_len,
                                             .flags = (uint32_t)messages[i].msg_hdr.msg_flags};
    memcpy((void*)(uintptr_t)buffers[i]->addr, &out, sizeof out);
    complete(r, w->in, (int32_t)(before + messages[i].msg_len),
             TL_CQE_MORE | TL_CQE_BUFFER |
                 ((uint32_t)buffers[i]->bid << IORING_CQE_BUFFER_SHIFT));
  }
  r->buffer_head = (uint16_t)(r->buffer_head + got);
  if ((uint32_t)got < count && !w->unsure) w->readable = 0;
}

/* --- Sending ------------------------------------------------------------------------------- */

static void out_ends(struct tl_ready* r, struct watched* w, int32_t result) {
  struct request* const q = first_out(w);
  if (q == w->out_last) w->out_last = NULL;
  else w->out_last->next = q->next;
  complete(r, q->user_data, result, 0);
  request_free(r, q);
}

/* 0: not finished, 1: it has completed. */
static int send_some(struct tl_ready* r, int fd, struct watched* w) {
  struct request* const q = first_out(w);
  for (;;) {
    ssize_t const n = sendto(fd, (const void*)(uintptr_t)(q->addr + q->done), q->len - q->done,
                             MSG_DONTWAIT | MSG_NOSIGNAL,
                             q->name ? (const struct sockaddr*)(uintptr_t)q->name : NULL,
                             q->name ? q->name_len : 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      w->writable = 0;
      return 0;
    }
    if (n < 0) {
      out_ends(r, w, q->done ? (int32_t)q->done : -errno);
      return 1;
    }
    q->done += (uint32_t)n;
    if (q->done < q->len && (q->flags & MSG_WAITALL)) continue;
    out_ends(r, w, (int32_t)q->done);
    return 1;
  }
}

static int connect_ends(struct tl_ready* r, int fd, struct watched* w) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size)) error = errno;
  out_ends(r, w, -error);
  return 1;
}

/* Several datagrams of one socket in one call. */
static int send_datagrams(struct tl_ready* r, int fd, struct watched* w) {
  struct mmsghdr messages[TL_BATCH];
  struct iovec vectors[TL_BATCH];
  uint32_t count = 0;
  for (struct request* q = first_out(w); count < TL_BATCH && q->op == TL_OP_SEND && q->name;
       q = q->next) {
    vectors[count] = (struct iovec){.iov_base = (void*)(uintptr_t)q->addr, .iov_len = q->len};
    messages[count] = (struct mmsghdr){.msg_hdr = {.msg_name = (void*)(uintptr_t)q->name,
                                                   .msg_namelen = q->name_len,
                                                   .msg_iov = &vectors[count],
                                                   .msg_iovlen = 1}};
    count++;
    if (q == w->out_last) break;
  }
  if (count < 2) return send_some(r, fd, w);
  if (count > room(r)) count = room(r);
  int sent;
  do sent = sendmmsg(fd, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return send_some(r, fd, w); /* says what is wrong with the first */
  for (int i = 0; i < sent; i++) out_ends(r, w, (int32_t)messages[i].msg_len);
  return 1;
}

static void send_ready(struct tl_ready* r, int fd, struct watched* w) {
  while (w->out_last && w->writable && room(r) > 0) {
    int const went_on = first_out(w)->op == TL_OP_CONNECT ? connect_ends(r, fd, w)
                                                    : send_datagrams(r, fd, w);
    if (!went_on) return;
  }
}

/* --- Taking SQEs --------------------------------------------------------------------------- */

/* How long names are, of the struct msghdr that a recvmsg comes with; or -errno. */
static int name_length(const struct io_uring_sqe* sqe) {
  const struct msghdr* const header = (const struct msghdr*)(uintptr_t)sqe->addr;
  if (!header) return -EFAULT;
  return header->msg_namelen > UINT16_MAX ? -EINVAL : (int)header->msg_namelen;
}

static void begin_in(struct tl_ready* r, const struct io_uring_sqe* sqe) {
  struct watched* const w = find(r, sqe->fd);
  int const name = w && sqe->opcode == TL_OP_RECVMSG ? name_length(sqe) : 0;
  int const failed = !w                              ? -errno
                     : sqe->user_data > UINT32_MAX ? -EINVAL
                     : name < 0                    ? name
                     : w->in_op                    ? -EBUSY
                                                   : tell(r, sqe->fd, w);
  if (failed) {
    complete(r, sqe->user_data, failed, 0);
    return;
  }
  w->in = (uint32_t)sqe->user_data;
  w->in_op = sqe->opcode;
  w->in_name_len = (uint16_t)name;
  if (w->readable) list(r, sqe->fd);
}

static void append_out(struct watched* w, struct request* q) {
  q->next = w->out_last ? first_out(w) : q;
  if (w->out_last) w->out_last->next = q;
  w->out_last = q;
}

static void begin_out(struct tl_ready* r, const struct io_uring_sqe* sqe) {
  struct watched* const w = find(r, sqe->fd);
  int const connects = sqe->opcode == TL_OP_CONNECT;
  int failed = w ? 0 : -errno;
  if (!failed && connects) {
    int const c = connect(sqe->fd, (const struct sockaddr*)(uintptr_t)sqe->addr,
                          (socklen_t)sqe->off);
    if (c == 0 || errno != EINPROGRESS) {
      complete(r, sqe->user_data, c ? -errno : 0, 0);
      return;
    }
  }
  if (!failed) failed = tell(r, sqe->fd, w);
  struct request* const q = failed ? NULL : request_from(r, sqe);
  if (!q) {
    complete(r, sqe->user_data, failed ? failed : -ENOMEM, 0);
    return;
  }
  if (connects) w->writable = 0;
  append_out(w, q);
  /* Datagrams of one turn leave in one call: when the SQEs are all taken. */
  if (w->writable) list(r, sqe->fd);
}

static void forget(struct watched* w) {
  w->told = w->readable = w->writable = w->unsure = 0;
}

/* As in the ring: what a send has sent by then counts, whoever cancels it. */
static void out_cancelled(struct tl_ready* r, struct watched* w) {
  uint32_t const done = first_out(w)->done;
  out_ends(r, w, done ? (int32_t)done : -ECANCELED);
}

/* Ends what stands on a descriptor, as far as there is room; 0: not all of it. One more completion
 * still fits. */
static int end_standing(struct tl_ready* r, struct watched* w, int32_t* count) {
  if (w->in_op && room(r) > 1) {
    in_ends(r, w, -ECANCELED);
    ++*count;
  }
  for (; w->out_last && room(r) > 1; ++*count) out_cancelled(r, w);
  return !w->in_op && !w->out_last && room(r) > 0;
}

/* All of a descriptor's. Its result is how many there were at the end: of more than there was room
 * for, the last ones. */
static int cancel_all(struct tl_ready* r, const struct io_uring_sqe* sqe) {
  struct watched* const w = known(r, sqe->fd);
  int32_t count = 0;
  /* What was queued before it has its turn first, as in the ring. */
  if (w && w->out_last && w->writable) send_ready(r, sqe->fd, w);
  if (w && !end_standing(r, w, &count)) return 0;
  complete(r, sqe->user_data, count ? count : -ENOENT, 0);
  /* Whoever cancels all closes next, and perhaps not through us. */
  if (w && w->told) {
    epoll_ctl(r->epoll, EPOLL_CTL_DEL, sqe->fd, NULL);
    forget(w);
  }
  return 1;
}

/* The standing receive, by its user_data. */
static int cancel_one(struct tl_ready* r, const struct io_uring_sqe* sqe) {
  struct watched* const w = known(r, sqe->fd);
  int const found = w && w->in_op && w->in == sqe->addr;
  if (found && room(r) < 2) return 0;
  if (found) in_ends(r, w, -ECANCELED);
  complete(r, sqe->user_data, found ? 1 : -ENOENT, 0);
  return 1;
}

/* A request never outlives its descriptor here: the number will be another file's. */
static int close_all(struct tl_ready* r, const struct io_uring_sqe* sqe) {
  struct watched* const w = known(r, sqe->fd);
  int32_t count = 0;
  if (w && !end_standing(r, w, &count)) return 0;
  if (w) forget(w);
  complete(r, sqe->user_data, close(sqe->fd) ? -errno : 0, 0);
  return 1;
}

/* There is room for one completion. 0: for this one it needs more, come again. */
static int take(struct tl_ready* r, const struct io_uring_sqe* sqe) {
  switch (sqe->opcode) {
    case TL_OP_ACCEPT:
    case TL_OP_RECV:
    case TL_OP_RECVMSG:
      begin_in(r, sqe);
      return 1;
    case TL_OP_SEND:
    case TL_OP_CONNECT:
      begin_out(r, sqe);
      return 1;
    case TL_OP_CANCEL:
      return sqe->cancel_flags & TL_CANCEL_FD ? cancel_all(r, sqe) : cancel_one(r, sqe);
    case TL_OP_CLOSE:
      return close_all(r, sqe);
    default:
      complete(r, sqe->user_data, -EINVAL, 0);
      return 1;
  }
}

/* In order. Where it stops there is room for one completion at most, and then nobody receives: what
 * is not read yet may be the cancel of a descriptor that was closed meanwhile, and whose number is
 * another connection's. */
static int take_all(struct tl_ready* r, uint32_t submit) {
  uint32_t const head = atomic_load(word(r, r->ring->sq_head));
  uint32_t const tail = atomic_load(word(r, r->ring->sq_tail));
  uint32_t count = 0;
  for (; count < submit && head + count != tail; count++) {
    const struct io_uring_sqe* const sqe = (const struct io_uring_sqe*)(const void*)r->ring->sqes +
                                           ((head + count) & (r->ring->sq_entries - 1));
    if (room(r) == 0 || !take(r, sqe)) break;
  }
  atomic_store(word(r, r->ring->sq_head), head + count);
  return (int)count;
}

/* --- Readiness ----------------------------------------------------------------------------- */

static void ask_epoll(struct tl_ready* r) {
  struct epoll_event events[TL_EVENTS];
  int const count = epoll_wait(r->epoll, events, TL_EVENTS, 0);
  for (int i = 0; i < count; i++) {
    int const fd = events[i].data.fd;
    struct watched* const w = known(r, fd);
    if (!w || !w->told) continue; /* closed, and its number is another file's */
    uint32_t const e = events[i].events;
    if (e & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) w->unsure = 1;
    if (e & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) w->readable = 1;
    if (e & (EPOLLOUT | EPOLLHUP | EPOLLERR)) w->writable = 1;
    if (has_turn(w)) list(r, fd);
  }
  if (count == TL_EVENTS) come_again(r);
}

/* One turn for each that is listed; what is not finished is listed anew, behind the others. */
static void serve(struct tl_ready* r) {
  int fd = r->first;
  int const last = r->last;
  r->first = r->last = -1;
  while (fd >= 0) {
    struct watched* const w = &r->fds[fd];
    int const next = fd == last ? -1 : w->next;
    int const this_one = fd;
    w->listed = 0;
    if (w->out_last && w->writable) send_ready(r, this_one, w);
    if (w->in_op && w->readable && room(r) > 1) {
      if (w->in_op == TL_OP_RECV) recv_ready(r, this_one, w);
      else if (w->in_op == TL_OP_RECVMSG) recvmsg_ready(r, this_one, w);
      else accept_ready(r, this_one, w);
    }
    if (has_turn(w)) list(r, this_one);
    fd = next;
  }
}

int tl_ready_enter(struct tl_ready* r, uint32_t submit, uint32_t flags) {
  int const count = take_all(r, submit);
  atomic_fetch_and(word(r, r->ring->sq_flags), ~TL_SQ_TASKRUN);
  if (flags & TL_ENTER_GETEVENTS) ask_epoll(r);
  serve(r);
  if (r->first >= 0) come_again(r);
  return count;
}

/* --- Life ---------------------------------------------------------------------------------- */

static int map_words(struct tl_ring* ring, uint32_t sq, uint32_t cq) {
  ring->sq_entries = sq;
  ring->cq_entries = cq;
  ring->sq_head = 0;
  ring->sq_tail = 64;
  ring->sq_flags = 128;
  ring->cq_head = 192;
  ring->cq_tail = 256;
  ring->cq_flags = 320;
  ring->cq_overflow = 324;
  ring->cqes = 384;
  ring->rings_size = (ring->cqes + cq * sizeof(struct io_uring_cqe) + 4095) & ~4095ul;
  ring->sqes_size = (sq * sizeof(struct io_uring_sqe) + 4095) & ~4095ul;
  int const prot = PROT_READ | PROT_WRITE;
  int const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  ring->rings = mmap(NULL, ring->rings_size, prot, flags, -1, 0);
  if (ring->rings == MAP_FAILED) return -errno;
  ring->sqes = mmap(NULL, ring->sqes_size, prot, flags, -1, 0);
  if (ring->sqes != MAP_FAILED) return 0;
  munmap(ring->rings, ring->rings_size);
  return -errno;
}

static void unmap_descriptors(const struct tl_ready* r) {
  if (r->fds != MAP_FAILED) munmap(r->fds, (size_t)r->fds_size * sizeof *r->fds);
}

struct tl_ready* tl_ready_open(struct tl_ring* ring, uint32_t sq_entries, uint32_t cq_entries,
                               const uint8_t* buffer_ring, uint32_t buffers) {
  struct tl_ready* const r = calloc(1, sizeof *r);
  if (!r) return NULL;
  memset(ring, 0, sizeof *ring);
  ring->fd = -1;
  r->ring = ring;
  r->buffer_ring = buffer_ring;
  r->buffer_mask = (uint16_t)(buffers - 1);
  r->first = r->last = -1;
  r->fds_size = TL_FIRST_DESCRIPTORS;
  r->fds = mmap(NULL, (size_t)r->fds_size * sizeof *r->fds, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  r->epoll = epoll_create1(EPOLL_CLOEXEC);
  int const failed = r->epoll < 0              ? -errno
                     : r->fds == MAP_FAILED ? -ENOMEM
                                            : map_words(ring, sq_entries, cq_entries);
  if (!failed) return r;
  if (r->epoll >= 0) close(r->epoll);
  unmap_descriptors(r);
  free(r);
  errno = -failed;
  return NULL;
}

int tl_ready_fd(const struct tl_ready* r) { return r->epoll; }

void tl_ready_note(struct tl_ready* r) { come_again(r); }

static void free_all(struct request* q) {
  while (q) {
    struct request* const next = q->next;
    free(q);
    q = next;
  }
}

void tl_ready_close(struct tl_ready* r) {
  for (int fd = 0; fd < r->fds_size; fd++) {
    struct watched* const w = &r->fds[fd];
    struct request* const first = first_out(w);
    if (!first) continue;
    w->out_last->next = NULL;
    free_all(first);
  }
  free_all(r->spare);
  unmap_descriptors(r);
  close(r->epoll);
  free(r);
}
