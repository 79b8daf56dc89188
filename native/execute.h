/* Running one chain of syscall entries, in one of two ways:
 *
 *   tl_chain_run(desk, head)       on a crew thread: may block as long as Linux likes.
 *   tl_chain_try(desk, head, mind) on the JS thread: only what Linux answers without
 *                                  blocking. Returns 0 where it would block: the entries
 *                                  already run keep their results, and tl_chain_run (or the
 *                                  ring) continues from the first that is not done.
 *
 * Neither allocates or takes a lock. The caller owns the chain (won submitted -> busy).
 */
#ifndef TL_EXECUTE_H
#define TL_EXECUTE_H

#include <signal.h>

#include "attempt.h"
#include "layout.h"

/* Set by a signal that ends this thread's call, because whoever posted it leaves. */
extern _Thread_local volatile sig_atomic_t tl_call_over;

/* Reads and writes: what the order TL_IO_FIRST puts first. */
int tl_is_io(uint32_t number);
/* One Linux system call: its result, or -errno. */
int64_t tl_syscall(uint32_t number, const uint64_t args[6]);
void tl_chain_run(const struct tl_desk* desk, uint32_t head);
/* No thread for it: -EAGAIN, but what must run always (closing) does. */
void tl_chain_refuse(const struct tl_desk* desk, uint32_t head);
int tl_chain_try(const struct tl_desk* desk, uint32_t head, struct tl_mind* mind);

#endif
