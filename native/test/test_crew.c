/* The crew: is every chain run exactly once, and does a call that blocks hold up nobody else?
 * Times are reported, not asserted: this may be a busy machine. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "desk.h"

/* Under ThreadSanitizer everything is ten times slower. */
#define SLOW (strcmp(TEST_SAN, "none") != 0)
#define CHAINS (SLOW ? 60000u : 1000000u)

/* --- Linux, refusing threads ---------------------------------------------------------------- */

static _Atomic int threads_granted = -1; /* -1: as many as asked for */
static _Atomic int small_stacks_refused;

int __real_pthread_create(pthread_t* thread, const pthread_attr_t* attr, void* (*f)(void*), void* a);
int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attr, void* (*f)(void*), void* a);
int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attr, void* (*f)(void*), void* a) {
  size_t size = 0;
  if (attr) pthread_attr_getstacksize(attr, &size);
  if (attr && atomic_load(&small_stacks_refused) && size < 1024 * 1024) return EINVAL;
  if (attr && atomic_load(&threads_granted) >= 0 && atomic_fetch_sub(&threads_granted, 1) <= 0) {
    atomic_store(&threads_granted, 0);
    return EAGAIN;
  }
  return __real_pthread_create(thread, attr, f, a);
}

/* --- Helpers ------------------------------------------------------------------------------- */

static struct desk p;
static const uint64_t one = 1;

static void begin(uint32_t pages, int slots) {
  desk_open(&p, pages);
  tl_crew_cores(NULL, slots);
  tl_crew_join(&p.member);
}

static void end(void) { desk_leave(&p); }

static uint32_t at(uint32_t page, uint32_t bit) { return page * TL_ENTRIES_PER_PAGE + bit; }

/* A pipe whose read end calls block on. */
struct block {
  int fds[2];
  char byte;
};

static void block_open(struct block* b) {
  if (pipe2(b->fds, O_CLOEXEC)) abort();
}

static void block_release(const struct block* b, int calls) {
  for (int i = 0; i < calls; i++)
    if (write(b->fds[1], "x", 1) != 1) abort();
}

static void block_close(const struct block* b) {
  close(b->fds[0]);
  close(b->fds[1]);
}

static void fill_blocking(uint32_t id, struct block* b) {
  desk_fill(&p, id, SYS_read, 0, ARG(b->fds[0]), ARG(&b->byte), 1);
}

static void fill_nop(uint32_t id) { desk_fill(&p, id, TL_NUMBER_NOP, 0, 0); }

static void await_status(uint32_t id, int32_t status) {
  uint64_t const until = test_now_ns() + 10000000000u;
  while (desk_status(&p, id) != status && test_now_ns() < until) sched_yield();
  CHECK_EQ(desk_status(&p, id), status);
}

/* Taken by a thread, perhaps already done. */
static void await_begun(uint32_t id) {
  uint64_t const until = test_now_ns() + 10000000000u;
  while (desk_status(&p, id) == TL_SUBMITTED && test_now_ns() < until) sched_yield();
  CHECK(desk_status(&p, id) != TL_SUBMITTED);
}

static void await_threads(int most) {
  uint64_t const until = test_now_ns() + 10000000000u;
  while (tl_crew_status().threads > most && test_now_ns() < until) test_sleep_us(1000);
  CHECK_LE(tl_crew_status().threads, most);
}

static int by_value(const void* a, const void* b) {
  uint64_t const x = *(const uint64_t*)a;
  uint64_t const y = *(const uint64_t*)b;
  return (x > y) - (x < y);
}

static void report(const char* what, uint64_t* ns, size_t count) {
  qsort(ns, count, sizeof *ns, by_value);
  printf("    %s: median %.1f us, best %.1f, 90 %%: %.1f, worst %.1f (%zu)\n", what,
         (double)ns[count / 2] / 1e3, (double)ns[0] / 1e3, (double)ns[count * 9 / 10] / 1e3,
         (double)ns[count - 1] / 1e3, count);
}

/* --- Exactly once --------------------------------------------------------------------------- */

/* Each chain adds 1 to an eventfd: a kernel-side counter of executions. */
struct poster {
  struct desk desk;
  uint32_t chains, pages;
  int counter, sleeps;
  unsigned seed;
  uint32_t done, wrong;
};

static uint32_t random_of(unsigned* seed, uint32_t below) {
  *seed = *seed * 1103515245u + 12345u;
  return (*seed >> 8) % below;
}

static void poster_fill(struct poster* w, uint32_t id) {
  static const struct timespec nap = {.tv_nsec = 60000};
  desk_fill(&w->desk, id, SYS_write, 0, ARG(w->counter), ARG(&one), 8);
  if (random_of(&w->seed, 4000) == 0) { /* long enough to lose the slot, now and then */
    desk_fill(&w->desk, id, SYS_nanosleep, 0, ARG(&nap), 0);
    uint32_t const behind = id + 1;
    desk_fill(&w->desk, behind, SYS_write, 0, ARG(w->counter), ARG(&one), 8);
    desk_link(&w->desk, id, behind);
  }
}

