/* A hypervisor in user space: one thread multiplexes vCPUs (threads of this process that joined)
 * onto pCPUs (cores, or shares of one when there are more pCPUs than cores). No privileges.
 *
 *   tl_hypervisor_start(&options, &hv)      a thread of its own; vCPUs are absent
 *   tl_vcpu_join(hv, n)                     this thread is vCPU n; returns when first switched in
 *   tl_vcpu_yield() halt() kick(m) block() unblock()   hypercalls
 *   tl_vcpu_leave()                         this thread is its own again (also at thread exit)
 *   tl_hypervisor_stop(hv)                  sets every vCPU free and ends the thread
 *
 * A switch (I-Spinlock 4.1, 4.2.1): the next vCPU's line of share_info is written, the current one
 * is preempted by a signal at whatever instruction it is, and only when it said that it stands
 * still is the next one released.
 *
 * Whoever is preempted may hold any lock of the process (malloc's, V8's). So the hypervisor's
 * thread allocates nothing and takes no lock; hypercalls are atomic words and a futex.
 */
#ifndef TL_HYPERVISOR_H
#define TL_HYPERVISOR_H

#include <stddef.h>
#include <stdint.h>

#include "share_info.h"

#define TL_VMS_LIMIT 64
#define TL_VCPUS_PER_VM_LIMIT 64
#define TL_PCPUS_LIMIT 64

enum tl_scheduler { TL_CREDIT = 0, TL_ROUND_ROBIN = 1, TL_GANG = 2 };

struct tl_vm_options {
  uint32_t vcpus;
  uint32_t weight; /* of each vCPU, as in Xen 4.2; 256 is usual */
  uint32_t cap;    /* per cent of one pCPU for the whole VM; 0: none */
};

struct tl_hypervisor_options {
  enum tl_scheduler scheduler;
  uint32_t pcpus;
  uint32_t cores; /* pCPU p runs on core[p % cores] */
  const int* core;
  uint32_t vms;
  const struct tl_vm_options* vm;
  uint64_t slice_ns;
  uint64_t margin_ns;        /* published is a time this much before the quantum's end */
  uint64_t ratelimit_ns;     /* a quantum is not cut shorter than this (credit's boost) */
  int boost;                 /* credit: who wakes up goes first */
  int publish_ratelimit;     /* publish the minimal quantum instead (I-Spinlock 4.2.2) */
};

/* Durations in ns: eight buckets per power of two. */
#define TL_BUCKETS (40 * 8)
struct tl_durations {
  uint64_t count;
  double sum;
  uint64_t max;
  uint32_t bucket[TL_BUCKETS];
};
/* The duration that `part` (0 to 1) of all do not exceed, to 1/8 of its power of two. */
double tl_durations_quantile(const struct tl_durations* d, double part);

struct tl_hypervisor_stats {
  uint64_t switches;    /* vCPUs switched in */
  uint64_t preemptions; /* by signal */
  uint64_t early;       /* of these, before the end of the quantum (boost) */
  uint64_t renewals;    /* quanta that followed one of the same vCPU: nobody else wanted */
  uint64_t yields;
  uint64_t halts;
  uint64_t kicks;       /* that woke a halted vCPU */
  uint64_t migrations;  /* to another core */
  uint64_t cpu_ns;      /* the hypervisor's own */
  uint64_t elapsed_ns;  /* since the start */
  struct tl_durations switching; /* from the signal until the next vCPU runs */
  struct tl_durations handoff;   /* from a yield or halt until the next vCPU runs */
  struct tl_durations lateness;  /* of the preemption, against the end of the quantum */
};

struct tl_vcpu_stats {
  int32_t state;
  uint32_t switches;
  uint32_t preemptions;
  double run_ns;
  double due_ns; /* what weights, caps and demand entitle it to */
  double steal_ns;
};

struct tl_hypervisor;

/* 0, or -errno. */
int tl_hypervisor_start(const struct tl_hypervisor_options* options, struct tl_hypervisor** made);
/* Gives up the caller's reference too. Not to be called by a vCPU of this hypervisor. */
void tl_hypervisor_stop(struct tl_hypervisor* hv);
/* By number, for another thread: with a reference of its own; null when it was stopped. */
struct tl_hypervisor* tl_hypervisor_find(uint32_t id);
uint32_t tl_hypervisor_id(const struct tl_hypervisor* hv);
void tl_hypervisor_release(struct tl_hypervisor* hv);
uint32_t tl_hypervisor_vcpus(const struct tl_hypervisor* hv);
/* Everybody's lines, read-only, mapped anew: the caller unmaps. Null with errno. */
const struct tl_share_info* tl_hypervisor_share_info(struct tl_hypervisor* hv, size_t* size);
/* vcpu: as many as there are. */
void tl_hypervisor_stats(struct tl_hypervisor* hv, struct tl_hypervisor_stats* stats,
                         struct tl_vcpu_stats* vcpu);

/* 0, or -errno: EINVAL no such vCPU, EBUSY taken or this thread is one, ESHUTDOWN stopped. */
int tl_vcpu_join(struct tl_hypervisor* hv, uint32_t number);
void tl_vcpu_leave(void);
/* This thread's number, or -1. */
int tl_vcpu_self(void);
void tl_vcpu_yield(void);
/* Sleeps until kicked; 0 when it returned without a kick (it does so now and then, so that a
 * thread that is to end can; or the hypervisor was stopped: then 1). */
int tl_vcpu_halt(void);
/* Sticky: a kick before the halt makes the next halt return at once. 0, or -EINVAL: no such
 * vCPU. */
int tl_vcpu_kick(uint32_t number);
/* Gives the pCPU up and goes on, to wait for something outside; unblock waits for a pCPU. */
void tl_vcpu_block(void);
void tl_vcpu_unblock(void);

#endif
