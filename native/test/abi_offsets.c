/*
 * Prints what the C headers of this machine say about everything in src/abi/structs.ts, and a few
 * system call numbers, as lines "name value". A name is the TypeScript one: STATX.mode, SIZEOF_STATX,
 * O_CREAT; SYS.openat for a call.
 *
 *   cc -std=c11 -D_DEFAULT_SOURCE -D_FILE_OFFSET_BITS=64 abi_offsets.c -o abi_offsets && ./abi_offsets
 *
 * test/unit/abi.test.ts compiles it, runs it and compares. Constants are the kernel's own (linux/fcntl.h,
 * not fcntl.h: the C library calls O_LARGEFILE zero). Fall-backs are only for headers that lack a name.
 */
#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <asm/statfs.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <linux/uio.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* Linux 5.12 */
#endif
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x8 /* Linux 4.14 */
#endif
#ifndef AT_EACCESS
#define AT_EACCESS 0x200 /* in the kernel's headers since 5.8 */
#endif

#define NAMED(name, value) printf("%s %lld\n", name, (long long)(value))
#define CONSTANT(name) NAMED(#name, name)
#define FIELD(object, type, member, field) NAMED(object "." field, offsetof(type, member))

#define STATX(field) FIELD("STATX", struct statx, stx_##field, #field)
#define STATX_TIME(field)                                               \
  FIELD("STATX", struct statx, stx_##field.tv_sec, #field "_sec");      \
  FIELD("STATX", struct statx, stx_##field.tv_nsec, #field "_nsec")
#define STATFS(field) FIELD("STATFS", struct statfs, f_##field, #field)
/* The kernel exports no linux_dirent64; with 64-bit offsets the C library's dirent is that struct. */
#define DIRENT64(field) FIELD("DIRENT64", struct dirent, d_##field, #field)
#define OPEN_HOW(field) FIELD("OPEN_HOW", struct open_how, field, #field)
#define CALL(name) NAMED("SYS." #name, SYS_##name)

int main(void) {
  NAMED("SIZEOF_STATX", sizeof(struct statx));
  STATX(mask);
  STATX(blksize);
  STATX(attributes);
  STATX(nlink);
  STATX(uid);
  STATX(gid);
  STATX(mode);
  STATX(ino);
  STATX(size);
  STATX(blocks);
  STATX(attributes_mask);
  STATX_TIME(atime);
  STATX_TIME(btime);
  STATX_TIME(ctime);
  STATX_TIME(mtime);
  STATX(rdev_major);
  STATX(rdev_minor);
  STATX(dev_major);
  STATX(dev_minor);
  STATX(mnt_id);
  CONSTANT(STATX_BASIC_STATS);
  CONSTANT(STATX_BTIME);
  NAMED("STATX_MASK", STATX_BASIC_STATS | STATX_BTIME);

  NAMED("SIZEOF_STATFS", sizeof(struct statfs));
  STATFS(type);
  STATFS(bsize);
  STATFS(blocks);
  STATFS(bfree);
  STATFS(bavail);
  STATFS(files);
  STATFS(ffree);
  STATFS(fsid);
  STATFS(namelen);
  STATFS(frsize);
  STATFS(flags);

  DIRENT64(ino);
  DIRENT64(off);
  DIRENT64(reclen);
  DIRENT64(type);
  DIRENT64(name);

  NAMED("SIZEOF_OPEN_HOW", sizeof(struct open_how));
  OPEN_HOW(flags);
  OPEN_HOW(mode);
  OPEN_HOW(resolve);

  NAMED("SIZEOF_TIMESPEC", sizeof(struct __kernel_timespec));
  FIELD("TIMESPEC", struct __kernel_timespec, tv_sec, "sec");
  FIELD("TIMESPEC", struct __kernel_timespec, tv_nsec, "nsec");

  NAMED("SIZEOF_IOVEC", sizeof(struct iovec));
  FIELD("IOVEC", struct iovec, iov_base, "base");
  FIELD("IOVEC", struct iovec, iov_len, "len");

  CONSTANT(AT_FDCWD);
  CONSTANT(AT_SYMLINK_NOFOLLOW);
  CONSTANT(AT_REMOVEDIR);
  CONSTANT(AT_EACCESS);
  CONSTANT(AT_SYMLINK_FOLLOW);
  CONSTANT(AT_NO_AUTOMOUNT);
  CONSTANT(AT_EMPTY_PATH);

  CONSTANT(O_RDONLY);
  CONSTANT(O_WRONLY);
  CONSTANT(O_RDWR);
  CONSTANT(O_ACCMODE);
  CONSTANT(O_CREAT);
  CONSTANT(O_EXCL);
  CONSTANT(O_NOCTTY);
  CONSTANT(O_TRUNC);
  CONSTANT(O_APPEND);
  CONSTANT(O_NONBLOCK);
  CONSTANT(O_DSYNC);
  CONSTANT(O_NOATIME);
  CONSTANT(O_CLOEXEC);
  CONSTANT(O_SYNC);
  CONSTANT(O_PATH);
  CONSTANT(O_DIRECT);
  CONSTANT(O_LARGEFILE);
  CONSTANT(O_DIRECTORY);
  CONSTANT(O_NOFOLLOW);
  CONSTANT(O_TMPFILE);

  CONSTANT(RESOLVE_CACHED);
  CONSTANT(RWF_NOWAIT);
  CONSTANT(FICLONE);

  CONSTANT(F_OK);
  CONSTANT(X_OK);
  CONSTANT(W_OK);
  CONSTANT(R_OK);

  CONSTANT(DT_UNKNOWN);
  CONSTANT(DT_FIFO);
  CONSTANT(DT_CHR);
  CONSTANT(DT_DIR);
  CONSTANT(DT_BLK);
  CONSTANT(DT_REG);
  CONSTANT(DT_LNK);
  CONSTANT(DT_SOCK);
  CONSTANT(DT_WHT);

  CONSTANT(S_IFMT);
  CONSTANT(S_IFIFO);
  CONSTANT(S_IFCHR);
  CONSTANT(S_IFDIR);
  CONSTANT(S_IFBLK);
  CONSTANT(S_IFREG);
  CONSTANT(S_IFLNK);
  CONSTANT(S_IFSOCK);

  CALL(openat);
  CALL(openat2);
  CALL(close);
  CALL(read);
  CALL(write);
  CALL(preadv2);
  CALL(pwritev2);
  CALL(statx);
  CALL(fstat);
  CALL(newfstatat);
  CALL(getdents64);
  CALL(renameat2);
  CALL(unlinkat);
  CALL(getppid);
  CALL(futex);
  CALL(io_uring_setup);
  CALL(io_uring_enter);
  CALL(close_range);
  return 0;
}