static void poster_sleep(struct poster* w, uint32_t seen) {
  struct tl_control* const c = w->desk.desk->control;
  atomic_store(&c->asleep, 1);
  if (atomic_load(&c->bell) == seen) {
    struct pollfd poll_fd = {.fd = w->desk.member.eventfd, .events = POLLIN};
    if (poll(&poll_fd, 1, 10000) == 0) w->wrong++; /* a lost wake-up */
    uint64_t count;
    if (read(w->desk.member.eventfd, &count, 8) < 0 && errno != EAGAIN) w->wrong++;
  }
  atomic_store(&c->asleep, 0);
}

/* Even entries are heads, the odd one behind each may become its second. */
static void* poster_main(void* arg) {
  struct poster* const w = arg;
  uint32_t const heads = w->pages * TL_ENTRIES_PER_PAGE / 2;
  uint8_t* const busy = calloc(heads, 1);
  uint32_t posted = 0, in_flight = 0;
  uint64_t last = test_now_ns();
  while (w->done < w->chains && !w->wrong) {
    uint32_t const seen = atomic_load(&w->desk.desk->control->bell);
    uint32_t const room = 1 + random_of(&w->seed, heads);
    uint32_t new = 0;
    for (uint32_t h = 0; h < heads && new < room && posted < w->chains; h++) {
      if (busy[h]) continue;
      poster_fill(w, h * 2);
      desk_ready(&w->desk, h * 2);
      busy[h] = 1;
      posted++;
      in_flight++;
      new++;
    }
    if (new) desk_ring_bell(&w->desk);
    uint32_t taken = 0;
    for (uint32_t h = 0; h < heads; h++) {
      if (!busy[h] || !desk_take(&w->desk, h * 2)) continue;
      int64_t const result = desk_result(&w->desk, h * 2);
      if (result != 8 && result != 0) w->wrong++;
      busy[h] = 0;
      taken++;
    }
    w->done += taken;
    in_flight -= taken;
    if (taken) last = test_now_ns();
    if (!taken && in_flight && test_now_ns() - last > 10000000000u) w->wrong++; /* stuck */
    if (!taken && in_flight && w->sleeps) poster_sleep(w, seen);
    if (!taken && !w->sleeps) sched_yield();
  }
  free(busy);
  return NULL;
}

static _Atomic int comers_stop;
static void* come_and_go(void* arg) {
  uint32_t* const turns = arg;
  while (!atomic_load(&comers_stop)) {
    struct desk d;
    desk_open(&d, 1);
    tl_crew_join(&d.member);
    for (uint32_t id = 0; id < 40; id++) {
      desk_fill(&d, id, TL_NUMBER_NOP, 0, 0);
      desk_post(&d, id);
    }
    for (uint32_t id = 0; id < 40; id += 2) desk_await(&d, id);
    desk_leave(&d); /* the other half perhaps in flight */
    ++*turns;
    test_sleep_us(500);
  }
  return NULL;
}

TEST(every_chain_runs_exactly_once) {
  struct poster posters[3];
  pthread_t threads[3], comer;
  uint32_t turns = 0;
  for (uint32_t i = 0; i < 3; i++) {
    posters[i] = (struct poster){.chains = CHAINS / 3, .pages = i + 1, .seed = 7 + i,
                                 .sleeps = i != 1, .counter = eventfd(0, EFD_CLOEXEC)};
    desk_open(&posters[i].desk, posters[i].pages);
    atomic_store(&posters[i].desk.desk->control->order, (int32_t)i);
    tl_crew_join(&posters[i].desk.member);
  }
  uint64_t const started = test_now_ns();
  pthread_create(&comer, NULL, come_and_go, &turns);
  for (uint32_t i = 0; i < 3; i++) pthread_create(&threads[i], NULL, poster_main, &posters[i]);
  uint64_t handoffs = 0;
  for (uint32_t i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
    uint64_t count = 0;
    CHECK_EQ(read(posters[i].counter, &count, 8), 8);
    CHECK_EQ(count, posters[i].chains);
    CHECK_EQ(posters[i].done, posters[i].chains);
    CHECK_EQ(posters[i].wrong, 0);
    handoffs += atomic_load(&posters[i].desk.desk->control->crew_handoffs);
    desk_leave(&posters[i].desk);
    close(posters[i].counter);
  }
  atomic_store(&comers_stop, 1);
  pthread_join(comer, NULL);
  printf("    %u chains, %.0f ns each, %llu handed on, %u members came and went, %d threads\n",
         CHAINS, (double)(test_now_ns() - started) / CHAINS, (unsigned long long)handoffs, turns,
         tl_crew_status().threads_most);
}

