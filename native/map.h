/* Anonymous memory for what TypeScript, the syscall threads and Linux share.
 *
 *   uint8_t* p = tl_map(size);   null: errno; given back with munmap(p, size)
 */
#ifndef TL_MAP_H
#define TL_MAP_H

#include <stddef.h>
#include <stdint.h>

uint8_t* tl_map(size_t size);

#endif
