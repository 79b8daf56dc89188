/* See crew.h.
 *
 * Locking: crew.mutex guards every plain field of struct crew, slot, thread and member below.
 * It is never held across a system call other than futex wake and pthread_create. Ready and
 * done bits, statuses and the awake words are atomics shared with the JS thread.
 */
#define _GNU_SOURCE
#include "crew.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "execute.h"

#define TL_SLOTS_MAX 64
#define TL_CALL_NS_MAX 50000      /* a call longer than this loses its slot */
#define TL_WATCH_NS 25000         /* how often the watcher looks while somebody is in a call */
#define TL_IDLE_SECONDS 5         /* an idle thread beyond the first two ends after this */
#define TL_STACK_SIZE (128 * 1024)
#define TL_LEAVE_TRIES 1000       /* x 200 us: how long tl_crew_leave interrupts */

struct slot;

struct work {
  struct tl_crew_member* member;
  uint32_t page;
};

struct thread {
  pthread_t handle;
  int32_t tag;                     /* its page locks carry this */
  _Atomic int32_t parked;          /* futex word: 1 asleep, 0 go */
  _Atomic uint64_t call_started;   /* CLOCK_MONOTONIC ns; 0 while in no chain */
  struct slot* slot;               /* the slot it is active on; null once handed on */
  int counted;                     /* it counts in crew.awake */
  int working;                     /* work is valid: it has locked a page */
  struct work work;
  struct thread* idle_next;
  struct thread *all_next, *all_previous;
};

struct slot {
  struct thread* active;
  int cpu;                         /* -1: not pinned */
};

static struct {
  pthread_mutex_t mutex;
  struct tl_crew_member* members;
  struct slot slots[TL_SLOTS_MAX];
  int slots_count;
  struct thread* all;
  struct thread* idle;             /* parked threads, last parked first */
  struct thread* watcher;
  int threads, threads_idle, threads_most, tags;
  int awake;                       /* slots that will look again; mirrored to every member */
  int spin_us;
  int signal_ready;
} crew = {.mutex = PTHREAD_MUTEX_INITIALIZER, .spin_us = 40};

static void lock(void) { pthread_mutex_lock(&crew.mutex); }
static void unlock(void) { pthread_mutex_unlock(&crew.mutex); }

static void futex_wait(_Atomic int32_t* word, int32_t value, const struct timespec* timeout) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout, NULL, 0);
}

