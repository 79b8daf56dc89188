/**
 * The simulated crew: threads that take submitted entries from the pages when they were woken,
 * and run them step by step, interleaved as the seed has it.
 *
 *   crew.wake()        as tl_crew_wake
 *   crew.step()        one step of virtual time; false: nothing to do
 *
 * It sleeps like the real one: while `awake` is 0 it looks at no page, so that a wake-up the
 * scheduler forgot is found out. A chain's number of steps and the order of chains are chance.
 */
import {
  CONTROL,
  DESC,
  DESC_WORDS,
  ENTRIES_PER_PAGE,
  ENTRY_WORDS,
  STATUS,
} from '../../abi/entry.ts';
import { exchangeIf, load, publish, setBit, takeBit } from '../../memory/barrier.ts';
import type { Desk } from '../../memory/desk.ts';
import { ChainRun, runBlocking } from './execute.ts';
import type { Prng } from './prng.ts';
import type { SimMachine } from './syscalls.ts';

interface Running {
  readonly chain: ChainRun;
  /** The step at which its next entry runs. */
  due: number;
}

export class SimCrew {
  readonly #desk: Desk;
  readonly #machine: SimMachine;
  readonly #random: Prng;
  readonly #running: Running[] = [];
  #awake = false;
  /** Chains completed. */
  chains = 0;
  /** The most chains that ran at a time. */
  most = 0;

  constructor(desk: Desk, machine: SimMachine, random: Prng) {
    this.#desk = desk;
    this.#machine = machine;
    this.#random = random;
  }

  wake(): void {
    this.#setAwake(true);
  }

  #setAwake(awake: boolean): void {
    this.#awake = awake;
    publish(this.#desk.control, CONTROL.awake, awake ? 1 : 0);
  }

  /** Entries ready on the pages in use. */
  #ready(): number[] {
    const { control, descs } = this.#desk;
    const ready: number[] = [];
    for (let page = 0; page < control[CONTROL.pagesInUse]; page++)
      for (let bit = 0; bit < ENTRIES_PER_PAGE; bit++) {
        const word = load(descs, page * DESC_WORDS + DESC.ready + (bit >> 5));
        if (word & (1 << (bit & 31))) ready.push(page * ENTRIES_PER_PAGE + bit);
      }
    return ready;
  }

  /** Takes ready entries, runs what is due, and goes to sleep when there is nothing. */
  step(): boolean {
    const faults = this.#machine.faults;
    faults.step++;
    if (this.#awake) this.#take();
    if (this.#running.length === 0) {
      if (!this.#awake) return false;
      // As in native/crew.c: first awake is cleared, then the pages are looked at once more.
      this.#setAwake(false);
      if (this.#ready().length > 0) this.#setAwake(true);
      return true;
    }
    const due = this.#running.filter((running) => running.due <= faults.step);
    while (due.length > 0) {
      const running = faults.plan.reorder ? this.#random.take(due) : due.shift()!;
      this.#advance(running);
      // The rest of the others comes later, or now.
      if (faults.plan.reorder && this.#random.chance(1, 4)) break;
    }
    return true;
  }

  /** Some of what is ready, or all of it. */
  #take(): void {
    const { plan, enabled } = this.#machine.faults;
    const ready = this.#ready();
    const count = plan.reorder && enabled ? this.#random.below(ready.length + 1) : ready.length;
    for (let i = 0; i < count; i++) {
      const id = plan.reorder ? this.#random.take(ready) : ready.shift()!;
      const page = Math.floor(id / ENTRIES_PER_PAGE);
      const word = page * DESC_WORDS + DESC.ready + ((id >> 5) & 1);
      takeBit(this.#desk.descs, word, 1 << (id & 31));
      exchangeIf(this.#desk.entries, id * ENTRY_WORDS, STATUS.submitted, STATUS.busy);
      const due = this.#machine.faults.step + this.#machine.faults.delay();
      this.#running.push({ chain: new ChainRun(this.#desk, id), due });
    }
    this.most = Math.max(this.most, this.#running.length);
  }

  /** One entry of a chain, as its thread gets that far. */
  #advance(running: Running): void {
    const outcome = running.chain.step(runBlocking(this.#machine));
    running.due = this.#machine.faults.step + this.#machine.faults.delay();
    if (outcome === 'more') return;
    this.#running.splice(this.#running.indexOf(running), 1);
    this.chains++;
    this.#announce(running.chain.head);
  }

  #announce(id: number): void {
    const { control, descs } = this.#desk;
    const page = Math.floor(id / ENTRIES_PER_PAGE);
    setBit(descs, page * DESC_WORDS + DESC.done + ((id >> 5) & 1), 1 << (id & 31));
    publish(control, CONTROL.bell, (load(control, CONTROL.bell) + 1) | 0);
  }

  /** For the message of a run that is stuck. */
  describe(): string {
    return (
      `crew ${this.#awake ? 'awake' : 'asleep'}, ${this.#ready().length} entries ready, ` +
      `${this.#running.length} running`
    );
  }
}