/* Posting in the moment in which the last thread that looks gives up looking. */
TEST(no_wake_up_is_lost) {
  unsigned seed = 3;
  tl_crew_spin_us(0);
  begin(1, 1);
  for (uint32_t i = 0; i < CHAINS / 10 && !test_failures; i++) {
    fill_nop(0);
    desk_post(&p, 0);
    desk_await(&p, 0);
    for (uint32_t n = random_of(&seed, 400); n; n--) __asm__ volatile("");
  }
  end();
}

/* --- Blocking ------------------------------------------------------------------------------- */

/* Entries 0 and 1 are a chain that says when it began and then blocks; entry 2 says when it ran. */
static struct timespec began, ran;

static void fill_timed(struct block* b) {
  desk_fill(&p, 0, SYS_clock_gettime, 0, CLOCK_MONOTONIC, ARG(&began));
  fill_blocking(1, b);
  desk_link(&p, 0, 1);
  desk_fill(&p, 2, SYS_clock_gettime, 0, CLOCK_MONOTONIC, ARG(&ran));
}

static uint64_t ns_of(struct timespec t) {
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Sleeps until entry 2 is done, as the JS thread does: both cores are the crew's. */
static void sleep_until_2(void) {
  struct pollfd poll_fd = {.fd = p.member.eventfd, .events = POLLIN};
  uint64_t count;
  for (int i = 0; !(atomic_load(&p.desk->descs[0].done[0]) & 4); i++) {
    atomic_store(&p.desk->control->asleep, 1);
    if (atomic_load(&p.desk->descs[0].done[0]) & 4) break;
    if (poll(&poll_fd, 1, 10000) == 0) break;
    if (read(p.member.eventfd, &count, 8) != 8) break;
  }
  atomic_store(&p.desk->control->asleep, 0);
  desk_await(&p, 2);
}

TEST(hands_on_when_a_call_blocks) {
  enum { TIMES = 200 };
  static uint64_t took[TIMES];
  struct block b;
  block_open(&b);
  begin(1, 1);
  for (int i = 0; i < TIMES; i++) {
    fill_timed(&b);
    desk_ready(&p, 0);
    desk_ready(&p, 2);
    desk_ring_bell(&p);
    sleep_until_2();
    took[i] = ns_of(ran) - ns_of(began);
    CHECK_EQ(desk_status(&p, 1), TL_SUBMITTED); /* a chain's first entry alone says busy */
    block_release(&b, 1);
    desk_await(&p, 0);
    CHECK_EQ(desk_result(&p, 1), 1);
    test_sleep_us((unsigned)i % 3 * 100);
  }
  report("a call blocks, the next one runs after", took, TIMES);
  end();
  block_close(&b);
}

/* Posted when the one that blocks was alone: nobody watches it yet. */
TEST(hands_on_what_is_posted_later) {
  enum { TIMES = 100 };
  static uint64_t took[2][TIMES];
  struct block b;
  block_open(&b);
  begin(1, 1);
  for (int i = 0; i < TIMES * 2; i++) {
    int const late = i % 2;
    fill_timed(&b);
    desk_post(&p, 0);
    await_status(0, TL_DONE);
    if (late) test_sleep_us(1000);
    uint64_t const started = test_now_ns();
    desk_post(&p, 2);
    sleep_until_2();
    took[late][i / 2] = ns_of(ran) - started;
    CHECK_EQ(desk_status(&p, 1), TL_SUBMITTED);
    block_release(&b, 1);
    desk_await(&p, 0);
  }
  report("posted as soon as a call has blocked, it runs after", took[0], TIMES);
  report("posted 1 ms later, it runs after", took[1], TIMES);
  end();
  block_close(&b);
}

TEST(blocked_for_ever_blocks_nobody) {
  begin(2, 2);
  for (uint32_t i = 0; i < 4; i++) { /* more than slots, on both pages */
    mkfifo(temp_path(i % 2 ? "a" : "b"), 0600);
    uint32_t const id = at(i % 2, 10 + i);
    desk_fill(&p, id, SYS_openat, 0, ARG(AT_FDCWD), desk_path(&p, id, temp_path(i % 2 ? "a" : "b")),
              O_RDONLY | O_CLOEXEC);
    desk_post(&p, id);
  }
  for (int round = 0; round < 100; round++) {
    for (uint32_t page = 0; page < 2; page++)
      for (uint32_t bit = 20; bit < 30; bit++) {
        fill_nop(at(page, bit));
        desk_post(&p, at(page, bit));
      }
    for (uint32_t page = 0; page < 2; page++)
      for (uint32_t bit = 20; bit < 30; bit++) desk_await(&p, at(page, bit));
  }
  for (uint32_t i = 0; i < 4; i++) CHECK_EQ(desk_status(&p, at(i % 2, 10 + i)), TL_BUSY);
  CHECK_EQ(tl_crew_leave(&p.member), 1);
  for (uint32_t i = 0; i < 4; i++) CHECK_EQ(desk_result(&p, at(i % 2, 10 + i)), -EINTR);
  desk_close(&p);
  temp_remove();
}

/* One thread sits in a call, alone; another one, awake and looking for work on the first core, is
 * what the poster relies on; but the page belongs to the first. (Seen lost: the second went to
 * sleep.) */
TEST(posting_to_the_page_of_a_blocked_thread_while_another_looks) {
  static const struct timespec moment = {.tv_nsec = 15000};
  struct block b;
  block_open(&b);
  tl_crew_spin_us(2000);
  begin(2, 2);
  for (int i = 0; i < (SLOW ? 100 : 300) && !test_failures; i++) {
    desk_fill(&p, at(1, 0), SYS_nanosleep, 0, ARG(&moment), 0);
    desk_post(&p, at(1, 0));
    await_begun(at(1, 0)); /* the first core is taken for a moment */
    fill_blocking(at(0, 0), &b);
    desk_post(&p, at(0, 0));
    await_status(at(0, 0), TL_BUSY);
    desk_await(&p, at(1, 0)); /* and from now on looks for work */
    test_sleep_us((unsigned)(i * 13 % 100));
    fill_nop(at(0, 1));
    desk_post(&p, at(0, 1));
    if (!desk_await_ms(&p, at(0, 1), 2000)) {
      printf("    round %d: lost\n", i);
      test_failures++;
    }
    block_release(&b, 1);
    desk_await(&p, at(0, 0));
    test_sleep_us(i % 5 ? 0 : 3000);
  }
  end();
  block_close(&b);
}

/* While the poster keeps page 0 full, page 1 must have its turn. */
TEST(a_page_that_is_never_empty_delays_no_other) {
  begin(2, 1);
  tl_crew_wake();
  uint64_t const until = test_now_ns() + 3000000000u;
  int turns = 0;
  fill_nop(at(1, 0));
  for (uint32_t i = 0; i < 64; i++) {
    desk_fill(&p, at(0, i), SYS_getppid, 0, 0);
    desk_ready(&p, at(0, i));
  }
  desk_ready(&p, at(1, 0));
  desk_ring_bell(&p);
  while (!desk_take(&p, at(1, 0)) && test_now_ns() < until) {
    for (uint32_t i = 0; i < 64; i++) {
      if (!desk_take(&p, at(0, i))) continue;
      desk_fill(&p, at(0, i), SYS_getppid, 0, 0);
      desk_post(&p, at(0, i));
      turns++;
    }
  }
  CHECK(test_now_ns() < until);
  CHECK_LE(turns, 64 * 100);
  end();
}

TEST(never_more_threads_than_entries) {
  struct block b;
  block_open(&b);
  begin(1, 2);
  for (uint32_t id = 0; id < 64; id++) {
    fill_blocking(id, &b);
    desk_ready(&p, id);
  }
  desk_ring_bell(&p);
  for (uint32_t id = 0; id < 64; id++) await_status(id, TL_BUSY); /* each has one of its own */
  for (int round = 0; round < 50; round++) { /* and now nobody is left to watch the last one */
    block_release(&b, 1);
    uint32_t id = 0;
    while (!desk_take(&p, id)) id = (id + 1) % 64;
    fill_blocking(id, &b);
    desk_post(&p, id);
    await_status(id, TL_BUSY);
    tl_crew_wake(); /* what it was for may have been taken back */
  }
  CHECK_LE(tl_crew_status().threads_most, 64);
  if (!SLOW) CHECK_LE(test_threads(), 65); /* the main thread's; sanitizers have their own */
  block_release(&b, 64);
  for (uint32_t id = 0; id < 64; id++) desk_await(&p, id);
  CHECK_LE(tl_crew_status().threads_most, 64);
  end();
  block_close(&b);
}

/* --- Idle ----------------------------------------------------------------------------------- */

TEST(idle_threads_end) {
  struct block b;
  block_open(&b);
  begin(1, 2);
  for (uint32_t id = 0; id < 20; id++) {
    fill_blocking(id, &b);
    desk_ready(&p, id);
  }
  desk_ring_bell(&p);
  for (uint32_t id = 0; id < 20; id++) await_status(id, TL_BUSY);
  CHECK_GE(tl_crew_status().threads, 20);
  block_release(&b, 20);
  for (uint32_t id = 0; id < 20; id++) desk_await(&p, id);
  await_threads(2);
  CHECK_EQ(tl_crew_status().threads_idle, tl_crew_status().threads);
  fill_nop(0); /* and those that are left still work */
  desk_post(&p, 0);
  desk_await(&p, 0);
  end();
  block_close(&b);
}

/* Recruited in the moment in which it would have ended. */
TEST(ending_threads_are_not_recruited) {
  struct block b;
  block_open(&b);
  begin(1, 1);
  for (int round = 0; round < 8; round++) {
    for (uint32_t id = 0; id < 8; id++) {
      fill_blocking(id, &b);
      desk_ready(&p, id);
    }
    desk_ring_bell(&p);
    for (uint32_t id = 0; id < 8; id++) await_status(id, TL_BUSY);
    block_release(&b, 8);
    for (uint32_t id = 0; id < 8; id++) desk_await(&p, id);
    test_sleep_us((unsigned)(TL_IDLE_NS / 1000u) - 3000u + (unsigned)round * 1000u);
  }
  end();
  block_close(&b);
}

static long context_switches(void) {
  long total = 0;
  DIR* const dir = opendir("/proc/self/task");
  for (struct dirent* d; dir && (d = readdir(dir));) {
    char path[300], line[256];
    if (atoi(d->d_name) == 0 || atoi(d->d_name) == getpid()) continue;
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", d->d_name);
    FILE* file = fopen(path, "r");
    int const ours = file && fgets(line, sizeof line, file) && strstr(line, "trapless");
    if (file) fclose(file);
    snprintf(path, sizeof path, "/proc/self/task/%s/status", d->d_name);
    file = ours ? fopen(path, "r") : NULL;
    while (file && fgets(line, sizeof line, file)) {
      long count;
      if (sscanf(line, "voluntary_ctxt_switches: %ld", &count) == 1) total += count;
      if (sscanf(line, "nonvoluntary_ctxt_switches: %ld", &count) == 1) total += count;
    }
    if (file) fclose(file);
  }
  if (dir) closedir(dir);
  return total;
}

/* Also with a call pending for ever, and after a hand-over. */
TEST(idle_costs_nothing) {
  struct block b;
  block_open(&b);
  begin(1, 2);
  fill_blocking(0, &b);
  fill_nop(1);
  desk_ready(&p, 0);
  desk_ready(&p, 1);
  desk_ring_bell(&p);
  desk_await(&p, 1);
  for (uint32_t id = 2; id < 60; id++) {
    fill_nop(id);
    desk_post(&p, id);
  }
  for (uint32_t id = 2; id < 60; id++) desk_await(&p, id);
  await_threads(4);
  test_sleep_us((unsigned)(TL_IDLE_NS / 1000u) + 100000u);
  CHECK_EQ(atomic_load(&p.desk->control->awake), 0);
  long const before = context_switches();
  test_sleep_us(500000);
  CHECK_EQ(context_switches(), before);
  CHECK_EQ(desk_status(&p, 0), TL_BUSY);
  end();
  block_close(&b);
}

/* --- Leaving -------------------------------------------------------------------------------- */

TEST(leaves_with_calls_in_flight) {
  for (int round = 0; round < 5; round++) {
    struct block b;
    block_open(&b);
    begin(4, 2);
    for (uint32_t id = 0; id < 200; id++) {
      fill_blocking(id, &b);
      desk_ready(&p, id);
    }
    desk_ring_bell(&p);
    test_sleep_us((unsigned)round * 300);
    uint64_t const started = test_now_ns();
    CHECK_EQ(tl_crew_leave(&p.member), 1);
    CHECK_LE(test_now_ns() - started, 5000000000);
    for (uint32_t id = 0; id < 200; id++) {
      int32_t const status = desk_status(&p, id);
      CHECK(status == TL_SUBMITTED || (status == TL_DONE && desk_result(&p, id) == -EINTR));
    }
    desk_close(&p); /* unmapped: whoever still wrote there would crash */
    block_close(&b);
  }
}

/* A call that no signal interrupts: leave says so in time, and the memory stays. */
TEST(leaves_what_cannot_be_interrupted) {
  static uint64_t const all_signals = UINT64_MAX;
  static uint64_t unblocked;
  struct block b;
  block_open(&b);
  begin(1, 2);
  desk_fill(&p, 0, SYS_rt_sigprocmask, 0, SIG_BLOCK, ARG(&all_signals), ARG(&unblocked), 8);
  fill_blocking(1, &b);
  desk_fill(&p, 2, SYS_rt_sigprocmask, TL_ALWAYS, SIG_SETMASK, ARG(&unblocked), 0, 8);
  desk_link(&p, 0, 1);
  desk_link(&p, 1, 2);
  desk_post(&p, 0);
  await_status(0, TL_DONE);
  test_sleep_us(2000);
  CHECK_EQ(tl_crew_leave(&p.member), 0);
  /* Others go on; their 64 entries allow 64 threads besides the lost one. */
  static struct desk other;
  desk_open(&other, 1);
  tl_crew_join(&other.member);
  desk_fill(&other, 3, SYS_getpid, 0, 0);
  desk_post(&other, 3);
  desk_await(&other, 3);
  CHECK_EQ(desk_result(&other, 3), getpid());
  block_release(&b, 1); /* and now it comes back after all */
  await_status(2, TL_DONE);
  CHECK_EQ(desk_result(&p, 1), 1);
  await_threads(2);
  desk_post(&other, 3);
  desk_await(&other, 3);
  desk_leave(&other);
  close(p.member.eventfd);
  block_close(&b);
}

TEST(abandoned_before_it_began) {
  begin(1, 1);
  int const counter = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  uint64_t count;
  desk_fill(&p, 0, SYS_write, 0, ARG(counter), ARG(&one), 8);
  atomic_store(&desk_entry(&p, 0)->status, TL_ABANDONED);
  desk_post(&p, 0);
  desk_await(&p, 0);
  CHECK_EQ(desk_status(&p, 0), TL_DONE);
  CHECK_EQ(desk_result(&p, 0), -ECANCELED);
  CHECK_EQ(read(counter, &count, 8), -1);
  end();
  close(counter);
}

TEST(abandoned_while_it_runs) {
  struct block b;
  block_open(&b);
  begin(1, 1);
  fill_blocking(0, &b);
  desk_post(&p, 0);
  await_status(0, TL_BUSY);
  test_sleep_us(20000); /* now it is in the call: before, it would not be begun at all */
  int32_t expected = TL_BUSY;
  CHECK(atomic_compare_exchange_strong(&desk_entry(&p, 0)->status, &expected, TL_ABANDONED));
  CHECK_EQ(desk_await_ms(&p, 0, 5), 0); /* still owned by the crew */
  block_release(&b, 1);
  desk_await(&p, 0);
  CHECK_EQ(desk_status(&p, 0), TL_DONE);
  end();
  block_close(&b);
}

/* --- Refused threads ------------------------------------------------------------------------ */

TEST(no_thread_at_all) {
  begin(1, 2);
  temp_file(temp_path("f"), "x", 1);
  atomic_store(&threads_granted, 0);
  fill_nop(0);
  desk_fill(&p, 1, SYS_read, TL_HEAD_FD, 0, 0, 0); /* begun elsewhere: a descriptor is open */
  desk_fill(&p, 2, SYS_close, TL_HEAD_FD | TL_ALWAYS, 0);
  desk_fill(&p, 3, SYS_openat, 0, 0);
  desk_entry(&p, 3)->result = open(temp_path("f"), O_RDONLY | O_CLOEXEC);
  atomic_store(&desk_entry(&p, 3)->status, TL_DONE);
  desk_link(&p, 3, 1);
  desk_link(&p, 1, 2);
  desk_ready(&p, 0);
  desk_ready(&p, 3);
  desk_ring_bell(&p);
  desk_await(&p, 0);
  desk_await(&p, 3);
  CHECK_EQ(desk_result(&p, 0), -EAGAIN);
  CHECK_EQ(desk_result(&p, 1), -EAGAIN);
  CHECK_EQ(desk_result(&p, 2), 0);
  atomic_store(&threads_granted, -1); /* better times */
  fill_nop(0);
  desk_post(&p, 0);
  desk_await(&p, 0);
  CHECK_EQ(desk_result(&p, 0), 0);
  end();
  temp_remove();
}

/* One thread, then no more: what comes later waits for it. */
TEST(one_thread_and_no_more) {
  struct block b;
  block_open(&b);
  begin(2, 2);
  atomic_store(&threads_granted, 1);
  for (int round = 0; round < 20; round++) {
    fill_blocking(at(0, 0), &b);
    desk_post(&p, at(0, 0));
    await_status(at(0, 0), TL_BUSY);
    test_sleep_us((unsigned)(round % 4) * 40);
    for (uint32_t bit = 1; bit < 10; bit++) {
      fill_nop(at(bit % 2, bit));
      desk_post(&p, at(bit % 2, bit));
    }
    CHECK_EQ(desk_await_ms(&p, at(1, 1), 2), 0);
    block_release(&b, 1);
    desk_await(&p, at(0, 0));
    for (uint32_t bit = 1; bit < 10; bit++) {
      desk_await(&p, at(bit % 2, bit));
      CHECK_EQ(desk_result(&p, at(bit % 2, bit)), 0);
    }
    CHECK_EQ(tl_crew_status().threads, 1);
  }
  end();
  block_close(&b);
}

/* All the threads there are have been in a call for over a second. */
TEST(no_more_threads_and_none_returns) {
  struct block b;
  block_open(&b);
  begin(1, 2);
  atomic_store(&threads_granted, 2);
  for (uint32_t id = 0; id < 2; id++) {
    fill_blocking(id, &b);
    desk_post(&p, id);
    await_status(id, TL_BUSY);
  }
  fill_nop(2);
  desk_post(&p, 2);
  CHECK_EQ(desk_await_ms(&p, 2, 1100), 0); /* may return any moment */
  fill_nop(3);
  desk_post(&p, 3);
  desk_await(&p, 2);
  desk_await(&p, 3);
  CHECK_EQ(desk_result(&p, 2), -EAGAIN);
  CHECK_EQ(desk_result(&p, 3), -EAGAIN);
  block_release(&b, 2);
  for (uint32_t id = 0; id < 2; id++) desk_await(&p, id);
  fill_nop(4);
  desk_post(&p, 4);
  desk_await(&p, 4);
  CHECK_EQ(desk_result(&p, 4), 0);
  end();
  block_close(&b);
}

/* glibc takes thread-local storage out of the stack: a program with much of it. */
TEST(a_small_stack_is_refused) {
  begin(1, 1);
  atomic_store(&small_stacks_refused, 1);
  fill_nop(0);
  desk_post(&p, 0);
  desk_await(&p, 0);
  CHECK_EQ(desk_result(&p, 0), 0);
  end();
}

/* --- Cores, order, signals ------------------------------------------------------------------ */

TEST(two_cores_share_the_pages) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) || CPU_COUNT(&set) < 2) SKIP("needs a second core");
  static uint8_t noise[4][2048];
  uint64_t took[3] = {0};
  for (int slots = 1; slots <= 2; slots++) {
    begin(4, slots);
    uint64_t best = UINT64_MAX;
    for (int round = 0; round < 10; round++) {
      for (uint32_t page = 0; page < 4; page++)
        for (uint32_t bit = 0; bit < 64; bit++) {
          desk_fill(&p, at(page, bit), SYS_getrandom, 0, ARG(noise[page]), sizeof noise[page], 0);
          desk_ready(&p, at(page, bit));
        }
      uint64_t const started = test_now_ns();
      desk_ring_bell(&p);
      /* Asleep meanwhile: both cores are the crew's. */
      for (uint32_t done = 0; done < 256;) {
        test_sleep_us(50);
        for (uint32_t id = 0; id < 256; id++) done += (uint32_t)desk_take(&p, id);
      }
      if (test_now_ns() - started < best) best = test_now_ns() - started;
    }
    took[slots] = best;
    uint32_t const second = atomic_load(&p.desk->control->crew_second_core);
    if (slots == 1) CHECK_EQ(second, 0);
    if (slots == 2) CHECK_GE(second, 2);
    end();
  }
  printf("    256 calls of getrandom: one core %.0f us, two cores %.0f us\n",
         (double)took[1] / 1e3, (double)took[2] / 1e3);
}

