/**
 * Which arguments of a system call are pointers, and to how much memory: what keeps raw numbers
 * from becoming addresses, and Linux from writing past a buffer's end (trapless/syscall).
 *
 *   signatureOf(257)?.params      what each argument of x86_64's openat is; undefined: not listed
 *   refusalOf(231)                why exit_group cannot be posted; undefined: it can
 *
 * One line per call, one token per argument:
 *
 *   i   an integer
 *   s   a string Linux reads up to its NUL; z: one that may be null
 *   r   memory Linux reads
 *   w   memory Linux writes, as many bytes as the result says
 *   p   memory Linux reads, writes, or both
 *   v   a list of buffers (struct iovec) Linux reads; V: that it writes, as many bytes in all as
 *       the result says
 *   m   memory that outlives the call (a futex word): only from the arena
 *   ?   an integer or a pointer, which depends on another argument
 *   0   nothing: must be null
 *
 * and after a pointer how many bytes it must have:
 *
 *   (16)     this many                      [2]    argument 2 says it
 *   {5}      the int32 in argument 5's      [1*8]  argument 1 times 8; [2+8] plus 8
 *            memory says it                 [0/8]  argument 0 bits, in words of 8 bytes
 *
 * `=` at the end: may be left out. Both architectures have the same arguments wherever they have
 * the same call. `test/unit/pointers.test.ts` compares the table with the running Linux' own.
 */
import { syscallName } from './syscalls.ts';

export type ParamKind = 'i' | 's' | 'z' | 'r' | 'w' | 'p' | 'v' | 'V' | 'm' | '?' | '0';

export interface Param {
  readonly kind: ParamKind;
  /** Bytes needed whatever the other arguments are. */
  readonly bytes: number;
  /** Index of the argument that says how many bytes are needed, or -1. */
  readonly sizeArg: number;
  /** How it says so: `*` and `+` take `operand`, `/` is bits, `{` looks into its memory. */
  readonly operator: '' | '*' | '+' | '/' | '{';
  readonly operand: number;
  readonly optional: boolean;
}

export interface Signature {
  readonly params: readonly Param[];
  /** Arguments that must be given. */
  readonly required: number;
}

const arm64 = process.arch === 'arm64';
/** sizeof(struct stat) and sizeof(struct epoll_event), which differ between architectures. */
const SIZES: Readonly<Record<string, number>> = { stat: arm64 ? 128 : 144, epoll: arm64 ? 16 : 12 };

