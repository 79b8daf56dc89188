/**
 * Node's own functions: what is behind the doors (doors.ts), and everything that has none.
 *
 *   plain('stat')(path, callback)            plainPromise('stat')(path)
 */
import nodeFs from 'node:fs';
import { type Fail, NotOurs, type Resolve, settleError } from '../ops/call.ts';
import type { AnyFunction } from './disguise.ts';
import { shared } from './shared.ts';

type Functions = Record<string, AnyFunction>;

const { originals } = shared();

export function plain(name: string): AnyFunction {
  return originals.fs[name] ?? (nodeFs as unknown as Functions)[name];
}

export function plainPromise(name: string): AnyFunction {
  return originals.promises[name] ?? (nodeFs.promises as unknown as Functions)[name];
}

/** Lets Node do it all, in the form that is waited for: a callback if there is a `fail`. */
export function byNode(
  name: string,
  args: readonly unknown[],
  // biome-ignore lint/suspicious/noExplicitAny: whatever Node's function returns
  resolve: Resolve<any>,
  fail: Fail | undefined,
): void {
  if (fail === undefined) resolve(plainPromise(name)(...args));
  else
    plain(name)(...args, (error: Error | null, value?: unknown) => {
      if (error) fail(error);
      else resolve(value);
    });
}

/** How an operation fails that may find out that it is NotOurs: Node does it then. */
export function unlessNodes(
  name: string,
  args: readonly unknown[],
  // biome-ignore lint/suspicious/noExplicitAny: whatever Node's function returns
  resolve: Resolve<any>,
  fail: Fail | undefined,
): Fail {
  return (error) => {
    if (error instanceof NotOurs) byNode(name, args, resolve, fail);
    else settleError(error, resolve, fail);
  };
}
