/* The locks of src/locks/ in C, the same algorithms on the same words, to tell JavaScript's own
 * cost apart (native/bench/locks.c) and to run under sanitizers (native/test/test_locks.c). Each
 * opens with its file there, which has the source and the reasons; here is what differs in C.
 *
 *   struct tl_vcpu vcpu = {.id = 0, .count = 4, .info = …, .now_ns = …};    // per thread
 *   _Atomic int32_t words[TL_LOCK_WORDS(4)] = {0};                          // per lock
 *   tl_ticket_lock(words, &vcpu);
 *   …
 *   tl_ticket_unlock(words, &vcpu);
 *
 * Header only. Everything is sequentially consistent as Atomics are in JavaScript, but for what a
 * comment says. No accounting: that is the other thing the comparison shows.
 */
#ifndef TL_LOCKS_H
#define TL_LOCKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "share_info.h"

#define TL_LINE 16 /* words in a cache line */
#define TL_LOCK_WORDS(vcpus) (TL_LINE * (1 + (vcpus))) /* enough for any of them */
#define TL_SPIN_THRESHOLD (1 << 15)
#define TL_PTS_SHIFT 14
#define TL_CSD_NS 6000.0 /* 2^14 cycles (I-Spinlock 4.1) */

typedef _Atomic int32_t tl_word;

/* What a lock needs of its thread and of share_info. Function pointers may be NULL where no lock
 * that is used calls them; relax is PAUSE then. */
struct tl_vcpu {
  int32_t id, count, first; /* its global number; vCPUs of its VM; the first one's global number */
  const struct tl_share_info* info; /* share_info: a line per vCPU, by global number */
  double (*now_ns)(struct tl_vcpu*); /* CLOCK_MONOTONIC */
  void (*relax)(struct tl_vcpu*);
  void (*yield)(struct tl_vcpu*);
  void (*halt)(struct tl_vcpu*);
  void (*kick)(struct tl_vcpu*, int32_t vcpu);
  double csd_ns;
  int64_t spin_threshold; /* 0: TL_SPIN_THRESHOLD */
  int32_t pts_shift;      /* 0: TL_PTS_SHIFT */
  uint64_t incapable;
  /* The cycle counter as a clock, see tl_now_ns. */
  double ns_per_cycle; /* 0: ask now_ns every time */
  double base_ns;
  uint64_t base_cycles;
  uint32_t base_slice;
};

static inline void tl_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

static inline void tl_relax(struct tl_vcpu* v) {
  if (v->relax) v->relax(v);
  else tl_pause();
}

static inline uint64_t tl_cycles(void) {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t cycles;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(cycles));
  return cycles;
#else
  return 0;
#endif
}

