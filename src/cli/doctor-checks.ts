/**
 * What the doctor looks at: each check is one finding with a status and, if it is not well, what
 * to do about it.
 *
 *   for (const check of await examine(tier())) …
 */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { NUMBER_NOP } from '../abi/entry.ts';
import { STATX_MASK } from '../abi/structs.ts';
import { Kernel } from '../kernel/kernel.ts';
import { loadAddon } from '../native/addon.ts';
import { refusal, type Tier } from '../node/environment-kernel.ts';
import { number, putCwd, putPath } from '../ops/call.ts';
import { fillOpen } from '../ops/open.ts';
import { SLOT_RESULT } from '../page/pages.ts';

export interface Check {
  readonly what: string;
  /** warn: it works, but something is lost. */
  readonly status: 'ok' | 'warn' | 'fail';
  readonly detail: string;
  readonly advice?: string;
}

const check = (what: string, status: Check['status'], detail: string, advice?: string): Check => ({
  what,
  status,
  detail,
  ...(advice === undefined ? {} : { advice }),
});

/** Oldest Node.js that trapless is made for. */
const NODE_MIN = 20;

/** Every check, in the order in which one thing needs the other. */
export async function examine(inUse: Tier): Promise<Check[]> {
  const found = [node(), switches(), permission()].filter((one) => one !== null);
  const refused = refusal();
  if (refused && found.every(({ status }) => status === 'ok'))
    found.push(check('platform', 'fail', refused.reason, refused.advice));
  if (process.platform !== 'linux' || 'bun' in process.versions) return found;
  found.push(addon());
  if (loadAddon().addon) {
    found.push(...calls());
  }
  const hasRing = found.some(({ what, status }) => what === 'io_uring' && status === 'ok');
  found.push(sandbox(), disabledBySysctl(), lockedMemory(hasRing), mounts(), cores());
  if (inUse.name === 'passthrough' && found.every(({ status }) => status === 'ok'))
    found.push(check('kernel', 'fail', inUse.reason, inUse.advice));
  return found;
}

function read(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}

function node(): Check {
  const major = Number.parseInt(process.versions.node, 10);
  const here = `${process.version} on ${process.platform} ${process.arch}`;
  if (major >= NODE_MIN) return check('Node.js', 'ok', here);
  return check('Node.js', 'warn', here, `trapless is tested with Node ${NODE_MIN} and newer`);
}

function switches(): Check | null {
  if (process.env.TRAPLESS === '0')
    return check('switch', 'fail', 'TRAPLESS=0 switches all off', 'unset TRAPLESS');
  const set = Object.keys(process.env).filter((name) => name.startsWith('TRAPLESS_'));
  if (set.length === 0) return null;
  const values = set.map((name) => `${name}=${process.env[name]}`).join(' ');
  return check('switches', 'ok', values);
}

function permission(): Check | null {
  if (!('permission' in process) || process.permission === undefined) return null;
  return check(
    'permission model',
    'fail',
    "on: Node checks permissions in the functions that trapless replaces, so it doesn't",
    'run without --permission to use trapless',
  );
}

function addon(): Check {
  const found = loadAddon();
  if (found.addon) return check('native addon', 'ok', found.path);
  return check(
    'native addon',
    'fail',
    found.reason,
    'in a checkout: npm run build (needs a C compiler, make and python3); else: npm install trapless',
  );
}

/* --- Calls made to see who answers ---------------------------------------------------------- */

function calls(): Check[] {
  let kernel: Kernel;
  try {
    kernel = Kernel.register({ share: false });
  } catch (error) {
    const reason = (error as Error).message.replace(/^trapless: /, '');
    return [check('syscall pages', 'fail', reason, 'npm run build, or npm install trapless again')];
  }
  try {
    return [crew(kernel), ring(kernel), ...spot(kernel)];
  } finally {
    kernel.close();
  }
}

