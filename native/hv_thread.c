/* The hypervisor's thread. It alone has the scheduler's state; it allocates nothing and takes no lock,
 * because whoever is preempted may hold any. Round after round: what vCPUs ask for, who is due what,
 * who runs, whose quantum ends; then it sleeps until the next of these. */
#define _GNU_SOURCE
#include "hv.h"

#include <math.h>
#include <string.h>
#include <sys/prctl.h>

/* A halted vCPU is let run this often without a kick: its thread may be about to end
 * (Worker.terminate needs it to come back to JavaScript). */
#define TL_HALT_LIMIT_NS 200000000u

/* --- Requests --------------------------------------------------------------------------------- */

static void look(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now) {
  uint32_t const wants = atomic_exchange(&v->wants, 0);
  if (wants & WANT_LEAVE) {
    tl__vcpu_gone(hv, v, now);
    return;
  }
  /* Not as one that wakes: a boost would cut short the quanta of those who are there already. */
  if ((wants & WANT_JOIN) && v->place == ABSENT) tl__queue_add(hv, v, now);
  if (v->place == RUNNING || v->place == STOPPING) {
    uint32_t const word = atomic_load(&v->stopped);
    if (word >> 2 == atomic_load(&v->turn)) tl__vcpu_stopped(hv, v, (enum stop_reason)(word & 3));
  }
  if (v->place == HALTED && atomic_exchange(&v->kicked, 0)) tl__end_halt(hv, v, now, true);
  if (v->place == BLOCKED && (wants & WANT_UNBLOCK)) tl__wake(hv, v, now);
}

static void take_requests(struct tl_hypervisor* hv) {
  uint64_t const now = now_ns();
  for (uint32_t i = 0; i * 64 < hv->vcpus; i++) {
    uint64_t bits = atomic_load(&hv->dirty[i]) ? atomic_exchange(&hv->dirty[i], 0) : 0;
    for (; bits; bits &= bits - 1)
      look(hv, &hv->vcpu[i * 64 + (uint32_t)__builtin_ctzll(bits)], now);
  }
}

