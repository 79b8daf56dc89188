/**
 * The two forms of an operation: callback and promise. Both try the start (starts.ts) and leave
 * to Node's own function what it does not take.
 */
import { AsyncResource } from 'node:async_hooks';
import { loadAddon } from '../native/addon.ts';
import { type AnyFunction, disguise } from './disguise.ts';
import { threadKernel } from './environment-kernel.ts';
import type { Start } from './starts/start.ts';

export { type AnyFunction, disguise };
export type Callback = (...args: unknown[]) => void;

/** A request as async_hooks and AsyncLocalStorage see one of Node's own. */
export class Request extends AsyncResource {
  readonly callback: Callback;

  constructor(callback: Callback) {
    super('FSREQCALLBACK');
    this.callback = callback;
  }

  succeed = (value: unknown): void => {
    if (value === undefined) callBack(this, this.callback, undefined, null);
    else callBack(this, this.callback, undefined, null, value);
  };

  fail = (error: Error): void => {
    callBack(this, this.callback, undefined, error);
  };
}

/** As Node's own requests do: what is thrown is reported while the scope is there, and in it the
 *  domain, if any, that is to be told. */
export function callBack(
  request: AsyncResource,
  callback: Callback,
  receiver: unknown,
  ...args: unknown[]
): void {
  request.runInAsyncScope(guarded, receiver, callback, args);
}

/** For runInAsyncScope: calls it, and reports what it throws. */
export function guarded(this: unknown, callback: Callback, args: unknown[]): void {
  try {
    callback.apply(this, args);
  } catch (error) {
    threw(error);
  }
}

/** Reports what a callback threw, in the scope that it ran in. */
export function threw(error: unknown): never {
  loadAddon().addon?.uncaughtException(error);
  // The program survives it: on with the next completion, and the tick queue after that one.
  throw undefined;
}

/** `name(...args, callback)`; `most` is the number of arguments before the callback. */
export function callbackForm(original: AnyFunction, start: Start, most: number): AnyFunction {
  return disguise(function (this: unknown, ...args: unknown[]) {
    const callback = args.pop();
    if (typeof callback === 'function' && args.length <= most && args.length > 0) {
      const kernel = threadKernel();
      if (kernel !== null) {
        const request = new Request(callback as Callback);
        if (start(kernel, args, request.succeed, request.fail)) return;
      }
    }
    if (callback !== undefined || args.length > 0) args.push(callback);
    return original.apply(this, args);
  }, original);
}

/** `await name(...args)`. */
export function promiseForm(original: AnyFunction, start: Start, most: number): AnyFunction {
  return disguise(function (this: unknown, ...args: unknown[]) {
    const kernel = args.length <= most ? threadKernel() : null;
    if (kernel === null) return original.apply(this, args);
    let started = false;
    const promise = new Promise<unknown>((resolve) => {
      started = start(kernel, args, resolve);
    });
    return started ? promise : original.apply(this, args);
  }, original);
}
