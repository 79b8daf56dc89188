/* The memory that TypeScript, the syscall threads and Linux share.
 *
 * One kernel (one register() call) owns one mapping, the desk:
 *
 *   control | page descriptors | links | spot list | direct list | syscall pages | slots |
 *   own descriptors
 *
 * and a second one, the pool, of larger blocks. Every offset here is exported to
 * src/abi/entry.ts by the addon at load and compared there: moving a field without
 * bumping TL_ABI_VERSION makes the addon refuse to load.
 */
#ifndef TL_LAYOUT_H
#define TL_LAYOUT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define TL_ABI_VERSION 1

#define TL_PAGE_SIZE 4096
#define TL_ENTRY_SIZE 64
#define TL_ENTRIES_PER_PAGE 64
#define TL_PAGES_LIMIT 256 /* 16,384 entries: an entry id must fit the 16-bit lists below. */

/* A slot is an entry's own scratch: its path and its small result. 17 cache lines, an odd
 * number, so that the slots of a batch do not all fall into the same cache set. */
#define TL_SLOT_SIZE 1088

/* status: free -> submitted -> busy -> done -> free (FlexSC 3.2), and abandoned: the caller
 * gave up, the syscall thread still owns the entry and its memory until it says done. */
enum tl_status { TL_FREE = 0, TL_SUBMITTED = 1, TL_BUSY = 2, TL_DONE = 3, TL_ABANDONED = 4 };

/* Entry flags. A chain is a looped multi-call (FlexSC 6.1): entries joined through links[],
 * run in order by one syscall thread, results feeding arguments. */
enum tl_entry_flag {
  TL_LINK = 1,    /* another entry follows: links[id] */
  TL_HEAD_FD = 2, /* args[0] is the result of the chain's first entry */
  TL_ALWAYS = 4,  /* runs even if an earlier entry failed (closing what was opened) */
  TL_AT_EOF = 8,  /* runs only if the entry before returned 0 */
  TL_AFTER = 16,  /* args[3] (an offset) += the result of the entry before */
  TL_STREAM = 32, /* a pread that, on a pipe or terminal, waits for data and reads */
  TL_IF_FULL = 64, /* runs only if the entry before transferred all of its args[2], or failed */
  TL_FOR_CREW = 128 /* set on the spot: its file does not know RWF_NOWAIT (overlayfs), so that a ring
                       would only hand it to a worker of Linux's, which takes longer to wake */
};

/* Not a Linux system call: returns 0 (the no-op of FlexSC figure 9). */
#define TL_NUMBER_NOP 0xfff
/* Nor is this: sorts the listing that the entry before read (pack.h); crew only. */
#define TL_NUMBER_PACK 0xffe

/* FlexSC figure 6. */
struct tl_entry {
  _Atomic int32_t status;
  uint16_t number;
  uint8_t argc;
  uint8_t flags;
  uint64_t args[6];
  int64_t result; /* -errno when it failed */
};
_Static_assert(sizeof(struct tl_entry) == TL_ENTRY_SIZE, "an entry is one cache line");
_Static_assert(TL_ENTRY_SIZE * TL_ENTRIES_PER_PAGE == TL_PAGE_SIZE, "a page is 64 entries");
_Static_assert(offsetof(struct tl_entry, args) == 8, "read by src/abi/entry.ts");
_Static_assert(offsetof(struct tl_entry, result) == 56, "read by src/abi/entry.ts");

/* One per syscall page. Two cache lines, by who writes: requests down, completions up. */
struct tl_page_desc {
  /* JS thread sets ready bits, crew clears them; lock is the crew's page lock (FlexSC 3.6). */
  _Atomic uint32_t ready[2];
  _Atomic int32_t lock;
  int32_t pad0[13];
  /* Crew sets done bits (a chain's first entry stands for the chain), JS thread clears them. */
  _Atomic uint32_t done[2];
  int32_t pad1[14];
};
_Static_assert(sizeof(struct tl_page_desc) == 128, "two cache lines");
_Static_assert(offsetof(struct tl_page_desc, done) == 64, "read by src/abi/entry.ts");

