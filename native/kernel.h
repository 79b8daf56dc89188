/* One kernel: what one register() call owns on the native side, and its place in the libuv
 * loop. Created, used and closed on one JS thread.
 *
 *   tl_kernel_open(&k, options)      maps the desk and the pool, joins the crew
 *   tl_kernel_attach(k, loop, cb)    hooks the loop: cb drains (see loop.c)
 *   tl_kernel_close(k, closed)       leaves crew, ring and loop; closed() when the loop is done
 *   tl_kernel_release(k)             one owner less; the last one frees
 *
 * Memory outlives everybody who may touch it: the two ArrayBuffers hold a reference each, and
 * when a system call could not be interrupted the mappings are left in place for ever, so that
 * Linux never writes through an address that means something else by now.
 */
#ifndef TL_KERNEL_H
#define TL_KERNEL_H

#include <uv.h>

#include "crew.h"
#include "ring.h"
#include "sockets.h"
#include "spot.h"

struct tl_kernel;
/* Delivers what is done; returns 1 when something is left for the next turn. */
typedef int (*tl_drain)(struct tl_kernel* k);
typedef void (*tl_closed)(struct tl_kernel* k);

struct tl_kernel {
  struct tl_crew_member crew; /* owns the desk and the eventfd */
  uint8_t* pool;
  size_t pool_size;
  struct tl_spot spot;
  struct tl_ring ring;
  struct tl_sockets sockets;
  int references;
  int leaked; /* Linux may still write here */
  int closing;

  uv_loop_t* loop;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t idle;
  uv_poll_t poll;
  uv_poll_t ready; /* sockets without io_uring */
  int ready_watched;
  int handles_open;
  struct tl_kernel* hooked_next; /* of this thread */
  int spin_score; /* above 0: looking for completions before sleeping has paid lately */
  unsigned spin_skipped;
  tl_drain drain;
  tl_closed closed;
  void* data;
};

struct tl_kernel* tl_kernel_open(uint32_t pages_max, size_t pool_size);
int tl_kernel_attach(struct tl_kernel* k, uv_loop_t* loop, tl_drain drain);
void tl_kernel_close(struct tl_kernel* k, tl_closed closed);
void tl_kernel_release(struct tl_kernel* k);

/* For tl_kernel_close: `closed` is called for each of the `handles_open`. */
void tl_kernel_detach(struct tl_kernel* k, uv_close_cb closed);

/* Has the loop watch sockets that are served by readiness. 0, or a libuv error. */
int tl_kernel_watch_ready(struct tl_kernel* k);

/* Keep the loop alive (or not): called when the first call is posted, the last delivered. */
void tl_kernel_ref(struct tl_kernel* k, int alive);
/* flexsc_wait without a loop: sleeps until something is done. Returns 0 on timeout. */
int tl_kernel_wait(struct tl_kernel* k, int timeout_ms);
/* Does the loop have anything to do besides us? Then a drain must not go on for long. */
int tl_kernel_other_work(struct tl_kernel* k, uint64_t now_ns);

#endif
