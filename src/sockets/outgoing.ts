/**
 * The sending half of a connection. One that has nothing to send has none: many are idle, and each
 * should be small.
 *
 *   let out = NOTHING;                        nothing is being sent, and nothing may be changed
 *   if (out === NOTHING) out = takeOutgoing();
 *   … out.block, out.queue …
 *   if (out.idle) { giveOutgoing(out); out = NOTHING; }
 */

interface Queue {
  /** Those that are gone are null until the others have moved up. */
  readonly chunks: (Uint8Array | null)[];
  /** How much of the first is gone. */
  at: number;
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
