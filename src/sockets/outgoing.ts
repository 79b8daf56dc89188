/**
 * The sending half of a connection: where what is written stays until Linux has it. One that has
 * nothing to send has none: many are idle, and each should be small.
 *
 *   let out = NOTHING;                        nothing is being sent, and nothing may be written
 *   if (out === NOTHING) out = takeOutgoing();
 *   … out.roomFor(…), out.enqueue(…), out.gather(…) …
 *   if (out.idle) { giveOutgoing(out); out = NOTHING; }
 *
 *   written ──► block: in flight, and filled for as long as the turn lasts
 *      │           ▲
 *      ├───────► next: filled while the block is in flight
 *      │           ▲ (a block of it at a time)
 *      └───────► queue: a list, of what is more than that
 */
import type { SendBlocks } from '../kernel/sockets/blocks.ts';
import { LARGE_BLOCK } from '../kernel/sockets/layout.ts';

interface Queue {
  /** Those that are gone are null until the others have moved up. */
  readonly chunks: (Uint8Array | null)[];
  /** How much of the first is gone. */
  at: number;
}

/** Where blocks are, and who has free ones. */
interface Memory {
  readonly arena: Buffer;
  readonly blocks: SendBlocks;
}

export class Outgoing {
  /** Of the send in flight: its entry, and the queue's turn when it was queued. */
  entry = 0;
  turn = -1;
  /** Its block, from where in it, and how much. */
  block = -1;
  at = 0;
  length = 0;
  /** The block that fills meanwhile. */
  next = -1;
  nextLength = 0;
  /** What waits behind the blocks. */
  queue: Queue | null = null;
  /** While the descriptor is given back: what Linux did not take. */
  unsent: Uint8Array[] | null = null;

  get idle(): boolean {
    return this.block === -1 && this.next === -1 && this.queue === null && this.unsent === null;
  }

  /**
   * A block with room for `bytes` more at its end, -1: there is none. `amendable`: the send in
   * flight may still be made longer.
   */
  roomFor({ arena, blocks }: Memory, bytes: number, amendable: boolean): number {
    const block = amendable ? this.block : this.next;
    const filled = amendable ? this.length : this.nextLength;
    if (block !== -1 && filled + bytes <= blocks.sizeOf(block)) return block;
    if (filled + bytes > LARGE_BLOCK) return -1;
    const larger = blocks.take(filled + bytes);
    if (larger === -1) return -1;
    if (filled + bytes > blocks.sizeOf(larger)) {
      blocks.give(larger);
      return -1;
    }
    if (block !== -1) {
      arena.copyWithin(larger, block, block + filled);
      blocks.give(block);
    }
    if (amendable) this.block = this.at = larger;
    else if (this.block === -1) {
      this.block = this.at = larger;
      this.length = 0;
    } else this.next = larger;
    return larger;
  }

  /** Where the next byte goes, in a block that roomFor() gave. */
  endOf(block: number): number {
    return block + (block === this.block ? this.length : this.nextLength);
  }

  enqueue(bytes: Uint8Array): void {
    this.queue ??= { chunks: [], at: 0 };
    this.queue.chunks.push(bytes);
  }

  /** So many bytes of the block have gone. */
  sent(bytes: number): void {
    this.at += bytes;
    this.length -= bytes;
  }

  giveBlock(blocks: SendBlocks): void {
    if (this.block === -1) return;
    blocks.give(this.block);
    this.block = -1;
    this.length = 0;
  }

  /** What is in the next block is sent now. */
  shift(): void {
    this.block = this.at = this.next;
    this.length = this.nextLength;
    this.next = -1;
    this.nextLength = 0;
  }

  /** Fills a block with as much of the list as it holds. False: there is no block. */
  gather({ arena, blocks }: Memory, pending: number): boolean {
    const queue = this.queue!;
    const { chunks } = queue;
    const block = blocks.take(Math.min(pending + chunks[0]!.length, LARGE_BLOCK));
    if (block === -1) return false;
    const size = blocks.sizeOf(block);
    let filled = 0;
    let taken = 0;
    while (taken < chunks.length && filled < size) {
      const bytes = chunks[taken]!;
      const part = Math.min(bytes.length - queue.at, size - filled);
      arena.set(
        part === bytes.length ? bytes : bytes.subarray(queue.at, queue.at + part),
        block + filled,
      );
      filled += part;
      queue.at += part;
      if (queue.at < bytes.length) break;
      queue.at = 0;
      chunks[taken++] = null;
    }
    if (taken === chunks.length) this.queue = null;
    else chunks.splice(0, taken);
    this.block = this.at = block;
    this.length = filled;
    return true;
  }

  /** Takes the last `bytes` back; returns how many of them it could not. */
  withdraw(bytes: number, amendable: boolean): number {
    let left = bytes;
    const { queue } = this;
    // What is partly gone stays whole.
    while (queue !== null && left > 0 && queue.chunks.length > (queue.at > 0 ? 1 : 0)) {
      const last = queue.chunks.pop()!;
      if (last.length > left) queue.chunks.push(last.subarray(0, last.length - left));
      left -= Math.min(left, last.length);
    }
    if (queue?.chunks.length === 0) this.queue = null;
    const fromNext = Math.min(left, this.nextLength);
    this.nextLength -= fromNext;
    left -= fromNext;
    const fromBlock = amendable ? Math.min(left, this.length) : 0;
    this.length -= fromBlock;
    return left - fromBlock;
  }

  /** All but what is in flight. */
  drop(blocks: SendBlocks): void {
    this.queue = null;
    if (this.next !== -1) blocks.give(this.next);
    this.next = -1;
    this.nextLength = 0;
  }

  /** Copies what is in flight, but the first `sent` bytes, to what Linux did not take. */
  keepInFlight(arena: Buffer, sent: number): void {
    if (sent < this.length)
      this.unsent!.push(Buffer.from(arena.subarray(this.at + sent, this.at + this.length)));
  }

  /** The same with what waits behind it. */
  keepWaiting(arena: Buffer): void {
    const unsent = this.unsent!;
    if (this.next !== -1)
      unsent.push(Buffer.from(arena.subarray(this.next, this.next + this.nextLength)));
    if (this.queue === null) return;
    const { chunks, at } = this.queue;
    for (const [index, bytes] of chunks.entries())
      unsent.push(index === 0 ? bytes!.subarray(at) : bytes!);
  }
}

export const NOTHING = new Outgoing();

/** As many as are busy in one turn of a busy server; the last one given back is still warm. */
const SPARE_MAX = 1024;
const spare: Outgoing[] = [];

export function takeOutgoing(): Outgoing {
  return spare.pop() ?? new Outgoing();
}

/** An idle one. */
export function giveOutgoing(out: Outgoing): void {
  if (spare.length < SPARE_MAX) spare.push(out);
}
