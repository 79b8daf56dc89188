/* The harness of the native tests: one program per file, one process per test.
 *
 *   TEST(reads_a_file) { CHECK_EQ(result, 5); REQUIRE(fd >= 0); SKIP("needs a second core"); }
 *   int main(void) { RUN(reads_a_file); return summary(); }
 *
 * A test fails when a check fails (both operands are printed), when it crashes, when it leaks
 * descriptors, or after TEST_SECONDS. REQUIRE also ends the test.
 */
#ifndef TL_TEST_H
#define TL_TEST_H

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEST_SECONDS 30
#define TEST_SKIPPED 77

static int test_failures;            /* in the child */
static int tests_passed, tests_failed, tests_skipped;

#define TEST(name) static void name(void)

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) {                                                        \
      printf("    %s:%d: %s is false\n", __FILE__, __LINE__, #condition);      \
      test_failures++;                                                         \
    }                                                                          \
  } while (0)

#define CHECK_OP(a, op, b)                                                     \
  do {                                                                         \
    long long const check_a = (long long)(a);                                  \
    long long const check_b = (long long)(b);                                  \
    if (!(check_a op check_b)) {                                               \
      printf("    %s:%d: %s %s %s is false: %lld, %lld\n", __FILE__, __LINE__, #a, #op, #b, \
             check_a, check_b);                                                \
      test_failures++;                                                         \
    }                                                                          \
  } while (0)
#define CHECK_EQ(a, b) CHECK_OP(a, ==, b)
#define CHECK_LE(a, b) CHECK_OP(a, <=, b)
#define CHECK_GE(a, b) CHECK_OP(a, >=, b)

#define CHECK_BYTES(a, b, size)                                                \
  do {                                                                         \
    if (memcmp((a), (b), (size)) != 0) {                                       \
      printf("    %s:%d: %s differs from %s: \"%.*s\", \"%.*s\"\n", __FILE__, __LINE__, #a, #b, \
             (int)(size), (const char*)(a), (int)(size), (const char*)(b));    \
      test_failures++;                                                         \
    }                                                                          \
  } while (0)

#define REQUIRE(condition)                                                     \
  do {                                                                         \
    CHECK(condition);                                                          \
    if (test_failures) return;                                                 \
  } while (0)

#define SKIP(reason)                                                           \
  do {                                                                         \
    printf("    skipped: %s\n", reason);                                       \
    fflush(stdout);                                                            \
    _exit(TEST_SKIPPED);                                                       \
  } while (0)

static inline uint64_t test_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void test_sleep_us(unsigned us) {
  struct timespec const t = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};
  nanosleep(&t, NULL);
}

static inline int test_count_entries(const char* path) {
  int count = 0;
  DIR* const dir = opendir(path);
  if (!dir) return -1;
  while (readdir(dir)) count++;
  closedir(dir);
  return count - 2;
}

/* Descriptors but for the one that counts. */
static inline int test_open_descriptors(void) { return test_count_entries("/proc/self/fd") - 1; }
static inline int test_threads(void) { return test_count_entries("/proc/self/task"); }

static void test_child(void (*test)(void)) {
  alarm(TEST_SECONDS);
  int const before = test_open_descriptors();
  test();
  CHECK_EQ(test_open_descriptors(), before);
  fflush(stdout);
  exit(test_failures ? 1 : 0); /* not _exit: sanitizers report leaks here */
}

static void test_run(const char* name, void (*test)(void)) {
  uint64_t const started = test_now_ns();
  fflush(stdout);
  pid_t const child = fork();
  if (child == 0) test_child(test);
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) < 0) {
    printf("not ok %s: %s\n", name, strerror(errno));
    tests_failed++;
  } else if (WIFSIGNALED(status)) {
    printf("not ok %s: %s\n", name,
           WTERMSIG(status) == SIGALRM ? "took too long" : strsignal(WTERMSIG(status)));
    tests_failed++;
  } else if (WEXITSTATUS(status) == TEST_SKIPPED) {
    printf("skip   %s\n", name);
    tests_skipped++;
  } else if (WEXITSTATUS(status)) {
    printf("not ok %s\n", name);
    tests_failed++;
  } else {
    printf("ok     %s (%.0f ms)\n", name, (double)(test_now_ns() - started) / 1e6);
    tests_passed++;
  }
}

/* With an argument the program runs only the tests whose name contains it. */
static const char* test_filter = "";
#define RUN(name)                                                              \
  do {                                                                         \
    if (strstr(#name, test_filter)) test_run(#name, name);                     \
  } while (0)

static inline int summary(void) {
  printf("%d passed, %d failed, %d skipped\n", tests_passed, tests_failed, tests_skipped);
  return tests_failed != 0;
}

#endif
