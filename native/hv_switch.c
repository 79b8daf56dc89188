/* Letting a vCPU run, making it stop, and what becomes of one that stopped. */
#define _GNU_SOURCE
#include "hv.h"

#include <errno.h>
#include <math.h>

/* A preempted thread that does not stop (it sleeps in the kernel and cannot be woken): is it
 * still there? */
#define TL_RESEND_NS 10000000u

static uint64_t slice_end(const struct tl_hypervisor* hv, uint64_t now) {
  uint64_t const end = now + hv->options.slice_ns;
  return hv->options.scheduler == TL_GANG && end > hv->gang_end_ns ? hv->gang_end_ns : end;
}

/* A new quantum begins: the line is written before the vCPU runs in it (I-Spinlock 4.2.1). */
void tl__publish(struct tl_hypervisor* hv, struct pcpu* p, struct vcpu* v, uint64_t now) {
  p->quantum_ns = now;
  p->slice_end_ns = slice_end(hv, now);
  p->armed = false;
  /* Earlier than it really ends: what was begun in time has this much room for what nobody can
   * foresee, such as an interrupt, or this thread taking the core for the other pCPU's sake. */
  uint64_t const published = hv->options.publish_ratelimit
                                 ? now + hv->options.ratelimit_ns
                                 : p->slice_end_ns - hv->options.margin_ns;
  struct tl_share_info* const line = v->line;
  atomic_store_explicit(&line->preemption_ns, (double)published, memory_order_relaxed);
  atomic_store_explicit(&line->slice_ns, (double)(p->slice_end_ns - now), memory_order_relaxed);
  atomic_store_explicit(&line->slice_id, line->slice_id + 1, memory_order_release);
}

void tl__switch_in(struct tl_hypervisor* hv, uint32_t at, struct vcpu* v) {
  struct pcpu* const p = &hv->pcpu[at];
  tl__queue_remove(hv, v);
  if (v->core != p->core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)p->core, &set);
    if (v->core >= 0) hv->stats.migrations++;
    v->core = p->core;
    sched_setaffinity(atomic_load(&v->tid), sizeof set, &set);
  }
  uint64_t const now = now_ns();
  v->place = RUNNING;
  v->pcpu = at;
  v->charged_ns = now;
  v->steal_ns += (double)(now - v->waiting_since_ns);
  v->signalled_ns = p->freed_ns;
  v->from_signal = p->freed_by_signal;
  p->freed_ns = 0;
  p->current = v;
  p->early = false;
  hv->stats.switches++;
  struct tl_share_info* const line = v->line;
  atomic_store_explicit(&line->switched_in_ns, (double)now, memory_order_relaxed);
  atomic_store_explicit(&line->steal_ns, v->steal_ns, memory_order_relaxed);
  atomic_store_explicit(&line->switches, line->switches + 1, memory_order_relaxed);
  atomic_store_explicit(&line->state, TL_VCPU_RUNNING, memory_order_relaxed);
  tl__publish(hv, p, v, now);
  atomic_store(&v->turn, (atomic_load(&v->turn) + 1) & TL_TURN_MASK);
  futex_wake(&v->turn);
}

/* It ran: was the switch quick? Asked once per turn. */
void tl__count_switch(struct tl_hypervisor* hv, struct vcpu* v) {
  uint64_t const resumed = atomic_load(&v->resumed_ns);
  if (v->signalled_ns && resumed >= v->signalled_ns)
    tl__durations_add(v->from_signal ? &hv->stats.switching : &hv->stats.handoff,
                  resumed - v->signalled_ns);
  v->signalled_ns = 0;
}

static void vacate(struct tl_hypervisor* hv, struct vcpu* v, uint64_t until, bool by_signal) {
  struct pcpu* const p = &hv->pcpu[v->pcpu];
  tl__charge(v, until);
  p->freed_by_signal = by_signal;
  p->freed_ns = !by_signal ? until : p->early ? p->signalled_ns : p->slice_end_ns;
  p->current = NULL;
}

void tl__vcpu_gone(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now) {
  if (v->place == RUNNING || v->place == STOPPING) vacate(hv, v, now, false);
  if (v->place == QUEUED) tl__queue_remove(hv, v);
  if (v->place == HALTED) hv->halted--;
  v->place = GONE;
  atomic_store_explicit(&v->line->preemption_ns, INFINITY, memory_order_relaxed);
  atomic_store_explicit(&v->line->state, TL_VCPU_GONE, memory_order_relaxed);
}

/* Now, not at the end of the quantum. */
void tl__preempt(struct tl_hypervisor* hv, struct pcpu* p, uint64_t now) {
  struct vcpu* const v = p->current;
  if (v->place == RUNNING) {
    atomic_store(&v->preempt_at_ns, 0);
    atomic_store(&v->preempt, atomic_load(&v->turn));
    v->place = STOPPING;
    p->early = now < p->slice_end_ns;
    p->signalled_ns = now;
  }
  p->resend_ns = now + TL_RESEND_NS;
  if (syscall(SYS_tgkill, getpid(), atomic_load(&v->tid), TL_PREEMPT_SIGNAL) != 0 &&
      errno == ESRCH)
    tl__vcpu_gone(hv, v, now); /* ended without a word: nobody waits for it */
}

