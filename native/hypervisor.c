/* See hypervisor.h. First what vCPUs do (hypercalls, the signal's handler), then the thread that
 * alone owns the scheduler's state, then starting and stopping it.
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
#define _GNU_SOURCE
#include "hypervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TL_PREEMPT_SIGNAL (SIGRTMAX - 3) /* the crew has SIGRTMAX - 2 */
#define TL_TURN_MASK 0x3fffffffu
#define TL_TICK_NS 10000000u
/* A halted vCPU is let run this often without a kick: its thread may be about to end
 * (Worker.terminate needs it to come back to JavaScript). */
#define TL_HALT_LIMIT_NS 200000000u
/* A preempted thread that does not stop (it sleeps in the kernel and cannot be woken): is it
 * still there? */
#define TL_RESEND_NS 10000000u

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

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
  uint64_t switched_in_ns;
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

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void futex_wake(_Atomic uint32_t* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* until_ns: CLOCK_MONOTONIC; 0: without limit. */
static void futex_wait(_Atomic uint32_t* word, uint32_t value, uint64_t until_ns) {
  struct timespec const until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                                 .tv_nsec = (long)(until_ns % 1000000000u)};
  syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, until_ns ? &until : NULL, NULL,
          FUTEX_BITSET_MATCH_ANY);
}

/* --- Durations ------------------------------------------------------------------------------- */

static void durations_add(struct tl_durations* d, uint64_t ns) {
  if (ns < 8) ns = 8;
  uint32_t const log = 63u - (uint32_t)__builtin_clzll(ns);
  uint32_t const at = (log - 3) * 8 + (uint32_t)((ns >> (log - 3)) & 7);
  d->bucket[at < TL_BUCKETS ? at : TL_BUCKETS - 1]++;
  d->count++;
  d->sum += (double)ns;
  if (ns > d->max) d->max = ns;
}

double tl_durations_quantile(const struct tl_durations* d, double part) {
  double left = part * (double)d->count;
  for (uint32_t i = 0; i < TL_BUCKETS; i++) {
    left -= d->bucket[i];
    if (left > 0 || d->bucket[i] == 0) continue;
    double const upper = ldexp(9.0 + i % 8, (int)(i / 8));
    return upper < (double)d->max ? upper : (double)d->max;
  }
  return (double)d->max;
}

/* --- On the vCPUs' threads ------------------------------------------------------------------- */

/* Touched when joining, so that the handler finds it allocated. */
static _Thread_local struct vcpu* volatile self;
static pthread_key_t at_thread_exit;

static void tell(struct vcpu* v) {
  struct tl_hypervisor* const hv = v->hv;
  atomic_fetch_or(&hv->dirty[v->number / 64], 1ull << (v->number % 64));
  atomic_fetch_add(&hv->events, 1);
  if (atomic_load(&hv->asleep)) futex_wake(&hv->events);
}

/* Sleeps until switched in again after `turn`. */
static void await_turn(struct vcpu* v, uint32_t turn) {
  while (atomic_load(&v->turn) == turn) futex_wait(&v->turn, turn, 0);
  atomic_store(&v->resumed_ns, now_ns());
}

/* Preemption, at any instruction. Async-signal-safe. */
static void on_preempt(int signal) {
  (void)signal;
  int const saved = errno;
  struct vcpu* const v = self;
  if (v) {
    uint32_t const turn = atomic_load(&v->turn);
    bool const out = atomic_load(&v->stopped) >> 2 == turn;
    uint64_t const now = now_ns();
    if (!out && atomic_load(&v->preempt) == turn && now >= atomic_load(&v->preempt_at_ns) &&
        !atomic_load(&v->hv->over)) {
      atomic_store(&v->stopped_ns, now);
      atomic_store(&v->stopped, turn << 2 | STOP_PREEMPTED);
      tell(v);
      await_turn(v, turn);
    }
  }
  errno = saved;
}

