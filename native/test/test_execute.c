/* Does a chain do what its flags say, whoever runs it, and leave no descriptor behind? */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

#include "desk.h"

static struct desk p;
static char text[3000];
static char first[4096], second[4096];

static void begin(void) {
  desk_open(&p, 1);
  for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i % 26);
}

static void end(void) {
  desk_close(&p);
  temp_remove();
}

/* open -> pread -> pread behind it -> close at the end: readFile as src/ops/read-file.ts posts it. */
static void fill_read_file(const char* path, uint64_t first_size) {
  desk_fill(&p, 0, SYS_openat, 0, ARG(AT_FDCWD), desk_path(&p, 0, path), O_RDONLY | O_CLOEXEC);
  desk_fill(&p, 1, SYS_pread64, TL_HEAD_FD | TL_STREAM, 0, ARG(first), first_size, 0);
  desk_fill(&p, 2, SYS_pread64, TL_HEAD_FD | TL_STREAM | TL_AFTER, 0, ARG(second), sizeof second, 0);
  desk_fill(&p, 3, SYS_close, TL_HEAD_FD | TL_ALWAYS | TL_AT_EOF, 0);
  for (uint32_t id = 0; id < 3; id++) desk_link(&p, id, id + 1);
}

static void check_all_done(uint32_t count) {
  for (uint32_t id = 0; id < count; id++) CHECK_EQ(desk_status(&p, id), TL_DONE);
}

TEST(reads_a_file) {
  begin();
  temp_file(temp_path("f"), text, sizeof text);
  fill_read_file(temp_path("f"), sizeof first);
  tl_chain_run(p.desk, 0);
  check_all_done(4);
  CHECK_GE(desk_result(&p, 0), 0);
  CHECK_EQ(desk_result(&p, 1), sizeof text);
  CHECK_BYTES(first, text, sizeof text);
  CHECK_EQ(desk_result(&p, 2), 0);
  CHECK_EQ(desk_result(&p, 3), 0);
  end();
}

TEST(goes_on_behind_the_first_read) {
  begin();
  temp_file(temp_path("f"), text, sizeof text);
  fill_read_file(temp_path("f"), 1000);
  tl_chain_run(p.desk, 0);
  CHECK_EQ(desk_result(&p, 1), 1000);
  CHECK_EQ(desk_result(&p, 2), sizeof text - 1000);
  CHECK_BYTES(second, text + 1000, sizeof text - 1000);
  /* Not at the end: the descriptor stays open for whoever goes on. */
  CHECK_EQ(desk_result(&p, 3), -ECANCELED);
  CHECK_EQ(close((int)desk_result(&p, 0)), 0);
  end();
}

TEST(missing_file) {
  begin();
  fill_read_file(temp_path("none"), sizeof first);
  tl_chain_run(p.desk, 0);
  check_all_done(4);
  CHECK_EQ(desk_result(&p, 0), -ENOENT);
  for (uint32_t id = 1; id < 4; id++) CHECK_EQ(desk_result(&p, id), -ECANCELED);
  end();
}

TEST(closes_after_a_failure) {
  begin();
  fill_read_file(temp_path(""), sizeof first); /* a directory opens, and does not read */
  tl_chain_run(p.desk, 0);
  CHECK_EQ(desk_result(&p, 1), -EISDIR);
  CHECK_EQ(desk_result(&p, 2), -ECANCELED);
  CHECK_EQ(desk_result(&p, 3), 0);
  end();
}

TEST(proc_file) {
  begin();
  fill_read_file("/proc/self/stat", sizeof first);
  tl_chain_run(p.desk, 0);
  CHECK_GE(desk_result(&p, 1), 20);
  CHECK_EQ(atoi(first), getpid());
  CHECK_EQ(desk_result(&p, 2), 0);
  CHECK_EQ(desk_result(&p, 3), 0);
  end();
}

static void* write_later(void* path) {
  test_sleep_us(20000); /* without a writer, a read would find the end at once */
  int const fd = open(path, O_WRONLY | O_CLOEXEC);
  test_sleep_us(20000);
  if (write(fd, "abc", 3) != 3) abort();
  test_sleep_us(20000);
  close(fd);
  return NULL;
}

/* As if opened on the spot, O_NONBLOCK: the stream read must wait for a writer all the same. */
TEST(stream_waits_on_a_fifo) {
  begin();
  const char* const path = temp_path("fifo");
  REQUIRE(mkfifo(path, 0600) == 0);
  fill_read_file(path, sizeof first);
  desk_entry(&p, 0)->args[2] |= O_NONBLOCK;
  pthread_t writer;
  pthread_create(&writer, NULL, write_later, (void*)(uintptr_t)path);
  tl_chain_run(p.desk, 0);
  pthread_join(writer, NULL);
  CHECK_EQ(desk_result(&p, 1), 3);
  CHECK_BYTES(first, "abc", 3);
  CHECK_EQ(desk_result(&p, 2), 0);
  CHECK_EQ(desk_result(&p, 3), 0);
  end();
}

