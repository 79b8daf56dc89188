/**
 * Medians and spreads of a few trials.
 */

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly trials: number;
}

export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new RangeError('no trials to summarize');
  const sorted = [...values].sort((a, b) => a - b);
  return {
    median: median(sorted),
    min: sorted[0],
    max: sorted[sorted.length - 1],
    trials: sorted.length,
  };
}

export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('no trials to take the median of');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The value below which `share` (0 to 1) of the sorted values lie: nearest rank. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) throw new RangeError('no values to take a percentile of');
  const rank = Math.ceil(share * sorted.length);
  return sorted[Math.min(Math.max(rank, 1), sorted.length) - 1];
}
