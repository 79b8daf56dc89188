/* What the locks of native/locks.h cost a thread alone: lock and unlock, and the capability check
 * of the informed ones (I-Spinlock 5.4). The counterpart of the locks in TypeScript.
 *
 *   cc -O2 -std=c11 locks.c -o locks && ./locks
 *
 * Prints one JSON line per case: {"case", "ns", "min", "max"}: nanoseconds, median, smallest and
 * largest of the rounds. check is lock_cap, and in ours (native/locks.h) whether everybody with a
 * ticket runs, for a free lock; check_8_wait the same with eight tickets out, lock_cap the paper's
 * alone. check_clock_gettime is the check with the portable clock in place of the cycle counter. The repository only; nothing of this is in the published package.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "../locks.h"

#define ROUNDS 15
#define CALLS 2000000
/* Of the virtual machine; all but one do nothing. */
#define VCPUS 24

static double results[ROUNDS];
static tl_word words[TL_LOCK_WORDS(VCPUS)];
static struct tl_share_info lines[VCPUS];
static struct tl_vcpu vcpu = {
    .count = VCPUS,
    .info = lines,
    .now_ns = tl_monotonic_ns,
    .csd_ns = TL_CSD_NS,
};

static int by_value(const void* a, const void* b) {
  double const x = *(const double*)a;
  double const y = *(const double*)b;
  return (x > y) - (x < y);
}

static void report(const char* name) {
  qsort(results, ROUNDS, sizeof *results, by_value);
  printf("{\"case\": \"%s\", \"ns\": %.1f, \"min\": %.1f, \"max\": %.1f}\n", name,
         results[ROUNDS / 2], results[0], results[ROUNDS - 1]);
}

#define MEASURE(name, ...)                                                     \
  do {                                                                         \
    for (int round = 0; round < ROUNDS; round++) {                             \
      double const from = tl_monotonic_ns(&vcpu);                              \
      for (int i = 0; i < CALLS; i++) {                                        \
        __VA_ARGS__;                                                           \
      }                                                                        \
      results[round] = (tl_monotonic_ns(&vcpu) - from) / CALLS;                \
    }                                                                          \
    report(name);                                                              \
  } while (0)

#define MEASURE_LOCK(name, try_name, unlock_name)                              \
  for (int i = 0; i < TL_LOCK_WORDS(VCPUS); i++) words[i] = 0;                     \
  MEASURE(#name, tl_##name##_lock(words, &vcpu); tl_##unlock_name##_unlock(words, &vcpu));

/* Tickets from 0 on: who has which. */
static void tickets_out(int32_t tickets) {
  words[TL_HEAD] = 0;
  words[TL_TAIL] = tickets;
  for (int32_t i = 0; i < tickets; i++) words[TL_OWNER + i] = i + 1;
}

int main(void) {
  double sum = 0;
  for (int i = 0; i < VCPUS; i++) {
    lines[i].preemption_ns = tl_monotonic_ns(&vcpu) + 1e15;
    lines[i].state = TL_VCPU_RUNNING;
  }
  MEASURE("check_clock_gettime", sum += tl_capable(words, &vcpu));
  tl_calibrate(&vcpu);
  MEASURE("lock_cap", sum += tl_lock_cap(words, &vcpu));
  MEASURE("check", sum += tl_capable(words, &vcpu));
  tickets_out(8);
  MEASURE("check_8_wait", sum += tl_capable(words, &vcpu));
  TL_LOCKS(MEASURE_LOCK)
  return sum == 0;
}
