/**
 * What the parts of trapless in one thread share: the bundle that is loaded at start-up, the one
 * that is loaded at the first accelerated call, and other copies of trapless, should a program
 * have brought some.
 *
 *   shared().kernel = kernel;
 *
 * It lies on `process` under a registered symbol, not enumerable.
 */
import type { Kernel } from '../kernel/kernel.ts';
import type { AnyFunction } from './disguise.ts';
import type { Tier } from './refusal.ts';

export interface Shared {
  /** register() was here. */
  registered: boolean;
  /** Node's own functions, by name, where doors stand in their place (doors.ts). */
  readonly originals: {
    readonly fs: Record<string, AnyFunction>;
    readonly promises: Record<string, AnyFunction>;
  };
  /** What stands for fs.read or FileHandle's, or is it: streams that read by these may be read otherwise. */
  readonly reads: WeakSet<AnyFunction>;
  /** Told of every change of credentials (credentials.ts). */
  readonly guarded: Set<Kernel>;
  credentialsWrapped: boolean;
  /** Whether V8's code cache of the runtime was of use (code-cache.ts). */
  codeCache: 'used' | 'rejected' | 'none';
  /** Loads what a call needs, while it can be read. */
  prepare: () => void;
  /** The thread's kernel (environment-kernel.ts), once it is registered, and its tier. */
  kernel: Kernel | null;
  tier: (() => Tier) | null;
}

const KEY = Symbol.for('trapless');

export function shared(): Shared {
  const holder = process as unknown as { [KEY]?: Shared };
  if (holder[KEY] === undefined) {
    const value: Shared = {
      registered: false,
      originals: { fs: {}, promises: {} },
      reads: new WeakSet(),
      guarded: new Set(),
      credentialsWrapped: false,
      codeCache: 'none',
      prepare: () => {},
      kernel: null,
      tier: null,
    };
    Object.defineProperty(process, KEY, { value });
  }
  return holder[KEY] as Shared;
}
