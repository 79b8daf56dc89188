/* The crew: native syscall threads for every call the ring does not take (FlexSC 3.5, 3.6).
 *
 *   tl_crew_join(member)     a kernel's desk is served from here on
 *   tl_crew_wake()           after setting ready bits while control->awake was 0
 *   tl_crew_leave(member)    no new chains are taken from it; waits (bounded) for those running
 *
 * One crew per process. A slot stands for a core; each slot has at most one active thread.
 *
 *            wake                take a chain            in one call > 50 us
 *   asleep ---------> scanning -----------------> running ------------------> slot handed on
 *     ^                  |  ^                        |                            |
 *     +--- spun in vain -+  +------ call returned ---+      thread: back to idle -+
 *
 * The hand-over is done by a watcher, an idle thread that wakes every 50 us while any active
 * thread is in a call: a thread that blocks costs the others 50-100 us, once.
 */
#ifndef TL_CREW_H
#define TL_CREW_H

#include "layout.h"

struct tl_crew_member {
  struct tl_desk desk;
  int eventfd;               /* rung when a chain is done and control->asleep */
  int leaving;               /* under the crew's mutex */
  int running;               /* chains of this member being executed; under the mutex */
  struct tl_crew_member* next;
};

struct tl_crew_status {
  int threads, threads_idle, slots, threads_most;
};

void tl_crew_join(struct tl_crew_member* member);
/* Returns 1 when nothing of the member runs any more and its memory may go; 0 when a call sits
 * in the kernel and would not be interrupted: the memory must then be left mapped. */
int tl_crew_leave(struct tl_crew_member* member);
void tl_crew_wake(void);
/* cpus == NULL: count slots, not pinned. Takes effect for slots not yet running. */
void tl_crew_cores(const int* cpus, int count);
void tl_crew_spin_us(int us);
struct tl_crew_status tl_crew_status(void);

#endif
