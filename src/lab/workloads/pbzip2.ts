/**
 * pbzip2 (I-Spinlock 5.1): a parallel block compressor over a real file. Blocks are taken from a
 * locked queue, compressed by zlib, and handed to a locked table, from which whoever completes the
 * next block in order writes the file.
 *
 * The blocks are those of one gzip stream (each ends on a byte, by Z_FULL_FLUSH), so that gunzip
 * reads the file. It must equal what one thread makes of it, byte for byte.
 */
import { closeSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { constants, deflateRawSync, gunzipSync } from 'node:zlib';
import { Prng } from '../../kernel/sim/prng.ts';
import { RingQueue } from './ring-queue.ts';
import { type Outcome, type Site, VoidRun, type Workload, type WorkloadPlan } from './workload.ts';

const BLOCK_BYTES = 8192;
/** Blocks in a second of one core, roughly: sizes a file that takes `seconds`. */
const BLOCKS_PER_SECOND = 1200;
/** What deflate may add to a block that does not shrink, generously. */
const SLACK_BYTES = 128;

/** Locks: the input queue's, the output table's. */
const INPUT = 0;
const OUTPUT = 1;

/** The output's state. */
const NEXT = 0;
const WRITING = 1;
const ARENA_TOP = 2;
const FILE_TOP = 3;
const STATE_WORDS = 4;

/** A block of the table: where its compressed bytes lie; length 0: not yet compressed. */
const OFFSET = 0;
const LENGTH = 1;
const BLOCK_WORDS = 2;

const GZIP_HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);

export const pbzip2: Workload<void> = {
  name: 'pbzip2',
  unit: 'blocks',
  locks: 2,

  prepare(plan) {
    const blocks = blocksOf(plan);
    writeFileSync(inputOf(plan), text(blocks * BLOCK_BYTES, plan.seed));
    writeFileSync(outputOf(plan), GZIP_HEADER);
    const queue = RingQueue.buffer(blocks);
    const ring = RingQueue.fromBuffer(queue);
    for (let block = 0; block < blocks; block++) ring.put(block);
    const state = new Int32Array(new SharedArrayBuffer(4 * STATE_WORDS));
    state[FILE_TOP] = GZIP_HEADER.length;
    return {
      queue,
      state: state.buffer as SharedArrayBuffer,
      table: new SharedArrayBuffer(4 * BLOCK_WORDS * blocks),
      arena: new SharedArrayBuffer((BLOCK_BYTES + SLACK_BYTES) * blocks),
    };
  },

  load() {
    deflateRawSync(Buffer.alloc(BLOCK_BYTES));
  },

  work(site): Outcome {
    const queue = RingQueue.fromBuffer(site.memory.queue);
    const blocks = blocksOf(site.plan);
    const output = new Output(site);
    const lock = site.locks[INPUT];
    const input = openSync(inputOf(site.plan), 'r');
    const buffer = Buffer.alloc(BLOCK_BYTES);
    let done = 0;
    try {
      while (!site.over()) {
        lock.lock();
        const block = queue.take();
        lock.unlock();
        if (block === -1) break;
        readSync(input, buffer, 0, BLOCK_BYTES, block * BLOCK_BYTES);
        output.complete(block, compress(buffer, block === blocks - 1));
        done++;
      }
    } finally {
      closeSync(input);
      output.close();
    }
    return { done };
  },

  check(plan, memory, outcomes) {
    const blocks = blocksOf(plan);
    const input = readFileSync(inputOf(plan));
    const output = readFileSync(outputOf(plan));
    const done = outcomes.reduce((sum, outcome) => sum + outcome.done, 0);
    const left = RingQueue.fromBuffer(memory.queue).length;
    if (done + left !== blocks)
      throw new VoidRun(`of ${blocks} blocks ${done} were done and ${left} are still queued`);
    const state = new Int32Array(memory.state);
    // Blocks are taken in order and those taken are completed: without a hole, to the last.
    if (state[NEXT] !== done) throw new VoidRun(`${done} blocks done, ${state[NEXT]} written`);
    const expected = sequential(input, blocks).slice(0, done);
    if (!output.equals(Buffer.concat([GZIP_HEADER, ...expected])))
      throw new VoidRun('the compressed file differs from what one thread makes of it');
    if (left > 0) return undefined;
    const whole = Buffer.concat([output, trailer(input)]);
    writeFileSync(outputOf(plan), whole);
    if (!gunzipSync(whole).equals(input)) throw new VoidRun('gunzip gives another file back');
    return undefined;
  },

  finished: (_plan, memory) => RingQueue.fromBuffer(memory.queue).length === 0,
};

