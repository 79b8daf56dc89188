/* The hypervisor with pthreads as vCPUs: who runs, when, and for how long; hypercalls; threads that
 * end in every way. No test asserts a duration: what counts is run counters and switches. */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "../hypervisor.h"
#include "test.h"

#define VCPUS 16

static struct tl_hypervisor* hv;
static const struct tl_share_info* lines;
static size_t lines_size;
static pthread_t threads[VCPUS];
static uint32_t vcpus;
static _Atomic uint64_t work[VCPUS]; /* run counters */
static _Atomic int done;
static _Atomic int joined;

/* One VM per vCPU count given; 0 ends. */
static struct tl_vm_options vm[8];
static struct tl_hypervisor_options options;

static int first_core(void) {
  cpu_set_t set;
  sched_getaffinity(0, sizeof set, &set);
  int core = 0;
  while (!CPU_ISSET((size_t)core, &set)) core++;
  return core;
}

static struct tl_hypervisor_options* with(enum tl_scheduler scheduler, uint32_t pcpus,
                                          uint64_t slice_us) {
  static int core;
  core = first_core();
  options = (struct tl_hypervisor_options){.scheduler = scheduler,
                                           .pcpus = pcpus,
                                           .cores = 1,
                                           .core = &core,
                                           .vm = vm,
                                           .slice_ns = slice_us * 1000};
  return &options;
}

static void start(uint32_t vms, const uint32_t* counts) {
  options.vms = vms;
  vcpus = 0;
  for (uint32_t i = 0; i < vms; i++) {
    vm[i].vcpus = counts[i];
    if (vm[i].weight == 0) vm[i].weight = 256;
    vcpus += counts[i];
  }
  CHECK_EQ(tl_hypervisor_start(&options, &hv), 0);
  lines = tl_hypervisor_share_info(hv, &lines_size);
  CHECK(lines != NULL);
}
#define START(...)                                                             \
  do {                                                                         \
    uint32_t const counts[] = {__VA_ARGS__};                                   \
    start(sizeof counts / sizeof *counts, counts);                             \
    REQUIRE(test_failures == 0);                                               \
  } while (0)

static void run(void* (*body)(void*)) {
  for (uintptr_t i = 0; i < vcpus; i++) pthread_create(&threads[i], NULL, body, (void*)i);
}

/* Linux shows a thread a little longer than pthread_join sees it; sanitizers have some of their
 * own. */
static int hypervisor_threads(void) {
  int count = 0;
  struct dirent* entry;
  DIR* const dir = opendir("/proc/self/task");
  while ((entry = readdir(dir))) {
    char path[300], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
    FILE* const file = fopen(path, "r");
    if (!file) continue;
    count += fgets(name, sizeof name, file) && strcmp(name, "trapless-hv\n") == 0;
    fclose(file);
  }
  closedir(dir);
  return count;
}

static void check_nothing_left(void) {
  for (int i = 0; i < 1000 && hypervisor_threads(); i++) test_sleep_us(1000);
  CHECK_EQ(hypervisor_threads(), 0);
}

static void finish(void) {
  done = 1;
  for (uint32_t i = 0; i < vcpus; i++) pthread_join(threads[i], NULL);
  munmap((void*)(uintptr_t)lines, lines_size);
  tl_hypervisor_stop(hv);
  check_nothing_left();
}

static uint32_t join(void* argument) {
  uint32_t const number = (uint32_t)(uintptr_t)argument;
  CHECK_EQ(tl_vcpu_join(hv, number), 0);
  joined++;
  return number;
}

/* Under ThreadSanitizer a signal is handled at the next call that it knows only. */
static void let_signals_in(void) {
  if (strcmp(TEST_SAN, "thread") == 0) (void)test_now_ns();
}

static void await_switches(uint32_t most) {
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  do {
    test_sleep_us(1000);
    tl_hypervisor_stats(hv, &s, v);
  } while (s.switches + s.renewals < most);
}

/* Until each was switched in so often since all are there. */
static void await_each(uint32_t switches) {
  while (joined < (int)vcpus) test_sleep_us(500);
  for (uint32_t i = 0; i < vcpus; i++)
    for (uint32_t const before = lines[i].switches; lines[i].switches < before + switches;)
      test_sleep_us(500);
}

static void* spin(void* argument) {
  uint32_t const n = join(argument);
  while (!done) {
    atomic_fetch_add_explicit(&work[n], 1, memory_order_relaxed);
    let_signals_in();
  }
  tl_vcpu_leave();
  return NULL;
}

