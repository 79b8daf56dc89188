/* What the files of the hypervisor share (hypervisor.h is its face):
 *
 *   hypervisor.c   starting, finding, stopping one; statistics
 *   hv_thread.c    its thread: requests, decisions, when to wake up
 *   hv_switch.c    letting a vCPU run, and what happens when it stops
 *   hv_credit.c    who is due how much
 *   hv_queue.c     who waits
 *   hv_vcpu.c      on the vCPUs' threads: hypercalls, and the signal at the end of a quantum
 *
 * The protocol of one vCPU, in two words:
 *
 *   turn     the hypervisor's: +1 when the vCPU is switched in; what a vCPU out of turn sleeps on
 *   stopped  the vCPU's: the turn it gave up, and why
 *
 * A vCPU runs while the two differ. Every stop is one store to `stopped`, so it does not matter
 * where between two instructions a signal comes: out of turn already, or meant for another time
 * (`preempt` and `preempt_at_ns` say for which), it is ignored.
 *
 * The signal at the end of a quantum comes from a timer of the vCPU's own, which the hypervisor
 * arms while somebody else waits: whether Linux lets the hypervisor run at that moment does not
 * matter, and when the vCPU stands still there is a free core for it.
 */
#ifndef TL_HV_H
#define TL_HV_H

#include "hypervisor.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TL_PREEMPT_SIGNAL (SIGRTMAX - 3) /* the crew has SIGRTMAX - 2 */
#define TL_TURN_MASK 0x3fffffffu

enum stop_reason { STOP_PREEMPTED = 0, STOP_YIELD = 1, STOP_HALT = 2, STOP_BLOCK = 3 };
enum want { WANT_JOIN = 1, WANT_LEAVE = 2, WANT_UNBLOCK = 4 };
enum place { ABSENT, QUEUED, RUNNING, STOPPING, HALTED, BLOCKED, PARKED, GONE };
/* Xen's credit scheduler's, best first. */
enum priority { PRIORITY_BOOST, PRIORITY_UNDER, PRIORITY_OVER };

struct vcpu {
  /* The vCPU's thread and the hypervisor's, atomically. */
  _Atomic uint32_t turn;
  _Atomic uint32_t stopped; /* turn << 2 | enum stop_reason */
  _Atomic uint32_t preempt; /* the turn that a signal may end */
  _Atomic uint64_t preempt_at_ns; /* and from when on */
  _Atomic uint32_t wants;   /* enum want, of the vCPU */
  _Atomic uint32_t kicked;  /* sticky */
  _Atomic uint32_t woken;   /* a kick ended the last halt */
  _Atomic uint32_t claimed; /* a thread joined, or did once */
  _Atomic int32_t tid;
  _Atomic int32_t timer; /* -1: Linux had none, the hypervisor sends the signal itself */
  _Atomic uint64_t stopped_ns;
  _Atomic uint64_t resumed_ns;
  struct tl_hypervisor* hv;
  uint32_t number;

  /* The hypervisor's thread only. */
  _Alignas(64) enum place place;
  uint32_t vm;
  uint32_t pcpu; /* while running; else where it was last */
  enum priority priority;
  int core; /* it is bound to */
  bool over_cap;
  bool in_use;           /* ran or wanted to, since the last accounting */
  double credit_ns;      /* credit scheduler */
  double overdraft_ns;   /* what it may owe and still count as UNDER */
  uint64_t charged_ns;   /* up to when its running was charged */
  uint64_t waiting_since_ns;
  uint64_t halted_since_ns;
  uint64_t signalled_ns; /* what the latency of its switch in is counted from; 0: nothing */
  bool from_signal;
  double run_ns, due_ns, steal_ns;
  struct vcpu* next; /* in the queue */
  struct tl_share_info* line;
  /* Its thread only. */
  cpu_set_t cores_before;
};

struct vm {
  uint32_t first, count, weight, cap;
  uint32_t active;
  double fair_ns;
  bool settled;
};

