/* Xen's credit scheduler: vCPUs earn time by weight, and running costs it. For the other schedulers it
 * only keeps count of what each is due. */
#define _GNU_SOURCE
#include "hv.h"

void tl__charge(struct vcpu* v, uint64_t until) {
  if (until <= v->charged_ns) return;
  double const ran = (double)(until - v->charged_ns);
  v->run_ns += ran;
  v->credit_ns -= ran;
  v->charged_ns = until;
  v->in_use = true;
  atomic_store_explicit(&v->line->run_ns, v->run_ns, memory_order_relaxed);
}

enum priority tl__priority(const struct tl_hypervisor* hv, const struct vcpu* v) {
  if (hv->options.scheduler != TL_CREDIT) return PRIORITY_UNDER;
  return v->credit_ns >= -v->overdraft_ns ? PRIORITY_UNDER : PRIORITY_OVER;
}

/* Shares of `total` by weight among VMs that want; none more than its peak: what is left over goes
 * to the others (Xen 4.2, csched_acct). Weights are per vCPU, as there. */
static void share_out(struct tl_hypervisor* hv, double total, double elapsed) {
  for (uint32_t i = 0; i < hv->options.vms; i++) {
    hv->vm[i].settled = hv->vm[i].active == 0;
    hv->vm[i].fair_ns = 0;
  }
  for (bool again = true; again;) {
    again = false;
    double weights = 0;
    for (uint32_t i = 0; i < hv->options.vms; i++)
      if (!hv->vm[i].settled) weights += (double)hv->vm[i].weight * hv->vm[i].active;
    if (!(weights > 0)) return;
    double const left = total;
    for (uint32_t i = 0; i < hv->options.vms; i++) {
      struct vm* const vm = &hv->vm[i];
      if (vm->settled) continue;
      double const peak =
          elapsed * (vm->cap && vm->cap < 100 * vm->active ? vm->cap / 100.0 : vm->active);
      vm->fair_ns = left * ((double)vm->weight * vm->active) / weights;
      if (vm->fair_ns < peak) continue;
      vm->fair_ns = peak;
      vm->settled = again = true;
      total -= peak;
    }
  }
}

static void account_vcpu(struct tl_hypervisor* hv, struct vcpu* v, double elapsed, uint64_t now) {
  const struct vm* const vm = &hv->vm[v->vm];
  double const due = vm->fair_ns / vm->active;
  v->due_ns += due;
  if (hv->options.scheduler != TL_CREDIT) return;
  v->credit_ns += due;
  if (v->credit_ns > elapsed) v->credit_ns = elapsed;
  /* Xen clips at one period; here a whole quantum may be owed, or short periods would forgive it. */
  double const worst = -2 * (elapsed + (double)hv->options.slice_ns);
  if (v->credit_ns < worst && !vm->cap) v->credit_ns = worst;
  double const allowance = vm->cap ? elapsed * vm->cap / 100.0 / vm->active : 0;
  if (vm->cap && v->credit_ns < -allowance) v->over_cap = true;
  if (v->over_cap && v->credit_ns >= 0) {
    v->over_cap = false;
    if (v->place == PARKED) {
      uint64_t const since = v->waiting_since_ns;
      tl__queue_add(hv, v, now);
      v->waiting_since_ns = since;
    }
  }
  /* Also ends a boost that lasted longer than a tick. */
  if (v->place != QUEUED || v->priority != PRIORITY_BOOST)
    v->priority = tl__priority(hv, v);
  if (v->over_cap && v->place == QUEUED) {
    tl__queue_remove(hv, v);
    v->place = PARKED;
  }
}

void tl__account(struct tl_hypervisor* hv, uint64_t now) {
  double const elapsed = (double)(now - hv->accounted_ns);
  for (uint32_t i = 0; i < hv->options.vms; i++) hv->vm[i].active = 0;
  for (uint32_t i = 0; i < hv->vcpus; i++) {
    struct vcpu* const v = &hv->vcpu[i];
    if (v->place == RUNNING || v->place == STOPPING) tl__charge(v, now);
    if (v->place == PARKED) v->in_use = true;
    if (v->in_use) hv->vm[v->vm].active++;
  }
  share_out(hv, elapsed * hv->options.pcpus, elapsed);
  for (uint32_t i = 0; i < hv->vcpus; i++) {
    struct vcpu* const v = &hv->vcpu[i];
    if (!v->in_use) continue;
    account_vcpu(hv, v, elapsed, now);
    v->in_use = v->place == RUNNING || v->place == STOPPING || v->place == QUEUED;
  }
  hv->accounted_ns = now;
  hv->account_at_ns = now + hv->period_ns;
}
