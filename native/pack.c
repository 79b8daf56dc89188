/* See pack.h. The sort: names mostly share a beginning ("file0001", "file0002"), so the keys are
 * the eight bytes behind what all of them share; a radix sort orders those, and only names whose
 * keys are equal are compared as text. */
#include "pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct record { /* struct linux_dirent64, getdents64(2) */
  uint64_t ino;
  int64_t off;
  uint16_t size;
  uint8_t type;
  char name[];
};

struct name {
  uint64_t key;
  const char* text;
  uint16_t length;
  uint8_t type;
};

static int is_dot(const char* name) {
  return name[0] == '.' && (name[1] == 0 || (name[1] == '.' && name[2] == 0));
}

static uint32_t read_records(const uint8_t* block, uint64_t bytes, struct name* names) {
  uint32_t count = 0;
  for (uint64_t at = 0; at < bytes;) {
    const struct record* const r = (const void*)(block + at);
    if (!is_dot(r->name))
      names[count++] = (struct name){
          .text = r->name, .length = (uint16_t)strlen(r->name), .type = r->type};
    at += r->size;
  }
  return count;
}

static size_t shared_beginning(const struct name* names, uint32_t count) {
  size_t shared = count ? names[0].length : 0;
  for (uint32_t i = 1; i < count && shared; i++) {
    size_t n = 0;
    while (n < shared && names[i].text[n] == names[0].text[n]) n++;
    shared = n;
  }
  return shared;
}

/* Big-endian, so that comparing numbers compares bytes from the left. */
static void set_keys(struct name* names, uint32_t count, size_t from) {
  for (uint32_t i = 0; i < count; i++) {
    uint64_t key = 0;
    const uint8_t* text = (const uint8_t*)names[i].text + from;
    for (int n = 0; n < 8; n++) {
      key = key << 8 | *text;
      if (*text) text++;
    }
    names[i].key = key;
  }
}

/* Least significant byte first; bytes in which all keys agree are skipped. Returns where the
 * result is: names or spare. */
static struct name* sort_by_key(struct name* names, struct name* spare, uint32_t count) {
  uint64_t differing = 0;
  for (uint32_t i = 1; i < count; i++) differing |= names[i].key ^ names[0].key;
  for (unsigned shift = 0; shift < 64; shift += 8) {
    if (!((differing >> shift) & 0xff)) continue;
    uint32_t starts[257] = {0};
    for (uint32_t i = 0; i < count; i++) starts[((names[i].key >> shift) & 0xff) + 1]++;
    for (unsigned b = 0; b < 256; b++) starts[b + 1] += starts[b];
    for (uint32_t i = 0; i < count; i++)
      spare[starts[(names[i].key >> shift) & 0xff]++] = names[i];
    struct name* const sorted = spare;
    spare = names;
    names = sorted;
  }
  return names;
}

static int compare_text(const void* a, const void* b) {
  return strcmp(((const struct name*)a)->text, ((const struct name*)b)->text);
}

static void sort_equal_keys(struct name* names, uint32_t count) {
  for (uint32_t from = 0; from < count;) {
    uint32_t to = from + 1;
    while (to < count && names[to].key == names[from].key) to++;
    if (to - from > 1) qsort(names + from, to - from, sizeof *names, compare_text);
    from = to;
  }
}

/* Writes types and text into out; the names still lie in the block, so out is another place. */
static uint32_t write_listing(const struct name* names, uint32_t count, uint8_t* out) {
  uint8_t* text = out + count;
  for (uint32_t i = 0; i < count; i++) {
    out[i] = names[i].type;
    if (i) *text++ = 0;
    memcpy(text, names[i].text, names[i].length);
    text += names[i].length;
  }
  return (uint32_t)(text - out) - count;
}

static uint32_t all_ascii(const uint8_t* text, uint32_t size) {
  uint8_t seen = 0;
  for (uint32_t i = 0; i < size; i++) seen |= text[i];
  return seen < 128;
}

int64_t tl_pack_listing(uint8_t* block, uint64_t bytes) {
  /* A record is at least 24 bytes, its name and NUL included. */
  size_t const most = bytes / 24 + 1;
  struct name* const names = malloc(sizeof *names * most * 2 + bytes);
  if (!names) return -ENOMEM;
  uint8_t* const out = (uint8_t*)(names + most * 2);
  uint32_t const count = read_records(block, bytes, names);
  set_keys(names, count, shared_beginning(names, count));
  struct name* const sorted = sort_by_key(names, names + most, count);
  sort_equal_keys(sorted, count);

  struct tl_listing head = {.count = count};
  head.text_size = write_listing(sorted, count, out);
  head.ascii = all_ascii(out + count, head.text_size);
  memcpy(block, &head, sizeof head);
  memcpy(block + sizeof head, out, count + head.text_size);
  free(names);
  return (int64_t)(sizeof head + count + head.text_size);
}
