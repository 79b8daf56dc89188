/* See kernel.h. The kernel's life; its place in the loop is in loop.c. */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "map.h"

struct tl_kernel* tl_kernel_open(uint32_t pages_max, size_t pool_size) {
  struct tl_kernel* const k = calloc(1, sizeof *k);
  if (!k) return NULL;
  k->references = 1;
  k->ring.fd = -1;
  k->crew.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct tl_desk sizes;
  size_t const desk_size = tl_desk_lay_out(&sizes, NULL, pages_max);
  uint8_t* const desk = tl_map(desk_size);
  k->pool_size = pool_size;
  k->pool = tl_map(pool_size);
  int const spot_failed = tl_spot_open(&k->spot);
  if (k->crew.eventfd < 0 || !desk || !k->pool || spot_failed) {
    int const reason = errno;
    if (k->crew.eventfd >= 0) close(k->crew.eventfd);
    if (desk) munmap(desk, desk_size);
    if (k->pool) munmap(k->pool, pool_size);
    tl_spot_close(&k->spot);
    free(k);
    errno = reason;
    return NULL;
  }
  tl_desk_lay_out(&k->crew.desk, desk, pages_max);
  /* A child between fork and exec has no business here. */
  madvise(desk, desk_size, MADV_DONTFORK);
  madvise(k->pool, pool_size, MADV_DONTFORK);
  tl_crew_join(&k->crew);
  return k;
}

void tl_kernel_release(struct tl_kernel* k) {
  if (--k->references > 0 || k->leaked) return;
  munmap(k->crew.desk.base, k->crew.desk.size);
  munmap(k->pool, k->pool_size);
  tl_sockets_release(&k->sockets);
  free(k);
}

static void on_handle_closed(uv_handle_t* handle) {
  struct tl_kernel* const k = handle->data;
  if (--k->handles_open > 0) return;
  close(k->crew.eventfd);
  if (k->closed) k->closed(k);
}

void tl_kernel_close(struct tl_kernel* k, tl_closed closed) {
  if (k->closing) return;
  k->closing = 1;
  k->closed = closed;
  if (!tl_crew_leave(&k->crew)) k->leaked = 1;
  if (!tl_ring_close(&k->ring)) k->leaked = 1;
  /* The loop lets go of the sockets' epoll before it is closed. */
  if (k->loop) tl_kernel_detach(k, on_handle_closed);
  if (!tl_sockets_close(&k->sockets)) k->leaked = 1;
  tl_spot_close(&k->spot);
  if (k->loop) return;
  close(k->crew.eventfd);
  if (closed) closed(k);
}
