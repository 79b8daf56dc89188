/* Bytes of a file straight to a socket, as far as nothing has to be waited for: what is behind
 * src/node/net/file-pipe.ts. Both calls are made on the JS thread and return at once.
 *
 *   tl_file_at_hand(fd, position, length)      so many bytes, from there on, lie in memory
 *   tl_send_file(socket, fd, position, length) so many have left, or -errno
 *
 * A position of -1 is the file's own.
 */
#ifndef TL_SEND_FILE_H
#define TL_SEND_FILE_H

#include <stdint.h>

int64_t tl_file_at_hand(int fd, int64_t position, int64_t length);
int64_t tl_send_file(int socket, int fd, int64_t position, int64_t length);

#endif
