/* On the spot: is everything that may block passed on, at once, and the rest answered? */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "../spot.h"
#include "desk.h"

static struct desk p;
static struct tl_spot spot;
static char buffer[300 * 1024];

static void begin(void) {
  desk_open(&p, 1);
  if (tl_spot_open(&spot)) abort();
}

static void end(void) {
  tl_spot_close(&spot);
  desk_close(&p);
  temp_remove();
}

/* 1: answered. Nothing here may take longer than a system call does. */
static int try_one(uint32_t id) {
  p.desk->spot_list[0] = (uint16_t)id;
  uint64_t const started = test_now_ns();
  uint32_t const done = tl_spot_run(&spot, p.desk, 1);
  CHECK_LE(test_now_ns() - started, 1000000000);
  if (!(desk_entry(&p, id)->flags & TL_LINK)) CHECK_EQ(done, desk_status(&p, id) == TL_DONE);
  return (int)done;
}

static int try_open(const char* path, int flags) {
  desk_fill(&p, 0, SYS_openat, 0, ARG(AT_FDCWD), desk_path(&p, 0, path), ARG(flags), 0600);
  return try_one(0);
}

static int try_stat(const char* path) {
  static struct { uint8_t bytes[256]; } out;
  desk_fill(&p, 0, SYS_statx, 0, ARG(AT_FDCWD), desk_path(&p, 0, path), 0, 0xfff, ARG(&out));
  return try_one(0);
}

TEST(stat_of_a_cached_path) {
  begin();
  CHECK_EQ(try_stat("/"), 1);
  CHECK_EQ(desk_result(&p, 0), 0);
  CHECK_GE(atomic_load(&p.desk->control->spot_ns), 1);
  end();
}

TEST(uncached_path_passes_on) {
  begin();
  struct statfs fs;
  statfs(temp_path(""), &fs);
  if (fs.f_type == 0x01021994) SKIP("the temporary directory is tmpfs, where every name is cached");
  char name[64];
  snprintf(name, sizeof name, "never-%d-%llu", getpid(), (unsigned long long)test_now_ns());
  const char* const path = temp_path(name);
  CHECK_EQ(try_stat(path), 0); /* the directory would have to be read */
  CHECK_EQ(desk_status(&p, 0), TL_SUBMITTED);
  CHECK_EQ(access(path, F_OK), -1);
  CHECK_EQ(try_stat(path), 1); /* now Linux knows that there is none */
  CHECK_EQ(desk_result(&p, 0), -ENOENT);
  end();
}

TEST(lone_open_of_a_fifo_passes_on) {
  begin();
  mkfifo(temp_path("fifo"), 0600);
  CHECK_EQ(try_open(temp_path("fifo"), O_RDONLY | O_CLOEXEC), 0);
  end();
}

TEST(chain_on_a_fifo_stops_at_the_read) {
  begin();
  mkfifo(temp_path("fifo"), 0600);
  desk_fill(&p, 0, SYS_openat, 0, ARG(AT_FDCWD), desk_path(&p, 0, temp_path("fifo")), O_CLOEXEC);
  desk_fill(&p, 1, SYS_pread64, TL_HEAD_FD | TL_STREAM, 0, ARG(buffer), 100, 0);
  desk_link(&p, 0, 1);
  CHECK_EQ(try_one(0), 0);
  CHECK_EQ(desk_status(&p, 0), TL_DONE);
  CHECK_EQ(desk_status(&p, 1), TL_SUBMITTED);
  close((int)desk_result(&p, 0));
  end();
}

TEST(lone_open_blocks_later_reads_as_asked) {
  begin();
  temp_file(temp_path("f"), "x", 1);
  REQUIRE(try_open(temp_path("f"), O_RDONLY | O_CLOEXEC | O_APPEND) == 1);
  int const fd = (int)desk_result(&p, 0);
  CHECK_EQ(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_APPEND), O_APPEND);
  CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
  close(fd);
  end();
}

/* Opening waits for the holder of a lease, up to /proc/sys/fs/lease-break-time: 45 s. */
TEST(leased_file_passes_on) {
  begin();
  temp_file(temp_path("f"), "x", 1);
  signal(SIGIO, SIG_IGN);
  int const fd = open(temp_path("f"), O_RDWR | O_CLOEXEC);
  if (fcntl(fd, F_SETLEASE, F_WRLCK)) SKIP("this filesystem has no leases");
  CHECK_EQ(try_open(temp_path("f"), O_RDONLY | O_CLOEXEC), 0);
  close(fd);
  end();
}

