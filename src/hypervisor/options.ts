/**
 * What a hypervisor is asked for, checked; and what its vCPUs have to know to join.
 */

export type SchedulerName = 'credit' | 'round-robin' | 'gang';

/** In the order of enum tl_scheduler (native/hypervisor.h). */
export const SCHEDULERS: readonly SchedulerName[] = ['credit', 'round-robin', 'gang'];

export interface VmOptions {
  /** 1 to 64. */
  vcpus: number;
  /** Credit: of each of its vCPUs, as in Xen 4.2; default 256. */
  weight?: number;
  /** Credit: per cent of one pCPU that the VM may use at most; 0 (default): no cap. */
  cap?: number;
}

export interface HypervisorOptions {
  /** Default: as many as cores. More than cores share them. */
  pcpus?: number;
  /** pCPU p runs on cores[p % cores.length]; default: every core this process may use. */
  cores?: number[];
  vms: VmOptions[];
  /**
   * credit (default): Xen's, with weights, caps and boost. round-robin: everybody in turn. gang:
   * all vCPUs of one VM at a time (strict co-scheduling).
   */
  scheduler?: SchedulerName;
  /** The quantum in microseconds: 50 to 100,000, default 30,000. Shorter is the paper's TS. */
  sliceUs?: number;
  /**
   * The published preemption time is this much before the quantum really ends, so that who began in
   * time has room for what neither can foresee: interrupts, Linux's own scheduling. At most half a
   * quantum; default a tenth of it, but no more than 100.
   */
  marginUs?: number;
  /** A quantum is not cut shorter than this by boost; default 1,000 or the quantum. */
  ratelimitUs?: number;
  /** Credit: who wakes up may preempt; default true. */
  boost?: boolean;
  /** What is published as preemption time: the quantum's end, or its least (I-Spinlock 4.2.2). */
  publish?: 'slice' | 'ratelimit';
}

/** What a thread needs to join: pass it in `workerData`. */
export interface HypervisorTicket {
  readonly id: number;
  readonly pcpus: number;
  readonly scheduler: SchedulerName;
  readonly sliceUs: number;
  /** vCPUs of each VM. */
  readonly vms: readonly number[];
}

export interface ResolvedOptions {
  readonly pcpus: number;
  readonly cores: readonly number[];
  readonly vms: readonly Required<VmOptions>[];
  readonly scheduler: SchedulerName;
  readonly sliceUs: number;
  readonly marginUs: number;
  readonly ratelimitUs: number;
  readonly boost: boolean;
  readonly publish: 'slice' | 'ratelimit';
}

function integer(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(
    `trapless: ${name} must be an integer from ${least} to ${most}, not ${value}`,
  );
}

/** Fills in defaults. Throws a RangeError that names the option. */
export function resolveOptions(
  options: HypervisorOptions,
  allowedCores: readonly number[],
): ResolvedOptions {
  const cores = options.cores ?? allowedCores.slice(0, 64);
  integer('cores.length', cores.length, 1, 64);
  for (const core of cores)
    if (!allowedCores.includes(core))
      throw new RangeError(`trapless: core ${core} is not one of ${allowedCores.join(', ')}`);
  integer('vms.length', options.vms.length, 1, 64);
  const vms = options.vms.map(({ vcpus, weight = 256, cap = 0 }, i) => ({
    vcpus: integer(`vms[${i}].vcpus`, vcpus, 1, 64),
    weight: integer(`vms[${i}].weight`, weight, 1, 65535),
    cap: integer(`vms[${i}].cap`, cap, 0, 6400),
  }));
  const scheduler = options.scheduler ?? 'credit';
  if (!SCHEDULERS.includes(scheduler))
    throw new RangeError(`trapless: scheduler is ${SCHEDULERS.join(', ')}, not ${scheduler}`);
  const sliceUs = integer('sliceUs', options.sliceUs ?? 30_000, 50, 100_000);
  const publish = options.publish ?? 'slice';
  if (publish !== 'slice' && publish !== 'ratelimit')
    throw new RangeError(`trapless: publish is slice or ratelimit, not ${publish}`);
  const marginUs = options.marginUs ?? Math.min(100, Math.floor(sliceUs / 10));
  const ratelimitUs = options.ratelimitUs ?? Math.min(1000, sliceUs);
  return {
    pcpus: integer('pcpus', options.pcpus ?? cores.length, 1, 64),
    cores,
    vms,
    scheduler,
    sliceUs,
    marginUs: integer('marginUs', marginUs, 0, Math.floor(sliceUs / 2)),
    ratelimitUs: integer('ratelimitUs', ratelimitUs, publish === 'ratelimit' ? 1 : 0, sliceUs),
    boost: options.boost ?? true,
    publish,
  };
}