/* Gives the turn up; returns it, or the turn meanwhile when a preemption came first. */
static bool stop_self(struct vcpu* v, enum stop_reason reason, uint32_t* turn) {
  uint32_t before = atomic_load(&v->stopped);
  *turn = atomic_load(&v->turn);
  if (before >> 2 == *turn) return false; /* blocked: out already */
  atomic_store(&v->stopped_ns, now_ns());
  /* Preempted since: `stopped` changed, and this is another turn. */
  if (!atomic_compare_exchange_strong(&v->stopped, &before, *turn << 2 | (uint32_t)reason))
    return false;
  tell(v);
  return true;
}

void tl_vcpu_yield(void) {
  struct vcpu* const v = self;
  uint32_t turn;
  if (!v || atomic_load(&v->hv->over)) {
    sched_yield();
    return;
  }
  /* If a preemption came between, others have had their turn: that was the yield. */
  if (stop_self(v, STOP_YIELD, &turn)) await_turn(v, turn);
}

int tl_vcpu_halt(void) {
  struct vcpu* const v = self;
  if (!v) return 1;
  while (!atomic_exchange(&v->kicked, 0)) {
    if (atomic_load(&v->hv->over)) {
      futex_wait(&v->kicked, 0, now_ns() + 1000000);
      atomic_store(&v->kicked, 0);
      return 1;
    }
    uint32_t turn;
    if (!stop_self(v, STOP_HALT, &turn)) {
      if (atomic_load(&v->stopped) >> 2 == atomic_load(&v->turn)) return 1; /* blocked: is out */
      continue; /* preempted meanwhile: kicked, perhaps */
    }
    await_turn(v, turn);
    return (int)atomic_load(&v->woken);
  }
  return 1;
}

int tl_vcpu_kick(uint32_t number) {
  struct vcpu* const v = self;
  if (!v) return 0;
  if (number >= v->hv->vcpus) return -EINVAL;
  struct vcpu* const other = &v->hv->vcpu[number];
  atomic_store(&other->kicked, 1);
  if (atomic_load(&v->hv->over)) {
    futex_wake(&other->kicked);
    return 0;
  }
  /* Either its halt is seen here, or the hypervisor, handling that halt later, sees the kick. */
  uint32_t const stopped = atomic_load(&other->stopped);
  if ((stopped & 3) == STOP_HALT && stopped >> 2 == atomic_load(&other->turn)) tell(other);
  return 0;
}

void tl_vcpu_block(void) {
  struct vcpu* const v = self;
  uint32_t turn;
  if (!v) return;
  while (!atomic_load(&v->hv->over) && !stop_self(v, STOP_BLOCK, &turn))
    if (atomic_load(&v->stopped) >> 2 == atomic_load(&v->turn)) return; /* is already */
}

void tl_vcpu_unblock(void) {
  struct vcpu* const v = self;
  if (!v) return;
  uint32_t const stopped = atomic_load(&v->stopped);
  if ((stopped & 3) != STOP_BLOCK || stopped >> 2 != atomic_load(&v->turn)) return;
  atomic_fetch_or(&v->wants, WANT_UNBLOCK);
  tell(v);
  await_turn(v, stopped >> 2);
}

int tl_vcpu_self(void) { return self ? (int)self->number : -1; }

void tl_vcpu_leave(void) {
  struct vcpu* const v = self;
  if (!v) return;
  self = NULL; /* first: a signal from now on finds nobody to stop */
  atomic_signal_fence(memory_order_seq_cst);
  pthread_setspecific(at_thread_exit, NULL);
  struct tl_hypervisor* const hv = v->hv;
  int32_t const timer = atomic_exchange(&v->timer, -1);
  if (timer >= 0) syscall(SYS_timer_delete, timer);
  atomic_fetch_or(&v->wants, WANT_LEAVE);
  if (!atomic_load(&hv->over)) tell(v);
  pthread_setaffinity_np(pthread_self(), sizeof v->cores_before, &v->cores_before);
  tl_hypervisor_release(hv);
}

static void leave_at_exit(void* value) {
  (void)value;
  tl_vcpu_leave();
}