/* --- Round robin ------------------------------------------------------------------------------ */

static _Atomic uint32_t last_seen;
static _Atomic uint64_t alternations;

/* With one pCPU, who runs changes only with a switch. Two vCPUs at once would change it all the
 * time. */
static void* watch(void* argument) {
  uint32_t const n = join(argument);
  while (!done) {
    if (atomic_exchange(&last_seen, n) != n) alternations++;
    atomic_fetch_add_explicit(&work[n], 1, memory_order_relaxed);
    let_signals_in();
  }
  tl_vcpu_leave();
  return NULL;
}

TEST(one_pcpu_runs_one_vcpu_at_a_time) {
  with(TL_ROUND_ROBIN, 1, 1000);
  START(2, 2);
  run(watch);
  await_switches(100);
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  uint64_t const seen = alternations;
  tl_hypervisor_stats(hv, &s, v);
  CHECK_GE(s.preemptions, 80);
  CHECK_LE(seen, s.switches);
  CHECK_EQ(s.early, 0);
  finish();
}

TEST(round_robin_gives_every_vcpu_as_many_quanta) {
  with(TL_ROUND_ROBIN, 1, 500);
  START(3, 1);
  run(spin);
  while (joined < 4) test_sleep_us(500);
  uint32_t before[4], most = 0, least = UINT32_MAX;
  for (int i = 0; i < 4; i++) before[i] = lines[i].switches;
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  tl_hypervisor_stats(hv, &s, v);
  await_switches((uint32_t)s.switches + 80);
  for (int i = 0; i < 4; i++) {
    uint32_t const more = lines[i].switches - before[i];
    if (more > most) most = more;
    if (more < least) least = more;
    CHECK(work[i] > 0);
  }
  CHECK_GE(least, 15);
  CHECK_LE(most - least, 6); /* the reads above are not of one moment */
  finish();
}

static _Atomic uint32_t same_as_before;

/* With one pCPU: who ran before it, and is that who ran before it the last time? */
static void* watch_predecessor(void* argument) {
  uint32_t const n = join(argument);
  uint32_t last = n;
  while (!done) {
    uint32_t const before = atomic_exchange(&last_seen, n);
    if (before != n && joined == (int)vcpus) {
      alternations++;
      same_as_before += before == last;
      last = before;
    }
    let_signals_in();
  }
  tl_vcpu_leave();
  return NULL;
}

static void watch_order(enum tl_scheduler scheduler) {
  with(scheduler, 1, 500);
  START(12);
  run(watch_predecessor);
  await_each(12);
  finish();
}

TEST(round_robin_keeps_its_order) {
  watch_order(TL_ROUND_ROBIN);
  CHECK_GE(2 * same_as_before, alternations);
}

TEST(credit_does_not_keep_the_same_vcpus_together) {
  watch_order(TL_CREDIT);
  CHECK_LE(2 * same_as_before, alternations);
}

TEST(a_line_says_when_the_quantum_ends_before_it_begins) {
  with(TL_ROUND_ROBIN, 1, 2000);
  START(2);
  CHECK_EQ(lines[0].state, TL_VCPU_BLOCKED);
  CHECK(isinf(lines[0].preemption_ns));
  run(spin);
  await_each(4);
  int running = 0;
  for (int i = 0; i < 2; i++) {
    running += lines[i].state == TL_VCPU_RUNNING;
    CHECK(lines[i].slice_ns > 1999e3 && lines[i].slice_ns < 2001e3);
    CHECK(lines[i].preemption_ns - lines[i].switched_in_ns < 2001e3);
    CHECK_GE(lines[i].slice_id, 4);
    CHECK(lines[i].steal_ns > 0);
    CHECK(lines[i].run_ns > 0);
  }
  CHECK_LE(running, 2);
  finish();
}

TEST(alone_a_vcpu_gets_quantum_after_quantum) {
  with(TL_CREDIT, 1, 500);
  START(1);
  run(spin);
  await_switches(20);
  CHECK_EQ(lines[0].switches, 1);
  CHECK_EQ(lines[0].preemptions, 0);
  CHECK_GE(lines[0].slice_id, 15);
  finish();
}

