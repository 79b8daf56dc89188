/**
 * Functions that stand in for Node's look like them.
 *
 *   fs.stat = disguise(ours, fs.stat);
 */

// biome-ignore lint/suspicious/noExplicitAny: functions of node:fs, of every signature
export type AnyFunction = (this: any, ...args: any[]) => any;

/**
 * Looks like the original: its name, length and own symbols (util.promisify.custom, and the
 * names of promisified results).
 */
export function disguise<F extends AnyFunction>(ours: F, original: AnyFunction): F {
  Object.defineProperty(ours, 'name', { value: original.name });
  Object.defineProperty(ours, 'length', { value: original.length });
  for (const key of Object.getOwnPropertySymbols(original)) {
    const descriptor = Object.getOwnPropertyDescriptor(original, key);
    if (descriptor) Object.defineProperty(ours, key, descriptor);
  }
  return ours;
}