static inline double tl_monotonic_ns(struct tl_vcpu* v) {
  (void)v;
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Measures the cycle counter against CLOCK_MONOTONIC for some 2 ms. */
static inline void tl_calibrate(struct tl_vcpu* v) {
  double const from_ns = tl_monotonic_ns(v);
  uint64_t const from = tl_cycles();
  double to_ns;
  do to_ns = tl_monotonic_ns(v);
  while (to_ns - from_ns < 2e6);
  uint64_t const cycles = tl_cycles() - from;
  v->ns_per_cycle = cycles ? (to_ns - from_ns) / (double)cycles : 0;
  v->base_ns = to_ns;
  v->base_cycles = from + cycles;
}

/* The listing reads the cycle counter (figure 5, line 5), which costs less than half of
 * clock_gettime. The two drift apart by some millionths, so they are put together again whenever
 * the slice is a new one: over the length of a slice that is nothing against csd. */
static inline double tl_now_ns(struct tl_vcpu* v, uint32_t slice) {
  if (v->ns_per_cycle == 0) return v->now_ns(v);
  if (slice != v->base_slice) {
    v->base_ns = v->now_ns(v);
    v->base_cycles = tl_cycles();
    v->base_slice = slice;
  }
  return v->base_ns + (double)(int64_t)(tl_cycles() - v->base_cycles) * v->ns_per_cycle;
}

/* Tickets wrap around: in unsigned arithmetic, without undefined behaviour. */
static inline int32_t tl_plus(int32_t ticket, int32_t n) {
  return (int32_t)((uint32_t)ticket + (uint32_t)n);
}
static inline int32_t tl_minus(int32_t a, int32_t b) {
  return (int32_t)((uint32_t)a - (uint32_t)b);
}
static inline int64_t tl_threshold(const struct tl_vcpu* v) {
  return v->spin_threshold ? v->spin_threshold : TL_SPIN_THRESHOLD;
}

/* Words of the ticket family. */
enum { TL_HEAD = 0, TL_TAIL = 1 };

/* --- ticket.ts ------------------------------------------------------------------------------- */

static inline void tl_ticket_lock(tl_word* l, struct tl_vcpu* v) {
  int32_t const my = atomic_fetch_add(&l[TL_TAIL], 1);
  while (atomic_load_explicit(&l[TL_HEAD], memory_order_acquire) != my) tl_relax(v);
}

static inline bool tl_ticket_trylock(tl_word* l, struct tl_vcpu* v) {
  (void)v;
  int32_t head = atomic_load(&l[TL_HEAD]);
  return atomic_compare_exchange_strong(&l[TL_TAIL], &head, tl_plus(head, 1));
}

/* A release store is enough, and on x86 a plain one: what makes C's unlock cheaper. */
static inline void tl_ticket_unlock(tl_word* l, struct tl_vcpu* v) {
  (void)v;
  int32_t const head = atomic_load_explicit(&l[TL_HEAD], memory_order_relaxed);
  atomic_store_explicit(&l[TL_HEAD], tl_plus(head, 1), memory_order_release);
}

/* --- pts.ts ---------------------------------------------------------------------------------- */

enum { TL_PTS_ACQUIRED = 2 };

static inline void tl_pts_lock(tl_word* l, struct tl_vcpu* v) {
  int const shift = v->pts_shift ? v->pts_shift : TL_PTS_SHIFT;
  int32_t const my = atomic_fetch_add(&l[TL_TAIL], 1);
  int32_t head = atomic_load(&l[TL_HEAD]);
  if (tl_minus(my, head) > 0) {
    int64_t patience = (int64_t)tl_minus(my, head) << shift;
    do {
      int32_t const now = atomic_load(&l[TL_HEAD]);
      if (now == my) break;
      if (now != head && tl_minus(my, now) > 0) {
        head = now;
        patience = (int64_t)tl_minus(my, head) << shift;
      }
      tl_relax(v);
    } while (patience--);
  }
  while (atomic_exchange(&l[TL_PTS_ACQUIRED], 1) != 0) tl_relax(v);
}

static inline bool tl_pts_trylock(tl_word* l, struct tl_vcpu* v) {
  (void)v;
  int32_t head = atomic_load(&l[TL_HEAD]);
  int32_t free_word = 0;
  if (atomic_load(&l[TL_TAIL]) != head) return false;
  if (!atomic_compare_exchange_strong(&l[TL_PTS_ACQUIRED], &free_word, 1)) return false;
  if (atomic_compare_exchange_strong(&l[TL_TAIL], &head, tl_plus(head, 1))) return true;
  atomic_store(&l[TL_PTS_ACQUIRED], 0);
  return false;
}

static inline void tl_pts_unlock(tl_word* l, struct tl_vcpu* v) {
  tl_ticket_unlock(l, v);
  atomic_store_explicit(&l[TL_PTS_ACQUIRED], 0, memory_order_release);
}

/* --- pv-ticket.ts, oticket.ts ---------------------------------------------------------------- */

enum { TL_STEP = 2, TL_SLOWPATH = 1, TL_WANT = 2, TL_WAITING = 1 };

static inline bool tl_is_head(int32_t head, int32_t my) { return (head & ~TL_SLOWPATH) == my; }

static inline void tl_pv_wait(tl_word* l, struct tl_vcpu* v, int32_t my, int64_t threshold) {
  tl_word* const want = &l[TL_WANT + v->id - v->first];
  int32_t head = atomic_load(&l[TL_HEAD]);
  while (!tl_is_head(head, my)) {
    int64_t left = threshold;
    do {
      tl_relax(v);
      head = atomic_load(&l[TL_HEAD]);
    } while (!tl_is_head(head, my) && --left >= 0);
    if (tl_is_head(head, my)) break;
    atomic_store(want, my | TL_WAITING);
    atomic_fetch_or(&l[TL_HEAD], TL_SLOWPATH);
    if (!tl_is_head(atomic_load(&l[TL_HEAD]), my)) v->halt(v);
    atomic_store(want, 0);
    head = atomic_load(&l[TL_HEAD]);
  }
  if ((head & TL_SLOWPATH) && atomic_load(&l[TL_TAIL]) == tl_plus(my, TL_STEP)) {
    atomic_fetch_and(&l[TL_HEAD], ~TL_SLOWPATH);
    if (atomic_load(&l[TL_TAIL]) != tl_plus(my, TL_STEP))
      atomic_fetch_or(&l[TL_HEAD], TL_SLOWPATH);
  }
}

static inline void tl_pv_ticket_lock(tl_word* l, struct tl_vcpu* v) {
  int32_t const my = atomic_fetch_add(&l[TL_TAIL], TL_STEP);
  if (atomic_load(&l[TL_HEAD]) != my) tl_pv_wait(l, v, my, tl_threshold(v));
}

static inline bool tl_pv_ticket_trylock(tl_word* l, struct tl_vcpu* v) {
  (void)v;
  int32_t head = atomic_load(&l[TL_HEAD]) & ~TL_SLOWPATH;
  return atomic_compare_exchange_strong(&l[TL_TAIL], &head, tl_plus(head, TL_STEP));
}

/* Kicks those who want one of the `tickets` from the new head on. */
static inline void tl_pv_release(tl_word* l, struct tl_vcpu* v, int32_t tickets) {
  int32_t const before = atomic_fetch_add(&l[TL_HEAD], TL_STEP);
  if (!(before & TL_SLOWPATH)) return;
  int32_t const head = tl_plus(before & ~TL_SLOWPATH, TL_STEP);
  for (int32_t i = 0; i < v->count; i++) {
    int32_t const want = atomic_load(&l[TL_WANT + i]);
    if (want == 0) continue;
    uint32_t const places = (uint32_t)tl_minus(want & ~TL_WAITING, head) / TL_STEP;
    if (places < (uint32_t)tickets) v->kick(v, v->first + i);
  }
}

static inline void tl_pv_ticket_unlock(tl_word* l, struct tl_vcpu* v) { tl_pv_release(l, v, 1); }

static inline void tl_oticket_lock(tl_word* l, struct tl_vcpu* v) {
  int32_t const my = atomic_fetch_add(&l[TL_TAIL], TL_STEP);
  int32_t const head = atomic_load(&l[TL_HEAD]);
  if (head == my) return;
  int32_t const places = tl_minus(my, head & ~TL_SLOWPATH) / TL_STEP;
  int64_t const threshold = tl_threshold(v);
  tl_pv_wait(l, v, my, places < 18 ? threshold << (20 - places) : threshold);
}

static inline void tl_oticket_unlock(tl_word* l, struct tl_vcpu* v) { tl_pv_release(l, v, 4); }

/* --- capability.ts, owners.ts -------------------------------------------------------------------- */

static inline uint32_t tl_slice_id(const struct tl_vcpu* v) {
  return atomic_load_explicit(&v->info[v->id].slice_id, memory_order_relaxed);
}

/* Threads with a ticket, the holder included; by plain loads, an estimate. */
static inline int32_t tl_lql(tl_word* l) {
  int32_t const head = atomic_load_explicit(&l[TL_HEAD], memory_order_relaxed);
  int32_t const lql = tl_minus(atomic_load_explicit(&l[TL_TAIL], memory_order_relaxed), head);
  return lql < 0 ? 0 : lql;
}

/* I-Spinlock 4.1, equations 1 and 2. */
static inline double tl_lock_cap(tl_word* l, struct tl_vcpu* v) {
  double const preemption_ns =
      atomic_load_explicit(&v->info[v->id].preemption_ns, memory_order_relaxed);
  if (preemption_ns == __builtin_inf()) return preemption_ns;
  double const left = preemption_ns - tl_now_ns(v, tl_slice_id(v));
  return left - ((double)tl_lql(l) + 1) * v->csd_ns;
}

/* Words from here on: who has which ticket, by its lowest bits. */
enum { TL_OWNER = 2 };

/* A place for every vCPU, and a power of two of them. */
static inline uint32_t tl_owner_mask(const struct tl_vcpu* v) {
  return v->count < 2 ? 0 : UINT32_MAX >> __builtin_clz((uint32_t)v->count - 1);
}

static inline tl_word* tl_owner(tl_word* l, const struct tl_vcpu* v, int32_t ticket) {
  return &l[TL_OWNER + ((uint32_t)ticket & tl_owner_mask(v))];
}

static inline void tl_owners_took(tl_word* l, struct tl_vcpu* v, int32_t my) {
  atomic_store_explicit(tl_owner(l, v, my), v->id + 1, memory_order_relaxed);
}

static inline bool tl_owner_runs(tl_word* l, struct tl_vcpu* v, int32_t ticket) {
  int32_t const mark = atomic_load_explicit(tl_owner(l, v, ticket), memory_order_relaxed);
  return mark == 0 || atomic_load_explicit(&v->info[mark - 1].state, memory_order_relaxed) ==
                          TL_VCPU_RUNNING;
}

/* Nobody with a ticket is off its processor. */
static inline bool tl_owners_all_run(tl_word* l, struct tl_vcpu* v) {
  int32_t const head = atomic_load_explicit(&l[TL_HEAD], memory_order_relaxed);
  int32_t const waiting = tl_minus(atomic_load_explicit(&l[TL_TAIL], memory_order_relaxed), head);
  for (int32_t i = 0; i < waiting; i++)
    if (!tl_owner_runs(l, v, tl_plus(head, i))) return false;
  return true;
}

/* The holder, or whose turn it is, is on its processor. */
static inline bool tl_owners_next_runs(tl_word* l, struct tl_vcpu* v) {
  return tl_owner_runs(l, v, atomic_load_explicit(&l[TL_HEAD], memory_order_relaxed));
}

static inline bool tl_capable(tl_word* l, struct tl_vcpu* v) {
  return tl_lock_cap(l, v) >= 0 && tl_owners_all_run(l, v);
}

/* --- hvm-ispinlock.ts, pv-ispinlock.ts ----------------------------------------------------------- */

enum { TL_LOOK_EVERY = 64 };

static inline void tl_hvm_ispinlock_lock(tl_word* l, struct tl_vcpu* v) {
  if (!tl_capable(l, v)) {
    v->incapable++;
    do tl_relax(v);
    while (!tl_capable(l, v));
  }
  int32_t const my = atomic_fetch_add(&l[TL_TAIL], 1);
  tl_owners_took(l, v, my);
  while (atomic_load_explicit(&l[TL_HEAD], memory_order_acquire) != my) tl_relax(v);
}

/* Yields while who is next does not run: our slice would be spent spinning. */
static inline void tl_pv_ispinlock_wait(tl_word* l, struct tl_vcpu* v, int32_t my) {
  for (int32_t i = 1; atomic_load_explicit(&l[TL_HEAD], memory_order_acquire) != my; i++) {
    if (i % TL_LOOK_EVERY == 0 && !tl_owners_next_runs(l, v)) {
      v->yield(v);
      i = 0;
    } else tl_relax(v);
  }
}

static inline void tl_pv_ispinlock_lock(tl_word* l, struct tl_vcpu* v) {
  while (!tl_capable(l, v)) {
    v->incapable++;
    v->yield(v);
  }
  int32_t const my = atomic_fetch_add(&l[TL_TAIL], 1);
  tl_owners_took(l, v, my);
  tl_pv_ispinlock_wait(l, v, my);
}

static inline bool tl_ispinlock_trylock(tl_word* l, struct tl_vcpu* v) {
  if (tl_lock_cap(l, v) < 0) return false;
  int32_t head = atomic_load(&l[TL_HEAD]);
  if (!atomic_compare_exchange_strong(&l[TL_TAIL], &head, tl_plus(head, 1))) return false;
  tl_owners_took(l, v, head);
  return true;
}

/* --- hvm-ispinlock-paper.ts, pv-ispinlock-paper.ts ------------------------------------------------ */

/* I-Spinlock figure 5: another slice, and no check after the wait. */
static inline void tl_hvm_ispinlock_paper_lock(tl_word* l, struct tl_vcpu* v) {
  uint32_t const slice = tl_slice_id(v);
  if (tl_lock_cap(l, v) < 0) {
    v->incapable++;
    while (tl_slice_id(v) == slice) tl_relax(v);
  }
  tl_ticket_lock(l, v);
}

static inline void tl_pv_ispinlock_paper_lock(tl_word* l, struct tl_vcpu* v) {
  if (tl_lock_cap(l, v) < 0) {
    v->incapable++;
    v->yield(v);
  }
  tl_ticket_lock(l, v);
}

static inline bool tl_ispinlock_paper_trylock(tl_word* l, struct tl_vcpu* v) {
  return tl_lock_cap(l, v) >= 0 && tl_ticket_trylock(l, v);
}

/* --- mcs.ts ---------------------------------------------------------------------------------- */

enum { TL_MCS_TAIL = 0, TL_MCS_NEXT = 0, TL_MCS_LOCKED = 1 };

static inline int32_t tl_me(const struct tl_vcpu* v) { return v->id - v->first + 1; }

static inline void tl_mcs_lock(tl_word* l, struct tl_vcpu* v) {
  int32_t const me = tl_me(v);
  tl_word* const node = &l[me * TL_LINE];
  atomic_store_explicit(&node[TL_MCS_NEXT], 0, memory_order_relaxed);
  atomic_store_explicit(&node[TL_MCS_LOCKED], 1, memory_order_relaxed);
  int32_t const previous = atomic_exchange(&l[TL_MCS_TAIL], me);
  if (previous == 0) return;
  atomic_store(&l[previous * TL_LINE + TL_MCS_NEXT], me);
  while (atomic_load_explicit(&node[TL_MCS_LOCKED], memory_order_acquire)) tl_relax(v);
}

static inline bool tl_mcs_trylock(tl_word* l, struct tl_vcpu* v) {
  int32_t const me = tl_me(v);
  int32_t none = 0;
  atomic_store_explicit(&l[me * TL_LINE + TL_MCS_NEXT], 0, memory_order_relaxed);
  return atomic_compare_exchange_strong(&l[TL_MCS_TAIL], &none, me);
}

static inline void tl_mcs_unlock(tl_word* l, struct tl_vcpu* v) {
  int32_t me = tl_me(v);
  tl_word* const next_word = &l[me * TL_LINE + TL_MCS_NEXT];
  int32_t next = atomic_load(next_word);
  if (next == 0) {
    if (atomic_compare_exchange_strong(&l[TL_MCS_TAIL], &me, 0)) return;
    while ((next = atomic_load(next_word)) == 0) tl_relax(v);
  }
  atomic_store_explicit(&l[next * TL_LINE + TL_MCS_LOCKED], 0, memory_order_release);
}

/* --- pv-qspinlock.ts ------------------------------------------------------------------------- */

/* Bytes and halves of one word, as Linux has them: the compiler's own atomics, since C11's types
 * do not overlap. Little endian. */
enum {
  TL_Q_HEAD = 1,
  TL_Q_LOCKED = 1,
  TL_Q_SLOW = 3,
  TL_Q_PENDING = 1 << 8,
  TL_Q_LOCKED_PENDING = 0xffff,
  TL_Q_TAIL_SHIFT = 16,
  TL_Q_TURN = 0,
  TL_Q_NEXT = 1,
  TL_Q_STATE = 2,
  TL_Q_RUNNING = 0,
  TL_Q_HALTED = 1,
  TL_Q_HASHED = 2,
  TL_Q_CHECK_PREVIOUS_EVERY = 256
};

static inline uint8_t* tl_q_locked(tl_word* l) { return (uint8_t*)l; }
static inline uint16_t* tl_q_half(tl_word* l, int half) { return (uint16_t*)l + half; }
static inline bool tl_q_cas8(uint8_t* at, uint8_t from, uint8_t to) {
  return __atomic_compare_exchange_n(at, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline void tl_q_wait_turn(tl_word* l, struct tl_vcpu* v, int32_t previous) {
  tl_word* const node = &l[tl_me(v) * TL_LINE];
  tl_word* const previous_state = &l[previous * TL_LINE + TL_Q_STATE];
  for (;;) {
    for (int64_t i = 1; i <= tl_threshold(v); i++) {
      if (atomic_load(&node[TL_Q_TURN])) return;
      if (i % TL_Q_CHECK_PREVIOUS_EVERY == 0 && atomic_load(previous_state) != TL_Q_RUNNING) break;
      tl_relax(v);
    }
    int32_t halted = TL_Q_HALTED;
    atomic_store(&node[TL_Q_STATE], TL_Q_HALTED);
    if (!atomic_load(&node[TL_Q_TURN])) v->halt(v);
    atomic_compare_exchange_strong(&node[TL_Q_STATE], &halted, TL_Q_RUNNING);
    if (atomic_load(&node[TL_Q_TURN])) return;
  }
}

static inline void tl_q_wait_head(tl_word* l, struct tl_vcpu* v) {
  tl_word* const node = &l[tl_me(v) * TL_LINE];
  uint8_t* const locked = tl_q_locked(l);
  for (;;) {
    atomic_store(&node[TL_Q_STATE], TL_Q_RUNNING);
    atomic_fetch_or(&l[0], TL_Q_PENDING);
    for (int64_t i = 0; i < tl_threshold(v); i++) {
      uint16_t pending = TL_Q_PENDING;
      if (__atomic_load_n(locked, __ATOMIC_SEQ_CST) == 0 &&
          __atomic_compare_exchange_n(tl_q_half(l, 0), &pending, TL_Q_LOCKED, false,
                                      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return;
      tl_relax(v);
    }
    atomic_fetch_and(&l[0], ~TL_Q_PENDING);
    atomic_store(&l[TL_Q_HEAD], tl_me(v));
    if (__atomic_exchange_n(locked, TL_Q_SLOW, __ATOMIC_SEQ_CST) == 0) {
      __atomic_store_n(locked, TL_Q_LOCKED, __ATOMIC_SEQ_CST);
      return;
    }
    atomic_store(&node[TL_Q_STATE], TL_Q_HASHED);
    if (__atomic_load_n(locked, __ATOMIC_SEQ_CST) == TL_Q_SLOW) v->halt(v);
  }
}

static inline void tl_q_slow(tl_word* l, struct tl_vcpu* v) {
  int32_t const me = tl_me(v);
  tl_word* const node = &l[me * TL_LINE];
  if (!(atomic_load(&l[0]) & TL_Q_LOCKED_PENDING) && tl_q_cas8(tl_q_locked(l), 0, TL_Q_LOCKED))
    return;
  atomic_store_explicit(&node[TL_Q_TURN], 0, memory_order_relaxed);
  atomic_store_explicit(&node[TL_Q_NEXT], 0, memory_order_relaxed);
  atomic_store(&node[TL_Q_STATE], TL_Q_RUNNING);
  int32_t const previous = __atomic_exchange_n(tl_q_half(l, 1), (uint16_t)me, __ATOMIC_SEQ_CST);
  if (previous) {
    atomic_store(&l[previous * TL_LINE + TL_Q_NEXT], me);
    tl_q_wait_turn(l, v, previous);
  }
  tl_q_wait_head(l, v);
  int32_t word = atomic_load(&l[0]);
  if ((int32_t)((uint32_t)word >> TL_Q_TAIL_SHIFT) == me &&
      atomic_compare_exchange_strong(&l[0], &word, TL_Q_LOCKED))
    return;
  int32_t next;
  while ((next = atomic_load(&node[TL_Q_NEXT])) == 0) tl_relax(v);
  atomic_store(&l[next * TL_LINE + TL_Q_TURN], 1);
  int32_t halted = TL_Q_HALTED;
  if (!atomic_compare_exchange_strong(&l[next * TL_LINE + TL_Q_STATE], &halted, TL_Q_HASHED))
    return;
  atomic_store(&l[TL_Q_HEAD], next);
  __atomic_store_n(tl_q_locked(l), TL_Q_SLOW, __ATOMIC_SEQ_CST);
}

static inline bool tl_pv_qspinlock_trylock(tl_word* l, struct tl_vcpu* v) {
  (void)v;
  int32_t none = 0;
  return atomic_compare_exchange_strong(&l[0], &none, TL_Q_LOCKED);
}

static inline void tl_pv_qspinlock_lock(tl_word* l, struct tl_vcpu* v) {
  if (!tl_pv_qspinlock_trylock(l, v)) tl_q_slow(l, v);
}

static inline void tl_pv_qspinlock_unlock(tl_word* l, struct tl_vcpu* v) {
  if (tl_q_cas8(tl_q_locked(l), TL_Q_LOCKED, 0)) return;
  int32_t const head = atomic_load(&l[TL_Q_HEAD]);
  __atomic_store_n(tl_q_locked(l), 0, __ATOMIC_SEQ_CST);
  v->kick(v, v->first + head - 1);
}

/* LOCK(name, its trylock's, its unlock's) for each of them. */
#define TL_LOCKS(LOCK) \
  LOCK(ticket, ticket, ticket) \
  LOCK(pts, pts, pts) \
  LOCK(pv_ticket, pv_ticket, pv_ticket) \
  LOCK(oticket, pv_ticket, oticket) \
  LOCK(hvm_ispinlock, ispinlock, ticket) \
  LOCK(pv_ispinlock, ispinlock, ticket) \
  LOCK(hvm_ispinlock_paper, ispinlock_paper, ticket) \
  LOCK(pv_ispinlock_paper, ispinlock_paper, ticket) \
  LOCK(mcs, mcs, mcs) \
  LOCK(pv_qspinlock, pv_qspinlock, pv_qspinlock)

#endif
