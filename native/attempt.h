/* What Linux answers without blocking: one entry tried on the JS thread (FlexSC 4.1's hybrid).
 *
 *   tl_attempt_now(entry, args, mind)   the result, or TL_WOULD_BLOCK: nothing was done
 *
 * args are the entry's, with the results of its chain filled in. The reasons per call are in
 * src/kernel/routes.ts; what is remembered between calls is struct tl_mind, one per kernel.
 */
#ifndef TL_ATTEMPT_H
#define TL_ATTEMPT_H

#include "layout.h"

/* "Not answered": never a value Linux returns. */
#define TL_WOULD_BLOCK INT64_MIN
/* The same, and Linux cannot tell in advance: not even a ring does it without a thread. */
#define TL_NEEDS_THREAD (INT64_MIN + 1)

#define TL_KNOWN_PATHS 4096
#define TL_MEMORY_FDS 1024
#define TL_KNOWN_SECONDS 10

struct tl_mind {
  /* Refreshed by spot.c: */
  int careful; /* a filesystem is mounted whose open or stat may block */
  int (*device_blocks)(uint32_t major, uint32_t minor); /* consulted when careful */
  uint32_t now_s;
  /* Tables of {key, seconds} pairs, keyed by a hash of the path or by the descriptor: */
  uint32_t* known_paths; /* TL_KNOWN_PATHS: looked up from the caches lately */
  uint32_t* memory_fds;  /* TL_MEMORY_FDS: of a file on tmpfs */
  /* Set anew for each chain by tl_mind_begin: */
  uint64_t slots_from, slots_to; /* the desk's slots: the only paths we read ourselves */
  uint32_t chain_path;           /* hash of the path the chain opened; 0: none here */
  int at_end;                    /* its last read was short, and that proves the end */
};

/* A new chain of this desk. A crew thread's mind is nothing else than that, and the second. */
void tl_mind_begin(struct tl_mind* mind, const struct tl_desk* desk);
/* The chain opens its file by this path: remember which. */
void tl_mind_opens(struct tl_mind* mind, uint64_t dirfd, uint64_t path);
/* A blocking read of the chain's file has returned `r` of `length`: sets at_end. */
void tl_mind_read(struct tl_mind* mind, uint64_t fd, int64_t r, uint64_t length);

int64_t tl_attempt_now(const struct tl_entry* entry, const uint64_t* args, struct tl_mind* mind);

#endif
