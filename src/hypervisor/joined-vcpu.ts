/**
 * A thread that is a vCPU of a hypervisor (src/hypervisor.ts shows how): from joining until it
 * leaves or ends it runs only when switched in, and is preempted at whatever instruction it is.
 */
import { VCPU_STATE } from '../abi/share-info.ts';
import type { Addon } from '../native/addon.ts';
import { ShareInfo } from '../share-info/share-info.ts';
import { clockOffsetNs, monotonicNs, relax, type Vcpu } from '../share-info/vcpu.ts';
import { machine } from './machine.ts';
import type { HypervisorTicket } from './options.ts';

/** Of the moment, and of all VMs together. */
export interface SchedInfo {
  readonly pcpus: number;
  readonly sliceUs: number;
  readonly scheduler: HypervisorTicket['scheduler'];
  readonly running: number;
  /** Could run, wait for a pCPU. */
  readonly preempted: number;
  readonly halted: number;
  readonly blocked: number;
}

/**
 * Makes this thread the vCPU `index` of the VM `vm`; returns when it is first switched in. A vCPU
 * can be joined once, and a thread can be one vCPU at a time.
 */
export function joinHypervisor(ticket: HypervisorTicket, vm: number, index: number): JoinedVcpu {
  return new JoinedVcpu(ticket, vm, index);
}

/** What a vCPU asks of its hypervisor: the addon, or, in the lab, somebody who plays it (drill.ts). */
export type Hypercalls = Pick<
  Addon,
  | 'vcpuJoin'
  | 'vcpuLeave'
  | 'vcpuYield'
  | 'vcpuHalt'
  | 'vcpuKick'
  | 'vcpuBlock'
  | 'vcpuUnblock'
  | 'shareInfoRelease'
>;

export class JoinedVcpu implements Vcpu {
  readonly id: number;
  readonly count: number;
  readonly first: number;
  readonly info: ShareInfo;
  /** Measured before anybody preempts this thread. */
  readonly #clockOffset = clockOffsetNs();
  readonly #ticket: HypervisorTicket;
  readonly #addon: Hypercalls;
  readonly #pause: (iterations: number) => void;
  #joined = true;

  /** @internal Use `joinHypervisor`. */
  constructor(
    ticket: HypervisorTicket,
    vm: number,
    index: number,
    addon: Hypercalls = machine(),
    pause = relax,
  ) {
    const { vms } = ticket;
    if (!(vm in vms)) throw new RangeError(`trapless: no VM ${vm} of ${vms.length}`);
    if (!Number.isInteger(index) || index < 0 || index >= vms[vm])
      throw new RangeError(`trapless: no vCPU ${index} of ${vms[vm]} in VM ${vm}`);
    this.#ticket = ticket;
    this.#addon = addon;
    this.#pause = pause;
    this.count = vms[vm];
    this.first = vms.slice(0, vm).reduce((sum, vcpus) => sum + vcpus, 0);
    this.id = this.first + index;
    this.info = new ShareInfo(this.#addon.vcpuJoin(ticket.id, this.id));
  }

  nowNs(): number {
    return monotonicNs(this.#clockOffset);
  }

  yield(): void {
    this.#addon.vcpuYield();
  }

  halt(): void {
    while (this.#joined && !this.#haltOnce());
  }

  /** It returns without a kick now and then, and a worker that was terminated ends where the next
   *  function begins: that is why this is one. */
  #haltOnce(): boolean {
    return this.#addon.vcpuHalt();
  }

  kick(vcpu: number): void {
    this.#addon.vcpuKick(vcpu);
  }

  relax(iterations: number): void {
    this.#pause(iterations);
  }

  /**
   * Runs `wait`, which waits for something outside (Atomics.wait, a file), without occupying a
   * pCPU; as a guest that has nothing to run. Returns when switched in again.
   */
  blocking<Result>(wait: () => Result): Result {
    this.#addon.vcpuBlock();
    try {
      return wait();
    } finally {
      this.#addon.vcpuUnblock();
    }
  }

  /** What the hypervisor is doing. */
  schedInfo(): SchedInfo {
    const { pcpus, sliceUs, scheduler, vms } = this.#ticket;
    const counts = [0, 0, 0, 0, 0];
    const total = vms.reduce((sum, vcpus) => sum + vcpus, 0);
    for (let i = 0; i < total; i++) counts[this.info.state(i)]++;
    return {
      pcpus,
      sliceUs,
      scheduler,
      running: counts[VCPU_STATE.running],
      preempted: counts[VCPU_STATE.preempted],
      halted: counts[VCPU_STATE.halted],
      blocked: counts[VCPU_STATE.blocked],
    };
  }

  /** This thread is its own again. What it asks of the hypervisor afterwards does nothing. */
  leave(): void {
    if (!this.#joined) return;
    this.#joined = false;
    this.#addon.vcpuLeave();
    this.info.detach(this.#addon.shareInfoRelease);
  }

  /** `leave()`, for `using vcpu = joinHypervisor(…)`. */
  [Symbol.dispose](): void {
    this.leave();
  }
}
