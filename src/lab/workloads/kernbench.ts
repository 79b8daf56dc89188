/**
 * kernbench (I-Spinlock 5.1): a parallel build. Jobs wait in a locked queue; each compiles a
 * module and the headers it includes, of which results are kept in a locked cache (ccache's part).
 *
 * The paper's spin locks are the kernel's, taken with every call of a compiler. Here sources and
 * results lie in a small shared file store, read and written page by page, each under its lock, as
 * a page cache is. The result of every job is compared with a sequential compilation.
 */
import type { Lock } from '../../locks/index.ts';
import { type Compiler, findCompiler, moduleSource } from './compiler.ts';
import { RingQueue } from './ring-queue.ts';
import {
  checksum,
  type Memory,
  type Outcome,
  type Site,
  VoidRun,
  type Workload,
  type WorkloadPlan,
} from './workload.ts';

/** Compilations in a second of one core, roughly: sizes a build that lasts `seconds`. */
const JOBS_PER_SECOND = 70;
const PAGE_BYTES = 128;
const HEADERS = 24;
const INCLUDES = 3;
/** Modules differ in number only up to this: a long build compiles them again. */
const MODULES = 64;
/** A result is shorter; what a job would write beyond makes the run void. */
const RESULT_BYTES_MAX = 4096;

/** Locks: the queue's, the file store's, the cache's. */
const QUEUE = 0;
const STORE = 1;
const CACHE = 2;

/** A file of the store: where it begins, and its length; -1: not there yet. */
const OFFSET = 0;
const LENGTH = 1;
const FILE_WORDS = 2;

export const kernbench: Workload<Compiler> = {
  name: 'kernbench',
  unit: 'compilations',
  locks: 3,

  prepare(plan) {
    const jobs = jobsOf(plan);
    const queue = RingQueue.buffer(jobs);
    const ring = RingQueue.fromBuffer(queue);
    for (let job = 0; job < jobs; job++) ring.put(job);

    const texts = sources().map((text) => Buffer.from(text, 'latin1'));
    const total = texts.reduce((sum, text) => sum + text.length, 0);
    const files = new Int32Array(new SharedArrayBuffer(4 * FILE_WORDS * texts.length));
    const store = new Uint8Array(new SharedArrayBuffer(total));
    let offset = 0;
    for (const [i, text] of texts.entries()) {
      files[FILE_WORDS * i + OFFSET] = offset;
      files[FILE_WORDS * i + LENGTH] = text.length;
      store.set(text, offset);
      offset += text.length;
    }
    const results = new Int32Array(new SharedArrayBuffer(4 * FILE_WORDS * (jobs + HEADERS)));
    results.fill(-1);
    return {
      queue,
      files: files.buffer as SharedArrayBuffer,
      store: store.buffer as SharedArrayBuffer,
      // Of jobs, then of headers: the cache.
      results: results.buffer as SharedArrayBuffer,
      output: new SharedArrayBuffer(RESULT_BYTES_MAX * (jobs + HEADERS)),
      outputTop: new SharedArrayBuffer(4),
    };
  },

  load() {
    const compiler = findCompiler();
    compiler.compile(moduleSource(0));
    return compiler;
  },

  work(site, compiler): Outcome {
    const queue = RingQueue.fromBuffer(site.memory.queue);
    const store = new FileStore(site.memory, site.locks[STORE], () => site.over());
    const lock = site.locks[QUEUE];
    const jobs = jobsOf(site.plan);
    let done = 0;
    try {
      while (!site.over()) {
        lock.lock();
        const job = queue.take();
        lock.unlock();
        if (job === -1) break;
        const included = includesOf(job).map((header) =>
          headerResult(site, store, compiler, header, jobs),
        );
        const result = compiler.compile(store.source(HEADERS + (job % MODULES)));
        store.write(job, `${result}//${included.join()}\n`);
        done++;
      }
    } catch (error) {
      if (error !== OVER) throw error;
      return { done, proof: ABANDONED };
    }
    return { done };
  },

  check(plan, memory, outcomes) {
    const compiler = findCompiler();
    const all = sources().map((text) => compiler.compile(text));
    const headers = all.slice(0, HEADERS).map((text) => checksum(Buffer.from(text, 'latin1')));
    const store = new FileStore(memory, FREE, () => false);
    const jobs = jobsOf(plan);
    let finished = 0;
    for (let job = 0; job < jobs; job++) {
      if (!store.has(job)) continue;
      finished++;
      const included = includesOf(job).map((header) => headers[header]);
      if (store.result(job) !== `${all[HEADERS + (job % MODULES)]}//${included.join()}\n`)
        throw new VoidRun(`job ${job} was compiled to something else than by one thread`);
    }
    const done = outcomes.reduce((sum, outcome) => sum + outcome.done, 0);
    if (done !== finished)
      throw new VoidRun(`${done} compilations were counted, ${finished} results are there`);
    const left = RingQueue.fromBuffer(memory.queue).length;
    const abandoned = outcomes.filter(({ proof }) => proof === ABANDONED).length;
    if (done + abandoned + left !== jobs)
      throw new VoidRun(
        `of ${jobs} jobs ${done} were done, ${abandoned} abandoned and ${left} are still queued`,
      );
    return compiler.missing;
  },

  finished(plan, memory) {
    const store = new FileStore(memory, FREE, () => false);
    for (let job = jobsOf(plan) - 1; job >= 0; job--) if (!store.has(job)) return false;
    return true;
  },
};

