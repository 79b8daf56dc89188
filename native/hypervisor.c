/* A hypervisor's life: options are checked, memory is laid out, the thread is started and stopped; and
 * what can be asked of one meanwhile. See hypervisor.h, and hv.h for the rest. */
#define _GNU_SOURCE
#include "hv.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TL_TICK_NS 10000000u

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

void tl__durations_add(struct tl_durations* d, uint64_t ns) {
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
  int const failed = pthread_create(&hv->thread, NULL, tl__schedule, hv);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return -failed;
}

int tl_hypervisor_start(const struct tl_hypervisor_options* options, struct tl_hypervisor** made) {
  int failed = check(options);
  if (failed) return failed;
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, tl__prepare_process);
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