static void unpark(struct thread* t) {
  atomic_store(&t->parked, 0);
  syscall(SYS_futex, &t->parked, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void cpu_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("yield");
#endif
}

/* --- The awake word ----------------------------------------------------------------------
 * The JS thread sets ready bits, then reads awake; the crew clears awake, then reads the ready
 * bits. Both sides are sequentially consistent (Dekker), so one of them always sees the other:
 * a chain is never left lying with everybody asleep. Caller holds the mutex. */
static void count_awake(struct thread* t, int counted) {
  if (t->counted == counted) return;
  t->counted = counted;
  crew.awake += counted ? 1 : -1;
  for (struct tl_crew_member* m = crew.members; m; m = m->next)
    atomic_store(&m->desk.control->awake, crew.awake);
}

/* --- Taking work -------------------------------------------------------------------------- */

static uint64_t ready_bits(struct tl_page_desc* d) {
  return (uint64_t)atomic_load(&d->ready[0]) | (uint64_t)atomic_load(&d->ready[1]) << 32;
}

static int take_bit(struct tl_page_desc* d, int bit) {
  uint32_t const mask = 1u << (bit & 31);
  return (atomic_fetch_and(&d->ready[bit >> 5], ~mask) & mask) != 0;
}

/* Which of a page's submitted entries goes next: the selection policies of FlexSC 7. */
static int select_bit(const struct tl_desk* desk, uint32_t page, uint64_t bits, uint16_t last) {
  int const order = atomic_load_explicit(&desk->control->order, memory_order_relaxed);
  const struct tl_entry* const entries = desk->entries + page * TL_ENTRIES_PER_PAGE;
  int const first = __builtin_ctzll(bits);
  if (order == TL_AS_FOUND) return first;
  for (uint64_t left = bits; left; left &= left - 1) {
    int const bit = __builtin_ctzll(left);
    uint16_t const number = entries[bit].number;
    if (order == TL_GROUPED ? number == last : tl_is_io(number)) return bit;
  }
  return first;
}

/* Finds a page with submitted entries and locks it for this thread (FlexSC 3.6: a page is
 * drained by one core at a time). Caller holds the mutex. */
static int find_page(struct thread* t) {
  for (struct tl_crew_member* m = crew.members; m; m = m->next) {
    if (m->leaving) continue;
    uint32_t const pages = (uint32_t)atomic_load(&m->desk.control->pages_in_use);
    for (uint32_t p = 0; p < pages; p++) {
      struct tl_page_desc* const d = &m->desk.descs[p];
      if (!ready_bits(d) || atomic_load(&d->lock)) continue;
      atomic_store(&d->lock, t->tag);
      m->running++;
      t->work = (struct work){.member = m, .page = p};
      t->working = 1;
      return 1;
    }
  }
  return 0;
}

/* Is there a page another core could drain? Locked pages do not count. */
static int any_unlocked_ready(void) {
  for (struct tl_crew_member* m = crew.members; m; m = m->next) {
    if (m->leaving) continue;
    uint32_t const pages = (uint32_t)atomic_load(&m->desk.control->pages_in_use);
    for (uint32_t p = 0; p < pages; p++)
      if (ready_bits(&m->desk.descs[p]) && !atomic_load(&m->desk.descs[p].lock)) return 1;
  }
  return 0;
}

static int any_ready(void) {
  for (struct tl_crew_member* m = crew.members; m; m = m->next) {
    if (m->leaving) continue;
    uint32_t const pages = (uint32_t)atomic_load(&m->desk.control->pages_in_use);
    for (uint32_t p = 0; p < pages; p++)
      if (ready_bits(&m->desk.descs[p])) return 1;
  }
  return 0;
}

/* --- Threads ------------------------------------------------------------------------------ */

static void* thread_main(void* arg);

/* A parked thread, or a new one. Caller holds the mutex. Null when Linux refuses a thread. */
static struct thread* recruit(void) {
  struct thread* t = crew.idle;
  if (t) {
    crew.idle = t->idle_next;
    crew.threads_idle--;
    return t;
  }
  t = calloc(1, sizeof *t);
  if (!t) return NULL;
  atomic_store(&t->parked, 1);
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, TL_STACK_SIZE);
  /* All signals blocked but ours: Node's handlers must not run here. */
  sigset_t all, old;
  sigfillset(&all);
  sigdelset(&all, SIGRTMAX - 2);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int const failed = pthread_create(&t->handle, &attr, thread_main, t);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attr);
  if (failed) {
    free(t);
    return NULL;
  }
  t->tag = ++crew.tags;
  t->all_next = crew.all;
  if (crew.all) crew.all->all_previous = t;
  crew.all = t;
  crew.threads++;
  if (crew.threads > crew.threads_most) crew.threads_most = crew.threads;
  return t;
}

/* Gives the slot a thread. Caller holds the mutex. */
static void activate(struct slot* s) {
  struct thread* const t = recruit();
  if (!t) return;
  s->active = t;
  t->slot = s;
  count_awake(t, 1);
  unpark(t);
}

static void start_watcher(void) {
  if (crew.watcher) return;
  struct thread* const t = recruit();
  if (!t) return;
  crew.watcher = t;
  unpark(t);
}

/* First slot that is free, biased to the head of the list (FlexSC 3.6). */
static struct slot* free_slot(void) {
  for (int i = 0; i < crew.slots_count; i++)
    if (!crew.slots[i].active) return &crew.slots[i];
  return NULL;
}

static void ensure_slots(void) {
  if (crew.slots_count) return;
  cpu_set_t set;
  int cpus = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
  if (cpus > TL_SLOTS_MAX) cpus = TL_SLOTS_MAX;
  for (int i = 0; i < cpus; i++) crew.slots[i] = (struct slot){.cpu = -1};
  crew.slots_count = cpus;
}

