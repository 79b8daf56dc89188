/* On the spot: a whole batch of entries in one native call, each tried without blocking (the
 * hybrid of FlexSC 4.1). Runs on the JS thread.
 *
 *   tl_spot_run(spot, desk, count)   tries desk->spot_list[0..count); each entry that Linux
 *                                    answered is done afterwards, the others are unchanged
 */
#ifndef TL_SPOT_H
#define TL_SPOT_H

#include "execute.h"

struct tl_spot {
  struct tl_mind mind;
  int mounts_fd;           /* /proc/self/mountinfo, polled for changes; -1: unknown, careful */
  uint64_t mounts_checked; /* CLOCK_MONOTONIC seconds */
  uint64_t ended_ns;       /* CLOCK_MONOTONIC, of the last batch */
};

int tl_spot_open(struct tl_spot* spot);
void tl_spot_close(struct tl_spot* spot);
/* Returns how many of the list are done. */
uint32_t tl_spot_run(struct tl_spot* spot, const struct tl_desk* desk, uint32_t count);

#endif