struct pcpu {
  struct vcpu* current;
  int core;
  uint64_t slice_end_ns;
  uint64_t quantum_ns;  /* when this quantum began */
  bool armed;           /* the timer will end this quantum */
  bool early;           /* a boost ended it */
  uint64_t signalled_ns;
  uint64_t resend_ns;   /* when a signal should have been obeyed */
  uint64_t freed_ns;    /* since when it is free: the end of the quantum, or the yield */
  bool freed_by_signal;
};

struct tl_hypervisor {
  _Alignas(64) _Atomic uint32_t events; /* what the hypervisor's thread sleeps on */
  _Atomic uint32_t asleep;
  _Atomic uint32_t stopping;
  _Atomic uint32_t over; /* nobody schedules any more: everybody runs */
  _Atomic uint32_t snapshot_asked, snapshot_taken;
  _Atomic int32_t references;
  _Atomic uint64_t dirty[TL_VMS_LIMIT * TL_VCPUS_PER_VM_LIMIT / 64]; /* vCPUs to look at */

  uint32_t id;
  int memfd;
  size_t info_size;
  struct tl_share_info* info;
  pthread_t thread;
  struct tl_hypervisor* next_started;

  _Alignas(64) struct tl_hypervisor_options options;
  uint32_t vcpus;
  struct vcpu* vcpu;
  struct vm* vm;
  struct pcpu pcpu[TL_PCPUS_LIMIT];
  struct vcpu* queue_head;
  struct vcpu* queue_tail;
  uint32_t queued;
  uint32_t random; /* xorshift32 */
  uint64_t started_ns;
  uint64_t accounted_ns, account_at_ns, period_ns;
  uint64_t boost_at_ns; /* when the ratelimit lets a boosted vCPU in; 0: nothing waits */
  uint32_t halted;
  int gang; /* the VM whose turn it is; -1: nobody's */
  uint32_t gang_last;
  uint64_t gang_end_ns;
  struct tl_hypervisor_stats stats;

  pthread_mutex_t snapshot_lock; /* never the hypervisor's thread */
  struct tl_hypervisor_stats snapshot;
  struct tl_vcpu_stats* vcpu_snapshot;
};

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void futex_wake(_Atomic uint32_t* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* until_ns: CLOCK_MONOTONIC; 0: without limit. */
static inline void futex_wait(_Atomic uint32_t* word, uint32_t value, uint64_t until_ns) {
  struct timespec const until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                                 .tv_nsec = (long)(until_ns % 1000000000u)};
  syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, until_ns ? &until : NULL, NULL,
          FUTEX_BITSET_MATCH_ANY);
}

/* hypervisor.c */
void tl__durations_add(struct tl_durations* d, uint64_t ns);

/* hv_vcpu.c */
void tl__prepare_process(void);

/* hv_thread.c: the thread's body. */
void* tl__schedule(void* hypervisor);

/* hv_queue.c: all by the hypervisor's thread, as everything below. */
void tl__queue_add(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now);
void tl__queue_add_shuffled(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now);
void tl__queue_remove(struct tl_hypervisor* hv, struct vcpu* v);
struct vcpu* tl__queue_best(const struct tl_hypervisor* hv);

/* hv_credit.c */
void tl__charge(struct vcpu* v, uint64_t until);
enum priority tl__priority(const struct tl_hypervisor* hv, const struct vcpu* v);
void tl__account(struct tl_hypervisor* hv, uint64_t now);

/* hv_switch.c */
void tl__switch_in(struct tl_hypervisor* hv, uint32_t at, struct vcpu* v);
void tl__publish(struct tl_hypervisor* hv, struct pcpu* p, struct vcpu* v, uint64_t now);
void tl__count_switch(struct tl_hypervisor* hv, struct vcpu* v);
void tl__arm(struct pcpu* p);
void tl__preempt(struct tl_hypervisor* hv, struct pcpu* p, uint64_t now);
void tl__wake(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now);
void tl__end_halt(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now, bool kicked);
void tl__vcpu_stopped(struct tl_hypervisor* hv, struct vcpu* v, enum stop_reason reason);
void tl__vcpu_gone(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now);

#endif
