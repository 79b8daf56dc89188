/* flexsc_wait inside the libuv loop (FlexSC 3.4, 4.2).
 *
 *   timers ... prepare ---------------> poll (epoll_wait) -----> check ... closing
 *              |  drain: issue what is   |  an eventfd rings:
 *              |  posted, deliver what   |  drain
 *              |  is done, repeat        |
 *              |  something left? do not block
 *              |  only the crew left, and lately fast? look for a moment
 *              |  else: asleep = 1, ring unmuted, look once more, block
 *
 * Completions thus run where libuv's own would: in the poll phase. The prepare handle is
 * unreferenced unless something is in flight, so that it never keeps a finished program alive.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "kernel.h"

#define TL_SQ_TASKRUN (1u << 2)        /* IORING_SQ_TASKRUN */
#define TL_SQ_CQ_OVERFLOW (1u << 1)    /* IORING_SQ_CQ_OVERFLOW */
#define TL_CQ_EVENTFD_DISABLED (1u << 0)
#define TL_SPIN_SCORE_MAX 8
#define TL_SPIN_RETRY 32 /* while looking does not pay, try again every so many sleeps */

static _Atomic uint32_t* ring_word(const struct tl_kernel* k, uint32_t offset) {
  return (_Atomic uint32_t*)(void*)(k->ring.rings + offset);
}

static int ring_has_news(const struct tl_kernel* k) {
  if (k->ring.fd < 0) return 0;
  return atomic_load(ring_word(k, k->ring.cq_head)) !=
             atomic_load(ring_word(k, k->ring.cq_tail)) ||
         (atomic_load(ring_word(k, k->ring.sq_flags)) & (TL_SQ_TASKRUN | TL_SQ_CQ_OVERFLOW));
}

static int crew_has_news(const struct tl_kernel* k) {
  const struct tl_control* const c = k->crew.desk.control;
  return atomic_load(&c->bell) != atomic_load_explicit(&c->bell_seen, memory_order_relaxed);
}

static int has_news(const struct tl_kernel* k) {
  return crew_has_news(k) || ring_has_news(k) || tl_sockets_has_news(&k->sockets) ||
         atomic_load_explicit(&k->crew.desk.control->want_drain, memory_order_relaxed);
}

static void mute_ring(const struct tl_kernel* k, int mute) {
  tl_sockets_mute(&k->sockets, mute);
  if (k->ring.fd < 0) return;
  atomic_store(ring_word(k, k->ring.cq_flags), mute ? TL_CQ_EVENTFD_DISABLED : 0);
}

static uint64_t read_eventfd(const struct tl_kernel* k) {
  uint64_t count = 0;
  while (read(k->crew.eventfd, &count, sizeof count) < 0 && errno == EINTR) {
  }
  return count;
}

static void cpu_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("yield");
#endif
}

/* Only the crew has something of ours, and lately it answered faster than a sleep and a wake-up
 * cost: look at the bell for a moment. Bounded by spin_us; stops itself when it does not pay. */
static int spin_for_crew(struct tl_kernel* k) {
  struct tl_control* const c = k->crew.desk.control;
  int const spin_us = atomic_load_explicit(&c->spin_us, memory_order_relaxed);
  if (!spin_us || !atomic_load_explicit(&c->crew_in_flight, memory_order_relaxed)) return 0;
  if (k->spin_score < 0 && ++k->spin_skipped % TL_SPIN_RETRY) return 0;
  uint64_t const until = uv_hrtime() + (uint64_t)spin_us * 1000u;
  do {
    for (int i = 0; i < 16; i++) cpu_relax();
    if (!crew_has_news(k)) continue;
    if (k->spin_score < TL_SPIN_SCORE_MAX) k->spin_score++;
    atomic_fetch_add_explicit(&c->spins_won, 1, memory_order_relaxed);
    return 1;
  } while (uv_hrtime() < until);
  if (k->spin_score > -TL_SPIN_SCORE_MAX) k->spin_score -= 2;
  atomic_fetch_add_explicit(&c->spins_lost, 1, memory_order_relaxed);
  return 0;
}

static void do_not_block(struct tl_kernel* k);

/* This thread's kernels. What one of them delivers may post to any, one that had its turn in this
 * phase already, say, or one that was made just now and has none before the loop sleeps. */
static _Thread_local struct tl_kernel* hooked;

static void unhook(struct tl_kernel* k) {
  struct tl_kernel** at = &hooked;
  while (*at && *at != k) at = &(*at)->hooked_next;
  if (*at) *at = k->hooked_next;
}

static void wake_up(struct tl_kernel* k) {
  atomic_store(&k->crew.desk.control->asleep, 0);
  mute_ring(k, 1);
}

/* Even when uv_backend_timeout() is 0 this turn may block: it says 0, too, while libuv has yet to
 * tell epoll of descriptors. So be ready to be rung in any case.
 * Pairs with announce() in crew.c and with Linux's check of the CQ flags: first we say that we
 * sleep, then we look once more. */
static void fall_asleep(struct tl_kernel* k) {
  atomic_store(&k->crew.desk.control->asleep, 1);
  mute_ring(k, 0);
  atomic_thread_fence(memory_order_seq_cst);
  if (!has_news(k)) return;
  wake_up(k);
  do_not_block(k);
}