TEST(what_makes_no_sense_is_refused) {
  with(TL_CREDIT, 1, 1000);
  vm[0] = (struct tl_vm_options){.vcpus = 1, .weight = 1};
  options.vms = 1;
  struct tl_hypervisor* made = NULL;
  options.slice_ns = 49000;
  CHECK_EQ(tl_hypervisor_start(&options, &made), -EINVAL);
  options.slice_ns = 1000000;
  options.ratelimit_ns = 1000001;
  CHECK_EQ(tl_hypervisor_start(&options, &made), -EINVAL);
  options.ratelimit_ns = 0;
  options.margin_ns = 500001;
  CHECK_EQ(tl_hypervisor_start(&options, &made), -EINVAL);
  options.margin_ns = 0;
  vm[0].vcpus = 65;
  CHECK_EQ(tl_hypervisor_start(&options, &made), -EINVAL);
  vm[0].vcpus = 1;
  options.pcpus = 0;
  CHECK_EQ(tl_hypervisor_start(&options, &made), -EINVAL);
  options.pcpus = 1;
  START(1);
  CHECK_EQ(tl_vcpu_join(hv, 1), -EINVAL);
  CHECK_EQ(tl_vcpu_join(hv, 0), 0);
  CHECK_EQ(tl_vcpu_join(hv, 0), -EBUSY);
  CHECK_EQ(tl_vcpu_kick(7), -EINVAL);
  tl_vcpu_leave();
  CHECK_EQ(tl_vcpu_join(hv, 0), -EBUSY);
  vcpus = 0;
  finish();
}

/* --- Hypercalls --------------------------------------------------------------------------------- */

TEST(a_kick_before_the_halt_is_not_lost) {
  with(TL_ROUND_ROBIN, 1, 1000);
  START(1);
  CHECK_EQ(tl_vcpu_join(hv, 0), 0);
  for (int i = 0; i < 1000; i++) {
    CHECK_EQ(tl_vcpu_kick(0), 0);
    CHECK_EQ(tl_vcpu_halt(), 1);
  }
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  tl_hypervisor_stats(hv, &s, v);
  CHECK_EQ(s.halts, 0);
  CHECK_EQ(tl_vcpu_halt(), 0); /* none left: it returns by itself, after a while */
  tl_vcpu_leave();
  vcpus = 0;
  finish();
}

#define ROUNDS 500
static _Atomic int ball;

static void* play(void* argument) {
  uint32_t const n = join(argument);
  for (int i = 0; i < ROUNDS; i++) {
    while (ball % 2 != (int)n) tl_vcpu_halt();
    ball++;
    tl_vcpu_kick(1 - n);
  }
  tl_vcpu_leave();
  return NULL;
}

