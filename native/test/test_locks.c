/* Do the locks of native/locks.h exclude each other's threads, without a lost wake-up or a data
 * race (the sanitizers), when their waiters halt and their slices end?
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "../locks.h"
#include "test.h"

#define THREADS 4
#define ROUNDS 400

#define FIRST 3 /* global number of the VM's first vCPU */

/* share_info. The tests below and the threads' own hypercalls are the hypervisor. */
static struct tl_share_info lines[FIRST + THREADS];
static struct tl_share_info* const line = &lines[FIRST];

struct thread {
  struct tl_vcpu vcpu; /* first: hooks get here from it */
  pthread_t thread;
  _Atomic int kicked;
  pthread_mutex_t mutex;
  pthread_cond_t cond;
  int spins;
  uint64_t halts, yields;
};
static struct thread threads[THREADS];
static tl_word words[TL_LOCK_WORDS(THREADS)];
/* Not atomic: what the lock protects. */
static int64_t count, mirror, violations;
static _Atomic int ready;

/* Others must run, with more threads than cores. */
static void relax(struct tl_vcpu* v) {
  struct thread* const t = (struct thread*)v;
  if (++t->spins % 64 == 0) sched_yield();
}
static void yield(struct tl_vcpu* v) {
  struct thread* const t = (struct thread*)v;
  t->yields++;
  lines[v->id].state = TL_VCPU_PREEMPTED;
  test_sleep_us(20);
  lines[v->id].slice_id++;
  lines[v->id].state = TL_VCPU_RUNNING;
}
/* Sticky, and without an end but a kick. */
static void halt(struct tl_vcpu* v) {
  struct thread* const t = (struct thread*)v;
  t->halts++;
  pthread_mutex_lock(&t->mutex);
  while (!atomic_exchange(&t->kicked, 0)) pthread_cond_wait(&t->cond, &t->mutex);
  pthread_mutex_unlock(&t->mutex);
}
static void kick(struct tl_vcpu* v, int32_t vcpu) {
  struct thread* const t = &threads[vcpu - v->first];
  pthread_mutex_lock(&t->mutex);
  atomic_store(&t->kicked, 1);
  pthread_cond_signal(&t->cond);
  pthread_mutex_unlock(&t->mutex);
}

static void critical_section(int round) {
  if (mirror != ~count) violations++;
  count++;
  if (round % 50 == 0) test_sleep_us(100); /* the others come and wait */
  mirror = ~count;
}

#define BODY(name, try_name, unlock_name)                                      \
  static void* run_##name(void* argument) {                                    \
    struct tl_vcpu* const v = argument;                                        \
    atomic_fetch_add(&ready, 1);                                               \
    while (atomic_load(&ready) < THREADS) sched_yield();                       \
    for (int i = 0; i < ROUNDS; i++) {                                         \
      if (i % 5 || !tl_##try_name##_trylock(words, v)) tl_##name##_lock(words, v); \
      critical_section(i);                                                     \
      tl_##unlock_name##_unlock(words, v);                                     \
    }                                                                          \
    return NULL;                                                               \
  }
TL_LOCKS(BODY)

static void all_run_for_ever(void) {
  for (int i = 0; i < FIRST + THREADS; i++) {
    lines[i].preemption_ns = __builtin_inf();
    lines[i].state = TL_VCPU_RUNNING;
  }
}

static void run(void* (*body)(void*), int64_t spin_threshold, int pts_shift) {
  all_run_for_ever();
  mirror = ~count;
  for (int i = 0; i < THREADS; i++) {
    struct thread* const t = &threads[i];
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->cond, NULL);
    t->vcpu = (struct tl_vcpu){
        .id = FIRST + i,
        .count = THREADS,
        .first = FIRST,
        .info = lines,
        .now_ns = tl_monotonic_ns,
        .relax = relax,
        .yield = yield,
        .halt = halt,
        .kick = kick,
        .csd_ns = TL_CSD_NS,
        .spin_threshold = spin_threshold,
        .pts_shift = pts_shift,
    };
  }
  for (int i = 0; i < THREADS; i++)
    REQUIRE(pthread_create(&threads[i].thread, NULL, body, &threads[i]) == 0);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i].thread, NULL);
  CHECK_EQ(violations, 0);
  CHECK_EQ(count, THREADS * ROUNDS);
}