/** Posts one call and waits for it; false when it did not come back in time. */
function answered(kernel: Kernel, fill: (id: number) => void): boolean {
  const id = kernel.pages.claim();
  fill(id);
  let done = false;
  let result = 0;
  kernel.post(id, {
    done(kernel, id) {
      done = true;
      result = kernel.pages.result(id);
      kernel.pages.free(id);
    },
  });
  const until = performance.now() + 2000;
  while (!done && performance.now() < until) kernel.wait(100);
  return done && result >= 0;
}

function crew(kernel: Kernel): Check {
  kernel.reroute(number('getppid'), 'crew');
  const works = answered(kernel, (id) => kernel.pages.call(id, number('getppid'), 0, 0));
  const status = loadAddon().addon?.crewStatus();
  if (works)
    return check(
      'crew threads',
      'ok',
      `a call went there and back; ${status?.slots} may be active`,
    );
  return check(
    'crew threads',
    'fail',
    'no thread took a call within 2 s',
    'raise the limit on processes and threads: ulimit -u, or TasksMax= in a systemd unit',
  );
}

function ring(kernel: Kernel): Check {
  if (kernel.ring === null) {
    if (!kernel.options.ring) return check('io_uring', 'warn', 'switched off by TRAPLESS_RING=0');
    const why = kernel.ringRefused.replace(/^trapless: /, '');
    return check('io_uring', 'warn', `refused: ${why}`, 'see the findings below for the cause');
  }
  const { ring } = kernel;
  kernel.reroute(NUMBER_NOP, 'ring');
  if (!answered(kernel, (id) => kernel.pages.call(id, NUMBER_NOP, 0, 0)))
    return check('io_uring', 'warn', 'a ring was made, but does not answer', 'use --no-ring');
  const how = ring.sqpoll
    ? `polled by Linux on core ${kernel.options.sqpollCore}`
    : 'one kernel entry per batch (DEFER_TASKRUN)';
  const lacking = (['read', 'pread64', 'fsync', 'fdatasync'] as const).filter(
    (name) => !ring.can(number(name)),
  );
  if (lacking.length === 0) return check('io_uring', 'ok', `${how}, ${ring.entries} entries`);
  return check('io_uring', 'warn', `${how}; it has no ${lacking.join(', ')}: these go to the crew`);
}

/** What Linux must be able to do so that calls are answered at once, without blocking. */
function spot(kernel: Kernel): Check[] {
  const file = process.execPath; // certainly there, certainly in the cache
  const onTheSpot = (call: string, fill: (id: number) => void, feature: string, since: string) => {
    let before = kernel.statistics();
    let after = before;
    // The first may have to wait for the disk.
    for (let i = 0; i < 3; i++) {
      before = kernel.statistics();
      answered(kernel, fill);
      after = kernel.statistics();
      if (after.calls.spot > before.calls.spot) return check(call, 'ok', `${feature}: on the spot`);
    }
    return check(
      call,
      'warn',
      `${feature} gives no answer on the spot: these calls take the longer way`,
      mountsThatBlock().length > 0 ? 'see mounts below' : `needs Linux ${since} or newer`,
    );
  };
  const statx = (id: number) => {
    kernel.pages.call(id, number('statx'), 5, 0);
    putCwd(kernel, id, 0);
    putPath(kernel, id, 1, file);
    kernel.pages.setInt(id, 2, 0);
    kernel.pages.setInt(id, 3, STATX_MASK);
    kernel.pages.setSlot(id, 4, SLOT_RESULT);
  };
  const checks = [onTheSpot('cached stat', statx, 'openat2 with RESOLVE_CACHED', '5.12')];
  const block = kernel.pool.take(64);
  const opened: number[] = [];
  const id = kernel.pages.claim();
  fillOpen(kernel, id, file, 0, 0, 0);
  kernel.post(id, {
    done(kernel, id) {
      opened.push(kernel.pages.result(id));
      kernel.pages.free(id);
    },
  });
  while (kernel.inFlight > 0) kernel.wait(100);
  const pread = (id: number) => {
    kernel.pages.call(id, number('pread64'), 4, 0);
    kernel.pages.setInt(id, 0, opened[0]);
    kernel.pages.setAddress(id, 1, kernel.pool.addressLow + block, kernel.pool.addressHigh);
    kernel.pages.setInt(id, 2, 64);
    kernel.pages.setInt(id, 3, 0);
  };
  checks.push(onTheSpot('cached read', pread, 'preadv2 with RWF_NOWAIT', '4.14'));
  answered(kernel, (id) => {
    kernel.pages.call(id, number('close'), 1, 0);
    kernel.pages.setInt(id, 0, opened[0]);
  });
  kernel.pool.give(block);
  return checks;
}

