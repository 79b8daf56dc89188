/* See crew.h.
 *
 * Locking: crew.mutex guards every plain field of struct crew, slot, thread and member below.
 * It is never held across a system call other than futex wake, pthread_create and (when Linux
 * refuses threads) eventfd write. Ready and done bits, statuses and the awake words are atomics
 * shared with the JS thread.
 *
 * A chain costs its thread no lock while somebody minds it: see mind_me().
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
#define TL_CALL_NS_MAX 30000      /* a call longer than this loses its slot */
#define TL_WATCH_NS_MIN 5000      /* the watcher's shortest nap: below, naps cost more than they take */
#define TL_BUSY_NS 30000          /* a slot busy for this long gets help from the next one */
#define TL_RETURN_NS_MAX 1000000000 /* a thread in one call for this long is not counted on */
#ifndef TL_IDLE_NS /* shorter in tests */
#define TL_IDLE_NS 5000000000u    /* an idle thread beyond the first two ends after this */
#endif
#define TL_IDLE_KEPT 2            /* a worker and a watcher */
#define TL_STACK_SIZE (128 * 1024)
#define TL_LEAVE_TRIES 1000       /* x 200 us: how long tl_crew_leave interrupts */
#define TL_SIGNAL (SIGRTMAX - 2)  /* interrupts the calls of a member that leaves */

/* thread.call_started: CLOCK_MONOTONIC ns, or */
#define TL_NO_CALL 0u
#define TL_DEPOSED 1u             /* in a call, and the slot has been handed on */

struct slot;

struct work {
  struct tl_crew_member* member;
  uint32_t page;
};

struct thread {
  pthread_t handle;
  int32_t tag;                     /* its page locks carry this */
  _Atomic int32_t parked;          /* futex word: 1 asleep, 0 go */
  /* Its thread writes a time and TL_NO_CALL, whoever deposes it exchanges a time for
   * TL_DEPOSED: so each of the two knows, without a lock, which came first. */
  _Atomic uint64_t call_started;
  _Atomic int counted;             /* it counts in crew.awake; written under the mutex */
  struct slot* slot;               /* the slot it is active on; null once handed on */
  int working;                     /* work is valid: it has locked a page */
  struct work work;
  struct thread* idle_next;
  struct thread *all_next, *all_previous;
  uint64_t deposed_at;
  /* Its own alone */
  int cpu;                         /* pinned to this core; -1: not */
  uint64_t busy_since;             /* with other pages waiting; 0: they do not */
};

struct slot {
  struct thread* active;
  int cpu;                         /* -1: not pinned */
};

