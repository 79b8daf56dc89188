/* The crew: native syscall threads for every call the ring does not take (FlexSC 3.5, 3.6).
 *
 *   tl_crew_join(member)     a kernel's desk is served from here on
 *   tl_crew_wake()           after setting ready bits while control->awake was 0
 *   tl_crew_leave(member)    no new chains are taken from it; waits (bounded) for those running
 *
 * One crew per process. A slot stands for a core; each slot has at most one active thread.
 *
 *            wake                take a chain            in one call > 30 us
 *   asleep ---------> scanning -----------------> running ------------------> slot handed on
 *     ^                  |  ^                        |                            |
 *     +--- spun in vain -+  +------ call returned ---+      thread: back to idle -+
 *
 * The hand-over is done by a watcher, an idle thread that is awake only while an active thread
 * is in a call and other chains wait behind it. It takes the slot itself: a thread that blocks
 * costs the others about 50 us, once. A second slot is used when the first has been busy for
 * 30 us and another page waits.
 *
 * When Linux refuses threads, chains wait for those there are; with none at all, or none that
 * came back for a second, they fail with EAGAIN.
 */
#ifndef TL_CREW_H
#define TL_CREW_H

#include "layout.h"

struct tl_crew_member {
  struct tl_desk desk;
  int eventfd;               /* rung when a chain is done and control->asleep */
  /* Under the crew's mutex */
  int leaving;
  int running;               /* threads that have one of its pages */
  uint32_t next_page;        /* where the search for work goes on */
  struct tl_crew_member* next;
};

struct tl_crew_status {
  int threads, threads_idle, slots, threads_most;
};

void tl_crew_join(struct tl_crew_member* member);
/* Returns 1 when nothing of the member runs any more and its memory may go; 0 when a call sits
 * in the kernel and would not be interrupted: the memory must then be left mapped, the member
 * with it. */
int tl_crew_leave(struct tl_crew_member* member);
void tl_crew_wake(void);
/* The static list of cores, first preferred. cpus == NULL: count slots, not pinned. Threads that
 * are active now keep their core until they sleep. */
void tl_crew_cores(const int* cpus, int count);
/* How long an active thread looks for work before it sleeps. */
void tl_crew_spin_us(int us);
struct tl_crew_status tl_crew_status(void);

#endif
