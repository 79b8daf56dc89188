/**
 * Random scripts for the two ends of a byte stream, and the one law they obey: what was written
 * arrives, once, in order, whatever is paused, resumed, ended or handed over meanwhile.
 *
 *   await holds('…', 40, fc.asyncProperty(script, (steps) => play(steps, a, b)), file);
 */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { byteOf, patternOf, turn, until } from './sockets.ts';

export type Step =
  | { readonly do: 'write' | 'peerWrite'; readonly bytes: number }
  | { readonly do: 'pause' | 'resume' | 'turn' | 'special' };

const size = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 200 }) },
  { weight: 3, arbitrary: fc.integer({ min: 201, max: 9000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 9001, max: 300_000 }) },
);

export const script: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({ do: fc.constantFrom('write' as const, 'peerWrite' as const), bytes: size }),
    fc.record({ do: fc.constantFrom('pause' as const, 'resume' as const, 'turn' as const) }),
    fc.record({ do: fc.constant('special' as const) }),
  ),
  { minLength: 1, maxLength: 60 },
);

/** One end, as far as a script needs it. */
export interface End {
  write(bytes: Buffer): void;
  end(): void;
  pause(): void;
  resume(): void;
  special(): void;
  /** Called by the end itself, with everything it receives. */
  received: Receiver;
}

/** Checks what arrives at an end. */
export class Receiver {
  readonly #stream: number;
  count = 0;
  ended = false;
  wrongAt = -1;

  constructor(stream: number) {
    this.#stream = stream;
  }

  take(bytes: Uint8Array, start = 0, end = bytes.length): void {
    for (let i = start; i < end; i++) {
      if (bytes[i] !== byteOf(this.#stream, this.count) && this.wrongAt === -1)
        this.wrongAt = this.count;
      this.count++;
    }
  }
}

/** Our end writes stream 1, the peer stream 2. */
export async function play(steps: readonly Step[], ours: End, peer: End): Promise<void> {
  let written = 0;
  let peerWritten = 0;
  for (const step of steps) {
    if (step.do === 'write') {
      ours.write(patternOf(1, written, step.bytes));
      written += step.bytes;
    } else if (step.do === 'peerWrite') {
      peer.write(patternOf(2, peerWritten, step.bytes));
      peerWritten += step.bytes;
    } else if (step.do === 'turn') await turn();
    else ours[step.do]();
  }
  ours.resume();
  ours.end();
  peer.end();
  await until(() => ours.received.ended && peer.received.ended);
  assert.deepEqual(
    [ours.received.count, ours.received.wrongAt, peer.received.count, peer.received.wrongAt],
    [peerWritten, -1, written, -1],
  );
}