TEST(if_full_runs_only_behind_a_full_transfer) {
  begin();
  temp_file(temp_path("f"), text, sizeof text);
  for (int full = 0; full < 2; full++) {
    desk_fill(&p, 0, SYS_openat, 0, ARG(AT_FDCWD), desk_path(&p, 0, temp_path("f")), O_RDONLY);
    desk_fill(&p, 1, SYS_pread64, TL_HEAD_FD, 0, ARG(first), full ? 1000 : sizeof first, 0);
    desk_fill(&p, 2, SYS_close, TL_HEAD_FD | TL_ALWAYS | TL_IF_FULL, 0);
    desk_link(&p, 0, 1);
    desk_link(&p, 1, 2);
    tl_chain_run(p.desk, 0);
    CHECK_EQ(desk_result(&p, 2), full ? 0 : -ECANCELED);
    if (!full) close((int)desk_result(&p, 0));
  }
  end();
}

TEST(goes_on_where_another_stopped) {
  begin();
  temp_file(temp_path("f"), text, sizeof text);
  fill_read_file(temp_path("none"), sizeof first); /* opening again would fail */
  desk_entry(&p, 0)->result = open(temp_path("f"), O_RDONLY | O_CLOEXEC);
  atomic_store(&desk_entry(&p, 0)->status, TL_DONE);
  tl_chain_run(p.desk, 0);
  CHECK_EQ(desk_result(&p, 1), sizeof text);
  CHECK_EQ(desk_result(&p, 3), 0);
  end();
}

TEST(abandoned_before_it_began) {
  begin();
  int const fd = eventfd(0, EFD_NONBLOCK);
  uint64_t const one = 1;
  uint64_t count = 0;
  desk_fill(&p, 0, SYS_write, 0, ARG(fd), ARG(&one), 8);
  desk_fill(&p, 1, SYS_write, 0, ARG(fd), ARG(&one), 8);
  desk_link(&p, 0, 1);
  atomic_store(&desk_entry(&p, 0)->status, TL_ABANDONED);
  tl_chain_run(p.desk, 0);
  check_all_done(2);
  CHECK_EQ(desk_result(&p, 0), -ECANCELED);
  CHECK_EQ(desk_result(&p, 1), -ECANCELED);
  CHECK_EQ(read(fd, &count, 8), -1); /* nothing was written */
  close(fd);
  end();
}

TEST(abandoned_half_way_still_closes) {
  begin();
  temp_file(temp_path("f"), text, sizeof text);
  fill_read_file(temp_path("f"), sizeof first);
  desk_entry(&p, 0)->result = open(temp_path("f"), O_RDONLY | O_CLOEXEC);
  atomic_store(&desk_entry(&p, 0)->status, TL_DONE);
  atomic_store(&desk_entry(&p, 1)->status, TL_ABANDONED);
  memset(first, 0, sizeof first);
  tl_chain_run(p.desk, 0);
  check_all_done(4);
  CHECK_EQ(desk_result(&p, 1), -ECANCELED);
  CHECK_EQ(first[0], 0);
  CHECK_EQ(desk_result(&p, 3), 0);
  end();
}

TEST(refused_chain_still_closes) {
  begin();
  temp_file(temp_path("f"), text, sizeof text);
  fill_read_file(temp_path("f"), sizeof first);
  desk_entry(&p, 0)->result = open(temp_path("f"), O_RDONLY | O_CLOEXEC);
  atomic_store(&desk_entry(&p, 0)->status, TL_DONE);
  tl_chain_refuse(p.desk, 0);
  check_all_done(4);
  CHECK_EQ(desk_result(&p, 1), -EAGAIN);
  CHECK_EQ(desk_result(&p, 2), -ECANCELED);
  CHECK_EQ(desk_result(&p, 3), 0);
  end();
}

/* "Done" gives the entry back: whoever polls the status may fill it anew at once, and the runner
 * must not look at it again. The second call would else take the first one's link flag (and
 * ThreadSanitizer sees the race). */
static _Atomic int go;
static void* run_over_and_over(void* arg) {
  (void)arg;
  for (int i = 1; i <= 20000; i++) {
    while (atomic_load(&go) != i) sched_yield();
    tl_chain_run(p.desk, 0);
  }
  return NULL;
}

TEST(done_gives_the_entry_back) {
  begin();
  pthread_t runner;
  pthread_create(&runner, NULL, run_over_and_over, NULL);
  for (int i = 1; i <= 20000; i++) {
    desk_fill(&p, 0, TL_NUMBER_NOP, 0, 0);
    atomic_store(&go, i);
    while (desk_status(&p, 0) != TL_DONE) sched_yield();
    desk_link(&p, 0, 1);
    desk_fill(&p, 1, SYS_exit_group, 0, 99); /* must never run */
  }
  pthread_join(runner, NULL);
  CHECK_EQ(desk_status(&p, 1), TL_SUBMITTED);
  end();
}

TEST(no_operation) {
  begin();
  desk_fill(&p, 5, TL_NUMBER_NOP, 0, 0);
  tl_chain_run(p.desk, 5);
  CHECK_EQ(desk_result(&p, 5), 0);
  CHECK_EQ(desk_status(&p, 5), TL_DONE);
  end();
}

int main(int argc, char** argv) {
  if (argc > 1) test_filter = argv[1];
  RUN(no_operation);
  RUN(reads_a_file);
  RUN(goes_on_behind_the_first_read);
  RUN(missing_file);
  RUN(closes_after_a_failure);
  RUN(proc_file);
  RUN(stream_waits_on_a_fifo);
  RUN(if_full_runs_only_behind_a_full_transfer);
  RUN(goes_on_where_another_stopped);
  RUN(abandoned_before_it_began);
  RUN(abandoned_half_way_still_closes);
  RUN(refused_chain_still_closes);
  RUN(done_gives_the_entry_back);
  return summary();
}
