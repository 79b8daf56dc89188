/* Who could run and does not, in one queue for all pCPUs. */
#define _GNU_SOURCE
#include "hv.h"

/* Behind `ahead` of those who wait. */
static void queue_insert(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now, uint32_t ahead) {
  struct vcpu* before = ahead == hv->queued ? hv->queue_tail : NULL;
  if (ahead < hv->queued)
    for (uint32_t i = 0; i < ahead; i++) before = before ? before->next : hv->queue_head;
  v->place = QUEUED;
  v->waiting_since_ns = now;
  v->in_use = true;
  v->next = before ? before->next : hv->queue_head;
  if (before) before->next = v;
  else hv->queue_head = v;
  if (!v->next) hv->queue_tail = v;
  hv->queued++;
  atomic_store_explicit(&v->line->state, TL_VCPU_PREEMPTED, memory_order_relaxed);
}

void tl__queue_add(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now) {
  queue_insert(hv, v, now, hv->queued);
}

static uint32_t random_below(struct tl_hypervisor* hv, uint32_t limit) {
  hv->random ^= hv->random << 13;
  hv->random ^= hv->random >> 17;
  hv->random ^= hv->random << 5;
  return hv->random % limit;
}

/* Towards the end of a quantum: up to a third of the queue, by chance, is overtaken. Quanta are
 * equally long: in a strict queue the same vCPUs would run beside each other for as long as they
 * live, and one whose neighbour wants the same lock would get a third of the work done of one whose
 * neighbour is a stranger. By credit alone the old order would come back, so it may also owe up to a
 * quantum, by chance, and count as UNDER. Who yields early goes behind everybody. */
void tl__queue_add_shuffled(struct tl_hypervisor* hv, struct vcpu* v, uint64_t now) {
  v->overdraft_ns = (double)hv->options.slice_ns * random_below(hv, 1024) / 1024;
  queue_insert(hv, v, now, hv->queued - random_below(hv, hv->queued / 3 + 1));
}

void tl__queue_remove(struct tl_hypervisor* hv, struct vcpu* v) {
  struct vcpu* before = NULL;
  struct vcpu* at = hv->queue_head;
  while (at != v) {
    before = at;
    at = at->next;
  }
  if (before) before->next = v->next;
  else hv->queue_head = v->next;
  if (hv->queue_tail == v) hv->queue_tail = before;
  v->next = NULL;
  hv->queued--;
}

/* Who is next; it stays in the queue. Among equals, who waits longest. */
struct vcpu* tl__queue_best(const struct tl_hypervisor* hv) {
  struct vcpu* best = NULL;
  for (struct vcpu* v = hv->queue_head; v; v = v->next) {
    if (hv->options.scheduler == TL_GANG && (int)v->vm != hv->gang) continue;
    if (!best || v->priority < best->priority) best = v;
    if (hv->options.scheduler != TL_CREDIT) break;
  }
  return best;
}