/* Sends the signal to the calling thread; -1: none to be had. The wrapper in libc would allocate. */
static int32_t make_timer(void) {
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TL_PREEMPT_SIGNAL};
  event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
  int32_t timer = -1;
  return syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) == 0 ? timer : -1;
}

int tl_vcpu_join(struct tl_hypervisor* hv, uint32_t number) {
  if (number >= hv->vcpus) return -EINVAL;
  if (self) return -EBUSY;
  if (atomic_load(&hv->over)) return -ESHUTDOWN;
  struct vcpu* const v = &hv->vcpu[number];
  uint32_t unclaimed = 0;
  if (!atomic_compare_exchange_strong(&v->claimed, &unclaimed, 1)) return -EBUSY;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, TL_PREEMPT_SIGNAL);
  pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
  pthread_getaffinity_np(pthread_self(), sizeof v->cores_before, &v->cores_before);
  pthread_setspecific(at_thread_exit, v);
  atomic_store(&v->tid, (int32_t)syscall(SYS_gettid));
  atomic_store(&v->timer, make_timer());
  atomic_fetch_add(&hv->references, 1);
  self = v;
  atomic_fetch_or(&v->wants, WANT_JOIN);
  tell(v);
  await_turn(v, 0);
  return 0;
}

/* --- The hypervisor's thread: its queue ------------------------------------------------------- */

/* Behind `ahead` of those who wait. */
static void queue_insert(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now, uint32_t ahead) {
  struct vcpu* before = ahead == hv->queued ? hv->queue_tail : NULL;
  if (ahead < hv->queued)
    for (uint32_t i = 0; i < ahead; i++) before = before ? before->next : hv->queue_head;
  v->place = QUEUED;
  v->waiting_since_ns = now;
  v->in_use = true;
  v->next = before ? before->next : hv->queue_head;
  if (before) before->next = v;
  else hv->queue_head = v;
  if (!v->next) hv->queue_tail = v;
  hv->queued++;
  atomic_store_explicit(&v->line->state, TL_VCPU_PREEMPTED, memory_order_relaxed);
}

static void queue_add(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now) {
  queue_insert(hv, v, now, hv->queued);
}

static uint32_t random_below(struct tl_hypervisor* hv, uint32_t limit) {
  hv->random ^= hv->random << 13;
  hv->random ^= hv->random >> 17;
  hv->random ^= hv->random << 5;
  return hv->random % limit;
}

/* Towards the end of a quantum: up to a third of the queue, by chance, is overtaken. Quanta are
 * equally long: in a strict queue the same vCPUs would run beside each other for as long as they
 * live, and one whose neighbour wants the same lock would get a third of the work done of one whose
 * neighbour is a stranger. By credit alone the old order would come back, so it may also owe up to a
 * quantum, by chance, and count as UNDER. Who yields early goes behind everybody. */
static void queue_add_shuffled(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now) {
  v->overdraft_ns = (double)hv->options.slice_ns * random_below(hv, 1024) / 1024;
  queue_insert(hv, v, now, hv->queued - random_below(hv, hv->queued / 3 + 1));
}

static void queue_remove(struct tl_hypervisor* hv, struct vcpu* v) {
  struct vcpu* before = NULL;
  struct vcpu* at = hv->queue_head;
  while (at != v) {
    before = at;
    at = at->next;
  }
  if (before) before->next = v->next;
  else hv->queue_head = v->next;
  if (hv->queue_tail == v) hv->queue_tail = before;
  v->next = NULL;
  hv->queued--;
}

/* Who is next; it stays in the queue. Among equals, who waits longest. */
static struct vcpu* queue_best(const struct tl_hypervisor* hv) {
  struct vcpu* best = NULL;
  for (struct vcpu* v = hv->queue_head; v; v = v->next) {
    if (hv->options.scheduler == TL_GANG && (int)v->vm != hv->gang) continue;
    if (!best || v->priority < best->priority) best = v;
    if (hv->options.scheduler != TL_CREDIT) break;
  }
  return best;
}

/* --- Running and stopping a vCPU -------------------------------------------------------------- */