/** Listed by what they work on, as the manual's section 2 is. */
const TEXT = `
read i w[2] i
write i r[2] i
pread64 i w[2] i i
pwrite64 i r[2] i i
readv i V[2] i
writev i v[2] i
preadv i V[2] i i i=
pwritev i v[2] i i i=
preadv2 i V[2] i i i i
pwritev2 i v[2] i i i i
open s i i=
creat s i
openat i s i i=
openat2 i s r[3] i
close i
close_range i i i
lseek i i i
dup i
dup2 i i
dup3 i i i
fcntl i i ?=
ioctl i i ?=
flock i i
fsync i
fdatasync i
sync
syncfs i
sync_file_range i i i i
truncate s i
ftruncate i i
fallocate i i i i
fadvise64 i i i i
readahead i i i
copy_file_range i p(8) i p(8) i i
sendfile i i p(8) i
splice i p(8) i p(8) i i
tee i i i i
cachestat i r(16) p(40) i

stat s p(stat)
lstat s p(stat)
fstat i p(stat)
newfstatat i s p(stat) i
statx i s i i p(256)
statfs s p(120)
fstatfs i p(120)
ustat i p(32)
access s i
faccessat i s i
faccessat2 i s i i
chmod s i
fchmod i i
fchmodat i s i
fchmodat2 i s i i
chown s i i
lchown s i i
fchown i i i
fchownat i s i i i
utime s r(16)
utimes s r(32)
futimesat i s r(32)
utimensat i z r(32) i
umask i
file_getattr i s p[3] i i
file_setattr i s r[3] i i

link s s
linkat i s i s i
symlink s s
symlinkat s i s
readlink s w[2] i
readlinkat i s w[3] i
unlink s
unlinkat i s i
rename s s
renameat i s i s
renameat2 i s i s i
mkdir s i
mkdirat i s i
rmdir s
mknod s i i
mknodat i s i i
chdir s
fchdir i
chroot s
getcwd w[1] i
getdents i w[2] i
getdents64 i w[2] i
name_to_handle_at i s p(136) p(8) i
open_by_handle_at i r(8) i

setxattr s s r[3] i i
lsetxattr s s r[3] i i
fsetxattr i s r[3] i i
getxattr s s w[3] i
lgetxattr s s w[3] i
fgetxattr i s w[3] i
listxattr s w[2] i
llistxattr s w[2] i
flistxattr i w[2] i
listxattrat i s i w[4] i
removexattr s s
lremovexattr s s
fremovexattr i s
removexattrat i s i s

pipe p(8)
pipe2 p(8) i
eventfd i
eventfd2 i i
signalfd i r[2] i
signalfd4 i r[2] i i
memfd_create s i
memfd_secret i
userfaultfd i
inotify_init
inotify_init1 i
inotify_add_watch i s i
inotify_rm_watch i i
fanotify_init i i
fanotify_mark i i i i z
epoll_create i
epoll_create1 i
epoll_ctl i i i r(epoll)
epoll_wait i p[2*epoll] i i
epoll_pwait i p[2*epoll] i i r(8) i
epoll_pwait2 i p[2*epoll] i r(16) r(8) i
poll p[1*8] i i
ppoll p[1*8] i p(16) r(8) i
select i p[0/8] p[0/8] p[0/8] p(16)
pselect6 i p[0/8] p[0/8] p[0/8] p(16) 0

socket i i i
socketpair i i i p(8)
bind i r[2] i
connect i r[2] i
listen i i
accept i p{2} p(4)
accept4 i p{2} p(4) i
getsockname i p{2} p(4)
getpeername i p{2} p(4)
getsockopt i i i p{4} p(4)
setsockopt i i i r[4] i
sendto i r[2] i i r[5] i
recvfrom i w[2] i i p{5} p(4)
shutdown i i

getpid
getppid
gettid
getuid
geteuid
getgid
getegid
getresuid p(4) p(4) p(4)
getresgid p(4) p(4) p(4)
getgroups i p[0*4]
getpgid i
getpgrp
getsid i
setpgid i i
setsid
getpriority i i
setpriority i i i
ioprio_get i i
ioprio_set i i i
getrlimit i p(16)
setrlimit i r(16)
prlimit64 i i r(16) p(16)
getrusage i p(144)
capget p(8) p(24)
kcmp i i i i i
wait4 i p(4) i p(144)
waitid i i p(128) i p(144)
kill i i
tkill i i
tgkill i i i
rt_sigqueueinfo i i r(128)
rt_tgsigqueueinfo i i i r(128)
rt_sigtimedwait r(8) p(128) r(16) i
rt_sigpending p[1] i
pause
pidfd_open i i
pidfd_getfd i i i
pidfd_send_signal i i r(128) i
process_mrelease i i

sched_yield
sched_setaffinity i i r[1]
sched_getaffinity i i w[1]
sched_setscheduler i i r(4)
sched_getscheduler i
sched_setparam i r(4)
sched_getparam i p(4)
sched_setattr i r(48) i
sched_getattr i p[2] i i
sched_get_priority_max i
sched_get_priority_min i
sched_rr_get_interval i p(16)
getcpu p(4) p(4) 0
membarrier i i i
futex m(4) i i ? m(4) i
futex_wake m(4) i i i
futex_wait m(4) i i i r(16) i
mlock m[1] i
mlock2 m[1] i i
munlock m[1] i
mlockall i
munlockall

time p(8)
gettimeofday p(16) p(8)
settimeofday r(16) r(8)
clock_gettime i p(16)
clock_getres i p(16)
clock_settime i r(16)
clock_adjtime i p(208)
adjtimex p(208)
nanosleep r(16) p(16)
clock_nanosleep i i r(16) p(16)
alarm i
getitimer i p(32)
setitimer i r(32) p(32)
timer_create i r(64) p(4)
timer_settime i i r(32) p(32)
timer_gettime i p(32)
timer_getoverrun i
timer_delete i
timerfd_create i i
timerfd_settime i i r(32) p(32)
timerfd_gettime i p(32)
times p(32)

uname p(390)
sysinfo p(112)
getrandom w[1] i i
sethostname r[1] i
setdomainname r[1] i
syslog i w[2] i
acct z
swapon s i
swapoff s
vhangup
perf_event_open r(64) i i i i
landlock_create_ruleset r[1] i i
landlock_add_rule i i r(16) i
add_key s s r[3] i i
request_key s s z i

semget i i i
semop i r[2*6] i
semtimedop i r[2*6] i r(16)
semctl i i i ?
shmget i i i
shmctl i i p(112)
msgget i i
msgsnd i r[2+8] i i
msgrcv i p[2+8] i i i
msgctl i i p(120)
mq_open s i i r(64)
mq_unlink s
mq_timedsend i r[2] i i r(16)
mq_timedreceive i w[2] i p(4) r(16)
mq_getsetattr i r(64) p(64)

mount z s z i z
umount2 s i
pivot_root s s
open_tree i s i
open_tree_attr i s i r[4] i
move_mount i s i s i
fsopen s i
fsconfig i i z p i
fsmount i i i
fspick i s i
mount_setattr i s i r[4] i
statmount r(24) p[2] i i
listmount r(24) p[2*8] i i
quotactl i z i p
quotactl_fd i i i p
`;

