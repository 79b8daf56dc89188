/**
 * What register() takes, checked at the door, and the environment's say in it.
 */
import { PAGES_LIMIT } from '../abi/entry.ts';

/** Which submitted entry goes first (FlexSC section 7 leaves this open). */
export type SelectionOrder = 'as-found' | 'grouped' | 'io-first';
/** enum tl_order in native/layout.h. */
export const ORDER: Readonly<Record<SelectionOrder, number>> = {
  'as-found': 0,
  grouped: 1,
  'io-first': 2,
};

export interface KernelOptions {
  /** Syscall pages of 64 entries mapped at first (FlexSC 5.4 used 8 per core). Default 8. */
  pages?: number;
  /** Limit to which pages are added under load; then posting waits. Default 64, at most 256. */
  pagesMax?: number;
  /** Use io_uring where Linux allows it. Default true, or what TRAPLESS_RING says. */
  ring?: boolean;
  /** Submission queue entries of the ring, a power of two. Default 256. */
  ringEntries?: number;
  /** Core for Linux's own polling thread (SQPOLL); null: batching. Default null. */
  sqpollCore?: number | null;
  /** The polling thread sleeps after this long without work, milliseconds. Default 10. */
  sqpollIdleMs?: number;
  /** Cores for crew threads, first preferred. Default: any, one active thread per core. */
  cores?: readonly number[];
  /** Selection order. Default 'as-found'. */
  order?: SelectionOrder;
  /** Long batches are shared with the crew on another core. Default true. */
  share?: boolean;
  /** How long the event loop may look for the crew's answers before it sleeps, us. Default 40. */
  spinUs?: number;
}

export type ResolvedOptions = Required<KernelOptions>;

function integer(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new RangeError(`trapless: ${name} must be an integer from ${min} to ${max}, not ${value}`);
}

/** `--cores 1,2-3` as a list. */
export function parseCores(text: string): number[] {
  const cores: number[] = [];
  for (const part of text.split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    if (!match)
      throw new RangeError(
        `trapless: a list of cores looks like 1,2-3, not ${JSON.stringify(text)}`,
      );
    const last = Number(match[2] ?? match[1]);
    for (let core = Number(match[1]); core <= last; core++) cores.push(core);
  }
  return cores;
}

/** What TRAPLESS_RING, TRAPLESS_SQPOLL, TRAPLESS_CORES and TRAPLESS_ORDER ask for. */
export function environmentOptions(env: NodeJS.ProcessEnv = process.env): KernelOptions {
  const options: KernelOptions = {};
  if (env.TRAPLESS_RING) options.ring = env.TRAPLESS_RING !== '0';
  if (env.TRAPLESS_SQPOLL)
    options.sqpollCore = integer('TRAPLESS_SQPOLL', Number(env.TRAPLESS_SQPOLL), 0, 4095);
  if (env.TRAPLESS_CORES) options.cores = parseCores(env.TRAPLESS_CORES);
  if (env.TRAPLESS_SHARE) options.share = env.TRAPLESS_SHARE !== '0';
  if (env.TRAPLESS_SPIN_US)
    options.spinUs = integer('TRAPLESS_SPIN_US', Number(env.TRAPLESS_SPIN_US), 0, 10_000);
  if (env.TRAPLESS_ORDER) options.order = env.TRAPLESS_ORDER as SelectionOrder;
  return options;
}

/** Options over environment over defaults, every value checked. */
export function kernelOptions(given: KernelOptions): ResolvedOptions {
  const options: ResolvedOptions = {
    pages: 8,
    pagesMax: 64,
    ring: true,
    ringEntries: 256,
    sqpollCore: null,
    sqpollIdleMs: 10,
    cores: [],
    order: 'as-found',
    share: true,
    spinUs: 40,
    ...environmentOptions(),
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  };
  if (given.pages === undefined) options.pages = Math.min(options.pages, options.pagesMax);
  integer('pagesMax', options.pagesMax, 1, PAGES_LIMIT);
  integer('pages', options.pages, 1, options.pagesMax);
  integer('ringEntries', options.ringEntries, 64, 32768);
  integer('spinUs', options.spinUs, 0, 10_000);
  integer('sqpollIdleMs', options.sqpollIdleMs, 1, 60_000);
  if (options.sqpollCore !== null) integer('sqpollCore', options.sqpollCore, 0, 4095);
  for (const core of options.cores) integer('cores', core, 0, 4095);
  if (!(options.order in ORDER))
    throw new RangeError(
      `trapless: order must be one of ${Object.keys(ORDER).join(', ')}, not ${options.order}`,
    );
  return options;
}