static uint64_t halts(void) {
  uint64_t sum = 0;
  for (int i = 0; i < THREADS; i++) sum += threads[i].halts;
  return sum;
}

#define EXCLUDES(name, try_name, unlock_name)                                  \
  TEST(name##_excludes) { run(run_##name, 0, 0); }
TL_LOCKS(EXCLUDES)

/* Before the wrap-around of tickets; even, since paravirtual tickets go up by two. */
static void near_the_end(void) { words[TL_HEAD] = words[TL_TAIL] = INT32_MAX - 199; }
TEST(ticket_wraps_around) {
  near_the_end();
  run(run_ticket, 0, 0);
  CHECK_EQ(words[TL_HEAD], tl_plus(INT32_MAX - 199, THREADS * ROUNDS));
}
TEST(pts_wraps_around) {
  near_the_end();
  run(run_pts, 0, 1);
  CHECK_EQ(words[TL_HEAD], words[TL_TAIL]);
}
TEST(pv_ticket_wraps_around) {
  near_the_end();
  run(run_pv_ticket, 0, 0);
  CHECK_EQ(words[TL_HEAD] & ~TL_SLOWPATH, words[TL_TAIL]);
}

/* Halting at once: the paths with wake-ups to lose. */
TEST(pv_ticket_halts) {
  run(run_pv_ticket, 2, 0);
  CHECK_GE(halts(), 1);
}
TEST(pv_qspinlock_halts) {
  run(run_pv_qspinlock, 2, 0);
  CHECK_GE(halts(), 1);
}
TEST(pts_overtakes) { run(run_pts, 0, 1); }

/* --- Alone, share_info by hand. --- */

static struct tl_vcpu alone(void) {
  all_run_for_ever();
  return (struct tl_vcpu){.id = FIRST,
                          .count = THREADS,
                          .first = FIRST,
                          .info = lines,
                          .now_ns = tl_monotonic_ns,
                          .csd_ns = TL_CSD_NS};
}

TEST(an_incapable_thread_takes_no_ticket) {
  struct tl_vcpu v = alone();
  line->preemption_ns = tl_monotonic_ns(&v) + 1e12;
  CHECK(tl_ispinlock_trylock(words, &v));
  tl_ticket_unlock(words, &v);
  line->preemption_ns = tl_monotonic_ns(&v) + TL_CSD_NS / 2;
  CHECK(!tl_ispinlock_trylock(words, &v));
  CHECK_EQ(words[TL_TAIL], 1);
  /* Every ticket out is one csd more. */
  line->preemption_ns = tl_monotonic_ns(&v) + 1e12;
  double const free_cap = tl_lock_cap(words, &v);
  words[TL_TAIL] += 1000000;
  CHECK_LE(tl_lock_cap(words, &v), free_cap - 1e6 * TL_CSD_NS);
}

/* Two slices that are too short, then one that is not. */
static void next_slice(struct tl_vcpu* v) {
  (void)v;
  CHECK_EQ(words[TL_TAIL], line->slice_id / 3);
  line->slice_id++;
  line->preemption_ns = line->slice_id % 3 ? 0 : __builtin_inf();
}

TEST(a_thread_waits_until_it_is_capable) {
  struct tl_vcpu v = alone();
  v.relax = v.yield = next_slice;
  line->preemption_ns = 0;
  tl_hvm_ispinlock_lock(words, &v);
  tl_ticket_unlock(words, &v);
  CHECK_EQ(line->slice_id, 3);
  CHECK_EQ(v.incapable, 1);
  line->preemption_ns = 0;
  tl_pv_ispinlock_lock(words, &v);
  tl_ticket_unlock(words, &v);
  CHECK_EQ(line->slice_id, 6);
  CHECK_EQ(v.incapable, 4);
  /* The paper's form: one slice. */
  line->preemption_ns = 0;
  tl_hvm_ispinlock_paper_lock(words, &v);
  CHECK_EQ(line->slice_id, 7);
  CHECK_EQ(v.incapable, 5);
}

/* One who waits in between is enough; the queue of -paper does not care. */
TEST(nobody_joins_a_queue_that_stands_still) {
  struct tl_vcpu v = alone();
  words[TL_HEAD] = INT32_MAX; /* tickets wrap around within the queue */
  words[TL_TAIL] = INT32_MAX;
  for (int i = 0; i < 3; i++) {
    struct tl_vcpu other = v;
    other.id = FIRST + 1 + i;
    tl_owners_took(words, &other, words[TL_TAIL]);
    words[TL_TAIL] = tl_plus(words[TL_TAIL], 1);
  }
  CHECK(tl_capable(words, &v));
  for (int i = 0; i < 3; i++) {
    lines[FIRST + 1 + i].state = TL_VCPU_PREEMPTED;
    CHECK(!tl_capable(words, &v));
    CHECK_EQ(tl_owners_next_runs(words, &v), i != 0);
    CHECK(tl_lock_cap(words, &v) >= 0);
    lines[FIRST + 1 + i].state = TL_VCPU_RUNNING;
  }
  /* Who had a ticket once is not asked. */
  words[TL_HEAD] = tl_plus(words[TL_HEAD], 1);
  lines[FIRST + 1].state = TL_VCPU_HALTED;
  CHECK(tl_capable(words, &v));
}

/* While we wait the holder is switched in, and through. */
static void holder_goes_on(struct tl_vcpu* v) {
  struct thread* const t = (struct thread*)v;
  if (t->yields++ == 0) return;
  words[TL_HEAD] = 1;
}

TEST(a_waiter_lets_the_preempted_holder_run) {
  struct thread* const t = &threads[0];
  t->yields = 0;
  t->vcpu = alone();
  t->vcpu.yield = holder_goes_on;
  struct tl_vcpu holder = t->vcpu;
  holder.id = FIRST + 1;
  tl_hvm_ispinlock_lock(words, &holder);
  CHECK(tl_capable(words, &t->vcpu));
  int32_t const my = atomic_fetch_add(&words[TL_TAIL], 1);
  tl_owners_took(words, &t->vcpu, my);
  /* Preempted after we looked. */
  lines[FIRST + 1].state = TL_VCPU_PREEMPTED;
  tl_pv_ispinlock_wait(words, &t->vcpu, my);
  CHECK_EQ(t->yields, 2);
}

/* The cycle counter agrees with CLOCK_MONOTONIC, in this slice and the next. */
TEST(the_cycle_counter_is_a_clock) {
  struct tl_vcpu v = {.now_ns = tl_monotonic_ns};
  tl_calibrate(&v);
  if (v.ns_per_cycle == 0) SKIP("no cycle counter here");
  for (uint32_t slice = 0; slice < 3; slice++) {
    test_sleep_us(2000);
    double const before = tl_monotonic_ns(&v);
    double const now = tl_now_ns(&v, slice);
    double const after = tl_monotonic_ns(&v);
    /* Calibrated over 2 ms, so good to a thousandth at the worst of it. */
    CHECK_GE(now, before - 100e3);
    CHECK_LE(now, after + 100e3);
  }
}

#define RUN_EXCLUDES(name, try_name, unlock_name) RUN(name##_excludes);
int main(int argc, char** argv) {
  if (argc > 1) test_filter = argv[1];
  TL_LOCKS(RUN_EXCLUDES)
  RUN(ticket_wraps_around);
  RUN(pts_wraps_around);
  RUN(pv_ticket_wraps_around);
  RUN(pv_ticket_halts);
  RUN(pv_qspinlock_halts);
  RUN(pts_overtakes);
  RUN(an_incapable_thread_takes_no_ticket);
  RUN(a_thread_waits_until_it_is_capable);
  RUN(nobody_joins_a_queue_that_stands_still);
  RUN(a_waiter_lets_the_preempted_holder_run);
  RUN(the_cycle_counter_is_a_clock);
  return summary();
}
