/**
 * The micro-benchmark (I-Spinlock 5.1): n threads access the same memory, the critical section, x
 * times each, with nothing in between: as much contention as can be had.
 *
 * What is accessed are words of plain memory: a counter, read at the start and written at the end
 * of the section, and a word beside its complement, unequal while somebody is inside. Two threads
 * inside at once lose a count or see an unequal pair.
 */
import { type Outcome, VoidRun, type Workload } from './workload.ts';

const COUNTER = 0;
const WORD = 1;
const COMPLEMENT = 2;
/** Counted by Atomics: the only word here that needs no lock. */
const VIOLATIONS = 3;
/** The words the section works on, on cache lines of their own. */
const AREA = 16;
const AREA_WORDS = 64;

/** Steps of a section: about 1 us, of the order of the paper's mean of 2^12 cycles (figure 3). */
export const SECTION_LENGTH = 700;

export const micro: Workload<void> = {
  name: 'micro',
  unit: 'accesses',
  locks: 1,
  rehearsalMs: 10,

  prepare() {
    const words = new Int32Array(new SharedArrayBuffer(4 * (AREA + AREA_WORDS)));
    words[COMPLEMENT] = ~0;
    return { words: words.buffer as SharedArrayBuffer };
  },

  load() {},

  work(site): Outcome {
    const { size = Number.POSITIVE_INFINITY, length = SECTION_LENGTH } = site.plan;
    const words = new Int32Array(site.memory.words);
    const [lock] = site.locks;
    let done = 0;
    // At least one, even where this vCPU had its first slice after the end. The clock is read
    // between sections, never inside one.
    do {
      lock.lock();
      section(words, length);
      lock.unlock();
      done++;
    } while (done < size && !(size === Number.POSITIVE_INFINITY && site.over()));
    return { done };
  },

  check(_plan, memory, outcomes) {
    const words = new Int32Array(memory.words);
    const total = outcomes.reduce((sum, { done }) => sum + done, 0) | 0;
    if (words[VIOLATIONS] !== 0)
      throw new VoidRun(`two threads were in the critical section ${words[VIOLATIONS]} times`);
    if (words[COUNTER] !== total)
      throw new VoidRun(`${total} accesses were counted as ${words[COUNTER]}`);
    if (words[WORD] !== total || words[COMPLEMENT] !== ~total)
      throw new VoidRun(
        `the pair is ${words[WORD]} and ${~words[COMPLEMENT]} after ${total} accesses`,
      );
    return undefined;
  },
};

/** What is done under the lock. */
export function section(words: Int32Array, length: number): void {
  const word = words[WORD];
  if (words[COMPLEMENT] !== ~word) Atomics.add(words, VIOLATIONS, 1);
  words[WORD] = (word + 1) | 0;
  const counter = words[COUNTER];
  for (let i = 0; i < length; i++) {
    const at = AREA + (i & (AREA_WORDS - 1));
    words[at] = (words[at] + i) | 0;
  }
  words[COUNTER] = (counter + 1) | 0;
  words[COMPLEMENT] = ~(word + 1);
}