TEST(opens_that_write_pass_on) {
  begin();
  temp_file(temp_path("f"), "x", 1);
  int const flags[] = {O_WRONLY, O_RDWR, O_RDONLY | O_CREAT, O_RDONLY | O_TRUNC};
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
    CHECK_EQ(try_open(temp_path("f"), flags[i]), 0);
  CHECK_EQ(try_open(temp_path(""), O_TMPFILE | O_RDWR), 0);
  end();
}

static int no_device_blocks(uint32_t major, uint32_t minor) {
  (void)major;
  (void)minor;
  return 0;
}
static int every_device_blocks(uint32_t major, uint32_t minor) {
  (void)major;
  (void)minor;
  return 1;
}

/* A filesystem that may block is mounted somewhere: the device decides, opens never run here. */
TEST(careful) {
  begin();
  CHECK_EQ(try_stat("/"), 1); /* looks at the mounts; not again within this second */
  spot.mounts_checked = test_now_ns() / 1000000000u + 1;
  for (int blocks = 0; blocks < 2; blocks++) {
    uint64_t const second = test_now_ns() / 1000000000u;
    spot.mounts_checked = second;
    spot.mind.careful = 1;
    spot.mind.device_blocks = blocks ? every_device_blocks : no_device_blocks;
    int const answered = try_stat("/usr");
    if (spot.mounts_checked == second) CHECK_EQ(answered, !blocks);
  }
  spot.mounts_checked = test_now_ns() / 1000000000u;
  spot.mind.careful = 1;
  CHECK_EQ(try_open("/", O_RDONLY | O_DIRECTORY), spot.mind.careful ? 0 : 1);
  if (!spot.mind.careful) close((int)desk_result(&p, 0));
  end();
}

static uint32_t known_paths(void) {
  uint32_t known = 0;
  for (size_t i = 0; i < TL_KNOWN_PATHS; i++) known += spot.mind.known_paths[i * 2] != 0;
  return known;
}

TEST(paths_are_known_for_a_while) {
  begin();
  if (spot.mind.careful) SKIP("a filesystem that may block is mounted: nothing is remembered");
  CHECK_EQ(try_stat("/"), 1);
  if (spot.mind.careful) SKIP("a filesystem that may block is mounted: nothing is remembered");
  CHECK_EQ(known_paths(), 1);
  CHECK_EQ(try_stat("/"), 1);
  CHECK_EQ(known_paths(), 1);
  CHECK_EQ(try_stat("/usr"), 1);
  CHECK_EQ(known_paths(), 2);
  /* Too old: asked anew. */
  for (size_t i = 0; i < TL_KNOWN_PATHS; i++) spot.mind.known_paths[i * 2 + 1] -= TL_KNOWN_SECONDS;
  uint32_t const now_s = (uint32_t)(test_now_ns() / 1000000000u);
  CHECK_EQ(try_stat("/usr"), 1);
  uint32_t fresh = 0;
  for (size_t i = 0; i < TL_KNOWN_PATHS; i++)
    fresh += spot.mind.known_paths[i * 2] && spot.mind.known_paths[i * 2 + 1] >= now_s;
  CHECK_EQ(fresh, 1);
  end();
}

/* The generic API may pass anything as a path: Linux must look at it, not we. */
TEST(foreign_pointers_pass_on) {
  begin();
  uint64_t const paths[] = {0, 1, UINT64_MAX, ARG("/")};
  uint32_t const numbers[] = {SYS_statx, SYS_faccessat, SYS_readlinkat, SYS_openat};
  for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
      desk_fill(&p, 0, numbers[n], 0, ARG(AT_FDCWD), paths[i], 0, 0, 0);
      if (numbers[n] == SYS_openat) desk_entry(&p, 0)->args[2] = O_PATH;
      int const answered = try_one(0);
      if (numbers[n] != SYS_openat) CHECK_EQ(answered, 0);
      if (answered && desk_result(&p, 0) >= 0) close((int)desk_result(&p, 0));
    }
  }
  end();
}

TEST(cached_reads_are_answered) {
  begin();
  memset(buffer, 'x', sizeof buffer);
  temp_file(temp_path("f"), buffer, sizeof buffer);
  int const fd = open(temp_path("f"), O_RDONLY | O_CLOEXEC);
  desk_fill(&p, 0, SYS_pread64, 0, ARG(fd), ARG(buffer), 256 * 1024, 0);
  CHECK_EQ(try_one(0), 1);
  CHECK_EQ(desk_result(&p, 0), 256 * 1024);
  desk_fill(&p, 0, SYS_read, 0, ARG(fd), ARG(buffer), 5);
  CHECK_EQ(try_one(0), 1);
  CHECK_EQ(desk_result(&p, 0), 5);
  CHECK_EQ(lseek(fd, 0, SEEK_CUR), 5);
  close(fd);
  end();
}

