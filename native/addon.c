/* The addon's face towards TypeScript: src/native/addon.ts declares these functions, and nothing
 * but argument handling happens here. open() returns an object whose methods are bound to one
 * struct tl_kernel; the module's own functions concern the process. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "binding.h"
#include "hypervisor_binding.h"

static void binding_release(struct tl_binding* b) {
  if (--b->owners == 0) free(b);
}

struct tl_binding* tl_method_args(napi_env env, napi_callback_info info, size_t want,
                                  napi_value* args) {
  size_t count = want;
  void* data = NULL;
  TL_TRY(env, napi_get_cb_info(env, info, &count, args, NULL, &data));
  struct tl_binding* const b = data;
  if (b->kernel && !b->kernel->closing) return b;
  napi_throw_error(env, NULL, "trapless: this kernel was closed; register() a new one");
  return NULL;
}

/* --- Draining ------------------------------------------------------------------------------ */

static void forget_context(struct tl_binding* b) {
  if (b->context) napi_async_destroy(b->env, b->context);
  b->context = NULL;
}

/* One crossing into JavaScript per harvest. An exception thrown by a user's callback goes where
 * Node's own would (uncaughtException); if the program survives it, the harvest goes on. */
static int drain_once(struct tl_binding* b, int* left) {
  napi_env const env = b->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return 0;
  int again = 0;
  napi_value function = NULL;
  napi_value receiver = NULL;
  napi_value result = NULL;
  napi_get_global(env, &receiver);
  if (napi_get_reference_value(env, b->drain, &function) == napi_ok && function) {
    napi_status const status = napi_call_function(env, receiver, function, 0, NULL, &result);
    if (status == napi_ok) {
      *left = tl_napi_int(env, result, 0);
    } else {
      bool pending = false;
      napi_value error;
      napi_is_exception_pending(env, &pending);
      if (pending && napi_get_and_clear_last_exception(env, &error) == napi_ok) {
        napi_valuetype type = napi_undefined;
        napi_typeof(env, error, &type);
        /* undefined: reported already, where its async scope was (src/node/forms.ts) */
        if (type != napi_undefined) napi_fatal_exception(env, error);
        again = 1;
      }
    }
  }
  napi_close_handle_scope(env, scope);
  return again;
}

static int drain(struct tl_kernel* k) {
  struct tl_binding* const b = k->data;
  napi_env const env = b->env;
  int left = 0;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return 0;
  /* In a callback scope: without one, a call from C++ into JavaScript within a callback (TLS does
   * so) would take itself for the outermost and run the tick queue in the middle of it. The drain
   * runs the tick queue itself. One scope for all that is done by now: its end runs the tick queue,
   * too, and after a callback that throws, Node's own next callback comes before that. */
  napi_callback_scope callback_scope = NULL;
  napi_open_callback_scope(env, NULL, b->context, &callback_scope);
  b->draining = 1;
  while (!k->closing && drain_once(b, &left)) {
  }
  /* After the exceptions: the scope checks the stack of async ids. A nextTick that throws leaves one
   * there, and reporting the exception clears them. */
  if (callback_scope) napi_close_callback_scope(env, callback_scope);
  b->draining = 0;
  if (!b->drain) forget_context(b); /* a callback closed the kernel */
  napi_close_handle_scope(env, scope);
  return left;
}

/* --- Life ---------------------------------------------------------------------------------- */

static void on_memory_collected(napi_env env, void* data, void* hint) {
  (void)env;
  (void)data;
  tl_kernel_release(hint);
}

static void on_closed(struct tl_kernel* k) {
  struct tl_binding* const b = k->data;
  if (b->hook) napi_remove_async_cleanup_hook(b->hook);
  b->hook = NULL;
  b->kernel = NULL; /* the methods throw from here on */
  binding_release(b);
  tl_kernel_release(k);
}

static void on_method_collected(napi_env env, void* data, void* hint) {
  (void)env;
  (void)hint;
  binding_release(data);
}

/* The environment ends: the program, or a worker that returns or is terminated. Node waits, with
 * the loop running, until the hook is removed (on_closed). */
