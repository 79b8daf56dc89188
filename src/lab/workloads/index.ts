/**
 * The workloads by name.
 */
import { ebizzy } from './ebizzy.ts';
import { kernbench } from './kernbench.ts';
import { micro } from './micro.ts';
import { neighbour } from './neighbour.ts';
import { pbzip2 } from './pbzip2.ts';
import type { Workload } from './workload.ts';

export type WorkloadName = 'micro' | 'kernbench' | 'pbzip2' | 'ebizzy' | 'neighbour';

export const WORKLOADS: Readonly<Record<WorkloadName, Workload>> = {
  micro,
  kernbench: kernbench as Workload,
  pbzip2,
  ebizzy,
  neighbour,
};
