/**
 * A vCPU for stepping locks in one thread: its slice, clock and hypercalls do what the test says.
 *
 *   const b = fakeVcpu(1, 4);
 *   b.onRelax = () => a.unlock();          // while b spins for the lock
 *   b.slice({ endsInNs: 5000 });           // a new slice
 *
 * relax() advances the clock by relaxNs. halt() without a kick before or within onHalt would sleep
 * for ever, and throws. So does spinning for long.
 */
import { SHARE_INFO, VCPU_STATE } from '../../src/abi/share-info.ts';
import { ShareInfo } from '../../src/share-info/share-info.ts';
import type { Vcpu } from '../../src/share-info/vcpu.ts';

const SPINS_MAX = 1_000_000;

/** Thrown by a hook to leave a lock() that would wait for ever. */
export class Stop extends Error {}

export class FakeVcpu implements Vcpu {
  readonly info: ShareInfo;
  now = 1e9;
  relaxNs = 1;
  relaxes = 0;
  halts = 0;
  yields = 0;
  kicked: number[] = [];
  onRelax: (time: number) => void = () => {};
  onHalt: () => void = () => {};
  onYield: () => void = () => {};
  onNow: () => void = () => {};
  /** Who a kick reaches. */
  peers: FakeVcpu[] = [];
  private token = false;
  private readonly line: DataView;
  readonly id: number;
  readonly count: number;
  readonly first: number;

  constructor(id: number, count: number, first: number, memory: ArrayBuffer) {
    this.id = id;
    this.count = count;
    this.first = first;
    this.line = new DataView(memory, SHARE_INFO.size * id);
    this.line.setFloat64(SHARE_INFO.preemptionNs, Number.POSITIVE_INFINITY, true);
    this.state = VCPU_STATE.running;
    this.info = new ShareInfo(memory);
  }

  /** Begins another slice; the vCPU was off the processor for `stolenNs`. */
  slice({ endsInNs = Number.POSITIVE_INFINITY, stolenNs = 0 } = {}): void {
    const { line } = this;
    this.now += stolenNs;
    line.setUint32(SHARE_INFO.sliceId, line.getUint32(SHARE_INFO.sliceId, true) + 1, true);
    line.setFloat64(SHARE_INFO.preemptionNs, this.now + endsInNs, true);
    line.setFloat64(SHARE_INFO.stealNs, line.getFloat64(SHARE_INFO.stealNs, true) + stolenNs, true);
  }

  /** One of VCPU_STATE, for the others to see. */
  set state(state: number) {
    this.line.setInt32(SHARE_INFO.state, state, true);
  }

  nowNs(): number {
    const { now } = this;
    this.onNow();
    return now;
  }
  relax(iterations: number): void {
    this.relaxes += iterations;
    this.now += this.relaxNs * iterations;
    this.onRelax(this.relaxes);
    if (this.relaxes > SPINS_MAX) throw new Error('spins for ever');
  }
  halt(): void {
    this.halts++;
    if (!this.token) this.onHalt();
    if (!this.token) throw new Error('halts for ever');
    this.token = false;
  }
  yield(): void {
    this.yields++;
    this.onYield();
    if (this.yields > SPINS_MAX) throw new Error('yields for ever');
  }
  kick(vcpu: number): void {
    this.kicked.push(vcpu);
    const peer = this.peers.find(({ id }) => id === vcpu);
    if (peer) peer.token = true;
  }
}

export function fakeVcpu(id = 0, count = 1, first = 0): FakeVcpu {
  return new FakeVcpu(id, count, first, new ArrayBuffer(SHARE_INFO.size * (id + 1)));
}

/** The vCPUs of one virtual machine; they can kick each other. */
export function fakeVcpus(count: number, first = 0): FakeVcpu[] {
  const memory = new ArrayBuffer(SHARE_INFO.size * (first + count));
  const vcpus = Array.from(
    { length: count },
    (_, i) => new FakeVcpu(first + i, count, first, memory),
  );
  for (const vcpu of vcpus) vcpu.peers = vcpus;
  return vcpus;
}