static void charge(struct vcpu* v, uint64_t until) {
  if (until <= v->charged_ns) return;
  double const ran = (double)(until - v->charged_ns);
  v->run_ns += ran;
  v->credit_ns -= ran;
  v->charged_ns = until;
  v->in_use = true;
  atomic_store_explicit(&v->line->run_ns, v->run_ns, memory_order_relaxed);
}

static enum priority priority_by_credit(const struct tl_hypervisor* hv, const struct vcpu* v) {
  if (hv->options.scheduler != TL_CREDIT) return PRIORITY_UNDER;
  return v->credit_ns >= -v->overdraft_ns ? PRIORITY_UNDER : PRIORITY_OVER;
}

static uint64_t slice_end(const struct tl_hypervisor* hv, uint64_t now) {
  uint64_t const end = now + hv->options.slice_ns;
  return hv->options.scheduler == TL_GANG && end > hv->gang_end_ns ? hv->gang_end_ns : end;
}

/* A new quantum begins: the line is written before the vCPU runs in it (I-Spinlock 4.2.1). */
static void publish(struct tl_hypervisor* hv, struct pcpu* p, struct vcpu* v, uint64_t now) {
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

static void switch_in(struct tl_hypervisor* hv, uint32_t at, struct vcpu* v) {
  struct pcpu* const p = &hv->pcpu[at];
  queue_remove(hv, v);
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
  p->switched_in_ns = now;
  hv->stats.switches++;
  struct tl_share_info* const line = v->line;
  atomic_store_explicit(&line->switched_in_ns, (double)now, memory_order_relaxed);
  atomic_store_explicit(&line->steal_ns, v->steal_ns, memory_order_relaxed);
  atomic_store_explicit(&line->switches, line->switches + 1, memory_order_relaxed);
  atomic_store_explicit(&line->state, TL_VCPU_RUNNING, memory_order_relaxed);
  publish(hv, p, v, now);
  atomic_store(&v->turn, (atomic_load(&v->turn) + 1) & TL_TURN_MASK);
  futex_wake(&v->turn);
}

/* It ran: was the switch quick? Asked once per turn. */
static void count_switch(struct tl_hypervisor* hv, struct vcpu* v) {
  uint64_t const resumed = atomic_load(&v->resumed_ns);
  if (v->signalled_ns && resumed >= v->signalled_ns)
    durations_add(v->from_signal ? &hv->stats.switching : &hv->stats.handoff,
                  resumed - v->signalled_ns);
  v->signalled_ns = 0;
}

static void vacate(struct tl_hypervisor* hv, struct vcpu* v, uint64_t until, bool by_signal) {
  struct pcpu* const p = &hv->pcpu[v->pcpu];
  charge(v, until);
  p->freed_by_signal = by_signal;
  p->freed_ns = !by_signal ? until : p->early ? p->signalled_ns : p->slice_end_ns;
  p->current = NULL;
}

static void gone(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now) {
  if (v->place == RUNNING || v->place == STOPPING) vacate(hv, v, now, false);
  if (v->place == QUEUED) queue_remove(hv, v);
  if (v->place == HALTED) hv->halted--;
  v->place = GONE;
  atomic_store_explicit(&v->line->preemption_ns, INFINITY, memory_order_relaxed);
  atomic_store_explicit(&v->line->state, TL_VCPU_GONE, memory_order_relaxed);
}

/* Now, not at the end of the quantum. */
static void preempt(struct tl_hypervisor* hv, struct pcpu* p, uint64_t now) {
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
    gone(hv, v, now); /* ended without a word: nobody waits for it */
}

/* This quantum will not be followed by one of the same vCPU as if nothing were. */
static void arm(struct pcpu* p) {
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
static void wake(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now) {
  v->priority = priority_by_credit(hv, v);
  if (v->over_cap) {
    v->place = PARKED;
    v->waiting_since_ns = now;
    atomic_store_explicit(&v->line->state, TL_VCPU_PREEMPTED, memory_order_relaxed);
    return;
  }
  if (hv->options.scheduler == TL_CREDIT && hv->options.boost && v->priority == PRIORITY_UNDER)
    v->priority = PRIORITY_BOOST;
  queue_add(hv, v, now);
}

static void end_halt(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now, bool kicked) {
  hv->halted--;
  atomic_store(&v->woken, kicked);
  if (kicked) hv->stats.kicks++;
  wake(hv, v, now);
}

/* It stands still: why, and what now? */
static void stopped(struct tl_hypervisor* hv, struct vcpu* v, enum stop_reason reason) {
  struct pcpu* const p = &hv->pcpu[v->pcpu];
  uint64_t const at = atomic_load(&v->stopped_ns);
  count_switch(hv, v);
  if (reason == STOP_PREEMPTED) {
    hv->stats.preemptions++;
    if (p->early) hv->stats.early++;
    else durations_add(&hv->stats.lateness, at > p->slice_end_ns ? at - p->slice_end_ns : 0);
    atomic_store_explicit(&v->line->preemptions, v->line->preemptions + 1, memory_order_relaxed);
  }
  if (reason != STOP_PREEMPTED || p->early) disarm(p, v);
  vacate(hv, v, at, reason == STOP_PREEMPTED);
  v->overdraft_ns = 0;
  v->priority = priority_by_credit(hv, v);
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
        queue_add_shuffled(hv, v, at);
      } else {
        queue_add(hv, v, at);
      }
  }
}

