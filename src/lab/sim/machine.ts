/**
 * The simulated machine: processors, a hypervisor's scheduler, virtual machines whose vCPUs each
 * run one thread, and one lock per VM. Discrete events: a thread's step, the end of a slice, the
 * scheduler's accounting. A spinning vCPU has no events: it is woken by the write it waits for, or
 * when its budget is used up, and what it burnt is added up afterwards.
 *
 * Use it through `simulate()` (simulate.ts). One run: `new Machine(options).run()`.
 */
import { Chance } from './chance.ts';
import type { Costs } from './costs.ts';
import { Delays } from './delays.ts';
import { EngineLock } from './engine-lock.ts';
import { acquired, released } from './holding.ts';
import { DONE, HALT, LOCK_PARAMETERS, NEXT, SPIN, type Steps } from './lock-model.ts';
import { NEVER, type State, Vcpu, Vm } from './machine-state.ts';
import { MemorySteps } from './memory-steps.ts';
import { createModel } from './models.ts';
import type { MachineOptions, VmResult } from './options.ts';
import { resultOf } from './results.ts';
import { Scheduler } from './scheduler.ts';
import { Spinning } from './spinning.ts';

/** What a vCPU is doing when it runs. */
const THINKING = 0;
const LOCKING = 1;
const CRITICAL = 2;
const UNLOCKING = 3;
const COMPUTING = 4;

const TICK_NS = 10_000_000;
/** Threads that are to end, and have not after so many times the run's length, never will. */
const DRAINED_MAX = 100;

export class Machine extends MemorySteps implements Steps {
  readonly #options: MachineOptions;
  readonly #costs: Costs;
  readonly #chance: Chance;
  readonly #pcpus: number;
  readonly #vms: Vm[];
  readonly #vcpus: Vcpu[] = [];
  readonly #scheduler: Scheduler<Vcpu>;
  readonly #running: (Vcpu | null)[];
  /** Per processor: when something is due on it, and when its slice ends. */
  readonly #dueNs: Float64Array;
  readonly #sliceEndNs: Float64Array;
  readonly #delays: Delays;
  readonly #spinning: Spinning;
  readonly #engineLock = new EngineLock();
  #nowNs = 0;
  #events = 0;
  #unfinished = 0;

