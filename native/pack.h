/* Sorting a directory listing where it was read: on the syscall thread, next to getdents64.
 *
 *   bytes = getdents64(fd, block, …)          records of struct linux_dirent64
 *   tl_pack_listing(block, bytes)             the same block: struct tl_listing
 *
 * libuv sorts the names of a directory by their bytes, and so must we; done here, the sort runs
 * on the core that has the records in its cache, and JavaScript decodes one text instead of a
 * thousand records.
 */
#ifndef TL_PACK_H
#define TL_PACK_H

#include <stdint.h>

/* Read by src/ops/readdir.ts. Then count types, one byte each; then the names in byte order,
 * separated (not ended) by NUL. "." and ".." are left out. */
struct tl_listing {
  uint32_t count;
  uint32_t text_size;
  uint32_t ascii; /* no byte above 127 in any name */
};

/* Returns the bytes of the listing, or -ENOMEM. Needs no more room than the records took. */
int64_t tl_pack_listing(uint8_t* block, uint64_t bytes);

#endif