/* asked: as read before taking the requests, so that what the asker saw happen is counted. */
static void take_snapshot(struct tl_hypervisor* hv, uint32_t asked, uint64_t now) {
  if (asked == atomic_load(&hv->snapshot_taken)) return;
  struct timespec cpu;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
  hv->stats.cpu_ns = (uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec;
  hv->stats.elapsed_ns = now - hv->started_ns;
  memcpy(&hv->snapshot, &hv->stats, sizeof hv->stats);
  for (uint32_t i = 0; i < hv->vcpus; i++) {
    struct vcpu* const v = &hv->vcpu[i];
    bool const runs = v->place == RUNNING || v->place == STOPPING;
    hv->vcpu_snapshot[i] = (struct tl_vcpu_stats){
        .state = v->line->state,
        .switches = v->line->switches,
        .preemptions = v->line->preemptions,
        .run_ns = v->run_ns + (runs && now > v->charged_ns ? (double)(now - v->charged_ns) : 0),
        .due_ns = v->due_ns,
        .steal_ns = v->steal_ns + (v->place == QUEUED || v->place == PARKED
                                       ? (double)(now - v->waiting_since_ns)
                                       : 0)};
  }
  atomic_store(&hv->snapshot_taken, asked);
  futex_wake(&hv->snapshot_taken);
}

/* Halted for long: perhaps it is to end. */
static void release_halted(struct tl_hypervisor* hv, uint64_t now) {
  if (hv->halted == 0) return;
  for (uint32_t i = 0; i < hv->vcpus; i++) {
    struct vcpu* const v = &hv->vcpu[i];
    if (v->place == HALTED && now - v->halted_since_ns > TL_HALT_LIMIT_NS)
      tl__end_halt(hv, v, now, false);
  }
}

/* --- Decisions ----------------------------------------------------------------------------------- */

/* Does somebody wait for what this one has when its quantum is over? Of whatever priority: which
 * one is better is seen then. */
static bool has_rival(const struct tl_hypervisor* hv, const struct pcpu* p) {
  if (p->current->over_cap) return true;
  if (hv->options.scheduler != TL_GANG) return hv->queue_head != NULL;
  for (const struct vcpu* v = hv->queue_head; v; v = v->next)
    if ((int)v->vm == hv->gang || p->slice_end_ns >= hv->gang_end_ns) return true;
  return false;
}

static void gang_turn(struct tl_hypervisor* hv, uint64_t now) {
  bool busy = false;
  for (uint32_t i = 0; i < hv->options.pcpus; i++) busy |= hv->pcpu[i].current != NULL;
  bool mine = busy, others = false;
  for (const struct vcpu* v = hv->queue_head; v; v = v->next) {
    if ((int)v->vm == hv->gang) mine = true;
    else others = true;
  }
  if (hv->gang >= 0 && mine && (now < hv->gang_end_ns || !others)) {
    if (now >= hv->gang_end_ns) hv->gang_end_ns = now + hv->options.slice_ns;
    return;
  }
  /* Its turn is over: all of it stops before the next one begins. */
  if (hv->gang >= 0) hv->gang_last = (uint32_t)hv->gang;
  if (busy) {
    hv->gang = -1;
    return;
  }
  hv->gang = -1;
  uint32_t nearest = UINT32_MAX;
  for (const struct vcpu* v = hv->queue_head; v; v = v->next) {
    uint32_t const distance =
        (v->vm + hv->options.vms - hv->gang_last - 1) % hv->options.vms;
    if (distance < nearest) {
      nearest = distance;
      hv->gang = (int)v->vm;
    }
  }
  if (hv->gang < 0) return;
  uint32_t ready = 0;
  for (const struct vcpu* v = hv->queue_head; v; v = v->next) ready += (int)v->vm == hv->gang;
  /* More vCPUs than pCPUs: they take turns within a longer one of the VM's. */
  uint32_t const rounds = (ready + hv->options.pcpus - 1) / hv->options.pcpus;
  hv->gang_end_ns = now + rounds * hv->options.slice_ns;
}

static void end_slices(struct tl_hypervisor* hv, uint64_t now) {
  for (uint32_t i = 0; i < hv->options.pcpus; i++) {
    struct pcpu* const p = &hv->pcpu[i];
    struct vcpu* const v = p->current;
    if (!v) continue;
    if (v->place == RUNNING && !p->armed) {
      if (has_rival(hv, p)) {
        tl__arm(p);
      } else if (now >= p->slice_end_ns) {
        tl__count_switch(hv, v);
        tl__charge(v, now);
        v->priority = tl__priority(hv, v);
        hv->stats.renewals++;
        tl__publish(hv, p, v, now);
      }
    }
    if ((v->place == STOPPING || p->armed) && now >= p->resend_ns) tl__preempt(hv, p, now);
  }
}

static void fill(struct tl_hypervisor* hv) {
  for (uint32_t i = 0; i < hv->options.pcpus; i++) {
    struct pcpu* const p = &hv->pcpu[i];
    if (p->current) continue;
    struct vcpu* const v = tl__queue_best(hv);
    if (v) tl__switch_in(hv, i, v);
  }
}

/* Who was woken and is boosted takes a pCPU from somebody who is not, once that one has had the
 * ratelimit (Xen's sched_ratelimit_us). */
static void boost(struct tl_hypervisor* hv, uint64_t now) {
  hv->boost_at_ns = 0;
  uint32_t boosted = 0;
  for (const struct vcpu* v = hv->queue_head; v; v = v->next)
    boosted += v->priority == PRIORITY_BOOST;
  for (uint32_t i = 0; i < hv->options.pcpus && boosted; i++)
    if (!hv->pcpu[i].current || hv->pcpu[i].current->place == STOPPING) boosted--;
  for (uint32_t i = 0; i < hv->options.pcpus && boosted; i++) {
    struct pcpu* const p = &hv->pcpu[i];
    if (!p->current || p->current->place != RUNNING || p->current->priority == PRIORITY_BOOST)
      continue;
    uint64_t const allowed = p->quantum_ns + hv->options.ratelimit_ns;
    if (now >= allowed) {
      tl__preempt(hv, p, now);
      boosted--;
    } else if (hv->boost_at_ns == 0 || allowed < hv->boost_at_ns) {
      hv->boost_at_ns = allowed;
    }
  }
}

static uint64_t next_deadline(const struct tl_hypervisor* hv) {
  uint64_t next = hv->account_at_ns;
  for (uint32_t i = 0; i < hv->options.pcpus; i++) {
    const struct pcpu* const p = &hv->pcpu[i];
    if (!p->current) continue;
    bool const ending = p->current->place == STOPPING || p->armed;
    uint64_t const at = ending ? p->resend_ns : p->slice_end_ns;
    if (at < next) next = at;
  }
  return hv->boost_at_ns && hv->boost_at_ns < next ? hv->boost_at_ns : next;
}

static void set_free(struct tl_hypervisor* hv) {
  atomic_store(&hv->over, 1);
  for (uint32_t i = 0; i < hv->vcpus; i++) {
    struct vcpu* const v = &hv->vcpu[i];
    atomic_store(&v->line->preemption_ns, INFINITY);
    atomic_store(&v->woken, 1);
    atomic_store(&v->turn, (atomic_load(&v->turn) + 1) & TL_TURN_MASK);
    futex_wake(&v->turn);
  }
}

/* As if nice, but for the quantum: with a short one of its own Linux lets it in at once, ahead of
 * the vCPUs it has to preempt. sched_setattr(2) has no wrapper. */
static void ask_for_short_slices(void) {
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } const attributes = {.size = 48, .runtime = 100000};
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void* tl__schedule(void* argument) {
  struct tl_hypervisor* const hv = argument;
  prctl(PR_SET_NAME, "trapless-hv");
  prctl(PR_SET_TIMERSLACK, 1000);
  ask_for_short_slices();
  hv->started_ns = hv->accounted_ns = now_ns();
  hv->account_at_ns = hv->accounted_ns + hv->period_ns;
  while (!atomic_load(&hv->stopping)) {
    uint32_t const events = atomic_load(&hv->events);
    uint32_t const asked = atomic_load(&hv->snapshot_asked);
    take_requests(hv);
    uint64_t const now = now_ns();
    if (now >= hv->account_at_ns) {
      tl__account(hv, now);
      release_halted(hv, now);
    }
    if (hv->options.scheduler == TL_GANG) gang_turn(hv, now);
    fill(hv);
    if (hv->options.scheduler == TL_CREDIT && hv->options.boost) boost(hv, now);
    end_slices(hv, now);
    take_snapshot(hv, asked, now);
    uint64_t const until = next_deadline(hv);
    atomic_store(&hv->asleep, 1);
    if (atomic_load(&hv->events) == events) futex_wait(&hv->events, events, until);
    atomic_store(&hv->asleep, 0);
  }
  set_free(hv);
  take_snapshot(hv, atomic_load(&hv->snapshot_asked), now_ns());
  return NULL;
}
