/**
 * Aborted calls. Node looks at a call's signal between its steps; so do our operations, by a check
 * that throws.
 *
 *   readAll(kernel, fd, checkOf(signal))
 */
import { plain } from './plain.ts';

const readFile = plain('readFile');

/** Node's own AbortError: with a signal that is aborted already it calls back at once. */
function abortError(signal: AbortSignal): Error {
  let found: Error | undefined;
  readFile('.', { signal }, (error: Error) => {
    found = error;
  });
  return found ?? (signal.reason as Error);
}

export function checkOf(signal: AbortSignal | undefined): (() => void) | undefined {
  if (signal === undefined) return undefined;
  return () => {
    if (signal.aborted) throw abortError(signal);
  };
}
