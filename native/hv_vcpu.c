/* What a vCPU's thread does: hypercalls, joining and leaving, and the handler of the signal that ends
 * its quantum. See hv.h for the protocol. */
#define _GNU_SOURCE
#include "hv.h"

#include <errno.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* Touched when joining, so that the handler finds it allocated. */
static _Thread_local struct vcpu* volatile self;
static pthread_key_t at_thread_exit;

void tl__tell(struct vcpu* v) {
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
      tl__tell(v);
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
  tl__tell(v);
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
  if ((stopped & 3) == STOP_HALT && stopped >> 2 == atomic_load(&other->turn)) tl__tell(other);
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
  tl__tell(v);
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
  if (!atomic_load(&hv->over)) tl__tell(v);
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
  tl__tell(v);
  await_turn(v, 0);
  return 0;
}

void tl__prepare_process(void) {
  pthread_key_create(&at_thread_exit, leave_at_exit);
  struct sigaction action = {.sa_handler = on_preempt, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  /* For good: a signal may still be on its way when the last hypervisor has stopped. */
  sigaction(TL_PREEMPT_SIGNAL, &action, NULL);
}
