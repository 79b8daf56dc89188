/**
 * Values of command-line options, and what to say when they make no sense.
 *
 *   const trials = wholeNumber('--trials', values.trials, 1000);
 *   const cases = chosenFrom('--cases', values.cases, ['stat', 'readFile-1k']);
 */

/** The command line is wrong; the message says how to right it. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export function wholeNumber(option: string, text: string, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new UsageError(`${option} takes a whole number from 1 to ${max}, not '${text}'`);
  }
  return value;
}

/** The items of a list separated by commas. */
export function listed(option: string, text: string): string[] {
  const items = text.split(',').map((item) => item.trim());
  if (items.includes('')) throw new UsageError(`${option} takes a list as in a,b, not '${text}'`);
  return items;
}

/** Some of the names known, in the order in which they are known; all without a list. */
export function chosenFrom<T extends string>(
  option: string,
  text: string | undefined,
  known: readonly T[],
): readonly T[] {
  if (text === undefined) return known;
  const chosen = listed(option, text);
  for (const item of chosen) {
    if (!known.includes(item as T)) {
      throw new UsageError(`${option}: there is no '${item}'; choose from ${known.join(', ')}`);
    }
  }
  return known.filter((item) => chosen.includes(item));
}
