/* The hypervisor's face towards TypeScript (src/native/addon.ts declares it). */
#ifndef TL_HYPERVISOR_BINDING_H
#define TL_HYPERVISOR_BINDING_H

#include "napi_util.h"

/* Adds hypervisorStart … and vcpuJoin … to the addon's exports. */
void tl_hypervisor_bind(napi_env env, napi_value exports);

#endif
