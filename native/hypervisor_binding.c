/* See hypervisor_binding.h. Nothing but argument handling happens here. A hypervisor is an
 * external value; a vCPU is the thread that calls. */
#define _GNU_SOURCE
#include "hypervisor_binding.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "hypervisor.h"

/* Owned by the external and, until it is stopped, by the environment's hook. */
struct held {
  struct tl_hypervisor* hv; /* null: stopped */
  napi_env env;
  int owners;
};

static void release(struct held* h) {
  if (--h->owners == 0) free(h);
}

static void on_collected(napi_env env, void* data, void* hint) {
  (void)env;
  (void)hint;
  release(data);
}

/* The program, or the worker that started it, ends. */
static void on_environment_ends(void* data) {
  struct held* const h = data;
  if (h->hv) tl_hypervisor_stop(h->hv);
  h->hv = NULL;
  release(h);
}

/* An array of numbers as uint32_t; its length, or 0 when there are more than `most`. */
static uint32_t read_numbers(napi_env env, napi_value array, uint32_t* numbers, uint32_t most) {
  uint32_t length = 0;
  if (napi_get_array_length(env, array, &length) != napi_ok || length > most) return 0;
  for (uint32_t i = 0; i < length; i++) {
    napi_value value;
    numbers[i] = 0;
    if (napi_get_element(env, array, i, &value) == napi_ok)
      numbers[i] = (uint32_t)tl_napi_int(env, value, 0);
  }
  return length;
}

/* hypervisorStart(pcpus, cores, scheduler, sliceUs, marginUs, ratelimitUs, boost,
 * publishRatelimit, [vcpus, weight, cap, …]) */
static napi_value start(napi_env env, napi_callback_info info) {
  napi_value args[9];
  size_t count = 9;
  TL_TRY(env, napi_get_cb_info(env, info, &count, args, NULL, NULL));
  uint32_t core[TL_PCPUS_LIMIT];
  uint32_t vm_numbers[TL_VMS_LIMIT * 3];
  struct tl_vm_options vm[TL_VMS_LIMIT];
  struct tl_hypervisor_options options = {
      .pcpus = (uint32_t)tl_napi_int(env, args[0], 0),
      .cores = read_numbers(env, args[1], core, TL_PCPUS_LIMIT),
      .core = (const int*)core,
      .scheduler = (enum tl_scheduler)tl_napi_int(env, args[2], 0),
      .slice_ns = (uint64_t)tl_napi_int(env, args[3], 0) * 1000,
      .margin_ns = (uint64_t)tl_napi_int(env, args[4], 0) * 1000,
      .ratelimit_ns = (uint64_t)tl_napi_int(env, args[5], 0) * 1000,
      .boost = tl_napi_int(env, args[6], 0),
      .publish_ratelimit = tl_napi_int(env, args[7], 0),
      .vms = read_numbers(env, args[8], vm_numbers, TL_VMS_LIMIT * 3) / 3,
      .vm = vm};
  for (uint32_t i = 0; i < options.vms; i++)
    vm[i] = (struct tl_vm_options){
        .vcpus = vm_numbers[i * 3], .weight = vm_numbers[i * 3 + 1], .cap = vm_numbers[i * 3 + 2]};

  struct held* const h = calloc(1, sizeof *h);
  if (!h) return tl_napi_throw_errno(env, "out of memory", ENOMEM);
  int const failed = tl_hypervisor_start(&options, &h->hv);
  if (failed) {
    free(h);
    return tl_napi_throw_errno(env, "cannot start the hypervisor", -failed);
  }
  *h = (struct held){.hv = h->hv, .env = env, .owners = 2};
  napi_value result;
  if (napi_create_external(env, h, on_collected, NULL, &result) != napi_ok ||
      napi_add_env_cleanup_hook(env, on_environment_ends, h) != napi_ok) {
    tl_hypervisor_stop(h->hv);
    tl_napi_throw_last(env, "hypervisorStart");
    return NULL;
  }
  return result;
}

/* The hypervisor that is the first argument, or null with an exception pending. */
static struct held* get_held(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t count = 1;
  void* data = NULL;
  TL_TRY(env, napi_get_cb_info(env, info, &count, args, NULL, NULL));
  TL_TRY(env, napi_get_value_external(env, args[0], &data));
  struct held* const h = data;
  if (h->hv) return h;
  napi_throw_error(env, NULL, "trapless: this hypervisor was stopped");
  return NULL;
}

static napi_value stop(napi_env env, napi_callback_info info) {
  struct held* const h = get_held(env, info);
  if (!h) return NULL;
  napi_remove_env_cleanup_hook(env, on_environment_ends, h);
  tl_hypervisor_stop(h->hv);
  h->hv = NULL;
  release(h);
  return NULL;
}