function jobsOf({ size, seconds }: WorkloadPlan): number {
  return size ?? Math.max(1, Math.round(seconds * JOBS_PER_SECOND));
}

/** Headers, then modules. */
function sources(): string[] {
  return Array.from({ length: HEADERS + MODULES }, (_, i) => moduleSource(i));
}

function includesOf(job: number): number[] {
  return Array.from({ length: INCLUDES }, (_, i) => (job * (i + 1) + 5 * i) % HEADERS);
}

/** The checksum of a header's result: from the cache, or compiled and put there. */
function headerResult(
  site: Site,
  store: FileStore,
  compiler: Compiler,
  header: number,
  jobs: number,
): number {
  const lock = site.locks[CACHE];
  lock.lock();
  const cached = store.has(jobs + header);
  lock.unlock();
  if (cached) return checksum(Buffer.from(store.result(jobs + header), 'latin1'));

  const result = compiler.compile(store.source(header));
  const file = store.append(result);
  lock.lock();
  // Another thread may have compiled it meanwhile: its result stays, ours is forgotten.
  if (!store.has(jobs + header)) store.name(jobs + header, file);
  lock.unlock();
  return checksum(Buffer.from(result, 'latin1'));
}

const FREE = { lock() {}, unlock() {} };

/**
 * Thrown when time is up in the middle of a job: it needs some hundred locks, and where each takes
 * a slice to get the job would go on for long.
 */
const OVER = new Error('time is up');
const ABANDONED = 'a job was abandoned';

/** Files in shared memory, read and written in pages, each page under the lock. */
class FileStore {
  readonly #files: Int32Array;
  readonly #store: Uint8Array;
  readonly #results: Int32Array;
  readonly #output: Uint8Array;
  readonly #outputTop: Int32Array;
  readonly #lock: Pick<Lock, 'lock' | 'unlock'>;

  readonly #over: () => boolean;

  constructor(memory: Memory, lock: Pick<Lock, 'lock' | 'unlock'>, over: () => boolean) {
    this.#files = new Int32Array(memory.files);
    this.#store = new Uint8Array(memory.store);
    this.#results = new Int32Array(memory.results);
    this.#output = new Uint8Array(memory.output);
    this.#outputTop = new Int32Array(memory.outputTop);
    this.#lock = lock;
    this.#over = over;
  }

  source(file: number): string {
    const at = FILE_WORDS * file;
    return this.#read(this.#store, this.#files[at + OFFSET], this.#files[at + LENGTH]);
  }

  has(result: number): boolean {
    return this.#results[FILE_WORDS * result + LENGTH] !== -1;
  }

  result(result: number): string {
    const at = FILE_WORDS * result;
    return this.#read(this.#output, this.#results[at + OFFSET], this.#results[at + LENGTH]);
  }

  write(result: number, text: string): void {
    const file = this.append(text);
    this.#lock.lock();
    this.name(result, file);
    this.#lock.unlock();
  }

  /** Under a lock: the length last, since it says that the file is there. */
  name(result: number, file: { readonly offset: number; readonly length: number }): void {
    this.#results[FILE_WORDS * result + OFFSET] = file.offset;
    this.#results[FILE_WORDS * result + LENGTH] = file.length;
  }

  append(text: string): { offset: number; length: number } {
    const bytes = Buffer.from(text, 'latin1');
    if (bytes.length > RESULT_BYTES_MAX) throw new VoidRun(`a result has ${bytes.length} bytes`);
    this.#lock.lock();
    const offset = this.#outputTop[0];
    this.#outputTop[0] = offset + bytes.length;
    this.#lock.unlock();
    // Duplicates of headers may fill what was meant for one of each.
    if (offset + bytes.length > this.#output.length) throw new VoidRun('the file store is full');
    for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
      if (this.#over()) throw OVER;
      const page = bytes.subarray(at, at + PAGE_BYTES);
      this.#lock.lock();
      this.#output.set(page, offset + at);
      this.#lock.unlock();
    }
    return { offset, length: bytes.length };
  }

  #read(from: Uint8Array, offset: number, length: number): string {
    const bytes = Buffer.allocUnsafe(length);
    for (let at = 0; at < length; at += PAGE_BYTES) {
      if (this.#over()) throw OVER;
      const end = Math.min(length, at + PAGE_BYTES);
      this.#lock.lock();
      bytes.set(from.subarray(offset + at, offset + end), at);
      this.#lock.unlock();
    }
    return bytes.toString('latin1');
  }
}