static void on_environment_ends(napi_async_cleanup_hook_handle hook, void* data) {
  struct tl_kernel* const k = data;
  (void)hook;
  tl_kernel_close(k, on_closed);
}

static void close_now(struct tl_binding* b) {
  if (b->drain) napi_delete_reference(b->env, b->drain);
  b->drain = NULL;
  if (!b->draining) forget_context(b);
  tl_kernel_close(b->kernel, on_closed);
}

static napi_value kernel_close(napi_env env, napi_callback_info info) {
  void* data = NULL;
  TL_TRY(env, napi_get_cb_info(env, info, NULL, NULL, NULL, &data));
  struct tl_binding* const b = data;
  if (b->kernel && !b->kernel->closing) close_now(b);
  return NULL;
}

/* --- Methods of a kernel ------------------------------------------------------------------- */

/* spot(count, direct, views): 1 when the loop has other work. The views are the buffers of the entries in direct_list. Their
 * addresses are valid during this call only: JavaScript, which could move or detach them, does
 * not run meanwhile. */
static napi_value kernel_spot(napi_env env, napi_callback_info info) {
  napi_value args[3];
  struct tl_binding* const b = tl_method_args(env, info, 3, args);
  if (!b) return NULL;
  struct tl_kernel* const k = b->kernel;
  const struct tl_desk* const desk = &k->crew.desk;
  uint32_t const count = (uint32_t)tl_napi_int(env, args[0], 0);
  uint32_t const direct = (uint32_t)tl_napi_int(env, args[1], 0);
  for (uint32_t i = 0; i < direct; i++) {
    napi_value view;
    void* data = NULL;
    size_t length = 0;
    napi_typedarray_type type;
    TL_TRY(env, napi_get_element(env, args[2], i, &view));
    TL_TRY(env, napi_get_typedarray_info(env, view, &type, &length, &data, NULL, NULL));
    struct tl_entry* const entry = &desk->entries[desk->direct_list[i]];
    entry->args[1] = (uint64_t)(uintptr_t)data;
    if (entry->args[2] > length) entry->args[2] = length; /* detached meanwhile */
  }
  tl_spot_run(&k->spot, desk, count);
  return tl_napi_from_int(env, tl_kernel_other_work(k, k->spot.ended_ns));
}

static napi_value kernel_wake(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  tl_crew_wake();
  return NULL;
}

static napi_value kernel_ref(napi_env env, napi_callback_info info) {
  napi_value args[1];
  struct tl_binding* const b = tl_method_args(env, info, 1, args);
  if (!b) return NULL;
  bool alive = false;
  napi_get_value_bool(env, args[0], &alive);
  tl_kernel_ref(b->kernel, alive);
  return NULL;
}

static napi_value kernel_other_work(napi_env env, napi_callback_info info) {
  struct tl_binding* const b = tl_method_args(env, info, 0, NULL);
  if (!b) return NULL;
  napi_value result;
  TL_TRY(env, napi_get_boolean(env, tl_kernel_other_work(b->kernel, uv_hrtime()), &result));
  return result;
}

static napi_value kernel_wait(napi_env env, napi_callback_info info) {
  napi_value args[1];
  struct tl_binding* const b = tl_method_args(env, info, 1, args);
  if (!b) return NULL;
  return tl_napi_from_int(env, tl_kernel_wait(b->kernel, tl_napi_int(env, args[0], -1)));
}

/* One of the ring's two mappings, as long as JavaScript can see it. */
struct ring_view {
  struct tl_kernel* kernel;
  size_t size;
};

static void ring_close(struct tl_kernel* k) {
  if (!tl_ring_close(&k->ring)) k->leaked = 1;
}

/* Also when the environment ends, before on_environment_ends: then the ring is still open. */
static void on_ring_collected(napi_env env, void* data, void* hint) {
  (void)env;
  struct ring_view* const view = hint;
  struct tl_kernel* const k = view->kernel;
  if (k->ring.fd >= 0 && (data == k->ring.rings || data == k->ring.sqes)) ring_close(k);
  munmap(data, view->size);
  free(view);
  tl_kernel_release(k);
}