/* Delivers; 1: something is left. */
static int deliver(struct tl_kernel* k) {
  const struct tl_control* const c = k->crew.desk.control;
  int left = 0;
  if (has_news(k)) left = k->drain(k);
  while (!left && !k->closing && uv_backend_timeout(k->loop) != 0 && spin_for_crew(k)) {
    uint32_t const seen = atomic_load_explicit(&c->bell_seen, memory_order_relaxed);
    left = k->drain(k);
    /* A worker is being terminated: no JavaScript runs, so nobody looks at the bell again. */
    if (atomic_load_explicit(&c->bell_seen, memory_order_relaxed) == seen) break;
  }
  return left && !k->closing;
}

static void on_prepare(uv_prepare_t* handle) {
  struct tl_kernel* const k = handle->data;
  wake_up(k); /* another kernel's turn, before this one, sent it to sleep */
  if (deliver(k)) {
    do_not_block(k);
    return;
  }
  for (struct tl_kernel* it = hooked; it; it = it->hooked_next)
    if (it->loop == k->loop) fall_asleep(it);
}

static void on_idle(uv_idle_t* handle) { (void)handle; }

/* An active idle handle makes this turn's epoll_wait return at once. */
static void do_not_block(struct tl_kernel* k) { uv_idle_start(&k->idle, on_idle); }

static void on_check(uv_check_t* handle) {
  struct tl_kernel* const k = handle->data;
  wake_up(k);
  uv_idle_stop(&k->idle);
}

static void on_eventfd(uv_poll_t* handle, int status, int events) {
  struct tl_kernel* const k = handle->data;
  (void)status;
  (void)events;
  wake_up(k);
  read_eventfd(k);
  /* This turn does not block, because the drain left something for the next one: immediates come
   * first, as it meant them to. */
  if (uv_is_active((uv_handle_t*)&k->idle)) return;
  if (k->drain(k) && !k->closing) atomic_store(&k->crew.desk.control->want_drain, 1);
}

/* As on_eventfd: the loop's own poll phase has found sockets ready. */
static void on_ready(uv_poll_t* handle, int status, int events) {
  struct tl_kernel* const k = handle->data;
  (void)status;
  (void)events;
  wake_up(k);
  tl_sockets_note(&k->sockets);
  if (uv_is_active((uv_handle_t*)&k->idle)) return;
  if (k->drain(k) && !k->closing) atomic_store(&k->crew.desk.control->want_drain, 1);
}

int tl_kernel_watch_ready(struct tl_kernel* k) {
  int const fd = tl_sockets_ready_fd(&k->sockets);
  if (fd < 0 || !k->loop || k->ready_watched) return 0;
  k->ready.data = k;
  int const failed = uv_poll_init(k->loop, &k->ready, fd);
  if (failed) return failed;
  k->ready_watched = 1;
  k->handles_open++;
  uv_poll_start(&k->ready, UV_READABLE, on_ready);
  uv_unref((uv_handle_t*)&k->ready);
  return 0;
}

int tl_kernel_attach(struct tl_kernel* k, uv_loop_t* loop, tl_drain drain) {
  k->loop = loop;
  k->drain = drain;
  k->prepare.data = k->check.data = k->idle.data = k->poll.data = k;
  int failed = uv_poll_init(loop, &k->poll, k->crew.eventfd);
  if (failed) {
    k->loop = NULL;
    return failed;
  }
  uv_prepare_init(loop, &k->prepare);
  uv_check_init(loop, &k->check);
  uv_idle_init(loop, &k->idle);
  k->handles_open = 4;
  uv_prepare_start(&k->prepare, on_prepare);
  uv_check_start(&k->check, on_check);
  uv_poll_start(&k->poll, UV_READABLE, on_eventfd);
  uv_unref((uv_handle_t*)&k->prepare);
  uv_unref((uv_handle_t*)&k->check);
  uv_unref((uv_handle_t*)&k->idle);
  uv_unref((uv_handle_t*)&k->poll);
  k->hooked_next = hooked;
  hooked = k;
  return 0;
}

void tl_kernel_detach(struct tl_kernel* k, uv_close_cb closed) {
  unhook(k);
  uv_close((uv_handle_t*)&k->prepare, closed);
  uv_close((uv_handle_t*)&k->check, closed);
  uv_close((uv_handle_t*)&k->idle, closed);
  uv_close((uv_handle_t*)&k->poll, closed);
  if (k->ready_watched) uv_close((uv_handle_t*)&k->ready, closed);
}

void tl_kernel_ref(struct tl_kernel* k, int alive) {
  if (!k->loop || k->closing) return;
  if (alive) {
    uv_ref((uv_handle_t*)&k->prepare);
  } else {
    uv_unref((uv_handle_t*)&k->prepare);
  }
}

int tl_kernel_other_work(struct tl_kernel* k, uint64_t now_ns) {
  if (!k->loop) return 0;
  int const timeout_ms = uv_backend_timeout(k->loop);
  /* uv_now() is when this turn began: a timer that came due since counts. */
  return timeout_ms == 0 || (timeout_ms > 0 && uv_now(k->loop) + (uint64_t)timeout_ms <=
                                                   now_ns / 1000000u);
}

int tl_kernel_wait(struct tl_kernel* k, int timeout_ms) {
  struct tl_control* const c = k->crew.desk.control;
  if (spin_for_crew(k)) return 1;
  atomic_store(&c->asleep, 1);
  mute_ring(k, 0);
  atomic_thread_fence(memory_order_seq_cst);
  int ready = crew_has_news(k) || ring_has_news(k);
  if (!ready) {
    struct pollfd p = {.fd = k->crew.eventfd, .events = POLLIN};
    ready = poll(&p, 1, timeout_ms) > 0;
    if (ready) read_eventfd(k);
  }
  atomic_store(&c->asleep, 0);
  mute_ring(k, 1);
  return ready;
}
