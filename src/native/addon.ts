/**
 * The C addon: what it offers, and how it is found.
 *
 *   const found = loadAddon();
 *   if (found.addon) … else console.error(found.reason);
 *
 * Looked for, in this order: `TRAPLESS_ADDON` (a path), `native/build/Release/trapless.node` (a
 * checkout's own), `prebuilds/linux-<arch>/trapless.node` (the published package).
 * Nothing here throws: without the addon trapless passes everything through to Node.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Byte offsets of the parts of a desk, and the functions bound to one kernel (native/addon.c). */
export interface NativeKernel {
  /** control | descriptors | links | lists | syscall pages | slots; see native/layout.h. */
  readonly desk: ArrayBuffer;
  /** Larger blocks: see src/memory/pool.ts. */
  readonly pool: ArrayBuffer;
  readonly deskAddress: bigint;
  readonly poolAddress: bigint;
  readonly control: number;
  readonly descs: number;
  readonly links: number;
  readonly spotList: number;
  readonly directList: number;
  readonly entries: number;
  readonly slots: number;
  /** A bit for each descriptor up to the limit that this thread closes when it ends. */
  readonly ownDescriptors?: number;
  readonly ownDescriptorsMax?: number;
  /** Tries spotList[0..count) without blocking; then answers as otherWork does: 1 for yes. */
  spot(count: number, directCount: number, directViews: readonly Uint8Array[]): number;
  /** Wakes a crew thread (after setting ready bits while `awake` was 0). */
  wake(): void;
  /** Keeps the event loop alive, or stops doing so. */
  ref(alive: boolean): void;
  /** Whether the event loop has timers due, immediates or closing handles waiting. */
  otherWork(): boolean;
  /** Sleeps until something is done; 0 on timeout (milliseconds, -1: for ever). */
  wait(timeoutMs: number): number;
  /** Throws an Error with errno when Linux refuses. */
  ringOpen(entries: number, sqpollCpu: number, idleMs: number): NativeRing;
  /** io_uring_enter(2): what it returned, or -errno. */
  ringEnter(submit: number, min: number, flags: number): number;
  ringClose(): void;
  /** Memory and queue for sockets (native/sockets.h), once per kernel. Throws with errno. */
  socketsOpen?(
    ring: boolean,
    entries: number,
    buffers: number,
    slots: number,
    arenaBytes: number,
  ): NativeSockets;
  /** One kernel entry for all that is queued: how many were taken, or -errno. */
  socketsEnter?(submit: number, flags: number): number;
  /** Accepts what waits there, and notes the descriptors from slot `first` on: how many. */
  socketsAcceptAll?(fd: number, first: number, count: number): number;
  /** Runs a filled chain on this thread, now. */
  trap?(id: number): void;
  close(): void;
}

/** The queue for sockets (byte offsets into `rings`), and the arena (native/sockets.h). */
export interface NativeSockets {
  readonly rings: ArrayBuffer;
  readonly sqes: ArrayBuffer;
  readonly arena: ArrayBuffer;
  readonly arenaAddress: bigint;
  /** 1: served by readiness, without io_uring. */
  readonly ready: number;
  readonly sqEntries: number;
  readonly cqEntries: number;
  readonly sqHead: number;
  readonly sqTail: number;
  readonly sqFlags: number;
  readonly cqHead: number;
  readonly cqTail: number;
  readonly cqFlags: number;
  readonly cqes: number;
  /** Where the open descriptors are noted, in the arena. */
  readonly descriptors: number;
}

/** The mapped ring: byte offsets into `rings`. */
export interface NativeRing {
  readonly rings: ArrayBuffer;
  readonly sqes: ArrayBuffer;
  readonly features: number;
  readonly setupFlags: number;
  readonly sqEntries: number;
  readonly cqEntries: number;
  readonly sqHead: number;
  readonly sqTail: number;
  readonly sqFlags: number;
  readonly cqHead: number;
  readonly cqTail: number;
  readonly cqFlags: number;
  readonly cqOverflow: number;
  readonly cqes: number;
  /** Bit i: opcode i is supported by this Linux. */
  readonly opsLow: number;
  readonly opsHigh: number;
}

/** A hypervisor; native/hypervisor_binding.c. */
export interface NativeHypervisor {
  readonly hypervisor: unique symbol;
}

export interface NativeDurations {
  readonly count: number;
  readonly meanNs: number;
  readonly p50Ns: number;
  readonly p90Ns: number;
  readonly p99Ns: number;
  readonly maxNs: number;
}

/** What the numbers are: HypervisorStats (src/hypervisor/hypervisor.ts). */
export interface NativeHypervisorStats {
  readonly switches: number;
  readonly preemptions: number;
  readonly early: number;
  readonly renewals: number;
  readonly yields: number;
  readonly halts: number;
  readonly kicks: number;
  readonly migrations: number;
  readonly cpuNs: number;
  readonly elapsedNs: number;
  readonly switching: NativeDurations;
  readonly handoff: NativeDurations;
  readonly lateness: NativeDurations;
  readonly vcpus: readonly {
    readonly state: number;
    readonly switches: number;
    readonly preemptions: number;
    readonly runNs: number;
    readonly dueNs: number;
    readonly stealNs: number;
  }[];
}