static napi_value ring_view(napi_env env, struct tl_kernel* k, void* at, size_t size) {
  struct ring_view* const view = malloc(sizeof *view);
  if (!view) return tl_napi_throw_errno(env, "out of memory", ENOMEM);
  *view = (struct ring_view){.kernel = k, .size = size};
  napi_value result;
  k->references++;
  TL_TRY(env, napi_create_external_arraybuffer(env, at, size, on_ring_collected, view, &result));
  return result;
}

static napi_value kernel_ring_open(napi_env env, napi_callback_info info) {
  napi_value args[3];
  struct tl_binding* const b = tl_method_args(env, info, 3, args);
  if (!b) return NULL;
  struct tl_kernel* const k = b->kernel;
  struct tl_ring_options const options = {.entries = (uint32_t)tl_napi_int(env, args[0], 256),
                                          .sqpoll_cpu = tl_napi_int(env, args[1], -1),
                                          .idle_ms = (uint32_t)tl_napi_int(env, args[2], 10)};
  ring_close(k); /* one at a time */
  int const failed = tl_ring_open(&k->ring, &options, k->crew.eventfd);
  if (failed) return tl_napi_throw_errno(env, "io_uring_setup", -failed);
  uint64_t ops = 0;
  tl_ring_probe(&k->ring, &ops);

  napi_value result;
  TL_TRY(env, napi_create_object(env, &result));
  napi_value const rings = ring_view(env, k, k->ring.rings, k->ring.rings_size);
  napi_value const sqes = rings ? ring_view(env, k, k->ring.sqes, k->ring.sqes_size) : NULL;
  if (!sqes) { /* a runtime without external buffers: the ring is of no use */
    ring_close(k);
    return NULL;
  }
  tl_napi_set(env, result, "rings", rings);
  tl_napi_set(env, result, "sqes", sqes);
  struct {
    const char* name;
    uint32_t value;
  } const numbers[] = {
      {"features", k->ring.features},     {"setupFlags", k->ring.setup_flags},
      {"sqEntries", k->ring.sq_entries},  {"cqEntries", k->ring.cq_entries},
      {"sqHead", k->ring.sq_head},        {"sqTail", k->ring.sq_tail},
      {"sqFlags", k->ring.sq_flags},      {"cqHead", k->ring.cq_head},
      {"cqTail", k->ring.cq_tail},        {"cqFlags", k->ring.cq_flags},
      {"cqes", k->ring.cqes},             {"cqOverflow", k->ring.cq_overflow},
      {"opsLow", (uint32_t)ops},          {"opsHigh", (uint32_t)(ops >> 32)}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    tl_napi_set_number(env, result, numbers[i].name, numbers[i].value);
  return result;
}

static napi_value kernel_ring_enter(napi_env env, napi_callback_info info) {
  napi_value args[3];
  struct tl_binding* const b = tl_method_args(env, info, 3, args);
  if (!b) return NULL;
  int const r = tl_ring_enter(&b->kernel->ring, (uint32_t)tl_napi_int(env, args[0], 0),
                              (uint32_t)tl_napi_int(env, args[1], 0),
                              (uint32_t)tl_napi_int(env, args[2], 0));
  return tl_napi_from_int(env, r);
}

static napi_value kernel_ring_close(napi_env env, napi_callback_info info) {
  struct tl_binding* const b = tl_method_args(env, info, 0, NULL);
  if (!b) return NULL;
  ring_close(b->kernel);
  return NULL;
}

static napi_value buffer_address(napi_env env, const void* address) {
  napi_value result = NULL;
  napi_create_bigint_uint64(env, (uint64_t)(uintptr_t)address, &result);
  return result;
}

void tl_add_method(napi_env env, napi_value object, const char* name, napi_callback callback,
                   struct tl_binding* b) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, b, &function) != napi_ok) return;
  if (napi_add_finalizer(env, function, b, on_method_collected, NULL, NULL) != napi_ok) return;
  b->owners++;
  tl_napi_set(env, object, name, function);
}