/* A batch that one core does in no time is left to it. */
TEST(short_batches_stay_on_one_core) {
  begin(4, 2);
  for (int round = 0; round < 200; round++) {
    for (uint32_t page = 0; page < 4; page++) {
      fill_nop(at(page, 0));
      desk_ready(&p, at(page, 0));
    }
    desk_ring_bell(&p);
    for (uint32_t page = 0; page < 4; page++) desk_await(&p, at(page, 0));
  }
  printf("    pages of short batches that went to the second core: %u of 800\n",
         atomic_load(&p.desk->control->crew_second_core));
  end();
}

TEST(threads_keep_to_the_list_of_cores) {
  cpu_set_t all, mask;
  if (sched_getaffinity(0, sizeof all, &all) || CPU_COUNT(&all) < 2) SKIP("needs a second core");
  int cpu = 0;
  while (!CPU_ISSET((unsigned)cpu, &all)) cpu++;
  begin(1, 1);
  for (int pinned = 1; pinned >= 0; pinned--) {
    tl_crew_cores(pinned ? &cpu : NULL, 1);
    CPU_ZERO(&mask);
    for (int again = 0; again < 2; again++) {
      desk_fill(&p, 0, SYS_sched_getaffinity, 0, 0, sizeof mask, ARG(&mask));
      desk_post(&p, 0);
      desk_await(&p, 0);
    }
    CHECK_EQ(CPU_COUNT(&mask), pinned ? 1 : CPU_COUNT(&all));
    CHECK(CPU_ISSET((unsigned)cpu, &mask));
  }
  CHECK_EQ(tl_crew_status().slots, 1);
  tl_crew_cores(NULL, 2);
  CHECK_EQ(tl_crew_status().slots, 2);
  tl_crew_cores(NULL, 1);
  CHECK_EQ(tl_crew_status().slots, 1);
  end();
}

