#define _GNU_SOURCE
#include "map.h"

#include <errno.h>
#include <sys/mman.h>

/* See map.h. Reserved, not committed: pages never touched cost nothing. Aligned so that
 * no mapping crosses a 4 GiB line: TypeScript adds offsets to the low half of an address. */
uint8_t* tl_map(size_t size) {
  size_t const span = 1ull << 32;
  uint8_t* p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return NULL;
  if (((uintptr_t)p & ~(span - 1)) == (((uintptr_t)p + size - 1) & ~(span - 1))) return p;
  /* Unlucky: take twice the size, one half of it does not cross. */
  munmap(p, size);
  p = mmap(NULL, size * 2, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return NULL;
  if (((uintptr_t)p & ~(span - 1)) == (((uintptr_t)p + size - 1) & ~(span - 1))) {
    munmap(p + size, size);
    return p;
  }
  munmap(p, size);
  p += size;
  if (((uintptr_t)p & ~(span - 1)) == (((uintptr_t)p + size - 1) & ~(span - 1))) return p;
  munmap(p, size);
  errno = EINVAL; /* larger than the span itself */
  return NULL;
}