/* --- Requests --------------------------------------------------------------------------------- */

static void look(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now) {
  uint32_t const wants = atomic_exchange(&v->wants, 0);
  if (wants & WANT_LEAVE) {
    gone(hv, v, now);
    return;
  }
  /* Not as one that wakes: a boost would cut short the quanta of those who are there already. */
  if ((wants & WANT_JOIN) && v->place == ABSENT) queue_add(hv, v, now);
  if (v->place == RUNNING || v->place == STOPPING) {
    uint32_t const word = atomic_load(&v->stopped);
    if (word >> 2 == atomic_load(&v->turn)) stopped(hv, v, (enum stop_reason)(word & 3));
  }
  if (v->place == HALTED && atomic_exchange(&v->kicked, 0)) end_halt(hv, v, now, true);
  if (v->place == BLOCKED && (wants & WANT_UNBLOCK)) wake(hv, v, now);
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

/* --- Accounting: who is due how much ----------------------------------------------------------- */

/* Shares of `total` by weight among VMs that want; none more than its peak: what is left over goes
 * to the others (Xen 4.2, csched_acct). Weights are per vCPU, as there. */
static void share_out(struct tl_hypervisor* hv, double total, double elapsed) {
  for (uint32_t i = 0; i < hv->options.vms; i++) {
    hv->vm[i].settled = hv->vm[i].active == 0;
    hv->vm[i].fair_ns = 0;
  }
  for (bool again = true; again;) {
    again = false;
    double weights = 0;
    for (uint32_t i = 0; i < hv->options.vms; i++)
      if (!hv->vm[i].settled) weights += (double)hv->vm[i].weight * hv->vm[i].active;
    if (!(weights > 0)) return;
    double const left = total;
    for (uint32_t i = 0; i < hv->options.vms; i++) {
      struct vm* const vm = &hv->vm[i];
      if (vm->settled) continue;
      double const peak =
          elapsed * (vm->cap && vm->cap < 100 * vm->active ? vm->cap / 100.0 : vm->active);
      vm->fair_ns = left * ((double)vm->weight * vm->active) / weights;
      if (vm->fair_ns < peak) continue;
      vm->fair_ns = peak;
      vm->settled = again = true;
      total -= peak;
    }
  }
}

static void account_vcpu(struct tl_hypervisor* hv, struct vcpu* v, double elapsed, uint64_t now) {
  const struct vm* const vm = &hv->vm[v->vm];
  double const due = vm->fair_ns / vm->active;
  v->due_ns += due;
  if (hv->options.scheduler != TL_CREDIT) return;
  v->credit_ns += due;
  if (v->credit_ns > elapsed) v->credit_ns = elapsed;
  /* Xen clips at one period; here a whole quantum may be owed, or short periods would forgive it. */
  double const worst = -2 * (elapsed + (double)hv->options.slice_ns);
  if (v->credit_ns < worst && !vm->cap) v->credit_ns = worst;
  double const allowance = vm->cap ? elapsed * vm->cap / 100.0 / vm->active : 0;
  if (vm->cap && v->credit_ns < -allowance) v->over_cap = true;
  if (v->over_cap && v->credit_ns >= 0) {
    v->over_cap = false;
    if (v->place == PARKED) {
      uint64_t const since = v->waiting_since_ns;
      queue_add(hv, v, now);
      v->waiting_since_ns = since;
    }
  }
  /* Also ends a boost that lasted longer than a tick. */
  if (v->place != QUEUED || v->priority != PRIORITY_BOOST)
    v->priority = priority_by_credit(hv, v);
  if (v->over_cap && v->place == QUEUED) {
    queue_remove(hv, v);
    v->place = PARKED;
  }
}

static void account(struct tl_hypervisor* hv, uint64_t now) {
  double const elapsed = (double)(now - hv->accounted_ns);
  for (uint32_t i = 0; i < hv->options.vms; i++) hv->vm[i].active = 0;
  for (uint32_t i = 0; i < hv->vcpus; i++) {
    struct vcpu* const v = &hv->vcpu[i];
    if (v->place == RUNNING || v->place == STOPPING) charge(v, now);
    if (v->place == PARKED) v->in_use = true;
    if (v->in_use) hv->vm[v->vm].active++;
  }
  share_out(hv, elapsed * hv->options.pcpus, elapsed);
  for (uint32_t i = 0; i < hv->vcpus; i++) {
    struct vcpu* const v = &hv->vcpu[i];
    if (!v->in_use) continue;
    account_vcpu(hv, v, elapsed, now);
    v->in_use = v->place == RUNNING || v->place == STOPPING || v->place == QUEUED;
  }
  hv->accounted_ns = now;
  hv->account_at_ns = now + hv->period_ns;
}

/* Halted for long: perhaps it is to end. */
static void release_halted(struct tl_hypervisor* hv, uint64_t now) {
  if (hv->halted == 0) return;
  for (uint32_t i = 0; i < hv->vcpus; i++) {
    struct vcpu* const v = &hv->vcpu[i];
    if (v->place == HALTED && now - v->halted_since_ns > TL_HALT_LIMIT_NS)
      end_halt(hv, v, now, false);
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
        arm(p);
      } else if (now >= p->slice_end_ns) {
        count_switch(hv, v);
        charge(v, now);
        v->priority = priority_by_credit(hv, v);
        hv->stats.renewals++;
        publish(hv, p, v, now);
      }
    }
    if ((v->place == STOPPING || p->armed) && now >= p->resend_ns) preempt(hv, p, now);
  }
}

