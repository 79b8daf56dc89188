/**
 * What the simulated machine keeps of a vCPU and of a virtual machine. Only machine.ts uses it.
 */
import { CacheLines } from './cache-lines.ts';
import type { Costs } from './costs.ts';
import { createThread, type LockModel, type Thread } from './lock-model.ts';
import { type Priority, type Schedulable, UNDER } from './scheduler.ts';

export type State = 'running' | 'runnable' | 'halted' | 'finished';

export const NEVER = Number.POSITIVE_INFINITY;

export class Vcpu implements Schedulable {
  readonly thread: Thread;
  creditNs = 0;
  overdraftNs = 0;
  priority: Priority = UNDER;
  active = true;

  state: State = 'runnable';
  pcpu = -1;
  phase = 0;
  /** Running: when its next step is due. Otherwise how much was left until then. */
  nextNs = NEVER;
  leftNs = 0;
  spinning = false;
  spinSinceNs = 0;
  /** Spun or slept for the lock it now asks for. */
  waited = false;
  /** The VM's changes when it began to look. */
  seenChanges = 0;
  /** Asleep in the guest (futex), which the hypervisor does not know of. */
  asleep = false;
  token = false;

  sliceId = 0;
  preemptionNs = 0;
  inNs = 0;
  /** Up to when its run time is in `runNs`. */
  countedNs = 0;
  outNs = 0;
  offNs = 0;

  ticketSlice = 0;
  ticketNs = 0;
  heldSlice = 0;
  heldOffNs = 0;
  heldNs = 0;

  acquisitions = 0;
  runNs = 0;
  spinNs = 0;
  switches = 0;
  finishedNs = NEVER;

  constructor(
    readonly vm: number,
    readonly machine: Vm,
    index: number,
    readonly weight: number,
  ) {
    this.thread = createThread(index);
  }
}

export class Vm {
  readonly vcpus: Vcpu[] = [];
  readonly memory: Int32Array;
  /** Who spins on which word. */
  readonly watchers: Vcpu[][];
  /** Who waits for a futex, in order. */
  readonly sleepers: Vcpu[] = [];
  /** Who waits for any change, and how many there were: of the memory, or of who runs. */
  readonly curious: Vcpu[] = [];
  changes = 0;
  readonly lines: CacheLines;

  holder: Vcpu | null = null;
  /** The processor of the last critical section. */
  sectionPcpu = -1;
  freedNs = 0;

  waits = 0;
  lhp = 0;
  lwp = 0;
  holderPreemptedNs = 0;
  waiterPreemptedNs = 0;
  heldNs = 0;
  waitNsMax = 0;
  kicks = 0;
  halts = 0;
  yields = 0;

  constructor(
    readonly model: LockModel,
    readonly computes: boolean,
    pcpus: number,
    costs: Costs,
  ) {
    this.memory = new Int32Array(model.words);
    this.watchers = Array.from({ length: model.words }, () => []);
    this.lines = new CacheLines(model.words, pcpus, costs);
  }
}