/* This quantum will not be followed by one of the same vCPU as if nothing were. */
void tl__arm(struct pcpu* p) {
  struct vcpu* const v = p->current;
  p->armed = true;
  p->resend_ns = p->slice_end_ns + TL_RESEND_NS;
  atomic_store(&v->preempt_at_ns, p->slice_end_ns);
  atomic_store(&v->preempt, atomic_load(&v->turn));
  struct itimerspec const end = {
      .it_value = {.tv_sec = (time_t)(p->slice_end_ns / 1000000000u),
                   .tv_nsec = (long)(p->slice_end_ns % 1000000000u)}};
  int32_t const timer = atomic_load(&v->timer);
  if (timer < 0 || syscall(SYS_timer_settime, timer, TIMER_ABSTIME, &end, NULL) != 0)
    p->resend_ns = p->slice_end_ns;
}

/* It stopped before its time. Its timer must not ring when the time has come: waking up only to
 * find itself out of turn, it would take the core from the vCPU that is on it then; and all of those
 * that yielded at about the same time at once, just when the quantum of who came after them ends. */
static void disarm(struct pcpu* p, const struct vcpu* v) {
  if (!p->armed) return;
  p->armed = false;
  struct itimerspec const never = {0};
  int32_t const timer = atomic_load(&v->timer);
  if (timer >= 0) syscall(SYS_timer_settime, timer, 0, &never, NULL);
}

/* Ready to run, after a halt or from outside. */
void tl__wake(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now) {
  v->priority = tl__priority(hv, v);
  if (v->over_cap) {
    v->place = PARKED;
    v->waiting_since_ns = now;
    atomic_store_explicit(&v->line->state, TL_VCPU_PREEMPTED, memory_order_relaxed);
    return;
  }
  if (hv->options.scheduler == TL_CREDIT && hv->options.boost && v->priority == PRIORITY_UNDER)
    v->priority = PRIORITY_BOOST;
  tl__queue_add(hv, v, now);
}

void tl__end_halt(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now, bool kicked) {
  hv->halted--;
  atomic_store(&v->woken, kicked);
  if (kicked) hv->stats.kicks++;
  tl__wake(hv, v, now);
}

/* It stands still: why, and what now? */
void tl__vcpu_stopped(struct tl_hypervisor* hv, struct vcpu* v, enum stop_reason reason) {
  struct pcpu* const p = &hv->pcpu[v->pcpu];
  uint64_t const at = atomic_load(&v->stopped_ns);
  tl__count_switch(hv, v);
  if (reason == STOP_PREEMPTED) {
    hv->stats.preemptions++;
    if (p->early) hv->stats.early++;
    else tl__durations_add(&hv->stats.lateness, at > p->slice_end_ns ? at - p->slice_end_ns : 0);
    atomic_store_explicit(&v->line->preemptions, v->line->preemptions + 1, memory_order_relaxed);
  }
  if (reason != STOP_PREEMPTED || p->early) disarm(p, v);
  vacate(hv, v, at, reason == STOP_PREEMPTED);
  v->overdraft_ns = 0;
  v->priority = tl__priority(hv, v);
  switch (reason) {
    case STOP_HALT:
      hv->stats.halts++;
      hv->halted++;
      v->place = HALTED;
      v->halted_since_ns = at;
      atomic_store_explicit(&v->line->state, TL_VCPU_HALTED, memory_order_relaxed);
      break;
    case STOP_BLOCK:
      v->place = BLOCKED;
      atomic_store_explicit(&v->line->state, TL_VCPU_BLOCKED, memory_order_relaxed);
      break;
    case STOP_YIELD:
      hv->stats.yields++;
      /* After everybody who waits. Xen lets a yielding vCPU with credit left go behind one without
       * (CSCHED_FLAG_VCPU_YIELD): or those who wait for a preempted lock holder would keep it off
       * the processor, yielding to each other for as long as their credit lasts. */
      if (hv->options.scheduler == TL_CREDIT) v->priority = PRIORITY_OVER;
      /* fall through */
    case STOP_PREEMPTED:
      if (v->over_cap) {
        v->place = PARKED;
        v->waiting_since_ns = at;
        atomic_store_explicit(&v->line->state, TL_VCPU_PREEMPTED, memory_order_relaxed);
      } else if (hv->options.scheduler == TL_CREDIT &&
                 at + hv->options.slice_ns / 2 >= p->slice_end_ns) {
        tl__queue_add_shuffled(hv, v, at);
      } else {
        tl__queue_add(hv, v, at);
      }
  }
}
