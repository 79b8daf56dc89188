/**
 * What locks counted, summed over locks, threads and virtual machines.
 */
import type { LockStats } from '../../locks/index.ts';
import { newStats } from '../../locks/psp.ts';

export function sumOfStats(all: readonly LockStats[]): LockStats {
  const sum = newStats();
  for (const stats of all)
    for (const key of Object.keys(sum) as (keyof LockStats)[]) sum[key] += stats[key];
  return sum;
}
