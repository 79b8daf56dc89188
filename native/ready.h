/* Sockets without io_uring: the queue of sockets.h served by readiness (epoll, edge-triggered).
 *
 * It does what Linux does with the same SQEs: multishot accept, recv and recvmsg with provided
 * buffers, send (to an address, too), connect, cancel, close. One call of tl_ready_enter takes
 * all SQEs, asks epoll once, and receives and sends on every socket that is ready.
 *
 *   struct tl_ready* r = tl_ready_open(ring, sq, cq, buffer_ring, buffers)   null: errno
 *   tl_ready_fd(r)      watched by the loop; when it is readable: tl_ready_note(r), then enter
 *   tl_ready_enter(r, submit, flags)   returns how many SQEs were taken
 *   tl_ready_close(r)   frees all; the words stay, in ring->rings and ring->sqes
 *
 * Nothing runs behind the program's back here: memory is touched in tl_ready_enter only.
 * What does not fit (no buffer, completion queue full) waits, and SQ_TASKRUN says so, as it does
 * in the ring: come again.
 */
#ifndef TL_READY_H
#define TL_READY_H

#include "ring.h"

struct tl_ready;

struct tl_ready* tl_ready_open(struct tl_ring* ring, uint32_t sq_entries, uint32_t cq_entries,
                               const uint8_t* buffer_ring, uint32_t buffers);
int tl_ready_fd(const struct tl_ready* r);
void tl_ready_note(struct tl_ready* r);
int tl_ready_enter(struct tl_ready* r, uint32_t submit, uint32_t flags);
void tl_ready_close(struct tl_ready* r);

#endif