  constructor(options: MachineOptions) {
    super();
    this.#options = options;
    this.#costs = options.costs;
    this.#chance = new Chance(options.seed, options.distribution);
    this.#pcpus = options.pcpus;
    this.#spinning = new Spinning(options.costs, (vcpu, atNs) => this.#due(vcpu, atNs));
    this.#running = new Array(options.pcpus).fill(null);
    this.#dueNs = new Float64Array(options.pcpus).fill(NEVER);
    this.#sliceEndNs = new Float64Array(options.pcpus).fill(NEVER);
    this.#delays = new Delays(options.pcpus, options.costs, this.#chance);
    this.#vms = options.vms.map(({ vcpus, workload }) => {
      const parameters = { ...LOCK_PARAMETERS, ...options.parameters, threads: vcpus };
      const model = options.model?.(parameters) ?? createModel(options.lock, parameters);
      return new Vm(model, workload === 'cpu', options.pcpus, options.costs);
    });
    for (const [vm, { vcpus, weight }] of options.vms.entries())
      for (let index = 0; index < vcpus; index++)
        this.#vms[vm].vcpus.push(new Vcpu(vm, this.#vms[vm], index, weight));
    const numbered = this.#vms.flatMap(({ vcpus }) => vcpus);
    if (options.order !== null)
      this.#vcpus.push(...options.order.map((number) => numbered[number]));
    else {
      // First vCPUs of all VMs, then the second ones: no VM gets the processors before the others.
      const most = Math.max(...options.vms.map(({ vcpus }) => vcpus));
      for (let index = 0; index < most; index++)
        for (const { vcpus } of this.#vms) if (index < vcpus.length) this.#vcpus.push(vcpus[index]);
    }
    this.#scheduler = new Scheduler(this.#vcpus, {
      scheduler: options.scheduler,
      boost: options.boost,
      pcpus: options.pcpus,
      sliceNs: options.sliceNs,
      uniform: () => this.#chance.uniform(),
    });
  }

  run(): { readonly vms: VmResult[]; readonly seconds: number; readonly events: number } {
    this.#start();
    const { secondsMax, acquisitions, drain } = this.#options;
    const endless = !drain && (acquisitions === null || this.#unfinished === 0);
    const endNs = secondsMax * 1e9 * (drain ? DRAINED_MAX : 1);
    let accountNs = this.#periodNs();
    while (endless || this.#unfinished > 0) {
      let pcpu = 0;
      for (let i = 1; i < this.#pcpus; i++) if (this.#dueNs[i] < this.#dueNs[pcpu]) pcpu = i;
      const dueNs = Math.min(this.#dueNs[pcpu], accountNs);
      if (dueNs > endNs) break;
      this.#nowNs = dueNs;
      this.#events++;
      if (accountNs <= this.#dueNs[pcpu]) {
        this.#account(this.#periodNs());
        accountNs += this.#periodNs();
        continue;
      }
      const vcpu = this.#running[pcpu] as Vcpu;
      if (this.#delays.dueNs(pcpu) <= dueNs) this.#standStill(pcpu, vcpu);
      else if (vcpu.nextNs <= this.#sliceEndNs[pcpu]) this.#step(vcpu);
      else this.#sliceEnds(pcpu, vcpu);
    }
    if (!endless && this.#unfinished > 0)
      throw new Error(`${this.#options.lock}: not all finished in ${secondsMax} simulated s`);
    if (endless) this.#nowNs = endNs;
    for (const vcpu of this.#running) if (vcpu !== null) this.#settle(vcpu);
    const vms = this.#vms.map((vm) => resultOf(vm, { options: this.#options, nowNs: this.#nowNs }));
    return { vms, seconds: this.#nowNs / 1e9, events: this.#events };
  }

  /** Xen accounts once per quantum, and no more often than it ticks. */
  #periodNs(): number {
    return Math.max(this.#options.sliceNs, TICK_NS);
  }

  #start(): void {
    for (const vcpu of this.#vcpus) {
      if (vcpu.machine.computes) {
        vcpu.phase = COMPUTING;
        vcpu.leftNs = NEVER;
      } else {
        this.#unfinished++;
        vcpu.leftNs = this.#chance.drawn(this.#options.thinkNs);
      }
      this.#scheduler.add(vcpu);
    }
    for (let pcpu = 0; pcpu < this.#pcpus; pcpu++) {
      const { begins, sliceNs } = this.#options;
      const { atNs, leftNs } = begins[pcpu] ?? {
        atNs: 0,
        leftNs: (0.05 + 0.95 * this.#chance.uniform()) * sliceNs,
      };
      this.#dispatch(pcpu, atNs, 0, leftNs);
    }
  }

  #due(vcpu: Vcpu, atNs: number): void {
    const { pcpu } = vcpu;
    vcpu.nextNs = Math.max(atNs, this.#delays.untilNs(pcpu));
    this.#dueNs[pcpu] = Math.min(vcpu.nextNs, this.#sliceEndNs[pcpu], this.#delays.dueNs(pcpu));
  }

  #standStill(pcpu: number, vcpu: Vcpu): void {
    const lengthNs = this.#delays.begin(pcpu, this.#sliceEndNs[pcpu]);
    this.#sliceEndNs[pcpu] = Math.max(this.#sliceEndNs[pcpu], this.#delays.untilNs(pcpu));
    // Its spinning ends when it can see that.
    this.#due(vcpu, vcpu.spinning ? vcpu.nextNs : vcpu.nextNs + lengthNs);
  }

  // --- The thread's program.

  #step(vcpu: Vcpu): void {
    this.vcpu = vcpu;
    this.vm = vcpu.machine;
    this.costNs = 0;
    this.stepNs = this.#nowNs;
    switch (vcpu.phase) {
      case THINKING:
        vcpu.phase = LOCKING;
        this.#begin(vcpu);
        vcpu.ticketSlice = vcpu.sliceId;
        vcpu.ticketNs = this.#nowNs;
        this.#model(vcpu, true);
        return;
      case CRITICAL:
        vcpu.phase = UNLOCKING;
        this.#begin(vcpu);
        this.#model(vcpu, false);
        return;
      default:
        if (vcpu.spinning) this.#spinning.end(vcpu, this.#nowNs);
        this.#model(vcpu, vcpu.phase === LOCKING);
    }
  }

  #begin(vcpu: Vcpu): void {
    vcpu.thread.pc = 0;
    vcpu.thread.r.fill(0);
  }

  #model(vcpu: Vcpu, locking: boolean): void {
    const { thread, machine } = vcpu;
    const { model } = machine;
    const outcome = locking ? model.lock(thread, this) : model.unlock(thread, this);
    const atNs = this.#nowNs + this.costNs;
    if (outcome === NEXT) this.#due(vcpu, atNs + this.#costs.localNs);
    else if (outcome === DONE) this.#done(vcpu, locking, atNs);
    else if (outcome === SPIN) this.#spin(vcpu, atNs);
    else if (outcome === HALT) this.#halt(vcpu, atNs);
    else {
      machine.yields++;
      vcpu.leftNs = this.#costs.hypercallNs;
      this.#giveUp(vcpu);
    }
  }

  #done(vcpu: Vcpu, locking: boolean, atNs: number): void {
    if (locking) {
      vcpu.phase = CRITICAL;
      const { sectionPcpu } = vcpu.machine;
      const isCold = sectionPcpu !== vcpu.pcpu && sectionPcpu !== -1;
      vcpu.machine.sectionPcpu = vcpu.pcpu;
      const coldNs = isCold ? this.#costs.coldSectionNs : 0;
      const waitNs = vcpu.waited ? this.#costs.waitNs / 2 + this.#costs.waitedNs : 0;
      acquired(vcpu, this.#nowNs);
      this.#due(vcpu, atNs + waitNs + coldNs + this.#chance.drawn(this.#options.criticalNs));
      return;
    }
    const { acquisitions, drain, secondsMax } = this.#options;
    if (vcpu.acquisitions === acquisitions || (drain && this.#nowNs >= secondsMax * 1e9)) {
      this.#unfinished--;
      vcpu.finishedNs = this.#nowNs;
      this.#leave(vcpu, 'finished');
      return;
    }
    vcpu.phase = THINKING;
    this.#due(vcpu, atNs + this.#chance.drawn(this.#options.thinkNs));
  }

  // --- Spinning and sleeping.

  #spin(vcpu: Vcpu, atNs: number): void {
    this.#spinning.begin(vcpu, atNs + this.#waitBegins(vcpu));
  }

  /** The first time a thread has to wait for the lock: statistics. */
  #waitBegins(vcpu: Vcpu): number {
    if (vcpu.waited) return 0;
    vcpu.waited = true;
    return this.#costs.waitNs / 2;
  }

  protected override written(word: number): void {
    this.#spinning.written(this.vm, word, this.#nowNs + this.costNs);
  }

  #halt(vcpu: Vcpu, atNs: number): void {
    if (vcpu.asleep) {
      if (this.#options.futex === 'halt') {
        vcpu.asleep = false;
        vcpu.leftNs = 0;
        this.#leave(vcpu, 'halted');
      } else this.#due(vcpu, NEVER);
      return;
    }
    vcpu.machine.halts++;
    if (vcpu.token) {
      vcpu.token = false;
      this.#due(vcpu, atNs + this.#costs.hypercallNs);
      return;
    }
    vcpu.leftNs = this.#costs.hypercallNs;
    this.#leave(vcpu, 'halted');
  }

  // --- The hypervisor.

  /** Run time up to now; the vCPU goes on. */
  #settle(vcpu: Vcpu): number {
    const ranNs = Math.max(0, this.#nowNs - vcpu.countedNs);
    vcpu.runNs += ranNs;
    vcpu.countedNs = Math.max(this.#nowNs, vcpu.countedNs);
    this.#spinning.settle(vcpu, this.#nowNs);
    return ranNs;
  }

  /** Off its processor, which stays empty. `leftNs` is the caller's, except of what was going on. */
  #off(vcpu: Vcpu, state: State): void {
    if (vcpu.spinning) {
      this.#spinning.end(vcpu, this.#nowNs);
      vcpu.leftNs = 0;
    }
    this.#scheduler.ran(vcpu, this.#settle(vcpu));
    if (state === 'runnable') this.#engineLock.off(vcpu, this.#nowNs);
    this.#running[vcpu.pcpu] = null;
    this.#dueNs[vcpu.pcpu] = NEVER;
    this.#sliceEndNs[vcpu.pcpu] = NEVER;
    vcpu.pcpu = -1;
    vcpu.state = state;
    vcpu.outNs = this.#nowNs;
    this.#spinning.changed(vcpu.machine, this.#nowNs);
  }

  #leave(vcpu: Vcpu, state: State): void {
    const { pcpu } = vcpu;
    this.#off(vcpu, state);
    this.#dispatch(pcpu, 0, this.#costs.handoffNs);
  }

  #sliceEnds(pcpu: number, vcpu: Vcpu): void {
    const { switchNs } = this.#costs;
    vcpu.leftNs = Math.max(0, vcpu.nextNs - this.#nowNs);
    this.#off(vcpu, 'runnable');
    // With nobody else there is no preemption, only another slice.
    const alone = this.#scheduler.empty;
    this.#scheduler.addShuffled(vcpu);
    this.#dispatch(pcpu, 0, alone ? 0 : switchNs, this.#options.sliceNs, vcpu);
  }

  /** Yield: anybody else first, whatever the priority. */
  #giveUp(vcpu: Vcpu): void {
    const { pcpu } = vcpu;
    const isLate = this.#nowNs + this.#options.sliceNs / 2 >= this.#sliceEndNs[pcpu];
    this.#off(vcpu, 'runnable');
    this.#scheduler.yielded(vcpu);
    if (isLate) this.#scheduler.addShuffled(vcpu);
    else this.#scheduler.add(vcpu);
    this.#dispatch(pcpu, 0, this.#costs.handoffNs, this.#options.sliceNs, vcpu);
  }

  #dispatch(
    pcpu: number,
    delayNs: number,
    switchNs: number,
    sliceNs = this.#options.sliceNs,
    before: Vcpu | null = null,
  ): void {
    const vcpu = this.#scheduler.take();
    if (vcpu === undefined) return;
    if (vcpu !== before) vcpu.switches++;
    this.#in(pcpu, vcpu, this.#nowNs + delayNs + switchNs, sliceNs);
  }

  #in(pcpu: number, vcpu: Vcpu, inNs: number, sliceNs: number): void {
    vcpu.state = 'running';
    vcpu.pcpu = pcpu;
    vcpu.inNs = inNs;
    vcpu.countedNs = inNs;
    vcpu.offNs += inNs - vcpu.outNs;
    // share_info, published before the vCPU runs (I-Spinlock 4.2.1; the minimal slice: 4.2.2).
    vcpu.sliceId++;
    const { publish, ratelimitNs, marginNs } = this.#options;
    vcpu.preemptionNs =
      inNs + (publish === 'ratelimit' ? Math.min(ratelimitNs, sliceNs) : sliceNs - marginNs);
    this.#running[pcpu] = vcpu;
    const { jitterNs, lateNs } = this.#costs;
    const shiftNs = jitterNs === 0 ? 0 : (2 * this.#chance.uniform() - 1) * jitterNs;
    this.#sliceEndNs[pcpu] = inNs + Math.max(0, sliceNs + shiftNs) + lateNs;
    this.#delays.sliceBegins(pcpu, inNs, sliceNs);
    this.#due(vcpu, vcpu.asleep ? NEVER : inNs + vcpu.leftNs);
    this.#engineLock.back(vcpu, inNs);
    this.#spinning.changed(vcpu.machine, inNs);
  }

  /** A halted vCPU was kicked: onto an idle processor, or in front of a lower priority. */
  #wake(vcpu: Vcpu): void {
    vcpu.state = 'runnable';
    this.#scheduler.woken(vcpu);
    this.#scheduler.add(vcpu);
    const idle = this.#running.indexOf(null);
    if (idle !== -1) {
      this.#dispatch(idle, this.#costs.wakeNs, this.#costs.handoffNs);
      return;
    }
    let worst: Vcpu | null = null;
    for (const other of this.#running)
      if (other !== null && other !== this.vcpu && other.priority > (worst ?? vcpu).priority)
        worst = other;
    if (worst === null) return;
    // Not before its ratelimit, and not in the middle of the step that is being run.
    const endNs = Math.max(
      worst.inNs + this.#options.ratelimitNs,
      this.#nowNs + this.#costs.wakeNs,
    );
    if (endNs >= this.#sliceEndNs[worst.pcpu]) return;
    this.#sliceEndNs[worst.pcpu] = endNs;
    this.#due(worst, worst.nextNs);
  }

  #account(elapsedNs: number): void {
    for (const vcpu of this.#running)
      if (vcpu !== null) this.#scheduler.ran(vcpu, this.#settle(vcpu));
    this.#scheduler.account(elapsedNs);
    if (this.#running.some((vcpu) => vcpu !== null)) return;
    if (this.#unfinished > 0 && this.#scheduler.empty)
      throw new Error(`${this.#options.lock}: lost wake-up: everybody sleeps at ${this.#nowNs} ns`);
  }

  // --- Steps: what the lock algorithms ask for beside memory.

  nowNs(): number {
    this.costNs += this.#costs.clockNs;
    return this.#nowNs;
  }

  preemptionNs(): number {
    this.costNs += this.#costs.localNs;
    return this.vcpu.preemptionNs;
  }

  sliceId(): number {
    this.costNs += this.#costs.localNs;
    return this.vcpu.sliceId;
  }

  runs(index: number): boolean {
    this.costNs += this.#costs.localNs;
    return this.vm.vcpus[index].state === 'running';
  }

  asks(): void {
    this.vcpu.seenChanges = this.vm.changes;
  }

  took(): void {}

  kick(index: number): void {
    this.costNs += this.#costs.hypercallNs;
    this.vm.kicks++;
    const target = this.vm.vcpus[index];
    if (target.state === 'halted') this.#wake(target);
    else target.token = true;
  }

  /** Mark: a wait begins. */
  waits(): void {
    this.costNs += this.#waitBegins(this.vcpu);
  }

  futexWait(word: number, expected: number): boolean {
    const sleeps = this.vm.memory[word] === expected;
    this.#engineCall(this.#costs.futexNs, () => {});
    if (!sleeps) return false;
    this.vcpu.asleep = true;
    this.vcpu.waited = true;
    this.vm.sleepers.push(this.vcpu);
    this.vm.halts++;
    return true;
  }

  futexWake(_word: number): void {
    const sleeper = this.vm.sleepers.shift();
    if (sleeper === undefined) {
      this.#engineCall(this.#costs.futexNs, () => {});
      return;
    }
    this.vm.kicks++;
    this.#engineCall(this.#costs.notifyNs, (doneNs) => this.#awake(sleeper, doneNs));
  }

  /** A call under V8's lock around futexes; `then` is told when it is done. */
  #engineCall(callNs: number, then: (doneNs: number) => void): void {
    const { vcpu } = this;
    const later = (doneNs: number) => {
      if (!vcpu.asleep && vcpu.state === 'running') this.#due(vcpu, doneNs);
      else vcpu.leftNs = this.#costs.futexNs;
      then(doneNs);
    };
    const doneNs = this.#engineLock.take(vcpu, { nowNs: this.#nowNs, callNs, later });
    this.costNs += doneNs - this.#nowNs;
    if (doneNs !== NEVER) then(doneNs);
  }

  #awake(sleeper: Vcpu, atNs: number): void {
    sleeper.asleep = false;
    if (sleeper.state === 'halted') this.#wake(sleeper);
    else if (sleeper.state === 'running')
      this.#due(sleeper, Math.max(sleeper.inNs, atNs) + this.#costs.futexWakeNs);
    else sleeper.leftNs = this.#costs.futexWakeNs;
  }

  ticket(): void {
    this.vcpu.ticketSlice = this.vcpu.sliceId;
    this.vcpu.ticketNs = this.#nowNs;
  }

  released(): void {
    released(this.vcpu, this.#nowNs);
  }
}