TEST(big_reads_pass_on) {
  begin();
  temp_file(temp_path("f"), "x", 1);
  int const fd = open(temp_path("f"), O_RDONLY | O_CLOEXEC);
  desk_fill(&p, 0, SYS_pread64, 0, ARG(fd), ARG(buffer), 256 * 1024 + 1, 0);
  CHECK_EQ(try_one(0), 0);
  close(fd);
  end();
}

/* A disk may be so fast that the page is there by the time that Linux looks whether to wait for it:
 * so often it is tried. */
enum { EVICTIONS = 200 };

static void evict(int fd) {
  fdatasync(fd);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* Whether Linux would have to wait for the disk now; evicted once more after that. */
static int evict_and_ask(int fd) {
  struct iovec to = {.iov_base = buffer, .iov_len = 4096};
  evict(fd);
  int const waits = preadv2(fd, &to, 1, 0, RWF_NOWAIT) < 0 && errno == EAGAIN;
  evict(fd);
  return waits;
}

TEST(uncached_reads_pass_on) {
  begin();
  temp_file(temp_path("f"), buffer, sizeof buffer);
  int const fd = open(temp_path("f"), O_RDONLY | O_CLOEXEC);
  struct statfs fs;
  fstatfs(fd, &fs);
  if (fs.f_type == 0x01021994) SKIP("the temporary directory is tmpfs, where everything is cached");
  int answered = 1;
  int waits = 0;
  for (int tries = 0; answered && tries < EVICTIONS; tries++) {
    waits += evict_and_ask(fd);
    desk_fill(&p, 0, SYS_pread64, 0, ARG(fd), ARG(buffer), 4096, 0);
    answered = try_one(0);
  }
  close(fd);
  if (answered && waits == 0) SKIP("this disk is as fast as memory, or keeps its pages");
  CHECK_EQ(answered, 0);
  end();
}

/* tmpfs refuses RWF_NOWAIT altogether, and is memory all the same. */
/* No promise of Linux' not to block there, but no pipe either: for the crew, whatever else is. */
TEST(files_without_nowait_need_a_thread) {
  begin();
  int const file = open("/proc/self/status", O_RDONLY);
  int fds[2];
  CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  uint64_t const to = (uint64_t)(uintptr_t)buffer;
  desk_fill(&p, 0, SYS_pread64, 0, (uint64_t)file, to, 100, 0);
  desk_fill(&p, 1, SYS_read, 0, (uint64_t)file, to, 100, 0);
  desk_fill(&p, 2, SYS_read, 0, (uint64_t)fds[0], to, 100, 0);
  for (uint32_t id = 0; id < 3; id++) {
    CHECK(!try_one(id));
    CHECK_EQ((desk_entry(&p, id)->flags & TL_FOR_CREW) != 0, id < 2);
  }
  close(file);
  close(fds[0]);
  close(fds[1]);
  end();
}

TEST(tmpfs_is_answered) {
  begin();
  int const fd = (int)syscall(SYS_memfd_create, "test", 1u);
  desk_fill(&p, 0, SYS_pwrite64, 0, ARG(fd), ARG("hello"), 5, 0);
  CHECK_EQ(try_one(0), 1);
  CHECK_EQ(desk_result(&p, 0), 5);
  desk_fill(&p, 0, SYS_pread64, 0, ARG(fd), ARG(buffer), 100, 0);
  CHECK_EQ(try_one(0), 1);
  CHECK_EQ(desk_result(&p, 0), 5);
  CHECK_BYTES(buffer, "hello", 5);
  close(fd);
  end();
}

/* What is remembered of a descriptor is not relied upon where another file could block. */
TEST(a_number_that_was_tmpfs) {
  begin();
  temp_file(temp_path("f"), buffer, sizeof buffer);
  int const disk = open(temp_path("f"), O_RDONLY | O_CLOEXEC);
  struct statfs fs;
  fstatfs(disk, &fs);
  if (fs.f_type == 0x01021994) SKIP("the temporary directory is tmpfs");
  int answered = 1;
  int waits = 0;
  for (int tries = 0; answered && tries < EVICTIONS; tries++) {
    int const fd = (int)syscall(SYS_memfd_create, "test", 1u);
    desk_fill(&p, 0, SYS_pread64, 0, ARG(fd), ARG(buffer), 100, 0);
    CHECK_EQ(try_one(0), 1);
    dup2(disk, fd);
    waits += evict_and_ask(disk);
    spot.mind.careful = 1;
    uint64_t const second = spot.mounts_checked;
    atomic_store(&desk_entry(&p, 0)->status, TL_SUBMITTED);
    answered = try_one(0) && spot.mounts_checked == second;
    close(fd);
  }
  close(disk);
  if (answered && waits == 0) SKIP("this disk is as fast as memory, or keeps its pages");
  CHECK_EQ(answered, 0);
  end();
}

TEST(pipes_and_sockets) {
  begin();
  int fds[2];
  REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
  desk_fill(&p, 0, SYS_read, 0, ARG(fds[0]), ARG(buffer), 10);
  CHECK_EQ(try_one(0), 0); /* empty */
  CHECK_EQ(write(fds[1], "abc", 3), 3);
  CHECK_EQ(try_one(0), 1);
  CHECK_EQ(desk_result(&p, 0), 3);
  fcntl(fds[1], F_SETPIPE_SZ, 4096);
  desk_fill(&p, 0, SYS_write, 0, ARG(fds[1]), ARG(buffer), 4096);
  CHECK_EQ(try_one(0), 1);
  atomic_store(&desk_entry(&p, 0)->status, TL_SUBMITTED);
  CHECK_EQ(try_one(0), 0); /* full */
  close(fds[0]);
  close(fds[1]);
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  desk_fill(&p, 0, SYS_read, 0, ARG(fds[0]), ARG(buffer), 10);
  CHECK_EQ(try_one(0), 0);
  close(fds[0]);
  close(fds[1]);
  end();
}

TEST(closes_only_what_was_read) {
  begin();
  temp_file(temp_path("f"), "x", 1);
  int const readable = open(temp_path("f"), O_RDONLY | O_CLOEXEC);
  int const writable = open(temp_path("f"), O_RDWR | O_CLOEXEC);
  desk_fill(&p, 0, SYS_close, 0, ARG(writable));
  CHECK_EQ(try_one(0), 0);
  desk_fill(&p, 0, SYS_close, 0, ARG(readable));
  CHECK_EQ(try_one(0), spot.mind.careful ? 0 : 1);
  if (spot.mind.careful) close(readable);
  close(writable);
  end();
}

TEST(order_of_the_batch) {
  begin();
  uint32_t const numbers[] = {SYS_getppid, SYS_read, SYS_getpid, SYS_read, SYS_getppid, SYS_write};
  uint16_t const expected[][6] = {{0, 1, 2, 3, 4, 5}, {1, 3, 5, 2, 0, 4}, {1, 3, 5, 0, 2, 4}};
  for (int order = TL_AS_FOUND; order <= TL_IO_FIRST; order++) {
    atomic_store(&p.desk->control->order, order);
    for (uint32_t i = 0; i < 6; i++) {
      desk_fill(&p, i, numbers[i], 0, ARG(-1), ARG(buffer), 1);
      p.desk->spot_list[i] = (uint16_t)i;
    }
    CHECK_EQ(tl_spot_run(&spot, p.desk, 6), 6);
    for (uint32_t i = 0; i < 6; i++) CHECK_EQ(p.desk->spot_list[i], expected[order][i]);
  }
  end();
}

TEST(looking_at_mounts_leaks_nothing) {
  begin();
  CHECK_EQ(try_stat("/"), 1);
  int const before = test_open_descriptors();
  for (int i = 0; i < 100; i++) {
    spot.mounts_checked = 0; /* as at the first look: reads */
    try_stat("/");
  }
  CHECK_EQ(test_open_descriptors(), before);
  end();
}

TEST(abandoned_is_not_begun) {
  begin();
  desk_fill(&p, 0, SYS_getppid, 0, 0);
  atomic_store(&desk_entry(&p, 0)->status, TL_ABANDONED);
  CHECK_EQ(try_one(0), 1);
  CHECK_EQ(desk_result(&p, 0), -ECANCELED);
  end();
}

int main(int argc, char** argv) {
  if (argc > 1) test_filter = argv[1];
  RUN(stat_of_a_cached_path);
  RUN(uncached_path_passes_on);
  RUN(lone_open_of_a_fifo_passes_on);
  RUN(chain_on_a_fifo_stops_at_the_read);
  RUN(lone_open_blocks_later_reads_as_asked);
  RUN(leased_file_passes_on);
  RUN(opens_that_write_pass_on);
  RUN(careful);
  RUN(paths_are_known_for_a_while);
  RUN(foreign_pointers_pass_on);
  RUN(cached_reads_are_answered);
  RUN(big_reads_pass_on);
  RUN(uncached_reads_pass_on);
  RUN(files_without_nowait_need_a_thread);
  RUN(tmpfs_is_answered);
  RUN(a_number_that_was_tmpfs);
  RUN(pipes_and_sockets);
  RUN(closes_only_what_was_read);
  RUN(order_of_the_batch);
  RUN(looking_at_mounts_leaks_nothing);
  RUN(abandoned_is_not_begun);
  return summary();
}
