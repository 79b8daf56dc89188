/**
 * The hypervisor, seen from who starts it (src/hypervisor.ts shows how). The work is done by a
 * thread of its own, in native/hv_thread.c.
 */
import type { NativeHypervisor, NativeHypervisorStats } from '../native/addon.ts';
import { ShareInfo } from '../share-info/share-info.ts';
import { machine } from './machine.ts';
import {
  type HypervisorOptions,
  type HypervisorTicket,
  resolveOptions,
  SCHEDULERS,
} from './options.ts';

/** Of many durations; quantiles to 1/8 of their power of two. */
export interface Durations {
  readonly count: number;
  readonly meanNs: number;
  readonly p50Ns: number;
  readonly p90Ns: number;
  readonly p99Ns: number;
  readonly maxNs: number;
}

export interface VcpuStats {
  readonly vm: number;
  readonly index: number;
  /** One of VCPU_STATE. */
  readonly state: number;
  readonly switches: number;
  readonly preemptions: number;
  readonly runNs: number;
  /** What weights, caps and the others' demand entitled it to while it wanted to run. */
  readonly dueNs: number;
  readonly stealNs: number;
}

export interface HypervisorStats {
  /** vCPUs switched in. */
  readonly switches: number;
  /** Preemptions by signal. */
  readonly preemptions: number;
  /** Of these, before the end of the quantum: somebody was boosted. */
  readonly early: number;
  /** Quanta that followed one of the same vCPU, because nobody else wanted. */
  readonly renewals: number;
  readonly yields: number;
  readonly halts: number;
  /** Kicks that ended a halt. */
  readonly kicks: number;
  /** Switches to another core than before. */
  readonly migrations: number;
  /** CPU time of the hypervisor's own thread. */
  readonly cpuNs: number;
  readonly elapsedNs: number;
  /** From the signal until the next vCPU runs. */
  readonly switching: Durations;
  /** From a yield or halt until the next vCPU runs. */
  readonly handoff: Durations;
  /** Of the preemption, against the end of the quantum. */
  readonly lateness: Durations;
  /** By global number. */
  readonly vcpus: readonly VcpuStats[];
}

export class Hypervisor {
  /** Every vCPU's line. After `stop` it stays as it was then. */
  readonly shareInfo: ShareInfo;
  /** For `joinHypervisor`, in whatever thread. */
  readonly ticket: HypervisorTicket;
  #native: NativeHypervisor | null;
  #last: HypervisorStats | null = null;

  /**
   * Starts the hypervisor's thread. vCPUs come when threads join. It ends with `stop`, or with
   * the thread that started it.
   *
   * Throws a RangeError that names the option that makes no sense, and an Error where there is no
   * hypervisor (not Linux, no addon).
   */
  static start(options: HypervisorOptions): Hypervisor {
    return new Hypervisor(options);
  }

  private constructor(options: HypervisorOptions) {
    const addon = machine();
    const o = resolveOptions(options, addon.hypervisorCores());
    this.#native = addon.hypervisorStart(
      o.pcpus,
      o.cores,
      SCHEDULERS.indexOf(o.scheduler),
      o.sliceUs,
      o.marginUs,
      o.ratelimitUs,
      o.boost ? 1 : 0,
      o.publish === 'ratelimit' ? 1 : 0,
      o.vms.flatMap(({ vcpus, weight, cap }) => [vcpus, weight, cap]),
    );
    this.shareInfo = new ShareInfo(addon.hypervisorShareInfo(this.#native));
    this.ticket = {
      id: addon.hypervisorId(this.#native),
      pcpus: o.pcpus,
      scheduler: o.scheduler,
      sliceUs: o.sliceUs,
      vms: o.vms.map(({ vcpus }) => vcpus),
    };
  }

  /** Counters since the start; after `stop`, those of that moment. */
  stats(): HypervisorStats {
    if (this.#native === null) return this.#last!;
    return this.#named(machine().hypervisorStats(this.#native));
  }

  /** Ends the hypervisor: vCPUs that have not left run freely, with no preemption any more. */
  stop(): void {
    if (this.#native === null) return;
    this.#last = this.stats();
    machine().hypervisorStop(this.#native);
    this.#native = null;
    this.shareInfo.detach(machine().shareInfoRelease);
  }

  /** `stop()`, for `using hypervisor = Hypervisor.start(…)`. */
  [Symbol.dispose](): void {
    this.stop();
  }

  #named(native: NativeHypervisorStats): HypervisorStats {
    const places = this.ticket.vms.flatMap((vcpus, vm) =>
      Array.from({ length: vcpus }, (_, index) => ({ vm, index })),
    );
    return { ...native, vcpus: native.vcpus.map((vcpu, i) => ({ ...places[i], ...vcpu })) };
  }
}
