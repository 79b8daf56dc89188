/* The only place that looks at napi_status. Every failure of Node-API itself is a bug of ours or
 * a dying environment: throw (when that is still possible) and return null to JavaScript. */
#ifndef TL_NAPI_UTIL_H
#define TL_NAPI_UTIL_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <stdint.h>

#define TL_TRY(env, call)                                                      \
  do {                                                                         \
    if ((call) != napi_ok) {                                                   \
      tl_napi_throw_last(env, #call);                                          \
      return NULL;                                                             \
    }                                                                          \
  } while (0)

void tl_napi_throw_last(napi_env env, const char* what);
/* Throws an Error with errno and code-free message "what: strerror". Returns NULL. */
napi_value tl_napi_throw_errno(napi_env env, const char* what, int error);

int32_t tl_napi_int(napi_env env, napi_value value, int32_t otherwise);
double tl_napi_number(napi_env env, napi_value value, double otherwise);
napi_value tl_napi_from_int(napi_env env, int32_t value);
napi_value tl_napi_from_double(napi_env env, double value);
void tl_napi_set(napi_env env, napi_value object, const char* name, napi_value value);
void tl_napi_set_number(napi_env env, napi_value object, const char* name, double value);
void tl_napi_set_function(napi_env env, napi_value object, const char* name, napi_callback callback,
                          void* data);

#endif