/** Calls that are never posted, by the reason. */
const REFUSED: readonly (readonly [reason: string, names: string])[] = [
  [
    'it would end the process or the syscall thread that runs it; use process.exit()',
    'exit exit_group',
  ],
  [
    'a new process would begin in the middle of a syscall thread; use node:child_process',
    'fork vfork clone clone3 execve execveat',
  ],
  [
    'it acts on the thread that runs it, and that is a syscall thread, not yours',
    'prctl arch_prctl personality seccomp landlock_restrict_self lsm_set_self_attr unshare setns ' +
      'set_tid_address set_robust_list get_robust_list rseq sigaltstack rt_sigprocmask ' +
      'rt_sigsuspend rt_sigreturn restart_syscall ptrace set_thread_area get_thread_area ' +
      'modify_ldt iopl ioperm set_mempolicy get_mempolicy pkey_alloc pkey_free',
  ],
  [
    'credentials belong to a thread in Linux: only a syscall thread would change; use process.setuid() and its kind',
    'setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset',
  ],
  ['handlers are code, which JavaScript has none of; use process.on()', 'rt_sigaction'],
  [
    'it changes the address space under the running program',
    'mmap munmap mremap mprotect pkey_mprotect brk remap_file_pages madvise process_madvise msync ' +
      'mincore mbind set_mempolicy_home_node migrate_pages move_pages mseal map_shadow_stack ' +
      'shmat shmdt',
  ],
  [
    'its structures hold addresses; use sendto, recvfrom, or writev and readv with lists of buffers',
    'sendmsg sendmmsg recvmsg recvmmsg',
  ],
  [
    'its structures hold addresses, which trapless does not let through',
    'vmsplice process_vm_readv process_vm_writev io_setup io_destroy io_submit io_cancel ' +
      'io_getevents io_pgetevents io_uring_setup io_uring_enter io_uring_register futex_waitv ' +
      'futex_requeue mq_notify bpf setxattrat getxattrat kexec_load',
  ],
];

const signatures = new Map<number, Signature | undefined>();

/** What is known about a call's arguments, or undefined. Parsed at first use. */
export function signatureOf(number: number): Signature | undefined {
  if (!signatures.has(number)) signatures.set(number, find(syscallName(number)));
  return signatures.get(number);
}

/** Why a call is never posted, or undefined when it may be. */
export function refusalOf(name: string): string | undefined {
  return REFUSED.find(([, names]) => names.split(' ').includes(name))?.[0];
}

/** Every listed call's name, for tests. */
export function listedNames(): string[] {
  return TEXT.split('\n').flatMap((line) => (line === '' ? [] : [line.split(' ')[0]]));
}

function find(name: string): Signature | undefined {
  const start = TEXT.search(new RegExp(`^${name}( |$)`, 'm'));
  if (start === -1) return undefined;
  const line = TEXT.slice(start, TEXT.indexOf('\n', start));
  const params = line.split(' ').slice(1).map(parse);
  return { params, required: params.filter((param) => !param.optional).length };
}

function parse(token: string): Param {
  const match = /^(.)(?:\((\w+)\)|\[(\d)(?:([*+/])(\w+))?\]|\{(\d)\})?(=?)$/.exec(token);
  if (!match) throw new Error(`trapless: bad token ${token}`);
  const [, kind, bytes, indexed, operator, operand, inMemory, optional] = match;
  const value = (text: string | undefined) => (text ? (SIZES[text] ?? Number(text)) : 0);
  return {
    kind: kind as ParamKind,
    bytes: value(bytes),
    sizeArg: Number(indexed ?? inMemory ?? -1),
    operator: inMemory ? '{' : ((operator ?? '') as Param['operator']),
    operand: value(operand),
    optional: optional === '=',
  };
}
