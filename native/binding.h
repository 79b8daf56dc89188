/* What the files that face JavaScript share: a kernel tied to its environment.
 *
 *   struct tl_binding* b = tl_method_args(env, info, 2, args);   in a method of a kernel
 *   if (!b) return NULL;                                         an exception is pending
 */
#ifndef TL_BINDING_H
#define TL_BINDING_H

#include "kernel.h"
#include "napi_util.h"

/* Owned by the kernel until it is closed, and by each of the methods, which JavaScript may keep
 * for longer. */
struct tl_binding {
  struct tl_kernel* kernel; /* null: closed */
  napi_env env;
  napi_ref drain;
  napi_async_context context; /* what the drain runs in */
  napi_async_cleanup_hook_handle hook;
  int owners;
  int draining;
};

/* Reads the arguments and finds the kernel a method is bound to. Null, with an exception
 * pending, when that kernel was closed, or is about to be: its spot and ring are gone. */
struct tl_binding* tl_method_args(napi_env env, napi_callback_info info, size_t want,
                                  napi_value* args);
void tl_add_method(napi_env env, napi_value object, const char* name, napi_callback callback,
                   struct tl_binding* b);
/* Memory of the kernel's, which lives while JavaScript can see it. */
napi_value tl_kernel_memory(napi_env env, struct tl_kernel* k, void* at, size_t size);

/* Adds the methods for sockets (sockets_binding.c). */
void tl_sockets_bind(napi_env env, napi_value object, struct tl_binding* b);
/* Adds what needs no kernel: files straight to sockets (send_file.h). */
void tl_send_file_bind(napi_env env, napi_value exports);

#endif