/* Takes the slot from a thread that sits in a call. The page it was draining is unlocked for
 * its successor: the bits it has not taken are still ready, and taking one is atomic, so that
 * even a thread returning at this very moment cannot run a chain twice. Caller holds the
 * mutex. */
static void depose(struct slot* s) {
  struct thread* const t = s->active;
  struct tl_page_desc* const d = &t->work.member->desk.descs[t->work.page];
  atomic_fetch_add_explicit(&t->work.member->desk.control->crew_handoffs, 1,
                            memory_order_relaxed);
  if (atomic_load(&d->lock) == t->tag) atomic_store(&d->lock, 0);
  t->slot = NULL;
  s->active = NULL;
  count_awake(t, 0);
}

static int call_too_long(const struct thread* t) {
  uint64_t const started = atomic_load(&t->call_started);
  return t->working && started && now_ns() - started > TL_CALL_NS_MAX;
}

void tl_crew_wake(void) {
  lock();
  ensure_slots();
  int active = 0;
  for (int i = 0; i < crew.slots_count; i++) {
    struct slot* const s = &crew.slots[i];
    if (s->active && call_too_long(s->active)) depose(s);
    if (!s->active) continue;
    active = 1;
    /* In a short call, unwatched: from here on somebody minds it, so it counts again. */
    start_watcher();
    count_awake(s->active, 1);
  }
  struct slot* const s = !active || any_unlocked_ready() ? free_slot() : NULL;
  if (s) {
    if (crew.members) atomic_fetch_add(&crew.members->desk.control->crew_wakes, 1);
    activate(s);
  }
  unlock();
}

static void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((unsigned)cpu, &set);
  sched_setaffinity(0, sizeof set, &set); /* refused (offline, cgroup): run where we may */
}

/* --- Running a page ------------------------------------------------------------------------ */

static void announce(struct tl_crew_member* m, uint32_t id) {
  struct tl_control* const c = m->desk.control;
  struct tl_page_desc* const d = &m->desk.descs[id / TL_ENTRIES_PER_PAGE];
  /* Pairs with the harvest in src/kernel/crew/: the done bit, then the bell, then asleep.
   * The JS thread sets asleep, then reads the bell: one of the two sees the other. */
  atomic_fetch_or(&d->done[id >> 5 & 1], 1u << (id & 31));
  atomic_fetch_add(&c->bell, 1);
  atomic_fetch_add_explicit(&c->crew_chains, 1, memory_order_relaxed);
  if (atomic_load(&c->asleep) && atomic_exchange(&c->asleep, 0)) {
    uint64_t const one = 1;
    atomic_fetch_add_explicit(&c->wakes_by_eventfd, 1, memory_order_relaxed);
    while (write(m->eventfd, &one, sizeof one) < 0 && errno == EINTR) {
    }
  }
}

static void run_chain(struct thread* t, struct tl_crew_member* m, uint32_t id) {
  struct tl_entry* const entry = &m->desk.entries[id];
  int32_t expected = TL_SUBMITTED;
  /* A chain begun elsewhere arrives with its first entry done; then only the rest runs. */
  if (!atomic_compare_exchange_strong(&entry->status, &expected, TL_BUSY) &&
      expected == TL_ABANDONED) {
    /* The caller gave up before anybody started. */
    entry->result = -ECANCELED;
    atomic_store(&entry->status, TL_DONE);
    announce(m, id);
    return;
  }
  atomic_store(&t->call_started, now_ns());
  tl_chain_run(&m->desk, id);
  atomic_store(&t->call_started, 0);
  announce(m, id);
}

/* Drains one page. Returns early, slot lost, when a call took so long that another thread was
 * given the slot. */
