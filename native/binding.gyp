{
  "targets": [
    {
      "target_name": "trapless",
      "sources": [
        "addon.c", "napi_util.c", "kernel.c", "loop.c", "crew.c", "ring.c", "spot.c", "execute.c", "attempt.c",
        "pack.c", "map.c", "sockets.c", "ready.c", "sockets_binding.c", "hypervisor.c", "hv_thread.c", "hv_switch.c",
        "hv_credit.c", "hv_queue.c", "hv_vcpu.c", "hypervisor_binding.c", "send_file.c"
      ],
      "cflags_c": ["-std=c11"],
      "cflags": [
        "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-Wno-unused-parameter",
        "-fvisibility=hidden", "-pthread"
      ],
      "cflags!": ["-Wno-unused-parameter"],
      "ldflags": ["-pthread", "-Wl,-z,nodelete"]
    }
  ]
}
