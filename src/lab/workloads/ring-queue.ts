/**
 * A bounded queue of numbers in shared memory. It has no lock of its own: callers hold one.
 *
 *   const queue = new RingQueue(new Int32Array(new SharedArrayBuffer(4 * RingQueue.words(100))));
 *   lock.lock(); const job = queue.take(); lock.unlock();
 */

const HEAD = 0;
const TAIL = 1;
const HEADER = 2;

export class RingQueue {
  readonly #words: Int32Array;
  readonly #capacity: number;

  /** Int32s that a queue of `capacity` numbers takes. */
  static words(capacity: number): number {
    return HEADER + capacity;
  }

  static fromBuffer(buffer: SharedArrayBuffer): RingQueue {
    return new RingQueue(new Int32Array(buffer));
  }

  static buffer(capacity: number): SharedArrayBuffer {
    return new SharedArrayBuffer(4 * RingQueue.words(capacity));
  }

  constructor(words: Int32Array) {
    this.#words = words;
    this.#capacity = words.length - HEADER;
  }

  get length(): number {
    return (this.#words[TAIL] - this.#words[HEAD]) | 0;
  }

  /** False if the queue is full. */
  put(value: number): boolean {
    const tail = this.#words[TAIL];
    if (((tail - this.#words[HEAD]) | 0) === this.#capacity) return false;
    this.#words[HEADER + ((tail >>> 0) % this.#capacity)] = value;
    this.#words[TAIL] = (tail + 1) | 0;
    return true;
  }

  /** -1 if the queue is empty. */
  take(): number {
    const head = this.#words[HEAD];
    if (head === this.#words[TAIL]) return -1;
    const value = this.#words[HEADER + ((head >>> 0) % this.#capacity)];
    this.#words[HEAD] = (head + 1) | 0;
    return value;
  }
}
