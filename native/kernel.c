/* See kernel.h. The kernel's life; its place in the loop is in loop.c. */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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

/* --- Descriptors of files at the end ------------------------------------------------------- */

static void own(const struct tl_desk* d, uint64_t fd) {
  if (fd < TL_OWN_DESCRIPTORS_MAX) d->own_descriptors[fd / 32] |= 1u << (fd % 32);
}

static int is_done(const struct tl_entry* e) { return atomic_load(&e->status) == TL_DONE; }

/* Whether the chain has closed what its first entry opened. */
static int has_closed(const struct tl_desk* d, uint32_t head) {
  uint32_t id = head;
  while (d->entries[id].flags & TL_LINK) {
    id = d->links[id];
    const struct tl_entry* const e = &d->entries[id];
    if (e->number == SYS_close && (e->flags & TL_HEAD_FD) && is_done(e)) return e->result != -ECANCELED;
  }
  return 0;
}

/* What is in entries only: opened and not harvested yet, or to be closed and not begun. An entry is
 * submitted once it is filled in, as far as a close is concerned. */
static void own_of_entries(const struct tl_desk* d) {
  uint32_t const count = (uint32_t)atomic_load(&d->control->pages_in_use) * TL_ENTRIES_PER_PAGE;
  for (uint32_t id = 0; id < count; id++) {
    const struct tl_entry* const e = &d->entries[id];
    int const status = atomic_load(&e->status);
    if (e->number == SYS_openat && status == TL_DONE && e->result >= 0 && !has_closed(d, id))
      own(d, (uint64_t)e->result);
    else if (e->number == SYS_close && status == TL_SUBMITTED && !(e->flags & TL_HEAD_FD))
      own(d, e->args[0]);
  }
}

static void close_own(const struct tl_desk* d) {
  for (uint32_t word = 0; word < TL_OWN_DESCRIPTORS_MAX / 32; word++)
    for (uint32_t bits = d->own_descriptors[word]; bits; bits &= bits - 1)
      close((int)(word * 32) + __builtin_ctz(bits));
}

void tl_kernel_close(struct tl_kernel* k, tl_closed closed) {
  if (k->closing) return;
  k->closing = 1;
  k->closed = closed;
  int const quiet = tl_crew_leave(&k->crew);
  if (!quiet) k->leaked = 1;
  if (!tl_ring_close(&k->ring)) k->leaked = 1;
  /* A thread that still sits in a call goes on with its chain afterwards. */
  if (quiet) own_of_entries(&k->crew.desk);
  close_own(&k->crew.desk);
  /* The loop lets go of the sockets' epoll before it is closed. */
  if (k->loop) tl_kernel_detach(k, on_handle_closed);
  if (!tl_sockets_close(&k->sockets)) k->leaked = 1;
  tl_spot_close(&k->spot);
  if (k->loop) return;
  close(k->crew.eventfd);
  if (closed) closed(k);
}