static void run_page(struct thread* t) {
  struct tl_crew_member* const m = t->work.member;
  struct tl_page_desc* const d = &m->desk.descs[t->work.page];
  uint16_t last = 0;
  uint64_t bits;
  while ((bits = ready_bits(d)) != 0) {
    int const bit = select_bit(&m->desk, t->work.page, bits, last);
    if (!take_bit(d, bit)) continue;
    uint32_t const id = t->work.page * TL_ENTRIES_PER_PAGE + (uint32_t)bit;
    last = m->desk.entries[id].number;

    /* Alone with the only chain: no watcher, and awake says 0, so that whoever posts next
     * wakes somebody. Otherwise the chains behind this one need a thread that minds us. */
    lock();
    if (t->slot) {
      count_awake(t, 0);
      if (any_ready()) { /* looked at after awake = 0: see count_awake */
        count_awake(t, 1);
        start_watcher();
      }
    }
    unlock();

    run_chain(t, m, id);

    lock();
    if (t->slot) count_awake(t, 1);
    int const deposed = t->slot == NULL;
    unlock();
    if (deposed) return;
  }
}

/* Active on a slot: drain pages, spin a little when there are none, then give the slot up. */
static void serve(struct thread* t) {
  lock();
  struct slot* const mine = t->slot;
  unlock();
  if (!mine) return;
  pin(mine->cpu);
  uint64_t spin_until = 0;
  for (;;) {
    lock();
    if (!t->slot) {
      unlock();
      return;
    }
    int const found = find_page(t);
    if (found) {
      struct tl_control* const c = t->work.member->desk.control;
      atomic_fetch_add_explicit(&c->crew_pages_locked, 1, memory_order_relaxed);
      if (mine != &crew.slots[0])
        atomic_fetch_add_explicit(&c->crew_second_core, 1, memory_order_relaxed);
      /* More than this core can take now: the next core on the list (FlexSC 3.6). */
      struct slot* const next = any_unlocked_ready() ? free_slot() : NULL;
      if (next) activate(next);
    } else if (!spin_until) {
      spin_until = now_ns() + (uint64_t)crew.spin_us * 1000u;
    } else if (now_ns() >= spin_until) {
      /* Nothing came: sleep. The second look closes the race described at count_awake. */
      count_awake(t, 0);
      if (!any_unlocked_ready()) {
        t->slot = NULL;
        mine->active = NULL;
        unlock();
        return;
      }
      count_awake(t, 1);
    }
    unlock();
    if (!found) {
      for (int i = 0; i < 32; i++) cpu_relax();
      continue;
    }
    spin_until = 0;
    run_page(t);
    lock();
    struct tl_page_desc* const d = &t->work.member->desk.descs[t->work.page];
    if (atomic_load(&d->lock) == t->tag) atomic_store(&d->lock, 0);
    t->working = 0;
    t->work.member->running--;
    unlock();
  }
}

/* While any active thread is in a chain: every 25 us, take the slots of those that sit in a
 * call too long, and give them to others if anything waits. */
static void watch(void) {
  prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0); /* the default would make the 25 us 75 */
  for (int working = 1; working;) {
    struct timespec const pause = {.tv_nsec = TL_WATCH_NS};
    nanosleep(&pause, NULL);
    working = 0;
    lock();
    for (int i = 0; i < crew.slots_count; i++) {
      struct slot* const s = &crew.slots[i];
      if (!s->active || !s->active->working) continue;
      working = 1;
      if (!call_too_long(s->active)) continue;
      depose(s);
      if (any_unlocked_ready()) activate(s);
    }
    if (!working) crew.watcher = NULL;
    unlock();
  }
}

/* --- Life of a thread ---------------------------------------------------------------------- */

/* Sleeps until unparked. Returns 0 when it was idle so long that it should end. */
static int park(struct thread* t, int may_end) {
  struct timespec const patience = {.tv_sec = TL_IDLE_SECONDS};
  uint64_t const since = now_ns();
  while (atomic_load(&t->parked)) {
    futex_wait(&t->parked, 1, may_end ? &patience : NULL);
    if (!may_end || now_ns() - since < TL_IDLE_SECONDS * 1000000000u) continue;
    lock();
    for (struct thread** at = &crew.idle; *at; at = &(*at)->idle_next) {
      if (*at != t) continue;
      *at = t->idle_next;
      crew.threads_idle--;
      unlock();
      return 0;
    }
    unlock(); /* recruited at the last moment: the unpark is on its way */
    may_end = 0;
  }
  return 1;
}

