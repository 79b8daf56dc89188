/**
 * The simulated machine: processors, a hypervisor's scheduler, virtual machines whose vCPUs each
 * run one thread, and one lock per VM. Discrete events: a thread's step, the end of a slice, the
 * scheduler's accounting. A spinning vCPU has no events: it is woken by the write it waits for, or
 * when its budget is used up, and what it burnt is added up afterwards.
 *
 * Use it through `simulate()` (simulate.ts). One run: `new Machine(options).run()`.
 */
import { Prng } from '../../kernel/sim/prng.ts';
import type { Costs } from './costs.ts';
import {
  CHANGE,
  DONE,
  HALT,
  LOCK_PARAMETERS,
  NEXT,
  SPIN,
  type Steps,
  spinEnds,
} from './lock-model.ts';
import { NEVER, type State, Vcpu, Vm } from './machine-state.ts';
import { createModel } from './models.ts';
import type { MachineOptions, VmResult } from './options.ts';
import { Scheduler } from './scheduler.ts';

/** What a vCPU is doing when it runs. */
const THINKING = 0;
const LOCKING = 1;
const CRITICAL = 2;
const UNLOCKING = 3;
const COMPUTING = 4;

/** Random times are cut at so many means, so that a csd that covers all of them exists. */
const TAIL_MEANS = 4;
const TICK_NS = 10_000_000;
/** Threads that are to end, and have not after so many times the run's length, never will. */
const DRAINED_MAX = 100;

export class Machine implements Steps {
  readonly #options: MachineOptions;
  readonly #costs: Costs;
  readonly #random: Prng;
  readonly #pcpus: number;
  readonly #vms: Vm[];
  readonly #vcpus: Vcpu[] = [];
  readonly #scheduler: Scheduler<Vcpu>;
  readonly #running: (Vcpu | null)[];
  /** Per processor: when something is due on it, and when its slice ends. */
  readonly #dueNs: Float64Array;
  readonly #sliceEndNs: Float64Array;
  /** When it next stands still unforeseen, and until when it does. */
  readonly #delayNs: Float64Array;
  readonly #stillNs: Float64Array;
  /** From when on it does so until the slice ends. */
  readonly #hangNs: Float64Array;
  readonly #spinNs: number;
  #nowNs = 0;
  #events = 0;
  #unfinished = 0;
  /** Of the step being run. */
  #vcpu!: Vcpu;
  #vm!: Vm;
  #costNs = 0;

