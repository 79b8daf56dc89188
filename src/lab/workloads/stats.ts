/**
 * What locks counted, summed over locks, threads and virtual machines.
 */
import type { LockStats } from '../../locks/index.ts';

export function noStats(): LockStats {
  return {
    acquisitions: 0,
    waits: 0,
    lhp: 0,
    lwp: 0,
    spinNs: 0,
    holderPreemptedNs: 0,
    waiterPreemptedNs: 0,
    incapable: 0,
    halts: 0,
    yields: 0,
    kicks: 0,
    overtakes: 0,
  };
}

export function sumOfStats(all: readonly LockStats[]): LockStats {
  const sum = noStats();
  for (const stats of all)
    for (const key of Object.keys(sum) as (keyof LockStats)[]) sum[key] += stats[key];
  return sum;
}
