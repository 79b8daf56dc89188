/* The sockets of one kernel: a queue of requests that stand (accept, receive) or are sent, the
 * memory that Linux reads and writes meanwhile, and the descriptors that must not be lost.
 *
 *   tl_sockets_open(s, options, eventfd)   0, or -errno
 *   tl_sockets_enter(s, submit, flags)     one native call: everything queued, everything ready
 *   tl_sockets_close(s)                    1: nothing touches the memory any more
 *   tl_sockets_release(s)                  unmaps
 *
 * Two tiers, one meaning: a ring of its own (io_uring), or, where Linux refuses one, ready.c,
 * which has the same words in the same places and does the same on readiness. TypeScript
 * (src/kernel/sockets/) writes SQEs and reads CQEs and does not know which it is.
 *
 * The arena, one mapping that never crosses a 4 GiB line:
 *
 *   buffer ring (one page) | descriptors, int32 each | the rest is laid out by TypeScript
 *
 * It outlives the queue: the buffer ring is the kernel's own pinned page of it, receive buffers
 * are written by Linux until the last request is cancelled, and tl_sockets_close only says 1 when
 * that is so; otherwise the mapping is left in place for ever.
 *
 * descriptors[slot] is the descriptor of a socket that TypeScript has open, plus one; 0: none (so
 * that the pages of slots that are never used are never touched). It is there for the end of a
 * worker in mid-air: nobody else could close them.
 */
#ifndef TL_SOCKETS_H
#define TL_SOCKETS_H

#include "ring.h"

/* What a completion is about: in user_data, above the slot. Read by src/kernel/sockets/. */
#define TL_SOCKET_SLOT_BITS 18
#define TL_SOCKET_KIND_ACCEPT 1u

#define TL_SOCKETS_BUFFER_RING 4096 /* bytes in front of the descriptors */

struct tl_ready;

struct tl_sockets {
  int open;
  struct tl_ring ring;    /* the words; fd -1 where they are ready.c's */
  struct tl_ready* ready; /* null: io_uring */
  uint8_t* arena;
  size_t arena_size;
  uint32_t slots;
};

struct tl_sockets_options {
  int want_ring;
  uint32_t entries;
  uint32_t buffers; /* a power of two, up to 256: they fill the page */
  uint32_t slots;
  size_t arena_size;
};

int tl_sockets_open(struct tl_sockets* s, const struct tl_sockets_options* options, int eventfd);
int tl_sockets_enter(struct tl_sockets* s, uint32_t submit, uint32_t flags);
int tl_sockets_has_news(const struct tl_sockets* s);
/* Accepts what waits on a listening descriptor that does not block, at most `count`, and notes the
 * new descriptors from slot `first` on. How many. After an error there are no more: whoever else
 * accepts there will see it. */
int tl_sockets_accept_all(struct tl_sockets* s, int fd, uint32_t first, uint32_t count);
/* Whether completions ring the eventfd. */
void tl_sockets_mute(const struct tl_sockets* s, int mute);
/* The loop says: the descriptor of ready.c is readable. */
void tl_sockets_note(struct tl_sockets* s);
/* To be watched by the loop, or -1. */
int tl_sockets_ready_fd(const struct tl_sockets* s);
int tl_sockets_close(struct tl_sockets* s);
void tl_sockets_release(struct tl_sockets* s);

#endif
