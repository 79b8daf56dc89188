/**
 * Makes V8 know every branch of a lock before it matters:
 *
 *   drill(LOCKS['pv-ispinlock'], options);
 *
 * A branch that was never taken is compiled as "never happens": the first time it does, the code of
 * the whole lock is thrown away, run by the interpreter for a while, and compiled again, in the
 * middle of a critical section or on the way to one. The rare branches are just those of
 * preemption, so in a thread's first slices every unforeseen event would bring on the next ones.
 *
 * Here one thread plays two vCPUs, by a share_info of its own: the *ghost* holds the lock, and what
 * the other vCPU calls while it waits lets time pass. In that time the waiter gets new slices, the
 * ghost is preempted and runs again, and at last it unlocks.
 */
import { SHARE_INFO, VCPU_STATE } from '../../abi/share-info.ts';
import { type Hypercalls, JoinedVcpu } from '../../hypervisor/joined-vcpu.ts';
import type { HypervisorTicket } from '../../hypervisor/options.ts';
import { type Lock, type LockKind, type LockOptions, wordsOf } from '../../locks/index.ts';
import { ShareInfo } from '../../share-info/share-info.ts';
import { monotonicNs, relax } from '../../share-info/vcpu.ts';

const TICKET: HypervisorTicket = {
  id: 0,
  pcpus: 1,
  scheduler: 'credit',
  sliceUs: 30_000,
  vms: [2],
};
const ME = 0;
const GHOST = 1;
const ROUNDS = 40;
/** Calls of the waiter until the ghost is preempted, runs again, and unlocks. */
const PREEMPTED_AT = 100;
const RUNS_AT = 200;
const UNLOCKS_AT = 260;
const CALLS_LIMIT = 1e6;

/** share_info of two vCPUs, which somebody here writes. */
class PairInfo {
  readonly #memory = new ArrayBuffer(2 * SHARE_INFO.size);
  readonly #view = new DataView(this.#memory);
  readonly info = new ShareInfo(this.#memory);

  constructor() {
    this.setState(ME, VCPU_STATE.running);
    this.setState(GHOST, VCPU_STATE.running);
    this.#view.setFloat64(GHOST * SHARE_INFO.size + SHARE_INFO.preemptionNs, Infinity, true);
  }

  setState(vcpu: number, state: number): void {
    this.#view.setInt32(vcpu * SHARE_INFO.size + SHARE_INFO.state, state, true);
  }

  /** Mine ends so much from now. */
  setRemaining(ns: number): void {
    this.#view.setFloat64(SHARE_INFO.preemptionNs, monotonicNs() + ns, true);
  }

  /** I was preempted for a while. */
  newSlice(): void {
    this.#view.setUint32(SHARE_INFO.sliceId, this.info.sliceId(ME) + 1, true);
    this.#view.setFloat64(SHARE_INFO.stealNs, this.info.stealNs(ME) + 1000.5, true);
  }
}

/** A real vCPU as far as V8 can see: with another class the branches would be known of that one. */
function vcpuOn(stage: PairInfo, index: number, timePasses: () => void): JoinedVcpu {
  const hypercalls: Hypercalls = {
    vcpuJoin: () => stage.info.memory as ArrayBuffer,
    vcpuLeave() {},
    vcpuYield: timePasses,
    vcpuHalt() {
      timePasses();
      return true;
    },
    vcpuKick() {},
    vcpuBlock() {},
    vcpuUnblock() {},
    shareInfoRelease() {},
  };
  const pause = (iterations: number) => {
    relax(iterations);
    timePasses();
  };
  return new JoinedVcpu(TICKET, 0, index, hypercalls, pause);
}

/** Returns what was counted: how often each thing happened. */
export function drill(kind: LockKind, options: LockOptions = {}): Lock['stats'] {
  const stage = new PairInfo();
  let calls = 0;
  const timePasses = () => {
    calls++;
    if (calls === 3) stage.setRemaining(1e9); // from now on capable
    if (calls % 16 === 0) stage.newSlice();
    if (calls === PREEMPTED_AT) stage.setState(GHOST, VCPU_STATE.preempted);
    if (calls === RUNS_AT) stage.setState(GHOST, VCPU_STATE.running);
    if (calls === UNLOCKS_AT) ghost.unlock();
    if (calls > CALLS_LIMIT) throw new Error(`trapless: ${kind.name} is free and not taken`);
  };
  const memory = new Int32Array(new SharedArrayBuffer(4 * wordsOf(kind, 2)));
  // Soon out of patience, to see what comes then.
  const hurried = { ...options, spinThreshold: 8, shift: 4 };
  const me = kind.create(memory, vcpuOn(stage, ME, timePasses), hurried);
  const ghost = kind.create(
    memory,
    vcpuOn(stage, GHOST, () => {}),
    hurried,
  );
  for (let round = 0; round < ROUNDS; round++) {
    // js-mutex sleeps by Atomics.wait, and there is nobody else to wake it.
    const isTaken = kind.name !== 'js-mutex' && round % 4 !== 3;
    calls = isTaken ? 0 : UNLOCKS_AT;
    stage.setRemaining(isTaken && round % 2 === 0 ? -1 : 1e9);
    if (isTaken) ghost.lock();
    if (round % 8 < 4) stage.setState(GHOST, VCPU_STATE.preempted);
    me.lock();
    if (round % 3 === 0) stage.newSlice();
    me.unlock();
    stage.setState(GHOST, VCPU_STATE.running);
  }
  return me.stats;
}