static void fill(struct tl_hypervisor* hv) {
  for (uint32_t i = 0; i < hv->options.pcpus; i++) {
    struct pcpu* const p = &hv->pcpu[i];
    if (p->current) continue;
    struct vcpu* const v = queue_best(hv);
    if (v) switch_in(hv, i, v);
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
    uint64_t const allowed = p->switched_in_ns + hv->options.ratelimit_ns;
    if (now >= allowed) {
      preempt(hv, p, now);
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

static void* schedule(void* argument) {
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
      account(hv, now);
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

/* --- Its life -------------------------------------------------------------------------------------- */

/* Those that run, for tl_hypervisor_find. */
static pthread_mutex_t started_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tl_hypervisor* started;
static uint32_t last_id;

void tl_hypervisor_release(struct tl_hypervisor* hv) {
  if (atomic_fetch_sub(&hv->references, 1) > 1) return;
  pthread_mutex_destroy(&hv->snapshot_lock);
  free(hv->vcpu_snapshot);
  free(hv->vcpu);
  free(hv->vm);
  free(hv);
}

uint32_t tl_hypervisor_id(const struct tl_hypervisor* hv) { return hv->id; }
uint32_t tl_hypervisor_vcpus(const struct tl_hypervisor* hv) { return hv->vcpus; }

struct tl_hypervisor* tl_hypervisor_find(uint32_t id) {
  pthread_mutex_lock(&started_lock);
  struct tl_hypervisor* hv = started;
  while (hv && hv->id != id) hv = hv->next_started;
  if (hv) atomic_fetch_add(&hv->references, 1);
  pthread_mutex_unlock(&started_lock);
  return hv;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void prepare_process(void) {
  pthread_key_create(&at_thread_exit, leave_at_exit);
  struct sigaction action = {.sa_handler = on_preempt, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  /* For good: a signal may still be on its way when the last hypervisor has stopped. */
  sigaction(TL_PREEMPT_SIGNAL, &action, NULL);
}

static int map_info(struct tl_hypervisor* hv) {
  hv->info_size = (sizeof(struct tl_share_info) * hv->vcpus + 4095) / 4096 * 4096;
  hv->memfd = memfd_create("trapless-share-info", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (hv->memfd < 0 || ftruncate(hv->memfd, (off_t)hv->info_size) != 0) return -errno;
  hv->info = mmap(NULL, hv->info_size, PROT_READ | PROT_WRITE, MAP_SHARED, hv->memfd, 0);
  if (hv->info == MAP_FAILED) {
    hv->info = NULL;
    return -errno;
  }
  /* From now on nobody can map it for writing (Linux 5.1; before, nobody here does). */
  fcntl(hv->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE);
  return 0;
}

static void unmap_info(struct tl_hypervisor* hv) {
  if (hv->info) munmap(hv->info, hv->info_size);
  hv->info = NULL;
  if (hv->memfd >= 0) close(hv->memfd);
  hv->memfd = -1;
}

static int check(const struct tl_hypervisor_options* o) {
  if (o->pcpus < 1 || o->pcpus > TL_PCPUS_LIMIT || o->cores < 1 || o->cores > TL_PCPUS_LIMIT)
    return -EINVAL;
  if (o->vms < 1 || o->vms > TL_VMS_LIMIT) return -EINVAL;
  for (uint32_t i = 0; i < o->vms; i++)
    if (o->vm[i].vcpus < 1 || o->vm[i].vcpus > TL_VCPUS_PER_VM_LIMIT || o->vm[i].weight < 1)
      return -EINVAL;
  for (uint32_t i = 0; i < o->cores; i++)
    if (o->core[i] < 0 || o->core[i] >= CPU_SETSIZE) return -EINVAL;
  if (o->slice_ns < 50000 || o->slice_ns > 100000000 || o->ratelimit_ns > o->slice_ns ||
      o->margin_ns > o->slice_ns / 2)
    return -EINVAL;
  return o->publish_ratelimit && o->ratelimit_ns == 0 ? -EINVAL : 0;
}

static void lay_out(struct tl_hypervisor* hv) {
  const struct tl_hypervisor_options* const o = &hv->options;
  uint32_t number = 0;
  for (uint32_t i = 0; i < o->vms; i++) {
    hv->vm[i] = (struct vm){.first = number,
                            .count = o->vm[i].vcpus,
                            .weight = o->vm[i].weight,
                            .cap = o->vm[i].cap};
    for (uint32_t j = 0; j < o->vm[i].vcpus; j++, number++) {
      struct vcpu* const v = &hv->vcpu[number];
      v->hv = hv;
      v->number = number;
      v->vm = i;
      v->core = -1;
      atomic_store(&v->timer, -1);
      v->priority = PRIORITY_UNDER;
      v->line = &hv->info[number];
      atomic_store(&v->line->preemption_ns, INFINITY);
      atomic_store(&v->line->state, TL_VCPU_BLOCKED);
    }
  }
  for (uint32_t i = 0; i < o->pcpus; i++) hv->pcpu[i].core = o->core[i % o->cores];
  /* Xen accounts once per quantum; more often than it ticks would only cost. */
  hv->period_ns = o->slice_ns > TL_TICK_NS ? o->slice_ns : TL_TICK_NS;
  hv->random = 1;
  hv->gang = -1;
  hv->gang_last = o->vms - 1;
}

static int start_thread(struct tl_hypervisor* hv) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for others */
  int const failed = pthread_create(&hv->thread, NULL, schedule, hv);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return -failed;
}

int tl_hypervisor_start(const struct tl_hypervisor_options* options, struct tl_hypervisor** made) {
  int failed = check(options);
  if (failed) return failed;
  pthread_once(&once, prepare_process);
  struct tl_hypervisor* const hv = aligned_alloc(64, (sizeof *hv + 63) / 64 * 64);
  if (!hv) return -ENOMEM;
  memset(hv, 0, sizeof *hv);
  hv->references = 1;
  hv->options = *options;
  hv->memfd = -1;
  pthread_mutex_init(&hv->snapshot_lock, NULL);
  for (uint32_t i = 0; i < options->vms; i++) hv->vcpus += options->vm[i].vcpus;
  hv->vm = calloc(options->vms, sizeof *hv->vm);
  hv->vcpu = aligned_alloc(64, sizeof *hv->vcpu * hv->vcpus);
  hv->vcpu_snapshot = calloc(hv->vcpus, sizeof *hv->vcpu_snapshot);
  failed = hv->vm && hv->vcpu && hv->vcpu_snapshot ? map_info(hv) : -ENOMEM;
  if (!failed) {
    memset(hv->vcpu, 0, sizeof *hv->vcpu * hv->vcpus);
    lay_out(hv);
    failed = start_thread(hv);
  }
  if (failed) {
    unmap_info(hv);
    tl_hypervisor_release(hv);
    return failed;
  }
  pthread_mutex_lock(&started_lock);
  hv->id = ++last_id;
  hv->next_started = started;
  started = hv;
  pthread_mutex_unlock(&started_lock);
  *made = hv;
  return 0;
}

void tl_hypervisor_stop(struct tl_hypervisor* hv) {
  pthread_mutex_lock(&started_lock);
  struct tl_hypervisor** at = &started;
  while (*at != hv) at = &(*at)->next_started;
  *at = hv->next_started;
  pthread_mutex_unlock(&started_lock);
  /* Not while somebody waits for a snapshot, or maps the memory. */
  pthread_mutex_lock(&hv->snapshot_lock);
  atomic_fetch_add(&hv->snapshot_asked, 1); /* the last one */
  atomic_store(&hv->stopping, 1);
  atomic_fetch_add(&hv->events, 1);
  futex_wake(&hv->events);
  pthread_join(hv->thread, NULL);
  unmap_info(hv);
  pthread_mutex_unlock(&hv->snapshot_lock);
  tl_hypervisor_release(hv);
}

const struct tl_share_info* tl_hypervisor_share_info(struct tl_hypervisor* hv, size_t* size) {
  pthread_mutex_lock(&hv->snapshot_lock);
  void* const at = mmap(NULL, hv->info_size, PROT_READ, MAP_SHARED, hv->memfd, 0);
  int const reason = errno;
  pthread_mutex_unlock(&hv->snapshot_lock);
  *size = hv->info_size;
  errno = reason;
  return at == MAP_FAILED ? NULL : at;
}

void tl_hypervisor_stats(struct tl_hypervisor* hv, struct tl_hypervisor_stats* stats,
                         struct tl_vcpu_stats* vcpu) {
  pthread_mutex_lock(&hv->snapshot_lock);
  if (!atomic_load(&hv->over)) {
    uint32_t const asked = atomic_fetch_add(&hv->snapshot_asked, 1) + 1;
    atomic_fetch_add(&hv->events, 1);
    if (atomic_load(&hv->asleep)) futex_wake(&hv->events);
    while (atomic_load(&hv->snapshot_taken) != asked)
      futex_wait(&hv->snapshot_taken, asked - 1, 0);
  }
  memcpy(stats, &hv->snapshot, sizeof *stats);
  memcpy(vcpu, hv->vcpu_snapshot, sizeof *vcpu * hv->vcpus);
  pthread_mutex_unlock(&hv->snapshot_lock);
}