static void ping_pong(enum tl_scheduler scheduler, uint32_t pcpus) {
  with(scheduler, pcpus, 30000)->boost = 1;
  START(2);
  run(play);
  for (uint32_t i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  CHECK_EQ(ball, 2 * ROUNDS);
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  tl_hypervisor_stats(hv, &s, v);
  CHECK_EQ(v[0].state, TL_VCPU_GONE);
  vcpus = 0;
  finish();
}

TEST(two_vcpus_halt_and_kick_each_other) { ping_pong(TL_ROUND_ROBIN, 1); }
TEST(two_vcpus_halt_and_kick_each_other_on_two_pcpus) { ping_pong(TL_CREDIT, 2); }
TEST(two_vcpus_of_a_gang_halt_and_kick_each_other) { ping_pong(TL_GANG, 2); }

static void* polite(void* argument) {
  uint32_t const n = join(argument);
  for (int i = 0; i < ROUNDS; i++) {
    work[n]++;
    uint32_t const slice = lines[n].slice_id;
    tl_vcpu_yield();
    CHECK(lines[n].slice_id != slice);
  }
  tl_vcpu_leave();
  return NULL;
}

TEST(a_yield_lets_the_others_run_and_begins_a_new_quantum) {
  with(TL_ROUND_ROBIN, 1, 100000);
  START(3);
  run(polite);
  for (uint32_t i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 3; i++) CHECK_EQ(work[i], ROUNDS);
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  tl_hypervisor_stats(hv, &s, v);
  CHECK_GE(s.yields, 3 * ROUNDS - 20); /* but for preemptions that came first */
  vcpus = 0;
  finish();
}

static uint32_t sleep_us = 500, naps = 20;

static void* sleeper(void* argument) {
  uint32_t const n = join(argument);
  for (uint32_t i = 0; i < naps; i++) {
    tl_vcpu_block();
    tl_vcpu_halt(); /* nothing to stop: returns */
    tl_vcpu_yield();
    test_sleep_us(sleep_us);
    tl_vcpu_unblock();
    work[n]++;
  }
  tl_vcpu_leave();
  return NULL;
}

TEST(who_waits_outside_occupies_no_pcpu) {
  with(TL_ROUND_ROBIN, 1, 100000);
  START(2);
  pthread_create(&threads[0], NULL, sleeper, (void*)0);
  pthread_join(threads[0], NULL);
  CHECK_EQ(work[0], 20);
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  tl_hypervisor_stats(hv, &s, v);
  CHECK_EQ(s.switches, 21);
  CHECK_EQ(s.preemptions, 0);
  vcpus = 0;
  finish();
}

/* --- Threads that end ---------------------------------------------------------------------------- */

static void* ends(void* argument) {
  uint32_t const n = join(argument);
  for (int i = 0; i < 50; i++) tl_vcpu_yield();
  if (n % 2) pthread_exit(NULL); /* without leaving */
  return NULL;
}

TEST(who_ends_without_leaving_is_gone) {
  with(TL_CREDIT, 2, 500);
  START(4);
  run(ends);
  for (uint32_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  tl_hypervisor_stats(hv, &s, v);
  for (int i = 0; i < 4; i++) CHECK_EQ(v[i].state, TL_VCPU_GONE);
  vcpus = 0;
  finish();
}

TEST(the_rest_goes_on_when_one_ends) {
  with(TL_ROUND_ROBIN, 1, 500);
  START(3);
  pthread_create(&threads[0], NULL, ends, (void*)0);
  for (uintptr_t i = 1; i < 3; i++) pthread_create(&threads[i], NULL, spin, (void*)i);
  pthread_join(threads[0], NULL);
  uint64_t const before[] = {work[1], work[2]};
  while (work[1] == before[0] || work[2] == before[1]) test_sleep_us(500);
  done = 1;
  for (int i = 1; i < 3; i++) pthread_join(threads[i], NULL);
  vcpus = 0;
  finish();
}

TEST(stopping_sets_everybody_free) {
  with(TL_ROUND_ROBIN, 1, 1000);
  START(4);
  run(spin);
  while (joined < 4) test_sleep_us(500);
  munmap((void*)(uintptr_t)lines, lines_size);
  tl_hypervisor_stop(hv);
  uint64_t before[4];
  for (int i = 0; i < 4; i++) before[i] = work[i];
  for (int i = 0; i < 4; i++)
    while (work[i] == before[i]) test_sleep_us(500);
  done = 1;
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  check_nothing_left();
}

TEST(nothing_is_left_after_many_lives) {
  int const maps_before = test_open_descriptors();
  for (int i = 0; i < 20; i++) {
    done = 0;
    joined = 0;
    with(i % 2 ? TL_CREDIT : TL_GANG, 1, 200);
    START(2, 2);
    run(spin);
    while (joined < 4) test_sleep_us(200);
    finish();
  }
  CHECK_EQ(test_open_descriptors(), maps_before);
  char line[512];
  FILE* const maps = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, maps)) CHECK(!strstr(line, "trapless-share-info"));
  fclose(maps);
}

TEST(the_mapping_cannot_be_written) {
  with(TL_CREDIT, 1, 1000);
  START(1);
  CHECK(mprotect((void*)(uintptr_t)lines, lines_size, PROT_READ | PROT_WRITE) != 0);
  vcpus = 0;
  finish();
}

/* --- Shares --------------------------------------------------------------------------------------- */

/* Run counters of the VMs' first vCPUs after so many quanta. */
static void compete(uint32_t quanta, double* first, double* second) {
  run(spin);
  while (joined < (int)vcpus) test_sleep_us(500);
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  tl_hypervisor_stats(hv, &s, v);
  uint64_t const before[] = {work[0], work[1]};
  await_switches((uint32_t)(s.switches + s.renewals) + quanta);
  *first = (double)(work[0] - before[0]);
  *second = (double)(work[1] - before[1]);
}

TEST(credit_shares_by_weight) {
  with(TL_CREDIT, 1, 1000);
  vm[0].weight = 768;
  vm[1].weight = 256;
  START(1, 1);
  double heavy, light;
  compete(300, &heavy, &light);
  printf("    3:1 gave %.2f\n", heavy / light);
  CHECK(heavy / light > 1.8 && heavy / light < 5);
  finish();
}

