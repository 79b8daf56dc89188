/**
 * Plain node:fs and trapless, side by side in one process: the same call, on the same files, must
 * end in the same way. Plain Node is the oracle; nothing here knows what a right answer is.
 *
 *   const compare = comparing(api, fixture);
 *   await compare('readFile', (dir) => [join(dir, 'file.txt'), 'utf8']);
 *
 * runs callback and promise form of both. Compared are: what was thrown, how often and with what
 * the callback was called (values deeply, errors property by property and in order), `this`, and
 * what the folder looks like afterwards.
 */
import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import type { FsModule } from './fs-api.ts';
import { type Fixture, snapshot } from './fs-fixture.ts';

/** What became of a call. */
interface Outcome {
  threw?: unknown;
  rejected?: unknown;
  /** Arguments of the callback, or the value of the promise. */
  readonly values: unknown[];
  calls: number;
  thisArgument?: object;
}

export type MakeArguments = (dir: string) => unknown[];

export interface CompareOptions {
  /** Default: both that exist. */
  readonly forms?: readonly Form[];
  /** Both on the very same files, without making them anew: for stat and what only reads. */
  readonly sameFiles?: boolean;
  /** Makes results comparable that are not (random names); applied to values and errors that were
   *  called back or rejected. */
  readonly scrub?: (value: unknown) => unknown;
}

export type Form = 'callback' | 'promise';
export type Compare = (
  name: string,
  makeArguments: MakeArguments,
  options?: CompareOptions,
) => Promise<void>;

export function comparing(plain: FsModule, ours: FsModule, fixture: Fixture): Compare {
  return async (name, makeArguments, options = {}) => {
    for (const form of options.forms ?? (['callback', 'promise'] as const)) {
      const theirFunction = lookUp(plain, name, form);
      if (theirFunction === undefined) continue;
      const run = async (api: FsModule): Promise<{ outcome: Outcome; after: string[] }> => {
        if (!options.sameFiles) fixture.reset();
        const outcome = await settle(lookUp(api, name, form)!, makeArguments(fixture.path), form);
        if (options.scrub) scrubbed(outcome, options.scrub);
        return { outcome, after: options.sameFiles ? [] : snapshot(fixture.path) };
      };
      const expected = await run(plain);
      const actual = await run(ours);
      const title = `${form} ${name}(${makeArguments(fixture.path).map(short).join(', ')})`;
      assertSame(actual.outcome, expected.outcome, title);
      assert.deepEqual(actual.after, expected.after, `${title}: the files afterwards`);
    }
  };
}

function scrubbed(outcome: Outcome, scrub: (value: unknown) => unknown): void {
  for (const [i, value] of outcome.values.entries())
    if (value !== null && value !== undefined) outcome.values[i] = scrub(value);
  if (outcome.rejected !== undefined) outcome.rejected = scrub(outcome.rejected);
}

type AnyFunction = (...args: unknown[]) => unknown;

function lookUp(api: FsModule, name: string, form: Form): AnyFunction | undefined {
  const holder = form === 'callback' ? api : api.promises;
  return (holder as unknown as Record<string, AnyFunction | undefined>)[name];
}

function short(value: unknown): string {
  return inspect(value, { depth: 1, maxStringLength: 60, breakLength: Number.POSITIVE_INFINITY });
}

function settle(call: AnyFunction, args: unknown[], form: Form): Promise<Outcome> {
  return form === 'callback' ? settleCallback(call, args) : settlePromise(call, args);
}

async function settlePromise(call: AnyFunction, args: unknown[]): Promise<Outcome> {
  const outcome: Outcome = { values: [], calls: 0 };
  let promise: unknown;
  try {
    promise = call(...args);
  } catch (error) {
    return { ...outcome, threw: error };
  }
  assert.ok(promise instanceof Promise, 'returns a promise');
  try {
    return { ...outcome, values: [await promise] };
  } catch (error) {
    return { ...outcome, rejected: error };
  }
}

function settleCallback(call: AnyFunction, args: unknown[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const outcome: Outcome = { values: [], calls: 0 };
    const callback = function (this: object | undefined, ...values: unknown[]) {
      outcome.calls++;
      outcome.thisArgument = this;
      outcome.values.push(...values);
      // A second call would come soon, if at all.
      if (outcome.calls === 1) setImmediate(() => setImmediate(() => resolve(outcome)));
    };
    try {
      assert.equal(call(...args, callback), undefined, 'returns nothing');
    } catch (error) {
      resolve({ ...outcome, threw: error });
    }
  });
}

/* --- Comparing ----------------------------------------------------------------------------- */

const INSPECT = {
  depth: 8,
  maxArrayLength: null,
  maxStringLength: null,
  breakLength: Number.POSITIVE_INFINITY,
} as const;

function assertSame(actual: Outcome, expected: Outcome, title: string): void {
  assert.equal(actual.calls, expected.calls, `${title}: times called back`);
  // Here and there Node lets its own request show through as `this`; ours have none.
  if (actual.thisArgument !== undefined)
    assert.equal(actual.thisArgument?.constructor, expected.thisArgument?.constructor, title);
  assertSameValue(actual.threw, expected.threw, `${title}: thrown`);
  assertSameValue(actual.rejected, expected.rejected, `${title}: rejected`);
  assert.equal(actual.values.length, expected.values.length, `${title}: number of values`);
  for (let i = 0; i < expected.values.length; i++)
    assertSameValue(actual.values[i], expected.values[i], `${title}: value ${i}`);
}

export function assertSameValue(actual: unknown, expected: unknown, title: string): void {
  if (expected instanceof Error || actual instanceof Error) {
    assert.deepEqual(errorShape(actual), errorShape(expected), title);
    return;
  }
  // Text first: it shows class names, symbols, the order of properties, and reads better.
  assert.equal(inspect(actual, INSPECT), inspect(expected, INSPECT), title);
  assert.deepEqual(actual, expected, title);
}

/** Everything about an error that a program can see, but for its stack frames. */
export function errorShape(error: unknown): unknown {
  if (!(error instanceof Error)) return { notAnError: inspect(error, INSPECT) };
  return {
    class: Object.getPrototypeOf(error) === Error.prototype ? 'Error' : error.constructor.name,
    text: String(error),
    stackHead: error.stack?.split('\n    at ')[0],
    properties: Reflect.ownKeys(error)
      .filter((key) => key !== 'stack')
      .map((key) => {
        const { enumerable, writable, value } = Object.getOwnPropertyDescriptor(error, key)!;
        return [key, enumerable, writable, value instanceof Error ? errorShape(value) : value];
      }),
  };
}