function blocksOf({ size, seconds }: WorkloadPlan): number {
  return size ?? Math.max(1, Math.round(seconds * BLOCKS_PER_SECOND));
}

function inputOf({ directory, vm }: WorkloadPlan): string {
  return join(directory, `input-${vm}`);
}

function outputOf({ directory, vm }: WorkloadPlan): string {
  return join(directory, `output-${vm}.gz`);
}

function compress(bytes: Uint8Array, last: boolean): Buffer {
  return deflateRawSync(bytes, {
    finishFlush: last ? constants.Z_FINISH : constants.Z_FULL_FLUSH,
  });
}

/** Compressed blocks on their way to the file. */
class Output {
  readonly #state: Int32Array;
  readonly #table: Int32Array;
  readonly #arena: Uint8Array;
  readonly #site: Site;
  readonly #file: number;

  constructor(site: Site) {
    this.#site = site;
    this.#state = new Int32Array(site.memory.state);
    this.#table = new Int32Array(site.memory.table);
    this.#arena = new Uint8Array(site.memory.arena);
    this.#file = openSync(outputOf(site.plan), 'r+');
  }

  close(): void {
    closeSync(this.#file);
  }

  complete(block: number, bytes: Buffer): void {
    const lock = this.#site.locks[OUTPUT];
    lock.lock();
    const offset = this.#state[ARENA_TOP];
    this.#state[ARENA_TOP] = offset + bytes.length;
    lock.unlock();
    if (offset + bytes.length > this.#arena.length) throw new VoidRun('the output is too long');
    this.#arena.set(bytes, offset);

    lock.lock();
    this.#table[BLOCK_WORDS * block + OFFSET] = offset;
    this.#table[BLOCK_WORDS * block + LENGTH] = bytes.length;
    const write = this.#state[WRITING] === 0 && this.#state[NEXT] === block;
    if (write) this.#state[WRITING] = 1;
    lock.unlock();
    if (write) this.#write();
  }

  /** Writes what is there in order; only one thread is here at a time (WRITING). */
  #write(): void {
    const lock = this.#site.locks[OUTPUT];
    for (;;) {
      lock.lock();
      const next = this.#state[NEXT];
      const at = BLOCK_WORDS * next;
      const length = at < this.#table.length ? this.#table[at + LENGTH] : 0;
      const offset = this.#table[at + OFFSET];
      if (length === 0) this.#state[WRITING] = 0;
      lock.unlock();
      if (length === 0) return;

      const position = this.#state[FILE_TOP];
      writeSync(this.#file, this.#arena, offset, length, position);
      lock.lock();
      this.#state[FILE_TOP] = position + length;
      this.#state[NEXT] = next + 1;
      lock.unlock();
    }
  }
}

function sequential(input: Buffer, blocks: number): Buffer[] {
  return Array.from({ length: blocks }, (_, block) =>
    compress(input.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES), block === blocks - 1),
  );
}

/** CRC-32 and length (RFC 1952, 2.3.1). */
function trailer(input: Uint8Array): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(crc32(input), 0);
  bytes.writeUInt32LE(input.length >>> 0, 4);
  return bytes;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}

const WORDS = 'the lock holder waits for a slice of time while others spin and burn cycles'.split(
  ' ',
);

/** Text that compresses as text does. */
function text(length: number, seed: number): Buffer {
  const random = new Prng(seed);
  const bytes = Buffer.alloc(length, ' ');
  let at = 0;
  while (at < length) {
    const word = random.chance(1, 5)
      ? random.next().toString(36)
      : WORDS[random.below(WORDS.length)];
    at += bytes.write(word, at, 'latin1') + 1;
  }
  return bytes;
}