/* The control block: 32-bit words grouped by writer, one cache line each. */
struct tl_control {
  /* JS thread writes */
  _Atomic int32_t pages_in_use;
  _Atomic int32_t order;          /* enum tl_order */
  _Atomic int32_t want_drain;     /* something is posted or waits to be delivered */
  _Atomic int32_t crew_in_flight; /* chains given to the crew, not yet harvested */
  _Atomic int32_t ring_in_flight;
  _Atomic int32_t spin_us; /* how long the loop may look for completions before it sleeps */
  _Atomic uint32_t bell_seen; /* the bell's value at the last harvest */
  int32_t pad0[9];
  /* addon, on the JS thread */
  _Atomic int32_t asleep;     /* the JS thread is (about to be) blocked: ring its eventfd */
  int32_t pad_asleep;
  _Atomic uint32_t wakes_by_eventfd;
  _Atomic uint32_t spins_won;
  _Atomic uint32_t spins_lost;
  _Atomic uint32_t spot_ns;   /* duration of the last spot batch, saturating */
  int32_t pad1[10];
  /* crew writes */
  _Atomic uint32_t bell;  /* +1 after each completed chain */
  _Atomic int32_t awake;  /* crew will look at the pages again without being woken */
  int32_t pad_awake;
  _Atomic uint32_t crew_chains;
  _Atomic uint32_t crew_handoffs;
  _Atomic uint32_t crew_wakes;
  _Atomic uint32_t crew_pages_locked;
  _Atomic uint32_t crew_second_core; /* batches taken by a core other than the first */
  int32_t pad2[8];
};
_Static_assert(sizeof(struct tl_control) == 192, "three cache lines");
_Static_assert(offsetof(struct tl_control, asleep) == 64, "read by src/abi/entry.ts");
_Static_assert(offsetof(struct tl_control, bell) == 128, "read by src/abi/entry.ts");

/* Which submitted entry goes first (FlexSC 7 leaves this open). */
enum tl_order { TL_AS_FOUND = 0, TL_GROUPED = 1, TL_IO_FIRST = 2 };

#define TL_NO_LINK 0xffff

/* A bit for each descriptor that is closed with its thread: src/kernel/own-descriptors.ts. More
 * than any process has, and untouched memory costs nothing. */
#define TL_OWN_DESCRIPTORS_MAX (1u << 20)

/* Where the parts of a desk lie. All sizes in bytes. */
struct tl_desk {
  uint8_t* base;
  size_t size;
  uint32_t pages_max;
  struct tl_control* control;
  struct tl_page_desc* descs;
  uint16_t* links;
  uint16_t* spot_list;   /* entries to try on the spot, in order */
  uint16_t* direct_list; /* entries whose buffer is the caller's own, for one spot batch */
  struct tl_entry* entries;
  uint8_t* slots;
  uint32_t* own_descriptors;
};

static inline size_t tl_round(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Fills in d's pointers for pages_max pages at base (base may be null: sizes only). */
static inline size_t tl_desk_lay_out(struct tl_desk* d, uint8_t* base, uint32_t pages_max) {
  size_t const entries = (size_t)pages_max * TL_ENTRIES_PER_PAGE;
  size_t at = 0;
  d->base = base;
  d->pages_max = pages_max;
  d->control = (struct tl_control*)(void*)(base + at);
  at = tl_round(at + sizeof(struct tl_control), 256);
  d->descs = (struct tl_page_desc*)(void*)(base + at);
  at += sizeof(struct tl_page_desc) * pages_max;
  d->links = (uint16_t*)(void*)(base + at);
  at += sizeof(uint16_t) * entries;
  d->spot_list = (uint16_t*)(void*)(base + at);
  at += sizeof(uint16_t) * entries;
  d->direct_list = (uint16_t*)(void*)(base + at);
  at = tl_round(at + sizeof(uint16_t) * entries, TL_PAGE_SIZE);
  d->entries = (struct tl_entry*)(void*)(base + at);
  at += TL_ENTRY_SIZE * entries;
  d->slots = base + at;
  at = tl_round(at + (size_t)TL_SLOT_SIZE * entries, TL_PAGE_SIZE);
  d->own_descriptors = (uint32_t*)(void*)(base + at);
  at += TL_OWN_DESCRIPTORS_MAX / 8;
  d->size = tl_round(at, TL_PAGE_SIZE);
  return d->size;
}

#endif