/* --- Limits and surroundings ------------------------------------------------------------------ */

function sandbox(): Check {
  const mode = /^Seccomp:\s*(\d)$/m.exec(read('/proc/self/status') ?? '')?.[1];
  if (mode !== '2') return check('seccomp', 'ok', 'no filter');
  return check(
    'seccomp',
    'warn',
    'a filter is active (a container, a service manager): the ring is not used by default, for calls on it pass such a filter by',
    'to use it: TRAPLESS_RING=1, and a profile that allows io_uring_setup, io_uring_enter and io_uring_register (Docker: --security-opt seccomp=profile.json)',
  );
}

function disabledBySysctl(): Check {
  const value = read('/proc/sys/kernel/io_uring_disabled')?.trim();
  const what = 'sysctl kernel.io_uring_disabled';
  if (value === undefined) return check(what, 'ok', 'not there (before Linux 6.6)');
  if (value === '0') return check(what, 'ok', '0: for everybody');
  const advice = 'as root: sysctl -w kernel.io_uring_disabled=0';
  if (value === '2') return check(what, 'warn', '2: io_uring is for nobody', advice);
  return check(
    what,
    'warn',
    '1: only with CAP_SYS_ADMIN, or in the group of kernel.io_uring_group',
    `${advice}, or put this user into that group`,
  );
}

/** A ring of 256 entries with its queues; see the note on RLIMIT_MEMLOCK in io_uring(7). */
const RING_BYTES = 64 * 1024;

function lockedMemory(hasRing: boolean): Check {
  const limit = /^Max locked memory\s+(\S+)/m.exec(read('/proc/self/limits') ?? '')?.[1];
  const what = 'locked memory';
  if (limit === undefined) return check(what, 'ok', 'no limit is known');
  if (limit === 'unlimited') return check(what, 'ok', 'unlimited');
  const kib = `${Math.floor(Number(limit) / 1024)} KiB for all processes of this user`;
  if (hasRing || Number(limit) >= RING_BYTES) return check(what, 'ok', kib);
  return check(
    what,
    'warn',
    `${kib}: too little for a ring without CAP_IPC_LOCK`,
    'ulimit -l 1024, or LimitMEMLOCK=1M in a systemd unit',
  );
}

/** File systems whose answers wait for a server; as in native/spot.c. */
const BLOCKING =
  /^(fuse|nfs|cifs|smb3|9p|ceph|afs|autofs|coda|gfs|ocfs|glusterfs|lustre|orangefs|virtiofs|ncpfs)/;

function mountsThatBlock(): string[] {
  const found: string[] = [];
  for (const line of (read('/proc/self/mountinfo') ?? '').split('\n')) {
    const [mount, superblock] = line.split(' - ');
    const type = superblock?.split(' ')[0];
    if (type !== undefined && BLOCKING.test(type)) found.push(`${mount.split(' ')[4]} (${type})`);
  }
  return found;
}

function mounts(): Check {
  const found = mountsThatBlock();
  if (found.length === 0) return check('mounts', 'ok', 'no file system that waits for a server');
  const some = found.slice(0, 4).join(', ') + (found.length > 4 ? ', …' : '');
  return check(
    'mounts',
    'warn',
    `${some}: while such file systems are mounted, every path is looked at before it is opened`,
    'unmount what is not needed, or run the program in a mount namespace without it',
  );
}

function cores(): Check {
  const count = availableParallelism();
  if (count > 1) return check('cores', 'ok', `${count} may be used`);
  return check(
    'cores',
    'warn',
    'one: the crew takes turns with the program instead of working beside it',
  );
}
