/**
 * vCPUs in PAUSE loops. They have no events: each is woken by the write it waits for, at its next
 * look, or when its budget is used up, and what it burnt is added up afterwards.
 *
 *   spinning.begin(vcpu, sinceNs); … spinning.written(vm, word, atNs); … spinning.end(vcpu, nowNs)
 */
import type { Costs } from './costs.ts';
import { CHANGE, spinEnds } from './lock-model.ts';
import type { Vcpu, Vm } from './machine-state.ts';

export class Spinning {
  readonly #turnNs: number;
  readonly #spinnerNs: number;
  readonly #due: (vcpu: Vcpu, atNs: number) => void;

  /** due: has the vCPU take its next step then. */
  constructor({ pauseNs, spinnerNs }: Costs, due: (vcpu: Vcpu, atNs: number) => void) {
    this.#turnNs = pauseNs;
    this.#spinnerNs = spinnerNs;
    this.#due = due;
  }

  begin(vcpu: Vcpu, sinceNs: number): void {
    const { thread, machine } = vcpu;
    const { spinWord } = thread;
    vcpu.spinning = true;
    vcpu.spinSinceNs = sinceNs;
    if (spinWord >= 0) machine.watchers[spinWord].push(vcpu);
    if (spinWord === CHANGE) machine.curious.push(vcpu);
    const already = spinWord === CHANGE && machine.changes !== vcpu.seenChanges;
    this.#due(vcpu, sinceNs + (already ? 1 : thread.budget) * this.#turnNs);
  }

  /** Adds up what was burnt, in time and in iterations. */
  end(vcpu: Vcpu, nowNs: number): void {
    const { thread, machine } = vcpu;
    const elapsedNs = Math.max(0, nowNs - vcpu.spinSinceNs);
    vcpu.spinning = false;
    vcpu.spinNs += elapsedNs;
    // A hundredth: times are sums of fractions, and an iteration must not be left for ever. Nor
    // may a part of one, of a budget that was not a whole number.
    const left = thread.budget - Math.floor(elapsedNs / this.#turnNs + 0.01);
    thread.budget = left < 1 ? 0 : left;
    const { spinWord } = thread;
    if (spinWord < 0 && spinWord !== CHANGE) return;
    const watchers = spinWord === CHANGE ? machine.curious : machine.watchers[spinWord];
    watchers[watchers.indexOf(vcpu)] = watchers[watchers.length - 1];
    watchers.pop();
  }

  /** The time so far; it goes on spinning. */
  settle(vcpu: Vcpu, nowNs: number): void {
    if (!vcpu.spinning) return;
    vcpu.spinNs += Math.max(0, nowNs - vcpu.spinSinceNs);
    vcpu.spinSinceNs = Math.max(nowNs, vcpu.spinSinceNs);
  }

  /** Whoever spun for this word sees it, the later the more spin on the line. */
  written(vm: Vm, word: number, atNs: number): void {
    this.changed(vm, atNs);
    const watchers = vm.watchers[word];
    if (watchers.length === 0) return;
    const seenNs = atNs + (watchers.length - 1) * this.#spinnerNs;
    for (const watcher of watchers)
      if (watcher.nextNs > seenNs && spinEnds(watcher.thread, vm.memory, watcher.sliceId))
        this.#due(watcher, this.#nextLook(watcher, seenNs));
  }

  /** Memory, or who runs: whoever looks at several things looks again. */
  changed(vm: Vm, atNs: number): void {
    vm.changes++;
    for (const vcpu of vm.curious)
      if (vcpu.nextNs > atNs + this.#turnNs) this.#due(vcpu, this.#nextLook(vcpu, atNs));
  }

  /** When it has done its PAUSE. */
  #nextLook({ spinSinceNs }: Vcpu, atNs: number): number {
    const turns = Math.max(0, Math.ceil((atNs - spinSinceNs) / this.#turnNs));
    return spinSinceNs + turns * this.#turnNs;
  }
}