  constructor(options: MachineOptions) {
    this.#options = options;
    this.#costs = options.costs;
    this.#random = new Prng(options.seed);
    this.#pcpus = options.pcpus;
    this.#spinNs = this.#costs.pauseNs + this.#costs.localNs;
    this.#running = new Array(options.pcpus).fill(null);
    this.#dueNs = new Float64Array(options.pcpus).fill(NEVER);
    this.#sliceEndNs = new Float64Array(options.pcpus).fill(NEVER);
    this.#delayNs = new Float64Array(options.pcpus).map(() => this.#untilDelay());
    this.#stillNs = new Float64Array(options.pcpus);
    this.#hangNs = new Float64Array(options.pcpus).fill(NEVER);
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
      uniform: () => this.#uniform(),
    });
  }

  run(): { readonly vms: VmResult[]; readonly seconds: number; readonly events: number } {
    this.#start();
    const { secondsMax, acquisitions, drain } = this.#options;
    const endless = !drain && (acquisitions === null || this.#unfinished === 0);
    const endNs = secondsMax * 1e9 * (drain ? DRAINED_MAX : 1);
    let accountNs = this.#periodNs;
    while (endless || this.#unfinished > 0) {
      let pcpu = 0;
      for (let i = 1; i < this.#pcpus; i++) if (this.#dueNs[i] < this.#dueNs[pcpu]) pcpu = i;
      const dueNs = Math.min(this.#dueNs[pcpu], accountNs);
      if (dueNs > endNs) break;
      this.#nowNs = dueNs;
      this.#events++;
      if (accountNs <= this.#dueNs[pcpu]) {
        this.#account(this.#periodNs);
        accountNs += this.#periodNs;
        continue;
      }
      const vcpu = this.#running[pcpu] as Vcpu;
      if (Math.min(this.#delayNs[pcpu], this.#hangNs[pcpu]) <= dueNs) this.#standStill(pcpu, vcpu);
      else if (vcpu.nextNs <= this.#sliceEndNs[pcpu]) this.#step(vcpu);
      else this.#sliceEnds(pcpu, vcpu);
    }
    if (!endless && this.#unfinished > 0)
      throw new Error(`${this.#options.lock}: not all finished in ${secondsMax} simulated s`);
    if (endless) this.#nowNs = endNs;
    for (const vcpu of this.#running) if (vcpu !== null) this.#settle(vcpu);
    const vms = this.#vms.map((vm) => this.#result(vm));
    return { vms, seconds: this.#nowNs / 1e9, events: this.#events };
  }

  /** Xen accounts once per quantum, and no more often than it ticks. */
  get #periodNs(): number {
    return Math.max(this.#options.sliceNs, TICK_NS);
  }

  #start(): void {
    for (const vcpu of this.#vcpus) {
      if (vcpu.machine.computes) {
        vcpu.phase = COMPUTING;
        vcpu.leftNs = NEVER;
      } else {
        this.#unfinished++;
        vcpu.leftNs = this.#drawn(this.#options.thinkNs);
      }
      this.#scheduler.add(vcpu);
    }
    for (let pcpu = 0; pcpu < this.#pcpus; pcpu++) {
      const { inStep, sliceNs } = this.#options;
      const isWhole = inStep && pcpu > 0;
      this.#dispatch(pcpu, 0, 0, isWhole ? sliceNs : (0.05 + 0.95 * this.#uniform()) * sliceNs);
    }
  }

  #result(vm: Vm): VmResult {
    const { vcpus } = vm;
    const sum = (of: (vcpu: Vcpu) => number) => vcpus.reduce((total, v) => total + of(v), 0);
    const acquisitions = sum((vcpu) => vcpu.acquisitions);
    const per1000 = (count: number) => (acquisitions === 0 ? 0 : (count / acquisitions) * 1000);
    const runNs = sum((vcpu) => vcpu.runNs);
    const spinNs = sum((vcpu) => vcpu.spinNs);
    const coldNs = sum((vcpu) => vcpu.switches * this.#costs.coldNs);
    const counted = this.#options.acquisitions === null;
    const progress = vcpus.map((vcpu) => (counted ? vcpu.acquisitions : vcpu.finishedNs));
    return {
      acquisitions,
      acquisitionsPerS: acquisitions / (this.#nowNs / 1e9),
      lhp: vm.lhp,
      lwp: vm.lwp,
      lhpPer1000: per1000(vm.lhp),
      lwpPer1000: per1000(vm.lwp),
      pspPer1000: per1000(vm.lhp + vm.lwp),
      holderPreemptedNs: vm.holderPreemptedNs,
      waiterPreemptedNs: vm.waiterPreemptedNs,
      heldNs: vm.heldNs,
      waitNsMax: vm.waitNsMax,
      runNs,
      spinNs,
      spinShare: runNs === 0 ? 0 : spinNs / runNs,
      workNs: vm.computes ? Math.max(0, runNs - coldNs) : 0,
      switches: sum((vcpu) => vcpu.switches),
      kicks: vm.kicks,
      halts: vm.halts,
      yields: vm.yields,
      fairnessCv: vm.computes ? 0 : variation(progress),
      runNsPerVcpu: vcpus.map((vcpu) => vcpu.runNs),
      acquisitionsPerVcpu: vcpus.map((vcpu) => vcpu.acquisitions),
      finishedNsPerVcpu:
        counted && !this.#options.drain ? [] : vcpus.map((vcpu) => vcpu.finishedNs),
    };
  }

  #uniform(): number {
    return this.#random.next() / 4294967296;
  }

  #oneOf(values: readonly number[]): number {
    return values[Math.floor(this.#uniform() * values.length)];
  }

  /** A random time with about this mean, after the options' distribution. */
  #drawn(meanNs: number): number {
    switch (this.#options.distribution) {
      case 'fixed':
        return meanNs;
      case 'uniform':
        return meanNs * (0.5 + this.#uniform());
      default:
        return Math.min(TAIL_MEANS * meanNs, -meanNs * Math.log(1 - this.#uniform()));
    }
  }

  #due(vcpu: Vcpu, atNs: number): void {
    const { pcpu } = vcpu;
    vcpu.nextNs = Math.max(atNs, this.#stillNs[pcpu]);
    const delayNs = Math.min(this.#delayNs[pcpu], this.#hangNs[pcpu]);
    this.#dueNs[pcpu] = Math.min(vcpu.nextNs, this.#sliceEndNs[pcpu], delayNs);
  }

  #untilDelay(): number {
    const { delayEveryNs } = this.#options.costs;
    return delayEveryNs === NEVER ? NEVER : -delayEveryNs * Math.log(1 - this.#uniform());
  }

  /** The processor does nothing for a while: what was going on takes longer, and if the slice ends
   *  meanwhile that shows afterwards. Nobody knows: share_info says that the vCPU runs. */
  #standStill(pcpu: number, vcpu: Vcpu): void {
    const { delaysNs } = this.#costs;
    let lengthNs: number;
    let atNs = this.#delayNs[pcpu];
    if (this.#hangNs[pcpu] <= atNs) {
      atNs = this.#hangNs[pcpu];
      lengthNs = Math.max(0, this.#sliceEndNs[pcpu] - atNs);
      this.#hangNs[pcpu] = NEVER;
    } else {
      lengthNs = this.#oneOf(delaysNs);
      this.#delayNs[pcpu] = atNs + lengthNs + this.#untilDelay();
    }
    this.#stillNs[pcpu] = atNs + lengthNs;
    this.#sliceEndNs[pcpu] = Math.max(this.#sliceEndNs[pcpu], this.#stillNs[pcpu]);
    // Its spinning ends when it can see that.
    this.#due(vcpu, vcpu.spinning ? vcpu.nextNs : vcpu.nextNs + lengthNs);
  }

  // --- The thread's program.

  #step(vcpu: Vcpu): void {
    this.#vcpu = vcpu;
    this.#vm = vcpu.machine;
    this.#costNs = 0;
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
        if (vcpu.spinning) this.#spinOver(vcpu);
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
    const atNs = this.#nowNs + this.#costNs;
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
      this.#acquired(vcpu);
      vcpu.phase = CRITICAL;
      const { sectionPcpu } = vcpu.machine;
      const isCold = sectionPcpu !== vcpu.pcpu && sectionPcpu !== -1;
      vcpu.machine.sectionPcpu = vcpu.pcpu;
      const coldNs = isCold ? this.#costs.coldSectionNs : 0;
      this.#due(vcpu, atNs + coldNs + this.#drawn(this.#options.criticalNs));
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
    this.#due(vcpu, atNs + this.#drawn(this.#options.thinkNs));
  }

  #acquired(vcpu: Vcpu): void {
    const vm = vcpu.machine;
    if (vm.holder !== null)
      throw new Error(
        `${vm.model.name}: mutual exclusion: vCPU ${vcpu.thread.id} got the lock that ` +
          `${vm.holder.thread.id} holds, at ${this.#nowNs} ns`,
      );
    vm.holder = vcpu;
    // I-Spinlock 2.3.2: ticket and lock in different quanta.
    if (vcpu.sliceId !== vcpu.ticketSlice) vm.lwp++;
    // Exact: from when the lock was free, or asked for, until whoever got it was there again.
    const freeNs = Math.max(vm.freedNs, vcpu.ticketNs);
    if (vcpu.inNs > freeNs) vm.waiterPreemptedNs += Math.min(vcpu.inNs, this.#nowNs) - freeNs;
    vm.waitNsMax = Math.max(vm.waitNsMax, this.#nowNs - vcpu.ticketNs);
    vcpu.heldSlice = vcpu.sliceId;
    vcpu.heldOffNs = vcpu.offNs;
    vcpu.heldNs = this.#nowNs;
  }

  // --- Spinning and sleeping.

  #spin(vcpu: Vcpu, atNs: number): void {
    const { thread } = vcpu;
    vcpu.spinning = true;
    vcpu.spinSinceNs = atNs;
    const { spinWord } = thread;
    if (spinWord >= 0) vcpu.machine.watchers[spinWord].push(vcpu);
    if (spinWord === CHANGE) vcpu.machine.curious.push(vcpu);
    const already = spinWord === CHANGE && vcpu.machine.changes !== vcpu.seenChanges;
    this.#due(vcpu, atNs + (already ? 1 : thread.budget) * this.#spinNs);
  }

  /** Adds up what was burnt, in time and in iterations. */
  #spinOver(vcpu: Vcpu): void {
    const { thread } = vcpu;
    const elapsedNs = Math.max(0, this.#nowNs - vcpu.spinSinceNs);
    vcpu.spinning = false;
    vcpu.spinNs += elapsedNs;
    // A hundredth: times are sums of fractions, and an iteration must not be left for ever. Nor
    // may a part of one, of a budget that was not a whole number.
    const left = thread.budget - Math.floor(elapsedNs / this.#spinNs + 0.01);
    thread.budget = left < 1 ? 0 : left;
    const { spinWord } = thread;
    if (spinWord < 0 && spinWord !== CHANGE) return;
    const { machine } = vcpu;
    const watchers = spinWord === CHANGE ? machine.curious : machine.watchers[spinWord];
    watchers[watchers.indexOf(vcpu)] = watchers[watchers.length - 1];
    watchers.pop();
  }

  /** A word was written: whoever spun for that sees it, the later the more spin on the line. */
  #written(word: number): void {
    const vm = this.#vm;
    this.#changed(vm, this.#nowNs + this.#costNs);
    const watchers = vm.watchers[word];
    if (watchers.length === 0) return;
    const seenNs = this.#nowNs + this.#costNs + (watchers.length - 1) * this.#costs.spinnerNs;
    for (const watcher of watchers)
      if (watcher.nextNs > seenNs && spinEnds(watcher.thread, vm.memory, watcher.sliceId))
        this.#due(watcher, seenNs);
  }

  /** Memory, or who runs: whoever looks at several things looks again. */
  #changed(vm: Vm, atNs: number): void {
    vm.changes++;
    for (const vcpu of vm.curious)
      if (vcpu.nextNs > atNs + this.#spinNs) this.#due(vcpu, atNs + this.#spinNs);
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
    if (vcpu.spinning) {
      vcpu.spinNs += Math.max(0, this.#nowNs - vcpu.spinSinceNs);
      vcpu.spinSinceNs = Math.max(this.#nowNs, vcpu.spinSinceNs);
    }
    return ranNs;
  }

  /** Off its processor, which stays empty. `leftNs` is the caller's, except of what was going on. */
  #off(vcpu: Vcpu, state: State): void {
    if (vcpu.spinning) {
      this.#spinOver(vcpu);
      vcpu.leftNs = 0;
    }
    this.#scheduler.ran(vcpu, this.#settle(vcpu));
    this.#running[vcpu.pcpu] = null;
    this.#dueNs[vcpu.pcpu] = NEVER;
    this.#sliceEndNs[vcpu.pcpu] = NEVER;
    vcpu.pcpu = -1;
    vcpu.state = state;
    vcpu.outNs = this.#nowNs;
    this.#changed(vcpu.machine, this.#nowNs);
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
    const shiftNs = jitterNs === 0 ? 0 : (2 * this.#uniform() - 1) * jitterNs;
    this.#sliceEndNs[pcpu] = inNs + Math.max(0, sliceNs + shiftNs) + lateNs;
    const { endDelaysNs } = this.#costs;
    const hangNs = endDelaysNs.length === 0 ? 0 : this.#oneOf(endDelaysNs);
    this.#hangNs[pcpu] = hangNs > 0 ? Math.max(inNs, inNs + sliceNs - hangNs) : NEVER;
    // What stood still was the processor, and that has passed while it was empty.
    if (this.#delayNs[pcpu] < inNs) this.#delayNs[pcpu] = inNs + this.#untilDelay();
    this.#due(vcpu, vcpu.asleep ? NEVER : inNs + vcpu.leftNs);
    this.#changed(vcpu.machine, inNs);
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
      if (other !== null && other !== this.#vcpu && other.priority > (worst ?? vcpu).priority)
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

  // --- Steps: what the lock algorithms ask for.

  #touch(word: number, writes: boolean, atomic: boolean): void {
    const { lines } = this.#vm;
    this.#costNs += lines.touch(word, this.#vcpu.pcpu, writes, atomic, this.#nowNs);
  }

  load(word: number): number {
    this.#touch(word, false, false);
    return this.#vm.memory[word];
  }

  store(word: number, value: number): void {
    this.#touch(word, true, false);
    this.#vm.memory[word] = value;
    this.#written(word);
  }

  #update(word: number, value: number): number {
    const { memory } = this.#vm;
    const old = memory[word];
    this.#touch(word, true, true);
    memory[word] = value;
    if (memory[word] !== old) this.#written(word);
    return old;
  }

  add(word: number, delta: number): number {
    return this.#update(word, this.#vm.memory[word] + delta);
  }

  exchange(word: number, value: number): number {
    return this.#update(word, value);
  }

  compareExchange(word: number, expected: number, value: number): number {
    const old = this.#vm.memory[word];
    return this.#update(word, old === (expected | 0) ? value : old);
  }

  exchangePart(word: number, mask: number, value: number): number {
    const old = this.#vm.memory[word];
    return this.#update(word, (old & ~mask) | value) & mask;
  }

  compareExchangePart(word: number, mask: number, expected: number, value: number): number {
    const old = this.#vm.memory[word];
    const part = old & mask;
    this.#update(word, part === (expected | 0) ? (old & ~mask) | value : old);
    return part;
  }

  or(word: number, bits: number): number {
    return this.#update(word, this.#vm.memory[word] | bits);
  }

  and(word: number, bits: number): number {
    return this.#update(word, this.#vm.memory[word] & bits);
  }

  nowNs(): number {
    this.#costNs += this.#costs.clockNs;
    return this.#nowNs;
  }

  preemptionNs(): number {
    this.#costNs += this.#costs.localNs;
    return this.#vcpu.preemptionNs;
  }

  sliceId(): number {
    this.#costNs += this.#costs.localNs;
    return this.#vcpu.sliceId;
  }

  runs(index: number): boolean {
    this.#costNs += this.#costs.localNs;
    return this.#vm.vcpus[index].state === 'running';
  }

  asks(): void {
    this.#vcpu.seenChanges = this.#vm.changes;
  }

  took(): void {}

  kick(index: number): void {
    this.#costNs += this.#costs.hypercallNs;
    this.#vm.kicks++;
    const target = this.#vm.vcpus[index];
    if (target.state === 'halted') this.#wake(target);
    else target.token = true;
  }

  futexWait(word: number, expected: number): boolean {
    this.#costNs += this.#costs.futexNs;
    if (this.#vm.memory[word] !== expected) return false;
    this.#vcpu.asleep = true;
    this.#vm.sleepers.push(this.#vcpu);
    this.#vm.halts++;
    return true;
  }

  futexWake(_word: number): void {
    this.#costNs += this.#costs.futexNs;
    const sleeper = this.#vm.sleepers.shift();
    if (sleeper === undefined) return;
    this.#vm.kicks++;
    sleeper.asleep = false;
    if (sleeper.state === 'halted') this.#wake(sleeper);
    else if (sleeper.state === 'running')
      this.#due(sleeper, Math.max(sleeper.inNs, this.#nowNs) + this.#costs.futexWakeNs);
    else sleeper.leftNs = this.#costs.futexWakeNs;
  }

  ticket(): void {
    this.#vcpu.ticketSlice = this.#vcpu.sliceId;
    this.#vcpu.ticketNs = this.#nowNs;
  }

  released(): void {
    const vcpu = this.#vcpu;
    const vm = this.#vm;
    if (vm.holder !== vcpu) throw new Error(`${vm.model.name}: released by a stranger`);
    vm.holder = null;
    vm.freedNs = this.#nowNs;
    vcpu.acquisitions++;
    // I-Spinlock 2.3.2: acquired and released in different quanta.
    if (vcpu.sliceId !== vcpu.heldSlice) vm.lhp++;
    vm.holderPreemptedNs += vcpu.offNs - vcpu.heldOffNs;
    vm.heldNs += this.#nowNs - vcpu.heldNs;
  }
}

/** Standard deviation over mean. */
export function variation(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  if (mean === 0) return 0;
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return Math.sqrt(square) / mean;
}