export interface Addon {
  readonly layout: Readonly<Record<string, number>>;
  open(pagesMax: number, poolBytes: number, drain: () => number, attach: boolean): NativeKernel;
  /** The static list of cores for crew threads, first preferred (FlexSC 3.6). */
  crewCores(cpus: readonly number[]): void;
  /** How long an active crew thread looks for work before it sleeps, microseconds. */
  crewSpin(us: number): void;
  crewStatus(): { threads: number; idle: number; most: number; slots: number };
  /** One synchronous system call with small integer arguments (benchmarks' baseline). */
  systemCall(number: number, ...args: number[]): number;
  /** What Node does when a callback of its own throws; returns if the program survives it. */
  uncaughtException(error: unknown): void;
  /** Bulk is about to be moved: freed memory is kept for it, up to 32 MiB. */
  keepFreed?(): void;
  /** So many bytes of a regular file, from a position (-1: its own) on, are in memory. */
  fileAtHand?(fd: number, position: number, length: number): number;
  /** So many bytes of it have left through a socket that does not block, or -errno. */
  sendFile?(socket: number, fd: number, position: number, length: number): number;
  /** An empty object that V8 takes for one of C's (http/server/bare-object.ts). */
  readonly Bare?: new () => object;

  /** Offsets in native/share_info.h. */
  readonly shareInfoLayout: Readonly<Record<string, number>>;
  /** Throws an Error with errno. `vms`: vCPUs, weight and cap of each. */
  hypervisorStart(
    pcpus: number,
    cores: readonly number[],
    scheduler: number,
    sliceUs: number,
    marginUs: number,
    ratelimitUs: number,
    boost: number,
    publishRatelimit: number,
    vms: readonly number[],
  ): NativeHypervisor;
  hypervisorStop(hypervisor: NativeHypervisor): void;
  /** For vcpuJoin, also in other threads. */
  hypervisorId(hypervisor: NativeHypervisor): number;
  hypervisorStats(hypervisor: NativeHypervisor): NativeHypervisorStats;
  /** Everybody's lines, mapped read-only: a store ends the process. */
  hypervisorShareInfo(hypervisor: NativeHypervisor): ArrayBuffer;
  /** The cores this thread may use. */
  hypervisorCores(): number[];
  /** Unmaps it. */
  shareInfoRelease(memory: ArrayBuffer): void;
  /** This thread is the vCPU with that global number; a mapping as hypervisorShareInfo's. */
  vcpuJoin(hypervisorId: number, vcpu: number): ArrayBuffer;
  vcpuLeave(): void;
  vcpuYield(): void;
  /** False when it returned without a kick. */
  vcpuHalt(): boolean;
  vcpuKick(vcpu: number): void;
  vcpuBlock(): void;
  vcpuUnblock(): void;
}

export type FoundAddon =
  | { readonly addon: Addon; readonly path: string; readonly reason?: undefined }
  | { readonly addon: null; readonly path?: undefined; readonly reason: string };

/** The package's root: the nearest folder upwards with trapless' package.json. */
export function packageRoot(): string {
  let dir = typeof __dirname === 'string' ? __dirname : dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const manifest = join(dir, 'package.json');
    if (existsSync(manifest) && /"name":\s*"trapless"/.test(readFileSync(manifest, 'utf8')))
      return dir;
    const up = dirname(dir);
    if (up === dir) return dir;
    dir = up;
  }
}

/** Why this platform cannot have the addon, or undefined. */
export function unsupported(): string | undefined {
  // Bun resolves most libuv symbols and aborts when they are called: never load it there.
  if ('bun' in process.versions) return 'this is Bun; trapless accelerates Node.js only';
  if ('deno' in process.versions) return 'this is Deno; trapless accelerates Node.js only';
  if (process.platform !== 'linux') return `needs Linux; this is ${process.platform}`;
  if (process.arch !== 'x64' && process.arch !== 'arm64')
    return `needs x86_64 or arm64; this is ${process.arch}`;
  return undefined;
}

let found: FoundAddon | undefined;

/** Loads the addon once per thread. */
export function loadAddon(): FoundAddon {
  found ??= find();
  return found;
}

function find(): FoundAddon {
  const why = unsupported();
  if (why) return { addon: null, reason: why };
  const root = packageRoot();
  const explicit = process.env.TRAPLESS_ADDON;
  const candidates = explicit
    ? [explicit]
    : [
        join(root, 'native', 'build', 'Release', 'trapless.node'),
        join(root, 'prebuilds', `linux-${process.arch}`, 'trapless.node'),
      ];
  const path = candidates.find((candidate) => existsSync(candidate));
  if (!path)
    return {
      addon: null,
      reason: `the addon is missing (looked for ${candidates.join(', ')}); in a checkout run: npm run build`,
    };
  try {
    const addon = createRequire(join(root, 'package.json'))(path) as Addon;
    return { addon, path };
  } catch (error) {
    return { addon: null, reason: `${path} does not load: ${(error as Error).message}` };
  }
}