static struct {
  pthread_mutex_t mutex;
  struct tl_crew_member* members;
  struct slot slots[TL_SLOTS_MAX];
  int slots_count;                 /* the list of cores; those behind it are given up */
  int slots_used;                  /* the longest the list ever was */
  cpu_set_t cpus;                  /* where the process may run: threads not pinned */
  struct thread* all;
  struct thread* idle;             /* parked threads, last parked first */
  struct thread* watcher;
  _Atomic int watched;             /* watcher != null */
  uint32_t pages_taken;
  int threads, threads_idle, threads_most, tags;
  int threads_lost;                /* in calls of members that left */
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

static void nap(uint64_t ns) {
  struct timespec const t = {.tv_sec = (time_t)(ns / 1000000000u),
                             .tv_nsec = (long)(ns % 1000000000u)};
  nanosleep(&t, NULL);
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
 * a chain is never left lying with everybody asleep.
 *
 * A thread may count as awake when it will look at the pages again by itself: it is scanning,
 * or it is in a chain and there is a watcher. Caller holds the mutex. */
static void count_awake(struct thread* t, int counted) {
  if (atomic_load_explicit(&t->counted, memory_order_relaxed) == counted) return;
  atomic_store_explicit(&t->counted, counted, memory_order_relaxed);
  crew.awake += counted ? 1 : -1;
  for (struct tl_crew_member* m = crew.members; m; m = m->next)
    atomic_store(&m->desk.control->awake, crew.awake);
}

/* --- Looking for work ----------------------------------------------------------------------- */

static uint64_t ready_bits(struct tl_page_desc* d) {
  return (uint64_t)atomic_load(&d->ready[0]) | (uint64_t)atomic_load(&d->ready[1]) << 32;
}

static int take_bit(struct tl_page_desc* d, int bit) {
  uint32_t const mask = 1u << (bit & 31);
  return (atomic_fetch_and(&d->ready[bit >> 5], ~mask) & mask) != 0;
}

static uint32_t pages_of(const struct tl_crew_member* m) {
  return (uint32_t)atomic_load(&m->desk.control->pages_in_use);
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

/* Pages with submitted entries, counted up to `most`. Unlocked: those that another core could
 * drain now. Caller holds the mutex. */
static int ready_pages(int unlocked, int most) {
  int found = 0;
  for (struct tl_crew_member* m = crew.members; m; m = m->next) {
    uint32_t const pages = m->leaving ? 0 : pages_of(m);
    for (uint32_t p = 0; p < pages; p++) {
      struct tl_page_desc* const d = &m->desk.descs[p];
      if (!ready_bits(d) || (unlocked && atomic_load(&d->lock))) continue;
      if (++found == most) return found;
    }
  }
  return found;
}

/* --- Threads ------------------------------------------------------------------------------ */

static void* thread_main(void* arg);

/* Never more threads than entries (FlexSC 3.5); those that are lost have none any more. */
static int threads_allowed(void) {
  uint64_t entries = 0;
  for (struct tl_crew_member* m = crew.members; m; m = m->next)
    entries += (uint64_t)pages_of(m) * TL_ENTRIES_PER_PAGE;
  return crew.threads - crew.threads_lost < (int)entries;
}

static int start_thread(struct thread* t) {
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, TL_STACK_SIZE);
  /* All signals blocked but ours: Node's handlers must not run here. */
  sigset_t all, old;
  sigfillset(&all);
  sigdelset(&all, TL_SIGNAL);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int failed = pthread_create(&t->handle, &attr, thread_main, t);
  if (failed == EINVAL) { /* glibc takes thread-local storage out of the stack: not enough */
    pthread_attr_destroy(&attr);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    failed = pthread_create(&t->handle, &attr, thread_main, t);
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attr);
  return failed;
}

/* A parked thread, or a new one. Caller holds the mutex. Null when there are enough, or Linux
 * refuses. */
static struct thread* recruit(void) {
  struct thread* t = crew.idle;
  if (t) {
    crew.idle = t->idle_next;
    crew.threads_idle--;
    return t;
  }
  if (!threads_allowed()) return NULL;
  t = calloc(1, sizeof *t);
  if (!t) return NULL;
  atomic_store(&t->parked, 1);
  t->cpu = -1;
  t->tag = ++crew.tags;
  if (start_thread(t)) {
    free(t);
    return NULL;
  }
  t->all_next = crew.all;
  if (crew.all) crew.all->all_previous = t;
  crew.all = t;
  crew.threads++;
  if (crew.threads > crew.threads_most) crew.threads_most = crew.threads;
  return t;
}

static void attach(struct thread* t, struct slot* s) {
  s->active = t;
  t->slot = s;
  count_awake(t, 1);
}

static void detach(struct thread* t) {
  t->slot->active = NULL;
  t->slot = NULL;
  count_awake(t, 0);
}

/* Gives the slot a thread. Caller holds the mutex. */
static int activate(struct slot* s) {
  struct thread* const t = recruit();
  if (!t) return 0;
  attach(t, s);
  unpark(t);
  return 1;
}

static void set_watcher(struct thread* t) {
  crew.watcher = t;
  atomic_store(&crew.watched, t != NULL);
}

static int start_watcher(void) {
  if (crew.watcher) return 1;
  struct thread* const t = recruit();
  if (!t) return 0;
  set_watcher(t);
  unpark(t);
  return 1;
}

/* First slot that is free, biased to the head of the list (FlexSC 3.6). */
static struct slot* free_slot(void) {
  for (int i = 0; i < crew.slots_count; i++)
    if (!crew.slots[i].active) return &crew.slots[i];
  return NULL;
}

static void ensure_slots(void) {
  if (crew.slots_count) return;
  int cpus = sched_getaffinity(0, sizeof crew.cpus, &crew.cpus) ? 1 : CPU_COUNT(&crew.cpus);
  if (cpus > TL_SLOTS_MAX) cpus = TL_SLOTS_MAX;
  for (int i = 0; i < TL_SLOTS_MAX; i++) crew.slots[i].cpu = -1;
  crew.slots_count = crew.slots_used = cpus;
}

static void pin(struct thread* t, int cpu) {
  if (t->cpu == cpu) return;
  t->cpu = cpu;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu >= 0) CPU_SET((unsigned)cpu, &set);
  /* Refused (offline, cgroup): run where we may. */
  sched_setaffinity(0, sizeof set, cpu >= 0 ? &set : &crew.cpus);
}

/* --- Handing on ----------------------------------------------------------------------------- */

/* Takes the slot from a thread that sits in a call for too long. The page it was draining is
 * unlocked for its successor: the bits it has not taken are still ready, and it takes no more of
 * them once it finds TL_DEPOSED. Caller holds the mutex. */
static int depose_if_stuck(struct slot* s) {
  struct thread* const t = s->active;
  if (!t || !t->working) return 0;
  uint64_t started = atomic_load(&t->call_started);
  if (started <= TL_DEPOSED || now_ns() - started < TL_CALL_NS_MAX) return 0;
  if (!atomic_compare_exchange_strong(&t->call_started, &started, TL_DEPOSED)) return 0;
  t->deposed_at = started + TL_CALL_NS_MAX;
  struct tl_desk* const desk = &t->work.member->desk;
  atomic_fetch_add_explicit(&desk->control->crew_handoffs, 1, memory_order_relaxed);
  atomic_store(&desk->descs[t->work.page].lock, 0);
  detach(t);
  return 1;
}

static struct slot* slot_of_tag(int32_t tag) {
  for (int i = 0; i < crew.slots_used; i++)
    if (crew.slots[i].active && crew.slots[i].active->tag == tag) return &crew.slots[i];
  return NULL;
}

/* Finds a page with submitted entries and locks it for this thread (FlexSC 3.6: a page is
 * drained by one core at a time). Goes round, so that a page that is never empty delays no
 * other. Caller holds the mutex. */
static int find_page(struct thread* t) {
  for (struct tl_crew_member* m = crew.members; m; m = m->next) {
    if (m->leaving) continue;
    uint32_t const pages = pages_of(m);
    for (uint32_t i = 0; i < pages; i++) {
      uint32_t const p = (m->next_page + i) % pages;
      struct tl_page_desc* const d = &m->desk.descs[p];
      if (!ready_bits(d)) continue;
      int32_t const holder = atomic_load(&d->lock);
      if (holder) {
        struct slot* const s = slot_of_tag(holder);
        if (!s || !depose_if_stuck(s)) continue;
      }
      atomic_store(&d->lock, t->tag);
      m->running++;
      m->next_page = p + 1;
      t->work = (struct work){.member = m, .page = p};
      t->working = 1;
      crew.pages_taken++;
      return 1;
    }
  }
  return 0;
}

static void leave_page(struct thread* t) {
  struct tl_crew_member* const m = t->work.member;
  struct tl_page_desc* const d = &m->desk.descs[t->work.page];
  if (atomic_load(&d->lock) == t->tag) atomic_store(&d->lock, 0);
  t->working = 0;
  m->running--;
  if (m->leaving == 2) crew.threads_lost--; /* it was waited for in vain */
}

static void announce(struct tl_crew_member* m, uint32_t id);

/* Linux gives us no thread. Whatever is ready on unlocked pages fails, unless a thread we have
 * can be expected to come for it. Caller holds the mutex. */
static void refuse_ready(void) {
  uint64_t const now = now_ns();
  for (struct thread* t = crew.all; t; t = t->all_next) {
    uint64_t const started = atomic_load(&t->call_started);
    if (!t->working || started == TL_NO_CALL) return;
    uint64_t const since = started == TL_DEPOSED ? t->deposed_at : started;
    if (since + TL_RETURN_NS_MAX > now) return;
  }
  for (struct tl_crew_member* m = crew.members; m; m = m->next) {
    uint32_t const pages = m->leaving ? 0 : pages_of(m);
    for (uint32_t p = 0; p < pages; p++) {
      struct tl_page_desc* const d = &m->desk.descs[p];
      if (atomic_load(&d->lock)) continue;
      for (uint64_t bits = ready_bits(d); bits; bits &= bits - 1) {
        int const bit = __builtin_ctzll(bits);
        if (!take_bit(d, bit)) continue;
        uint32_t const id = p * TL_ENTRIES_PER_PAGE + (uint32_t)bit;
        tl_chain_refuse(&m->desk, id);
        announce(m, id);
      }
    }
  }
}

void tl_crew_wake(void) {
  lock();
  ensure_slots();
  int active = 0;
  for (int i = 0; i < crew.slots_used; i++)
    if (crew.slots[i].active && !depose_if_stuck(&crew.slots[i])) active++;
  struct slot* const s = ready_pages(1, 1) ? free_slot() : NULL;
  if (s && activate(s)) {
    atomic_fetch_add_explicit(&crew.members->desk.control->crew_wakes, 1, memory_order_relaxed);
  } else if (active && start_watcher()) {
    /* In calls, alone until now: from here on somebody minds them. */
    for (int i = 0; i < crew.slots_used; i++)
      if (crew.slots[i].active) count_awake(crew.slots[i].active, 1);
  } else if (!active && s) {
    refuse_ready();
  }
  unlock();
}

/* --- Running a page ------------------------------------------------------------------------ */

static void announce(struct tl_crew_member* m, uint32_t id) {
  struct tl_control* const c = m->desk.control;
  struct tl_page_desc* const d = &m->desk.descs[id / TL_ENTRIES_PER_PAGE];
  /* Pairs with the harvest in src/kernel/: the done bit, then the bell, then asleep. The JS
   * thread sets asleep, then reads the bell: one of the two sees the other. */
  atomic_fetch_or(&d->done[id >> 5 & 1], 1u << (id & 31));
  atomic_fetch_add(&c->bell, 1);
  if (atomic_load(&c->asleep) && atomic_exchange(&c->asleep, 0)) {
    uint64_t const one = 1;
    atomic_fetch_add_explicit(&c->wakes_by_eventfd, 1, memory_order_relaxed);
    while (write(m->eventfd, &one, sizeof one) < 0 && errno == EINTR) {
    }
  }
}

/* Before a chain, which may block: alone with the only one, awake says 0, so that whoever posts
 * next wakes somebody. Otherwise the chains behind it need a watcher. Without a lock when there
 * is one already: it does not end while a thread that counts as awake has a page. */
static void mind_me(struct thread* t) {
  if (atomic_load_explicit(&t->counted, memory_order_relaxed) && atomic_load(&crew.watched))
    return;
  lock();
  count_awake(t, 0);
  if (ready_pages(0, 1) && start_watcher()) count_awake(t, 1); /* see count_awake for the order */
  unlock();
}

/* More than this core can take now: the next one on the list (FlexSC 3.6). */
static void ask_for_help(struct thread* t, uint64_t now) {
  t->busy_since = now;
  lock();
  struct slot* const s = ready_pages(1, 1) ? free_slot() : NULL;
  if (s) activate(s);
  unlock();
}

/* Returns 0 when it took so long that another thread was given the slot. */
static int run_chain(struct thread* t, struct tl_crew_member* m, uint32_t id, uint64_t now) {
  /* No more than a mark: a chain begun elsewhere has its first entry done, and one whose caller
   * gave up says abandoned; tl_chain_run minds both. */
  int32_t expected = TL_SUBMITTED;
  atomic_compare_exchange_strong(&m->desk.entries[id].status, &expected, TL_BUSY);
  atomic_store_explicit(&t->call_started, now, memory_order_release);
  tl_chain_run(&m->desk, id);
  int const ours = atomic_exchange(&t->call_started, TL_NO_CALL) != TL_DEPOSED;
  if (ours && !atomic_load_explicit(&t->counted, memory_order_relaxed)) {
    /* Before the announcement: whoever it makes post again need not wake us. */
    lock();
    count_awake(t, 1);
    unlock();
  }
  announce(m, id);
  return ours;
}

/* Drains one page of what it holds now. Ends early when a call took so long that another thread
 * was given the slot. */
static void run_page(struct thread* t) {
  struct tl_crew_member* const m = t->work.member;
  struct tl_page_desc* const d = &m->desk.descs[t->work.page];
  uint32_t chains = 0;
  uint16_t last = 0;
  for (uint64_t bits = ready_bits(d); bits;) {
    int const bit = select_bit(&m->desk, t->work.page, bits, last);
    bits &= ~(1ull << bit);
    if (!take_bit(d, bit)) continue;
    uint32_t const id = t->work.page * TL_ENTRIES_PER_PAGE + (uint32_t)bit;
    last = m->desk.entries[id].number;
    mind_me(t);

    uint64_t const now = now_ns();
    if (!t->busy_since) {
      t->busy_since = now;
    } else if (now - t->busy_since > TL_BUSY_NS) {
      ask_for_help(t, now);
    }
    chains++;
    if (!run_chain(t, m, id, now)) break;
  }
  atomic_fetch_add_explicit(&m->desk.control->crew_chains, chains, memory_order_relaxed);
}

/* Nothing came: gives the slot up. Returns 0 when something did in the last moment. Caller holds
 * the mutex. */
static int retire(struct thread* t) {
  count_awake(t, 0);
  if (ready_pages(1, 1)) { /* see count_awake for the order */
    count_awake(t, 1);
    return 0;
  }
  detach(t);
  return 1;
}

/* Active on a slot: drain pages, spin a little when there are none, then give the slot up. */
static void serve(struct thread* t) {
  uint64_t spin_until = 0;
  t->busy_since = 0;
  for (;;) {
    lock();
    if (t->working) leave_page(t);
    if (!t->slot) { /* deposed: another one has it */
      unlock();
      return;
    }
    count_awake(t, 1);
    int const found = find_page(t);
    int const cpu = t->slot->cpu;
    if (found) {
      struct tl_control* const c = t->work.member->desk.control;
      atomic_fetch_add_explicit(&c->crew_pages_locked, 1, memory_order_relaxed);
      if (t->slot != &crew.slots[0])
        atomic_fetch_add_explicit(&c->crew_second_core, 1, memory_order_relaxed);
      spin_until = 0;
      if (!ready_pages(1, 1)) t->busy_since = 0; /* this is the last one: keeping up */
    } else {
      t->busy_since = 0;
      uint64_t const now = now_ns();
      /* Only the first core waits for more: the others are for when it cannot keep up. */
      uint64_t const spin_us = t->slot == &crew.slots[0] ? (uint64_t)crew.spin_us : 0;
      if (!spin_until) spin_until = now + spin_us * 1000u;
      if (now >= spin_until && retire(t)) {
        unlock();
        return;
      }
    }
    unlock();
    pin(t, cpu);
    if (found) {
      run_page(t);
    } else {
      for (int i = 0; i < 32; i++) cpu_relax();
    }
  }
}

/* --- The watcher --------------------------------------------------------------------------- */

/* The watcher has become a worker: threads that relied on it get another, or count no more. */
static void replace_watcher(struct thread* was) {
  for (int i = 0; i < crew.slots_used; i++) {
    struct thread* const t = crew.slots[i].active;
    if (!t || t == was || !t->working) continue;
    if (!start_watcher()) count_awake(t, 0);
  }
}

/* One look at all slots: takes those whose thread sits in a call for too long, one for itself if
 * anything waits. Returns how long the next look can wait, 0 when the watch is over. Caller holds
 * the mutex. */
static uint64_t look(struct thread* t, uint32_t* pages_taken) {
  uint64_t next = TL_CALL_NS_MAX;
  int working = 0;
  int deposed = 0;
  for (int i = 0; i < crew.slots_used; i++) {
    struct slot* const s = &crew.slots[i];
    if (!s->active || !s->active->working) continue;
    if (depose_if_stuck(s)) {
      deposed = 1;
      continue;
    }
    working = 1;
    uint64_t const started = atomic_load(&s->active->call_started);
    uint64_t const age = started > TL_DEPOSED ? now_ns() - started : 0;
    if (age < TL_CALL_NS_MAX && TL_CALL_NS_MAX - age < next) next = TL_CALL_NS_MAX - age;
  }
  int const waiting = deposed ? ready_pages(1, 2) : 0;
  struct slot* s = waiting ? free_slot() : NULL;
  if (s) {
    set_watcher(NULL);
    attach(t, s);
    replace_watcher(t);
    s = waiting > 1 ? free_slot() : NULL;
    if (s) activate(s);
    return 0;
  }
  /* One look later than necessary: the next batch may be near, and starting a watcher costs more
   * than a look. */
  if (!working && crew.pages_taken == *pages_taken) {
    set_watcher(NULL);
    return 0;
  }
  *pages_taken = crew.pages_taken;
  return next < TL_WATCH_NS_MIN ? TL_WATCH_NS_MIN : next;
}

static void watch(struct thread* t) {
  prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0); /* the default would add 50 us to each nap */
  pin(t, -1);
  uint32_t pages_taken = 0;
  for (;;) {
    lock();
    uint64_t const next = look(t, &pages_taken);
    unlock();
    if (!next) return;
    nap(next);
  }
}

