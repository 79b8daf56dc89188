/* The sockets of a kernel towards TypeScript: src/native/addon.ts declares these methods. */
#define _GNU_SOURCE
#include <errno.h>

#include "binding.h"
#include "send_file.h"

#define TL_ARENA_LIMIT 4294967296.0 /* it crosses no 4 GiB line */

/* socketsOpen(wantRing, entries, buffers, slots, arenaBytes): once per kernel. */
static napi_value sockets_open(napi_env env, napi_callback_info info) {
  napi_value args[5];
  struct tl_binding* const b = tl_method_args(env, info, 5, args);
  if (!b) return NULL;
  struct tl_kernel* const k = b->kernel;
  bool want_ring = false;
  napi_get_value_bool(env, args[0], &want_ring);
  double const arena = tl_napi_number(env, args[4], 0);
  struct tl_sockets_options const options = {
      .want_ring = want_ring,
      .entries = (uint32_t)tl_napi_int(env, args[1], 512),
      .buffers = (uint32_t)tl_napi_int(env, args[2], 128),
      .slots = (uint32_t)tl_napi_int(env, args[3], 0),
      .arena_size = arena >= 0 && arena < TL_ARENA_LIMIT ? (size_t)arena : 0};
  int failed = k->sockets.arena ? -EALREADY
                                : tl_sockets_open(&k->sockets, &options, k->crew.eventfd);
  if (failed) return tl_napi_throw_errno(env, "cannot map memory for sockets", -failed);
  failed = tl_kernel_watch_ready(k);
  if (failed) return tl_napi_throw_errno(env, "cannot watch sockets", -failed);

  const struct tl_ring* const r = &k->sockets.ring;
  napi_value result;
  napi_value address;
  TL_TRY(env, napi_create_object(env, &result));
  tl_napi_set(env, result, "rings", tl_kernel_memory(env, k, r->rings, r->rings_size));
  tl_napi_set(env, result, "sqes", tl_kernel_memory(env, k, r->sqes, r->sqes_size));
  tl_napi_set(env, result, "arena",
              tl_kernel_memory(env, k, k->sockets.arena, k->sockets.arena_size));
  TL_TRY(env, napi_create_bigint_uint64(env, (uint64_t)(uintptr_t)k->sockets.arena, &address));
  tl_napi_set(env, result, "arenaAddress", address);
  struct {
    const char* name;
    uint32_t value;
  } const numbers[] = {{"ready", k->sockets.ready != NULL}, {"sqEntries", r->sq_entries},
                       {"cqEntries", r->cq_entries},        {"sqHead", r->sq_head},
                       {"sqTail", r->sq_tail},              {"sqFlags", r->sq_flags},
                       {"cqHead", r->cq_head},              {"cqTail", r->cq_tail},
                       {"cqFlags", r->cq_flags},            {"cqes", r->cqes},
                       {"descriptors", TL_SOCKETS_BUFFER_RING}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    tl_napi_set_number(env, result, numbers[i].name, numbers[i].value);
  return result;
}

/* socketsEnter(submit, flags): what was taken, or -errno. */
static napi_value sockets_enter(napi_env env, napi_callback_info info) {
  napi_value args[2];
  struct tl_binding* const b = tl_method_args(env, info, 2, args);
  if (!b) return NULL;
  return tl_napi_from_int(
      env, tl_sockets_enter(&b->kernel->sockets, (uint32_t)tl_napi_int(env, args[0], 0),
                            (uint32_t)tl_napi_int(env, args[1], 0)));
}

/* socketsAcceptAll(fd, first, count): how many. */
static napi_value sockets_accept_all(napi_env env, napi_callback_info info) {
  napi_value args[3];
  struct tl_binding* const b = tl_method_args(env, info, 3, args);
  if (!b) return NULL;
  return tl_napi_from_int(
      env, tl_sockets_accept_all(&b->kernel->sockets, tl_napi_int(env, args[0], -1),
                                 (uint32_t)tl_napi_int(env, args[1], 0),
                                 (uint32_t)tl_napi_int(env, args[2], 0)));
}

/* trap(id): runs a filled entry at once, on this thread: setting up a socket has nothing to
 * batch. Only for calls that do not block. */
static napi_value trap(napi_env env, napi_callback_info info) {
  napi_value args[1];
  struct tl_binding* const b = tl_method_args(env, info, 1, args);
  if (!b) return NULL;
  const struct tl_desk* const desk = &b->kernel->crew.desk;
  uint32_t const id = (uint32_t)tl_napi_int(env, args[0], -1);
  if (id < desk->pages_max * TL_ENTRIES_PER_PAGE) tl_chain_run(desk, id);
  else napi_throw_range_error(env, NULL, "trapless: there is no such entry");
  return NULL;
}

/* fileAtHand(fd, position, length) */
static napi_value file_at_hand(napi_env env, napi_callback_info info) {
  napi_value args[3];
  size_t argc = 3;
  TL_TRY(env, napi_get_cb_info(env, info, &argc, args, NULL, NULL));
  int64_t const bytes = tl_file_at_hand(tl_napi_int(env, args[0], -1),
                                        (int64_t)tl_napi_number(env, args[1], -1),
                                        (int64_t)tl_napi_number(env, args[2], 0));
  return tl_napi_from_double(env, (double)bytes);
}

/* sendFile(socket, fd, position, length) */
static napi_value send_file(napi_env env, napi_callback_info info) {
  napi_value args[4];
  size_t argc = 4;
  TL_TRY(env, napi_get_cb_info(env, info, &argc, args, NULL, NULL));
  int64_t const sent = tl_send_file(tl_napi_int(env, args[0], -1), tl_napi_int(env, args[1], -1),
                                    (int64_t)tl_napi_number(env, args[2], -1),
                                    (int64_t)tl_napi_number(env, args[3], 0));
  return tl_napi_from_double(env, (double)sent);
}

void tl_sockets_bind(napi_env env, napi_value object, struct tl_binding* b) {
  tl_add_method(env, object, "socketsOpen", sockets_open, b);
  tl_add_method(env, object, "socketsEnter", sockets_enter, b);
  tl_add_method(env, object, "socketsAcceptAll", sockets_accept_all, b);
  tl_add_method(env, object, "trap", trap, b);
}

void tl_send_file_bind(napi_env env, napi_value exports) {
  tl_napi_set_function(env, exports, "fileAtHand", file_at_hand, NULL);
  tl_napi_set_function(env, exports, "sendFile", send_file, NULL);
}