/* A shorter list while threads are active on the longer one: none is forgotten. */
TEST(fewer_cores_while_busy) {
  struct block b;
  block_open(&b);
  begin(2, 2);
  for (int round = 0; round < 20; round++) {
    tl_crew_cores(NULL, 2);
    for (uint32_t page = 0; page < 2; page++) { /* at once: each keeps its slot */
      fill_blocking(at(page, 0), &b);
      desk_post(&p, at(page, 0));
      await_status(at(page, 0), TL_BUSY);
    }
    tl_crew_cores(NULL, 1);
    for (uint32_t page = 0; page < 2; page++) {
      fill_nop(at(page, 1));
      desk_post(&p, at(page, 1));
      desk_await(&p, at(page, 1));
    }
    block_release(&b, 2);
    for (uint32_t page = 0; page < 2; page++) desk_await(&p, at(page, 0));
  }
  end();
  block_close(&b);
}

/* Each call writes a letter to a stream: "s" by sendto, which is not a read or write to us. */
TEST(selection_orders) {
  static const char* const expected[] = {"swswswsw", "sssswwww", "wwwwssss"};
  int fds[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  begin(1, 1);
  for (int order = TL_AS_FOUND; order <= TL_IO_FIRST; order++) {
    atomic_store(&p.desk->control->order, order);
    for (uint32_t id = 0; id < 8; id++) {
      desk_fill(&p, id, id % 2 ? SYS_write : SYS_sendto, 0, ARG(fds[0]), ARG(id % 2 ? "w" : "s"), 1,
                0, 0, 0);
    }
    atomic_store(&p.desk->descs[0].ready[0], 0xffu); /* all in one go */
    desk_ring_bell(&p);
    for (uint32_t id = 0; id < 8; id++) desk_await(&p, id);
    char letters[8] = {0};
    CHECK_EQ(read(fds[1], letters, 8), 8);
    CHECK_BYTES(letters, expected[order], 8);
  }
  end();
  close(fds[0]);
  close(fds[1]);
}

/* Nobody's handler runs on a crew thread, and a broken pipe is an error, not a death. */
TEST(signals_stay_out) {
  begin(1, 1);
  int fds[2];
  static uint64_t blocked;
  REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
  close(fds[0]);
  desk_fill(&p, 0, SYS_write, 0, ARG(fds[1]), ARG("x"), 1);
  desk_fill(&p, 1, SYS_rt_sigprocmask, 0, SIG_BLOCK, 0, ARG(&blocked), 8);
  for (uint32_t id = 0; id < 2; id++) {
    desk_post(&p, id);
    desk_await(&p, id);
  }
  CHECK_EQ(desk_result(&p, 0), -EPIPE);
  for (int signal = 1; signal <= 31; signal++)
    if (signal != SIGKILL && signal != SIGSTOP) CHECK(blocked >> (signal - 1) & 1);
  CHECK(!(blocked >> (SIGRTMAX - 2 - 1) & 1));
  end();
  close(fds[1]);
}

TEST(a_sleeping_poster_is_woken_once) {
  begin(1, 1);
  uint64_t count = 0;
  for (int round = 0; round < 100; round++) {
    atomic_store(&p.desk->control->asleep, 1);
    for (uint32_t id = 0; id < 8; id++) {
      fill_nop(id);
      desk_ready(&p, id);
    }
    desk_ring_bell(&p);
    for (uint32_t id = 0; id < 8; id++) desk_await(&p, id);
    CHECK_EQ(read(p.member.eventfd, &count, 8), 8);
    CHECK_EQ(count, 1);
    CHECK_EQ(atomic_load(&p.desk->control->asleep), 0);
  }
  CHECK_EQ(atomic_load(&p.desk->control->bell), 800);
  end();
}

int main(int argc, char** argv) {
  if (argc > 1) test_filter = argv[1];
  RUN(every_chain_runs_exactly_once);
  RUN(no_wake_up_is_lost);
  RUN(hands_on_when_a_call_blocks);
  RUN(hands_on_what_is_posted_later);
  RUN(blocked_for_ever_blocks_nobody);
  RUN(posting_to_the_page_of_a_blocked_thread_while_another_looks);
  RUN(a_page_that_is_never_empty_delays_no_other);
  RUN(never_more_threads_than_entries);
  RUN(idle_threads_end);
  RUN(ending_threads_are_not_recruited);
  RUN(idle_costs_nothing);
  RUN(leaves_with_calls_in_flight);
  RUN(leaves_what_cannot_be_interrupted);
  RUN(abandoned_before_it_began);
  RUN(abandoned_while_it_runs);
  RUN(no_thread_at_all);
  RUN(one_thread_and_no_more);
  RUN(no_more_threads_and_none_returns);
  RUN(a_small_stack_is_refused);
  RUN(two_cores_share_the_pages);
  RUN(short_batches_stay_on_one_core);
  RUN(threads_keep_to_the_list_of_cores);
  RUN(fewer_cores_while_busy);
  RUN(selection_orders);
  RUN(signals_stay_out);
  RUN(a_sleeping_poster_is_woken_once);
  return summary();
}