static napi_value id(napi_env env, napi_callback_info info) {
  struct held* const h = get_held(env, info);
  return h ? tl_napi_from_int(env, (int32_t)tl_hypervisor_id(h->hv)) : NULL;
}

static void on_info_collected(napi_env env, void* data, void* hint) {
  (void)env;
  munmap(data, (size_t)(uintptr_t)hint);
}

/* Mapped once for each environment that asks: V8 wants memory to be in one place only. */
static napi_value map_info(napi_env env, struct tl_hypervisor* hv) {
  size_t size = 0;
  void* const at = (void*)(uintptr_t)tl_hypervisor_share_info(hv, &size);
  if (!at) return tl_napi_throw_errno(env, "cannot map share_info", errno);
  napi_value result;
  if (napi_create_external_arraybuffer(env, at, size, on_info_collected, (void*)(uintptr_t)size,
                                       &result) == napi_ok)
    return result;
  tl_napi_throw_last(env, "napi_create_external_arraybuffer");
  munmap(at, size);
  return NULL;
}

static napi_value share_info(napi_env env, napi_callback_info info) {
  struct held* const h = get_held(env, info);
  return h ? map_info(env, h->hv) : NULL;
}

/* shareInfoRelease(buffer): unmaps what hypervisorShareInfo or vcpuShareInfo returned. */
static napi_value share_info_release(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t count = 1;
  TL_TRY(env, napi_get_cb_info(env, info, &count, args, NULL, NULL));
  TL_TRY(env, napi_detach_arraybuffer(env, args[0]));
  return NULL;
}

static napi_value durations(napi_env env, const struct tl_durations* d) {
  napi_value result;
  TL_TRY(env, napi_create_object(env, &result));
  tl_napi_set_number(env, result, "count", (double)d->count);
  tl_napi_set_number(env, result, "meanNs", d->count ? d->sum / (double)d->count : 0);
  tl_napi_set_number(env, result, "p50Ns", tl_durations_quantile(d, 0.5));
  tl_napi_set_number(env, result, "p90Ns", tl_durations_quantile(d, 0.9));
  tl_napi_set_number(env, result, "p99Ns", tl_durations_quantile(d, 0.99));
  tl_napi_set_number(env, result, "maxNs", (double)d->max);
  return result;
}

static napi_value vcpu_stats(napi_env env, const struct tl_vcpu_stats* v) {
  napi_value result;
  TL_TRY(env, napi_create_object(env, &result));
  tl_napi_set_number(env, result, "state", v->state);
  tl_napi_set_number(env, result, "switches", v->switches);
  tl_napi_set_number(env, result, "preemptions", v->preemptions);
  tl_napi_set_number(env, result, "runNs", v->run_ns);
  tl_napi_set_number(env, result, "dueNs", v->due_ns);
  tl_napi_set_number(env, result, "stealNs", v->steal_ns);
  return result;
}