/* --- Life of a thread ---------------------------------------------------------------------- */

/* Sleeps until unparked. Returns 0 when it was idle so long that it should end. */
static int park(struct thread* t, int may_end) {
  struct timespec const patience = {.tv_sec = TL_IDLE_NS / 1000000000u,
                                    .tv_nsec = TL_IDLE_NS % 1000000000u};
  uint64_t const since = now_ns();
  while (atomic_load(&t->parked)) {
    futex_wait(&t->parked, 1, may_end ? &patience : NULL);
    if (!may_end || now_ns() - since < TL_IDLE_NS) continue;
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

/* A last look, under the lock that makes it idle: whoever posted meanwhile may have relied on this
 * thread, because it counted as awake, or because Linux refuses others. */
static void stay_useful(struct thread* t) {
  struct slot* const s = ready_pages(1, 1) ? free_slot() : NULL;
  if (s) {
    attach(t, s);
  } else if (!crew.watcher && ready_pages(0, 1)) {
    set_watcher(t); /* ready on the page of a thread that sits in a call: mind that one */
  }
}

/* Does what it was recruited for, and whatever follows from it, then becomes idle. Returns
 * whether it may end when it stays so. */
static int work(struct thread* t) {
  for (;;) {
    lock();
    if (crew.watcher != t && !t->slot) stay_useful(t);
    int const watcher = crew.watcher == t;
    if (!watcher && !t->slot) {
      atomic_store(&t->parked, 1);
      t->idle_next = crew.idle;
      crew.idle = t;
      int const may_end = ++crew.threads_idle > TL_IDLE_KEPT;
      unlock();
      return may_end;
    }
    unlock();
    if (watcher) {
      watch(t);
    } else {
      serve(t);
    }
  }
}

static void* thread_main(void* arg) {
  struct thread* const t = arg;
  prctl(PR_SET_NAME, "trapless-crew");
  for (int may_end = 0; park(t, may_end);) may_end = work(t);
  end_thread(t);
  return NULL;
}

/* --- Members ------------------------------------------------------------------------------- */

void tl_crew_join(struct tl_crew_member* member) {
  lock();
  ensure_slots();
  member->leaving = 0;
  member->running = 0;
  member->next_page = 0;
  member->next = crew.members;
  crew.members = member;
  atomic_store(&member->desk.control->awake, crew.awake);
  unlock();
}

static void on_interrupt(int signal) {
  (void)signal;
  tl_call_over = 1;
}

/* Calls of a member that leaves are interrupted (EINTR), again and again: a signal that comes
 * just before the system call is lost. */
static void interrupt_calls_of(struct tl_crew_member* member) {
  if (!crew.signal_ready) {
    struct sigaction action, old;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt; /* no SA_RESTART: the call must end */
    if (sigaction(TL_SIGNAL, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
      sigaction(TL_SIGNAL, &action, NULL);
    crew.signal_ready = 1;
  }
  for (struct thread* t = crew.all; t; t = t->all_next)
    if (t->working && t->work.member == member && atomic_load(&t->call_started) != TL_NO_CALL)
      pthread_kill(t->handle, TL_SIGNAL);
}

int tl_crew_leave(struct tl_crew_member* member) {
  struct timespec const pause = {.tv_nsec = 200000};
  lock();
  member->leaving = 1;
  atomic_store(&member->desk.control->asleep, 0); /* its eventfd is about to be closed */
  uint32_t const pages = pages_of(member);
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
  if (!quiet) { /* in calls that nothing interrupts */
    member->leaving = 2;
    crew.threads_lost += member->running;
  }
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
  ensure_slots();
  if (count > TL_SLOTS_MAX) count = TL_SLOTS_MAX;
  for (int i = 0; i < count; i++) crew.slots[i].cpu = cpus ? cpus[i] : -1;
  if (count > 0) crew.slots_count = count;
  if (crew.slots_count > crew.slots_used) crew.slots_used = crew.slots_count;
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
