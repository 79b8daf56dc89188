/* Is a listing sorted by bytes, complete, and no larger than the records it was made of? */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>

#include "../pack.h"
#include "desk.h"

#define NAMES_MAX 3000
static char names[NAMES_MAX][64];
static uint8_t block[NAMES_MAX * 96];
static uint8_t expected[sizeof block];

/* Appends a struct linux_dirent64. */
static uint64_t add_record(uint64_t at, const char* name, uint8_t type) {
  uint16_t const size = (uint16_t)((19 + strlen(name) + 1 + 7) / 8 * 8);
  memset(block + at, 0xa5, size);
  memcpy(block + at + 16, &size, 2);
  block[at + 18] = type;
  memcpy(block + at + 19, name, strlen(name) + 1);
  return at + size;
}

static int by_bytes(const void* a, const void* b) { return strcmp(a, b); }

static void check(uint32_t count) {
  uint64_t bytes = add_record(0, ".", 4);
  for (uint32_t i = 0; i < count; i++) bytes = add_record(bytes, names[i], 8);
  bytes = add_record(bytes, "..", 4);
  int64_t const size = tl_pack_listing(block, bytes);

  qsort(names, count, sizeof *names, by_bytes);
  uint64_t at = 0;
  uint32_t ascii = 1;
  for (uint32_t i = 0; i < count; i++) {
    if (i) expected[at++] = 0;
    for (const char* c = names[i]; *c; c++) {
      expected[at++] = (uint8_t)*c;
      if (*c & 0x80) ascii = 0;
    }
  }
  struct tl_listing head;
  memcpy(&head, block, sizeof head);
  CHECK_EQ(head.count, count);
  CHECK_EQ(head.text_size, at);
  CHECK_EQ(head.ascii, ascii);
  CHECK_EQ(size, sizeof head + count + at);
  CHECK_LE(size, bytes);
  for (uint32_t i = 0; i < count; i++) CHECK_EQ(block[sizeof head + i], 8);
  CHECK(memcmp(block + sizeof head + count, expected, at) == 0);
}

TEST(empty) { check(0); }

TEST(names_that_share_a_beginning) {
  for (uint32_t i = 0; i < NAMES_MAX; i++)
    snprintf(names[i], sizeof names[i], "a-rather-long-file-name-%u.txt", i * 7919u % NAMES_MAX);
  check(NAMES_MAX);
}

TEST(one_is_the_beginning_of_another) {
  for (uint32_t i = 0; i < 40; i++) {
    memset(names[i], 0, sizeof names[i]);
    memset(names[i], 'x', 1 + i * 17 % 40);
  }
  check(40);
}

TEST(any_bytes) {
  unsigned seed = 1;
  for (int round = 0; round < 50; round++) {
    uint32_t const count = (uint32_t)round * 7 + 1;
    for (uint32_t i = 0; i < count; i++) {
      memset(names[i], 0, sizeof names[i]);
      int const length = 1 + (int)(seed % 30);
      for (int c = 0; c < length; c++) {
        seed = seed * 1103515245u + 12345u;
        char const byte = (char)(seed >> 16 & (round % 2 ? 0xff : 0x3));
        names[i][c] = byte == 0 || byte == '/' || byte == '.' ? 'z' : byte;
      }
    }
    check(count);
  }
}

TEST(a_real_directory) {
  int const fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  long const bytes = syscall(SYS_getdents64, fd, block, sizeof block);
  close(fd);
  REQUIRE(bytes > 0);
  CHECK_GE(tl_pack_listing(block, (uint64_t)bytes), 100);
  struct tl_listing head;
  memcpy(&head, block, sizeof head);
  CHECK_EQ(head.count, test_count_entries("/proc/self"));
}

int main(int argc, char** argv) {
  if (argc > 1) test_filter = argv[1];
  RUN(empty);
  RUN(names_that_share_a_beginning);
  RUN(one_is_the_beginning_of_another);
  RUN(any_bytes);
  RUN(a_real_directory);
  return summary();
}
