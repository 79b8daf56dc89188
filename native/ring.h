/* The ring: Linux's own syscall threads, reached through io_uring. This file only makes the
 * ring and enters the kernel; submission and completion queues are read and written by
 * TypeScript (src/kernel/ring/), straight in the mapped memory.
 *
 *   tl_ring_open(ring, options, eventfd)   0, or -errno
 *   tl_ring_enter(ring, submit, min, flags)
 *   tl_ring_close(ring)                    cancels what is in flight and waits (bounded)
 *   munmap(rings, rings_size), munmap(sqes, sqes_size)   when nobody looks at them any more
 *
 * All of it on one thread: the ring has a single issuer.
 */
#ifndef TL_RING_H
#define TL_RING_H

#include <stddef.h>
#include <stdint.h>

struct tl_ring_options {
  uint32_t entries;
  int sqpoll_cpu;      /* -1: batching, no kernel thread of its own */
  uint32_t idle_ms;    /* SQPOLL: sleeps after this long without work */
  uint32_t cq_per_sq;  /* completion entries per submission entry; 0: 4 */
};

struct tl_ring {
  int fd; /* -1: closed */
  uint32_t features, setup_flags;
  uint32_t sq_entries, cq_entries;
  uint8_t* rings; /* SQ and CQ ring, one mapping (IORING_FEAT_SINGLE_MMAP) */
  size_t rings_size;
  uint8_t* sqes;
  size_t sqes_size;
  /* byte offsets into rings */
  uint32_t sq_head, sq_tail, sq_mask, sq_flags, sq_array;
  uint32_t cq_head, cq_tail, cq_mask, cq_flags, cq_overflow, cqes;
};

int tl_ring_open(struct tl_ring* ring, const struct tl_ring_options* options, int eventfd);
int tl_ring_enter(const struct tl_ring* ring, uint32_t submit, uint32_t min, uint32_t flags);
/* Bit i of ops: opcode i is supported. Returns 0 or -errno. */
int tl_ring_probe(const struct tl_ring* ring, uint64_t* ops);
/* Returns 1 when nothing is in flight any more: the memory it may write to can go. The queues'
 * addresses stay mapped, as empty memory. */
int tl_ring_close(struct tl_ring* ring);
/* For who has seen to it that nothing is in flight: closes and puts empty memory in place. */
void tl_ring_drop(struct tl_ring* ring);
void tl_ring_unmap(struct tl_ring* ring);

#endif
