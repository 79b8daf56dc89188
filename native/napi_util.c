/* See napi_util.h. */
#include "napi_util.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void tl_napi_throw_last(napi_env env, const char* what) {
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) != napi_ok || pending) return;
  const napi_extended_error_info* info = NULL;
  napi_get_last_error_info(env, &info);
  char text[256];
  snprintf(text, sizeof text, "trapless: %s: %s", what,
           info && info->error_message ? info->error_message : "unknown Node-API failure");
  napi_throw_error(env, NULL, text);
}

napi_value tl_napi_throw_errno(napi_env env, const char* what, int error) {
  char text[256];
  snprintf(text, sizeof text, "trapless: %s: %s", what, strerror(error));
  napi_value message;
  napi_value object;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) == napi_ok &&
      napi_create_error(env, NULL, message, &object) == napi_ok) {
    tl_napi_set_number(env, object, "errno", -error);
    napi_throw(env, object);
  }
  return NULL;
}

int32_t tl_napi_int(napi_env env, napi_value value, int32_t otherwise) {
  int32_t result = otherwise;
  return napi_get_value_int32(env, value, &result) == napi_ok ? result : otherwise;
}

double tl_napi_number(napi_env env, napi_value value, double otherwise) {
  double result = otherwise;
  return napi_get_value_double(env, value, &result) == napi_ok ? result : otherwise;
}

napi_value tl_napi_from_int(napi_env env, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

napi_value tl_napi_from_double(napi_env env, double value) {
  napi_value result = NULL;
  napi_create_double(env, value, &result);
  return result;
}

void tl_napi_set(napi_env env, napi_value object, const char* name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

void tl_napi_set_number(napi_env env, napi_value object, const char* name, double value) {
  tl_napi_set(env, object, name, tl_napi_from_double(env, value));
}

void tl_napi_set_function(napi_env env, napi_value object, const char* name, napi_callback callback,
                          void* data) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data, &function) == napi_ok)
    tl_napi_set(env, object, name, function);
}