TEST(credit_caps) {
  with(TL_CREDIT, 1, 1000);
  vm[0].cap = 20;
  START(1, 1);
  double capped, other;
  compete(200, &capped, &other);
  printf("    20 %% gave %.0f %%\n", 100 * capped / (capped + other));
  CHECK(capped / (capped + other) < 0.35);
  CHECK(capped > 0);
  finish();
}

TEST(a_cap_holds_where_nobody_else_wants_to_run) {
  with(TL_CREDIT, 1, 1000);
  vm[0].cap = 20;
  START(1);
  run(spin);
  await_each(10);
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  tl_hypervisor_stats(hv, &s, v);
  CHECK(v[0].run_ns < 0.5 * (double)s.elapsed_ns);
  finish();
}

/* A spinning neighbour, and one that wakes up often and does little. */
static struct tl_hypervisor_stats interrupt(int boost, uint64_t ratelimit_us) {
  with(TL_CREDIT, 1, 30000)->boost = boost;
  options.ratelimit_ns = ratelimit_us * 1000;
  uint32_t const counts[] = {1, 1};
  start(2, counts);
  pthread_create(&threads[1], NULL, spin, (void*)1);
  while (joined < 1) test_sleep_us(500);
  pthread_create(&threads[0], NULL, sleeper, (void*)0);
  pthread_join(threads[0], NULL);
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats v[VCPUS];
  tl_hypervisor_stats(hv, &s, v);
  done = 1;
  pthread_join(threads[1], NULL);
  vcpus = 0;
  finish();
  return s;
}

TEST(boost_lets_in_who_wakes_up) { CHECK_GE(interrupt(1, 0).early, 5); }
TEST(without_boost_a_quantum_is_never_cut) { CHECK_EQ(interrupt(0, 0).early, 0); }
TEST(the_ratelimit_protects_a_quantum_from_boost) { CHECK_EQ(interrupt(1, 30000).early, 0); }

/* Alone meanwhile, the neighbour gets quantum after quantum without being switched. */
TEST(the_ratelimit_protects_later_quanta_too) {
  sleep_us = 45000;
  naps = 6;
  CHECK_EQ(interrupt(1, 30000).early, 0);
}

TEST(a_time_before_the_end_is_published) {
  with(TL_ROUND_ROBIN, 1, 2000);
  options.margin_ns = 300000;
  START(2);
  run(spin);
  await_each(4);
  for (int i = 0; i < 2; i++) {
    double const told = lines[i].preemption_ns - lines[i].switched_in_ns;
    CHECK(told > 1699e3 && told < 1701e3);
    CHECK(lines[i].slice_ns > 1999e3);
  }
  finish();
}

/* Yields early in each quantum, when its timer is set; counts how often it sleeps meanwhile. */
static _Atomic long sleeps;
static void* yield_often(void* argument) {
  join(argument);
  while (joined < 2) tl_vcpu_yield();
  struct rusage before, after;
  getrusage(RUSAGE_THREAD, &before);
  for (int i = 0; i < 20; i++) {
    for (uint64_t const until = test_now_ns() + 300000; test_now_ns() < until;) continue;
    tl_vcpu_yield();
  }
  getrusage(RUSAGE_THREAD, &after);
  sleeps = after.ru_nvcsw - before.ru_nvcsw;
  tl_vcpu_leave();
  return NULL;
}

/* The end of the quantum that was given away lies within the quantum of the other one. */
TEST(who_yielded_is_not_woken_at_the_end_of_that_quantum) {
  with(TL_ROUND_ROBIN, 1, 5000);
  uint32_t const counts[] = {1, 1};
  start(2, counts);
  pthread_create(&threads[0], NULL, spin, (void*)0);
  pthread_create(&threads[1], NULL, yield_often, (void*)1);
  pthread_join(threads[1], NULL);
  /* And not 40. ThreadSanitizer has sleeps of its own. */
  if (strcmp(TEST_SAN, "thread") != 0) CHECK_LE(sleeps, 30);
  done = 1;
  pthread_join(threads[0], NULL);
  vcpus = 0;
  finish();
}

static void* yield_always(void* argument) {
  uint32_t const n = join(argument);
  while (!done) {
    tl_vcpu_yield();
    work[n]++;
  }
  tl_vcpu_leave();
  return NULL;
}

