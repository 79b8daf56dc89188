/* What the hypervisor tells the guests (I-Spinlock 4.2.1): one cache line per vCPU, written by the
 * hypervisor's thread only, mapped read-only for everybody else. Readers are plain loads; the
 * offsets are src/abi/share-info.ts's, and the addon's `layout` lets it compare.
 *
 * The order of the stores at a switch: everything else, then slice_id. A reader that waits for a
 * new slice_id (HVM I-Spinlock) therefore finds that slice's preemption time.
 */
#ifndef TL_SHARE_INFO_H
#define TL_SHARE_INFO_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum tl_vcpu_state {
  TL_VCPU_HALTED = 0,    /* waits for a kick */
  TL_VCPU_RUNNING = 1,
  TL_VCPU_PREEMPTED = 2, /* could run, waits for a pCPU */
  TL_VCPU_BLOCKED = 3,   /* waits for something outside, or has not joined yet */
  TL_VCPU_GONE = 4
};

/* Times are nanoseconds of CLOCK_MONOTONIC, as doubles: exact for a hundred days, and what
 * JavaScript calculates with. */
struct tl_share_info {
  _Atomic double preemption_ns; /* the end of the quantum; +Infinity: never */
  _Atomic uint32_t slice_id;    /* +1 with every quantum, also when the same vCPU goes on */
  _Atomic int32_t state;        /* enum tl_vcpu_state */
  _Atomic double steal_ns;      /* could run, did not; as of the last switch in */
  _Atomic uint32_t preemptions; /* times it lost its pCPU against its will */
  _Atomic uint32_t switches;    /* times it was switched in */
  _Atomic double run_ns;        /* as of the last switch out or new quantum */
  _Atomic double slice_ns;      /* the quantum's length */
  _Atomic double switched_in_ns;
  uint8_t zero[8];
};

_Static_assert(sizeof(struct tl_share_info) == 64, "one cache line");
_Static_assert(offsetof(struct tl_share_info, preemption_ns) == 0, "src/abi/share-info.ts");
_Static_assert(offsetof(struct tl_share_info, slice_id) == 8, "src/abi/share-info.ts");
_Static_assert(offsetof(struct tl_share_info, state) == 12, "src/abi/share-info.ts");
_Static_assert(offsetof(struct tl_share_info, steal_ns) == 16, "src/abi/share-info.ts");
_Static_assert(offsetof(struct tl_share_info, preemptions) == 24, "src/abi/share-info.ts");
_Static_assert(offsetof(struct tl_share_info, switches) == 28, "src/abi/share-info.ts");
_Static_assert(offsetof(struct tl_share_info, run_ns) == 32, "src/abi/share-info.ts");
_Static_assert(offsetof(struct tl_share_info, slice_ns) == 40, "src/abi/share-info.ts");
_Static_assert(offsetof(struct tl_share_info, switched_in_ns) == 48, "src/abi/share-info.ts");

#endif
