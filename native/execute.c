/* See execute.h. */
#define _GNU_SOURCE
#include "execute.h"
#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int64_t tl__raw(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                       uint64_t f) {
  long const result = syscall(number, a, b, c, d, e, f);
  return result == -1 ? -(int64_t)errno : (int64_t)result;
}

int tl_is_io(uint32_t number) {
  return number == SYS_read || number == SYS_write || number == SYS_pread64 ||
         number == SYS_pwrite64 || number == SYS_readv || number == SYS_writev;
}

int64_t tl_syscall(uint32_t number, const uint64_t args[6]) {
  if (number == TL_NUMBER_NOP) return 0;
  if (number == TL_NUMBER_PACK)
    return tl_pack_listing((uint8_t*)(uintptr_t)args[0], args[3]);
  return tl__raw((long)number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* --- Chains ------------------------------------------------------------------------------ */

struct tl__step {
  struct tl_entry* entry;
  int64_t head_result;     /* of the chain's first entry, once that is done */
  int64_t previous_result; /* of the entry before this one */
  uint64_t previous_length; /* what the entry before this one was asked to transfer */
  int failed;              /* an entry before this one failed */
};

/* Whether this entry runs at all, given what went before. */
static int tl__step_runs(const struct tl__step* s, int is_head) {
  uint8_t const flags = s->entry->flags;
  if (is_head) return 1;
  if ((flags & TL_HEAD_FD) && s->head_result < 0) return 0;
  if ((flags & TL_AT_EOF) && s->previous_result != 0 && !s->failed) return 0;
  if ((flags & TL_IF_FULL) && !s->failed && s->previous_result != (int64_t)s->previous_length)
    return 0;
  if (s->failed && !(flags & TL_ALWAYS)) return 0;
  return 1;
}

static void tl__step_args(const struct tl__step* s, int is_head, uint64_t args[6]) {
  memcpy(args, s->entry->args, sizeof(uint64_t) * 6);
  if (is_head) return;
  if (s->entry->flags & TL_HEAD_FD) args[0] = (uint64_t)s->head_result;
  if ((s->entry->flags & TL_AFTER) && s->previous_result > 0)
    args[3] += (uint64_t)s->previous_result;
}

/* Walks a chain; attempt() answers an entry or says why it does not. Returns 1 when all done. */
static int tl__chain_walk(const struct tl_desk* desk, uint32_t head, struct tl_mind* mind,
                          int64_t (*attempt)(const struct tl_entry*, const uint64_t*,
                                             struct tl_mind*)) {
  struct tl__step s = {.entry = &desk->entries[head]};
  for (uint32_t id = head;;) {
    s.entry = &desk->entries[id];
    int const is_head = id == head;
    int64_t result = s.entry->result;
    uint64_t const length = s.entry->args[2];
    int const linked = s.entry->flags & TL_LINK;
    uint32_t const next = desk->links[id];
    int32_t const status = atomic_load_explicit(&s.entry->status, memory_order_relaxed);
    /* A chain that was begun elsewhere: skip what has its result already. */
    if (status != TL_DONE) {
      /* The caller gave up before this entry was begun: what must be closed is, nothing else. */
      if (status == TL_ABANDONED) s.failed = 1;
      result = -ECANCELED;
      if (tl__step_runs(&s, is_head) && !(is_head && status == TL_ABANDONED)) {
        uint64_t args[6];
        tl__step_args(&s, is_head, args);
        result = attempt(s.entry, args, mind);
        if (result == TL_NEEDS_THREAD) s.entry->flags |= TL_FOR_CREW;
        if (result == TL_WOULD_BLOCK || result == TL_NEEDS_THREAD) return 0;
      }
      s.entry->result = result;
      /* Pairs with status() in src/page/: the result first, then done. From here on the entry
       * is the poster's again: it may be free, or another call, before we look. */
      atomic_store_explicit(&s.entry->status, TL_DONE, memory_order_release);
    }
    if (is_head) s.head_result = result;
    if (result < 0 && result != -ECANCELED) s.failed = 1;
    s.previous_result = result;
    s.previous_length = length;
    if (!linked) return 1;
    id = next;
  }
}

/* --- May block --------------------------------------------------------------------------- */

_Thread_local volatile sig_atomic_t tl_call_over;

/* A pread on something that cannot seek. The file may have been opened O_NONBLOCK by the
 * attempt on the JS thread; poll() then stands for the wait that a blocking open does: on a
 * FIFO it reports nothing until a writer has come (data) and gone (hang-up). */
static int64_t tl__read_stream(const uint64_t args[6]) {
  int const fd = (int)args[0];
  int const flags = fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK)) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    tl_call_over = 0;
    /* A change of credentials signals every thread; a blocking open would go on waiting. */
    while (poll(&p, 1, -1) < 0)
      if (errno != EINTR || tl_call_over) return -(int64_t)errno;
    fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
  return tl__raw(SYS_read, args[0], args[1], args[2], 0, 0, 0);
}

static int64_t tl__run_entry(const struct tl_entry* entry, const uint64_t args[6]) {
  int64_t const result = tl_syscall(entry->number, args);
  if (result == -ESPIPE && (entry->flags & TL_STREAM)) return tl__read_stream(args);
  return result;
}

static int64_t tl__attempt_blocking(const struct tl_entry* entry, const uint64_t* args,
                                    struct tl_mind* mind) {
  int const in_chain = entry->flags & (TL_LINK | TL_HEAD_FD);
  if (in_chain && entry->number == SYS_openat) tl_mind_opens(mind, args[0], args[1]);
  /* What asks for the bytes behind the end needs no call. */
  if (mind->at_end && (entry->flags & TL_AFTER)) return 0;
  int64_t const r = tl__run_entry(entry, args);
  if (in_chain && entry->number == SYS_pread64) tl_mind_read(mind, args[0], r, args[2]);
  return r;
}

void tl_chain_run(const struct tl_desk* desk, uint32_t head) {
  struct tl_mind mind = {0};
  tl_mind_begin(&mind, desk);
  tl__chain_walk(desk, head, &mind, tl__attempt_blocking);
}

static int64_t tl__attempt_refused(const struct tl_entry* entry, const uint64_t* args,
                                   struct tl_mind* mind) {
  (void)mind;
  return entry->flags & TL_ALWAYS ? tl_syscall(entry->number, args) : -EAGAIN;
}

void tl_chain_refuse(const struct tl_desk* desk, uint32_t head) {
  tl__chain_walk(desk, head, NULL, tl__attempt_refused);
}

/* --- Must not block: attempt.c ------------------------------------------------------------- */

int tl_chain_try(const struct tl_desk* desk, uint32_t head, struct tl_mind* mind) {
  tl_mind_begin(mind, desk);
  return tl__chain_walk(desk, head, mind, tl_attempt_now);
}