static void add_methods(napi_env env, napi_value object, struct tl_binding* b) {
  struct {
    const char* name;
    napi_callback callback;
  } const methods[] = {{"spot", kernel_spot},          {"wake", kernel_wake},
                       {"ref", kernel_ref},            {"otherWork", kernel_other_work},
                       {"wait", kernel_wait},          {"ringOpen", kernel_ring_open},
                       {"ringEnter", kernel_ring_enter}, {"ringClose", kernel_ring_close},
                       {"close", kernel_close}};
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
    tl_add_method(env, object, methods[i].name, methods[i].callback, b);
  tl_sockets_bind(env, object, b);
}

/* Ties a kernel to this environment: its callback, its end, its loop. */
static int tie(napi_env env, struct tl_binding* b, napi_value drain_function, int attach) {
  uv_loop_t* loop = NULL;
  napi_value name;
  if (napi_create_string_utf8(env, "TRAPLESS", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_async_init(env, NULL, name, &b->context) != napi_ok)
    return EINVAL;
  if (napi_create_reference(env, drain_function, 1, &b->drain) != napi_ok) return EINVAL;
  if (napi_add_async_cleanup_hook(env, on_environment_ends, b->kernel, &b->hook) != napi_ok)
    return EINVAL;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return EINVAL;
  return attach ? -tl_kernel_attach(b->kernel, loop, drain) : 0;
}

napi_value tl_kernel_memory(napi_env env, struct tl_kernel* k, void* at, size_t size) {
  napi_value result = NULL;
  k->references++;
  TL_TRY(env, napi_create_external_arraybuffer(env, at, size, on_memory_collected, k, &result));
  return result;
}

/* open(pagesMax, poolBytes, drain, attach) */
static napi_value open_kernel(napi_env env, napi_callback_info info) {
  napi_value args[4];
  size_t argc = 4;
  TL_TRY(env, napi_get_cb_info(env, info, &argc, args, NULL, NULL));
  uint32_t const pages_max = (uint32_t)tl_napi_int(env, args[0], 0);
  double const pool = tl_napi_number(env, args[1], 0);
  if (pages_max < 1 || pages_max > TL_PAGES_LIMIT || !(pool >= 0 && pool <= 1e12)) {
    napi_throw_range_error(env, NULL, "trapless: pagesMax must be 1 to 256");
    return NULL;
  }
  bool attach = true;
  napi_get_value_bool(env, args[3], &attach);

  struct tl_binding* const b = calloc(1, sizeof *b);
  if (!b) return tl_napi_throw_errno(env, "out of memory", ENOMEM);
  struct tl_kernel* const k = tl_kernel_open(pages_max, (size_t)pool);
  if (!k) {
    int const reason = errno;
    free(b);
    return tl_napi_throw_errno(env, "cannot map syscall pages", reason);
  }
  *b = (struct tl_binding){.kernel = k, .env = env, .owners = 1};
  k->data = b;

  napi_value result = NULL;
  /* The memory first: where the environment ends, the hook that closes the kernel must run
   * before the memory is collected, and Node goes backwards. */
  napi_value const desk = tl_kernel_memory(env, k, k->crew.desk.base, k->crew.desk.size);
  napi_value const pool_buffer = desk ? tl_kernel_memory(env, k, k->pool, k->pool_size) : NULL;
  int failed = EINVAL;
  if (pool_buffer && napi_create_object(env, &result) == napi_ok)
    failed = tie(env, b, args[2], attach);
  if (failed) {
    close_now(b);
    bool pending = false;
    napi_is_exception_pending(env, &pending);
    return pending ? NULL : tl_napi_throw_errno(env, "cannot hook the event loop", failed);
  }

  const struct tl_desk* const d = &k->crew.desk;
  tl_napi_set(env, result, "desk", desk);
  tl_napi_set(env, result, "pool", pool_buffer);
  tl_napi_set(env, result, "deskAddress", buffer_address(env, d->base));
  tl_napi_set(env, result, "poolAddress", buffer_address(env, k->pool));
  struct {
    const char* name;
    const void* at;
  } const parts[] = {{"control", d->control}, {"descs", d->descs},
                     {"links", d->links},     {"spotList", d->spot_list},
                     {"directList", d->direct_list}, {"entries", d->entries},
                     {"slots", d->slots},
                     {"ownDescriptors", d->own_descriptors}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    tl_napi_set_number(env, result, parts[i].name,
                       (double)((const uint8_t*)parts[i].at - d->base));
  tl_napi_set_number(env, result, "ownDescriptorsMax", TL_OWN_DESCRIPTORS_MAX);
  add_methods(env, result, b);
  return result;
}

/* --- The process --------------------------------------------------------------------------- */

/* crewCores([cpu, ...]): the static list of FlexSC 3.6. */
static napi_value crew_cores(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t argc = 1;
  TL_TRY(env, napi_get_cb_info(env, info, &argc, args, NULL, NULL));
  int cpus[64];
  uint32_t count = 0;
  TL_TRY(env, napi_get_array_length(env, args[0], &count));
  if (count > 64) count = 64;
  for (uint32_t i = 0; i < count; i++) {
    napi_value cpu;
    TL_TRY(env, napi_get_element(env, args[0], i, &cpu));
    cpus[i] = tl_napi_int(env, cpu, -1);
  }
  tl_crew_cores(cpus, (int)count);
  return NULL;
}

static napi_value crew_spin(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t argc = 1;
  TL_TRY(env, napi_get_cb_info(env, info, &argc, args, NULL, NULL));
  tl_crew_spin_us(tl_napi_int(env, args[0], 0));
  return NULL;
}

static napi_value crew_status(napi_env env, napi_callback_info info) {
  (void)info;
  struct tl_crew_status const s = tl_crew_status();
  napi_value result;
  TL_TRY(env, napi_create_object(env, &result));
  tl_napi_set_number(env, result, "threads", s.threads);
  tl_napi_set_number(env, result, "idle", s.threads_idle);
  tl_napi_set_number(env, result, "most", s.threads_most);
  tl_napi_set_number(env, result, "slots", s.slots);
  return result;
}

/* systemCall(number, ...numbers): one synchronous call with plain integers, the baseline of the
 * overhead benchmark. Pointers cannot be passed: arguments are limited to 32 bits. */
static napi_value system_call(napi_env env, napi_callback_info info) {
  size_t count = 7;
  napi_value args[7];
  TL_TRY(env, napi_get_cb_info(env, info, &count, args, NULL, NULL));
  uint64_t numbers[7] = {0};
  for (size_t i = 0; i < count && i < 7; i++)
    numbers[i] = (uint64_t)(uint32_t)tl_napi_int(env, args[i], 0);
  return tl_napi_from_double(env, (double)tl_syscall((uint32_t)numbers[0], numbers + 1));
}

/* uncaughtException(error): what Node does when a callback of its own throws. Returns if the program
 * survives it. */
static napi_value uncaught_exception(napi_env env, napi_callback_info info) {
  napi_value args[1];
  size_t argc = 1;
  TL_TRY(env, napi_get_cb_info(env, info, &argc, args, NULL, NULL));
  napi_fatal_exception(env, args[0]);
  return NULL;
}

/* keepFreed(): what is freed stays the process's, up to 32 MiB, instead of being given back and
 * faulted in again page by page: with messages of 64 KiB that costs more than sending them. glibc
 * takes a large block that is freed as a sign of it; 16 MiB that are never touched cost nothing. */
static napi_value keep_freed(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  void* volatile const sign = malloc((size_t)16 << 20);
  free(sign);
  return NULL;
}

/* new Bare(): an empty object that V8 takes for one of C's. What that is good for:
 * src/http/server/bare-object.ts. */
static napi_value bare(napi_env env, napi_callback_info info) {
  napi_value self;
  TL_TRY(env, napi_get_cb_info(env, info, NULL, NULL, &self, NULL));
  return self;
}

static void define_bare(napi_env env, napi_value exports) {
  napi_value constructor;
  if (napi_define_class(env, "Bare", NAPI_AUTO_LENGTH, bare, NULL, 0, NULL, &constructor) == napi_ok)
    tl_napi_set(env, exports, "Bare", constructor);
}

/* The layout, for src/abi/entry.ts to compare with its own. */
static napi_value layout(napi_env env) {
  napi_value result;
  TL_TRY(env, napi_create_object(env, &result));
  struct {
    const char* name;
    size_t value;
  } const facts[] = {
      {"abiVersion", TL_ABI_VERSION},
      {"entrySize", TL_ENTRY_SIZE},
      {"entriesPerPage", TL_ENTRIES_PER_PAGE},
      {"slotSize", TL_SLOT_SIZE},
      {"descSize", sizeof(struct tl_page_desc)},
      {"pagesLimit", TL_PAGES_LIMIT},
      {"entryStatus", offsetof(struct tl_entry, status)},
      {"entryNumber", offsetof(struct tl_entry, number)},
      {"entryArgc", offsetof(struct tl_entry, argc)},
      {"entryFlags", offsetof(struct tl_entry, flags)},
      {"entryArgs", offsetof(struct tl_entry, args)},
      {"entryResult", offsetof(struct tl_entry, result)},
      {"descReady", offsetof(struct tl_page_desc, ready)},
      {"descDone", offsetof(struct tl_page_desc, done)},
      {"socketSlotBits", TL_SOCKET_SLOT_BITS},
      {"socketKindAccept", TL_SOCKET_KIND_ACCEPT},
      {"socketDescriptorsAt", TL_SOCKETS_BUFFER_RING},
      {"pagesInUse", offsetof(struct tl_control, pages_in_use)},
      {"order", offsetof(struct tl_control, order)},
      {"wantDrain", offsetof(struct tl_control, want_drain)},
      {"crewInFlight", offsetof(struct tl_control, crew_in_flight)},
      {"ringInFlight", offsetof(struct tl_control, ring_in_flight)},
      {"spinUs", offsetof(struct tl_control, spin_us)},
      {"bellSeen", offsetof(struct tl_control, bell_seen)},
      {"asleep", offsetof(struct tl_control, asleep)},
      {"wakesByEventfd", offsetof(struct tl_control, wakes_by_eventfd)},
      {"spinsWon", offsetof(struct tl_control, spins_won)},
      {"spinsLost", offsetof(struct tl_control, spins_lost)},
      {"spotNs", offsetof(struct tl_control, spot_ns)},
      {"bell", offsetof(struct tl_control, bell)},
      {"awake", offsetof(struct tl_control, awake)},
      {"crewChains", offsetof(struct tl_control, crew_chains)},
      {"crewHandoffs", offsetof(struct tl_control, crew_handoffs)},
      {"crewWakes", offsetof(struct tl_control, crew_wakes)},
      {"crewPagesLocked", offsetof(struct tl_control, crew_pages_locked)},
      {"crewSecondCore", offsetof(struct tl_control, crew_second_core)}};
  for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
    tl_napi_set_number(env, result, facts[i].name, (double)facts[i].value);
  return result;
}

NAPI_MODULE_INIT(/* env, exports */) {
  tl_napi_set(env, exports, "layout", layout(env));
  tl_napi_set_function(env, exports, "open", open_kernel, NULL);
  tl_napi_set_function(env, exports, "crewCores", crew_cores, NULL);
  tl_napi_set_function(env, exports, "crewSpin", crew_spin, NULL);
  tl_napi_set_function(env, exports, "crewStatus", crew_status, NULL);
  tl_napi_set_function(env, exports, "systemCall", system_call, NULL);
  tl_napi_set_function(env, exports, "uncaughtException", uncaught_exception, NULL);
  tl_napi_set_function(env, exports, "keepFreed", keep_freed, NULL);
  define_bare(env, exports);
  tl_send_file_bind(env, exports);
  tl_hypervisor_bind(env, exports);
  return exports;
}