static void end_thread(struct thread* t) {
  lock();
  if (t->all_previous) t->all_previous->all_next = t->all_next;
  if (t->all_next) t->all_next->all_previous = t->all_previous;
  if (crew.all == t) crew.all = t->all_next;
  crew.threads--;
  unlock();
  free(t);
}

static void* thread_main(void* arg) {
  struct thread* const t = arg;
  prctl(PR_SET_NAME, "trapless-crew");
  int may_end = 0;
  while (park(t, may_end)) {
    lock();
    int const watcher = crew.watcher == t;
    unlock();
    if (watcher) {
      watch();
    } else {
      serve(t);
    }
    lock();
    atomic_store(&t->parked, 1);
    t->idle_next = crew.idle;
    crew.idle = t;
    may_end = ++crew.threads_idle > 2;
    unlock();
  }
  end_thread(t);
  return NULL;
}

/* --- Members ------------------------------------------------------------------------------- */

void tl_crew_join(struct tl_crew_member* member) {
  lock();
  ensure_slots();
  member->leaving = 0;
  member->running = 0;
  member->next = crew.members;
  crew.members = member;
  atomic_store(&member->desk.control->awake, crew.awake);
  unlock();
}

static void on_interrupt(int signal) { (void)signal; }

/* Calls of a member that leaves are interrupted (EINTR), again and again: a signal that comes
 * just before the system call is lost. */
static void interrupt_calls_of(struct tl_crew_member* member) {
  if (!crew.signal_ready) {
    struct sigaction action, old;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt; /* no SA_RESTART: the call must end */
    if (sigaction(SIGRTMAX - 2, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
      sigaction(SIGRTMAX - 2, &action, NULL);
    crew.signal_ready = 1;
  }
  for (struct thread* t = crew.all; t; t = t->all_next)
    if (t->working && t->work.member == member && atomic_load(&t->call_started))
      pthread_kill(t->handle, SIGRTMAX - 2);
}

int tl_crew_leave(struct tl_crew_member* member) {
  struct timespec const pause = {.tv_nsec = 200000};
  lock();
  member->leaving = 1;
  atomic_store(&member->desk.control->asleep, 0); /* its eventfd is about to be closed */
  uint32_t const pages = (uint32_t)atomic_load(&member->desk.control->pages_in_use);
  for (uint32_t p = 0; p < pages; p++) { /* nothing new is begun */
    atomic_store(&member->desk.descs[p].ready[0], 0);
    atomic_store(&member->desk.descs[p].ready[1], 0);
  }
  for (int i = 0; member->running && i < TL_LEAVE_TRIES; i++) {
    interrupt_calls_of(member);
    unlock();
    nanosleep(&pause, NULL);
    lock();
  }
  int const quiet = member->running == 0;
  for (struct tl_crew_member** at = &crew.members; *at; at = &(*at)->next) {
    if (*at != member) continue;
    *at = member->next;
    break;
  }
  unlock();
  return quiet;
}

void tl_crew_cores(const int* cpus, int count) {
  lock();
  if (count > TL_SLOTS_MAX) count = TL_SLOTS_MAX;
  for (int i = 0; i < count; i++) crew.slots[i].cpu = cpus ? cpus[i] : -1;
  if (count > crew.slots_count) crew.slots_count = count;
  unlock();
}

void tl_crew_spin_us(int us) {
  lock();
  crew.spin_us = us;
  unlock();
}

struct tl_crew_status tl_crew_status(void) {
  lock();
  struct tl_crew_status const s = {.threads = crew.threads,
                                   .threads_idle = crew.threads_idle,
                                   .threads_most = crew.threads_most,
                                   .slots = crew.slots_count};
  unlock();
  return s;
}
