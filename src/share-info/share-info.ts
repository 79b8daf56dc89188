/**
 * Reads share_info: what the hypervisor tells about every vCPU (I-Spinlock 4.2.1).
 *
 *   const { info } = vcpu;
 *   const remaining = info.preemptionNs(vcpu.id) - vcpu.nowNs();
 *
 * Plain loads, nothing else: the memory is mapped read-only, and a store into it ends the process.
 * vCPUs are named by their global number.
 */
import { SHARE_INFO } from '../abi/share-info.ts';

const F64 = SHARE_INFO.size / 8;
const U32 = SHARE_INFO.size / 4;

export class ShareInfo {
  #f64: Float64Array;
  #u32: Uint32Array;
  #i32: Int32Array;

  constructor(memory: ArrayBuffer | SharedArrayBuffer) {
    this.#f64 = new Float64Array(memory);
    this.#u32 = new Uint32Array(memory);
    this.#i32 = new Int32Array(memory);
  }

  /** The mapping itself. */
  get memory(): ArrayBuffer | SharedArrayBuffer {
    return this.#f64.buffer as ArrayBuffer | SharedArrayBuffer;
  }

  /** How many lines there are; the last ones may belong to no vCPU. */
  get lines(): number {
    return this.#f64.length / F64;
  }

  /** When its quantum ends, ns of CLOCK_MONOTONIC (`Vcpu.nowNs`); Infinity: never. */
  preemptionNs(vcpu: number): number {
    return this.#f64[vcpu * F64 + SHARE_INFO.preemptionNs / 8];
  }

  /** Another number in every quantum. */
  sliceId(vcpu: number): number {
    return this.#u32[vcpu * U32 + SHARE_INFO.sliceId / 4];
  }

  /** One of VCPU_STATE. */
  state(vcpu: number): number {
    return this.#i32[vcpu * U32 + SHARE_INFO.state / 4];
  }

  /** How long it could run but did not, as of its last switch in. */
  stealNs(vcpu: number): number {
    return this.#f64[vcpu * F64 + SHARE_INFO.stealNs / 8];
  }

  preemptions(vcpu: number): number {
    return this.#u32[vcpu * U32 + SHARE_INFO.preemptions / 4];
  }

  /** Times it was switched in. */
  switches(vcpu: number): number {
    return this.#u32[vcpu * U32 + SHARE_INFO.switches / 4];
  }

  /** How long it ran, as of its last switch out or new quantum. */
  runNs(vcpu: number): number {
    return this.#f64[vcpu * F64 + SHARE_INFO.runNs / 8];
  }

  /** The length of its quantum. */
  sliceNs(vcpu: number): number {
    return this.#f64[vcpu * F64 + SHARE_INFO.sliceNs / 8];
  }

  switchedInNs(vcpu: number): number {
    return this.#f64[vcpu * F64 + SHARE_INFO.switchedInNs / 8];
  }

  /** @internal The mapping ends: from now on the numbers are those of this moment. */
  detach(unmap: (memory: ArrayBuffer) => void): void {
    const mapped = this.memory as ArrayBuffer;
    const copy = mapped.slice(0);
    this.#f64 = new Float64Array(copy);
    this.#u32 = new Uint32Array(copy);
    this.#i32 = new Int32Array(copy);
    unmap(mapped);
  }
}