static napi_value stats(napi_env env, napi_callback_info info) {
  struct held* const h = get_held(env, info);
  if (!h) return NULL;
  uint32_t const count = tl_hypervisor_vcpus(h->hv);
  struct tl_hypervisor_stats s;
  struct tl_vcpu_stats* const v = malloc(sizeof *v * count);
  if (!v) return tl_napi_throw_errno(env, "out of memory", ENOMEM);
  tl_hypervisor_stats(h->hv, &s, v);
  napi_value result = NULL;
  napi_value vcpus = NULL;
  if (napi_create_object(env, &result) == napi_ok &&
      napi_create_array_with_length(env, count, &vcpus) == napi_ok) {
    for (uint32_t i = 0; i < count; i++) napi_set_element(env, vcpus, i, vcpu_stats(env, &v[i]));
    struct {
      const char* name;
      uint64_t value;
    } const numbers[] = {{"switches", s.switches}, {"preemptions", s.preemptions},
                         {"early", s.early},       {"renewals", s.renewals},
                         {"yields", s.yields},     {"halts", s.halts},
                         {"kicks", s.kicks},       {"migrations", s.migrations},
                         {"cpuNs", s.cpu_ns},      {"elapsedNs", s.elapsed_ns}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
      tl_napi_set_number(env, result, numbers[i].name, (double)numbers[i].value);
    tl_napi_set(env, result, "switching", durations(env, &s.switching));
    tl_napi_set(env, result, "handoff", durations(env, &s.handoff));
    tl_napi_set(env, result, "lateness", durations(env, &s.lateness));
    tl_napi_set(env, result, "vcpus", vcpus);
  }
  free(v);
  return result;
}

/* The cores this thread may use. */
static napi_value allowed_cores(napi_env env, napi_callback_info info) {
  (void)info;
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  napi_value result;
  TL_TRY(env, napi_create_array(env, &result));
  uint32_t count = 0;
  for (int i = 0; i < CPU_SETSIZE; i++)
    if (CPU_ISSET((size_t)i, &set))
      napi_set_element(env, result, count++, tl_napi_from_int(env, i));
  return result;
}

/* --- vCPUs: the calling thread ----------------------------------------------------------------- */

/* A worker that ends, however it ends, while it is a vCPU. */
static void leave_with_environment(void* data) {
  (void)data;
  tl_vcpu_leave();
}

/* vcpuJoin(id, number): the mapping of share_info, when first switched in. */
static napi_value join(napi_env env, napi_callback_info info) {
  napi_value args[2];
  size_t count = 2;
  TL_TRY(env, napi_get_cb_info(env, info, &count, args, NULL, NULL));
  struct tl_hypervisor* const hv = tl_hypervisor_find((uint32_t)tl_napi_int(env, args[0], 0));
  if (!hv) {
    napi_throw_error(env, NULL, "trapless: this hypervisor was stopped, or is another process's");
    return NULL;
  }
  napi_value const result = map_info(env, hv);
  int failed = 0;
  if (result) {
    failed = tl_vcpu_join(hv, (uint32_t)tl_napi_int(env, args[1], -1));
    if (failed) tl_napi_throw_errno(env, "cannot join as this vCPU", -failed);
    else napi_add_env_cleanup_hook(env, leave_with_environment, NULL);
  }
  tl_hypervisor_release(hv);
  return failed ? NULL : result;
}

static napi_value leave(napi_env env, napi_callback_info info) {
  (void)info;
  if (tl_vcpu_self() < 0) return NULL;
  tl_vcpu_leave();
  napi_remove_env_cleanup_hook(env, leave_with_environment, NULL);
  return NULL;
}

static napi_value yield(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  tl_vcpu_yield();
  return NULL;
}

static napi_value halt(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result;
  TL_TRY(env, napi_get_boolean(env, tl_vcpu_halt() != 0, &result));
  return result;
}

static napi_value kick(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t count = 1;
  TL_TRY(env, napi_get_cb_info(env, info, &count, args, NULL, NULL));
  int const failed = tl_vcpu_kick((uint32_t)tl_napi_int(env, args[0], -1));
  return failed ? tl_napi_throw_errno(env, "kick: no such vCPU", -failed) : NULL;
}

static napi_value block(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  tl_vcpu_block();
  return NULL;
}

static napi_value unblock(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  tl_vcpu_unblock();
  return NULL;
}

static napi_value layout(napi_env env) {
  napi_value result;
  TL_TRY(env, napi_create_object(env, &result));
  struct {
    const char* name;
    size_t value;
  } const facts[] = {{"size", sizeof(struct tl_share_info)},
                     {"preemptionNs", offsetof(struct tl_share_info, preemption_ns)},
                     {"sliceId", offsetof(struct tl_share_info, slice_id)},
                     {"state", offsetof(struct tl_share_info, state)},
                     {"stealNs", offsetof(struct tl_share_info, steal_ns)},
                     {"preemptions", offsetof(struct tl_share_info, preemptions)},
                     {"switches", offsetof(struct tl_share_info, switches)},
                     {"runNs", offsetof(struct tl_share_info, run_ns)},
                     {"sliceNs", offsetof(struct tl_share_info, slice_ns)},
                     {"switchedInNs", offsetof(struct tl_share_info, switched_in_ns)}};
  for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
    tl_napi_set_number(env, result, facts[i].name, (double)facts[i].value);
  return result;
}

void tl_hypervisor_bind(napi_env env, napi_value exports) {
  tl_napi_set(env, exports, "shareInfoLayout", layout(env));
  struct {
    const char* name;
    napi_callback callback;
  } const functions[] = {{"hypervisorStart", start},
                         {"hypervisorStop", stop},
                         {"hypervisorId", id},
                         {"hypervisorStats", stats},
                         {"hypervisorShareInfo", share_info},
                         {"hypervisorCores", allowed_cores},
                         {"shareInfoRelease", share_info_release},
                         {"vcpuJoin", join},
                         {"vcpuLeave", leave},
                         {"vcpuYield", yield},
                         {"vcpuHalt", halt},
                         {"vcpuKick", kick},
                         {"vcpuBlock", block},
                         {"vcpuUnblock", unblock}};
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
    tl_napi_set_function(env, exports, functions[i].name, functions[i].callback, NULL);
}