/* They use next to nothing, so they have credit when the one that works has none. */
TEST(who_yields_lets_those_without_credit_run) {
  with(TL_CREDIT, 1, 10000);
  uint32_t const counts[] = {1, 2};
  start(2, counts);
  pthread_create(&threads[0], NULL, spin, (void*)0);
  for (uintptr_t i = 1; i < 3; i++) pthread_create(&threads[i], NULL, yield_always, (void*)i);
  while (joined < 3) test_sleep_us(500);
  struct tl_hypervisor_stats s, t;
  struct tl_vcpu_stats v[VCPUS], w[VCPUS];
  tl_hypervisor_stats(hv, &s, v);
  await_switches((uint32_t)s.switches + 150);
  tl_hypervisor_stats(hv, &t, w);
  double const spun = w[0].run_ns - v[0].run_ns;
  double const yielded = w[1].run_ns - v[1].run_ns + w[2].run_ns - v[2].run_ns;
  CHECK(spun > 5 * yielded);
  finish();
}

TEST(the_least_quantum_is_published_if_asked_for) {
  with(TL_ROUND_ROBIN, 1, 2000);
  options.ratelimit_ns = 300000;
  options.publish_ratelimit = 1;
  START(2);
  run(spin);
  await_each(4);
  for (int i = 0; i < 2; i++) {
    CHECK(lines[i].preemption_ns - lines[i].switched_in_ns < 301e3);
    CHECK(lines[i].slice_ns > 1999e3);
  }
  finish();
}

/* --- Gang ------------------------------------------------------------------------------------------- */

static _Atomic uint64_t strangers;

/* While one of a gang runs, nobody of another VM does. */
static void* watch_strangers(void* argument) {
  uint32_t const n = join(argument);
  while (!done) {
    uint32_t const slice = lines[n].slice_id;
    int stranger = 0;
    for (uint32_t i = 0; i < 4; i++)
      if (i / 2 != n / 2) stranger |= lines[i].state == TL_VCPU_RUNNING;
    /* The whole look within one quantum of ours. */
    if (stranger && lines[n].slice_id == slice && lines[n].state == TL_VCPU_RUNNING) strangers++;
    work[n]++;
    let_signals_in();
  }
  tl_vcpu_leave();
  return NULL;
}

TEST(a_gang_runs_together_and_alone) {
  with(TL_GANG, 2, 1000);
  START(2, 2);
  run(watch_strangers);
  await_each(10);
  CHECK_EQ(strangers, 0);
  finish();
}

TEST(a_gang_of_more_vcpus_than_pcpus_takes_turns_within) {
  with(TL_GANG, 1, 500);
  START(3, 2);
  run(spin);
  await_each(10);
  finish();
}

int main(int argc, char** argv) {
  if (argc > 1) test_filter = argv[1];
  RUN(what_makes_no_sense_is_refused);
  RUN(one_pcpu_runs_one_vcpu_at_a_time);
  RUN(round_robin_gives_every_vcpu_as_many_quanta);
  RUN(round_robin_keeps_its_order);
  RUN(credit_does_not_keep_the_same_vcpus_together);
  RUN(a_line_says_when_the_quantum_ends_before_it_begins);
  RUN(alone_a_vcpu_gets_quantum_after_quantum);
  RUN(a_kick_before_the_halt_is_not_lost);
  RUN(two_vcpus_halt_and_kick_each_other);
  RUN(two_vcpus_halt_and_kick_each_other_on_two_pcpus);
  RUN(two_vcpus_of_a_gang_halt_and_kick_each_other);
  RUN(a_yield_lets_the_others_run_and_begins_a_new_quantum);
  RUN(who_waits_outside_occupies_no_pcpu);
  RUN(who_ends_without_leaving_is_gone);
  RUN(the_rest_goes_on_when_one_ends);
  RUN(stopping_sets_everybody_free);
  RUN(nothing_is_left_after_many_lives);
  RUN(the_mapping_cannot_be_written);
  RUN(credit_shares_by_weight);
  RUN(credit_caps);
  RUN(a_cap_holds_where_nobody_else_wants_to_run);
  RUN(boost_lets_in_who_wakes_up);
  RUN(without_boost_a_quantum_is_never_cut);
  RUN(the_ratelimit_protects_a_quantum_from_boost);
  RUN(the_ratelimit_protects_later_quanta_too);
  RUN(a_time_before_the_end_is_published);
  RUN(who_yielded_is_not_woken_at_the_end_of_that_quantum);
  RUN(who_yields_lets_those_without_credit_run);
  RUN(the_least_quantum_is_published_if_asked_for);
  RUN(a_gang_runs_together_and_alone);
  RUN(a_gang_of_more_vcpus_than_pcpus_takes_turns_within);
  return summary();
}
