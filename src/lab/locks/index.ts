/**
 * The experiments by name, in the paper's order.
 */
import { csd } from './csd.ts';
import { effectiveness } from './effectiveness.ts';
import type { Experiment } from './experiment.ts';
import { fairness } from './fairness.ts';
import { hvm } from './hvm.ts';
import { overhead } from './overhead.ts';
import { psp } from './psp.ts';
import { pv } from './pv.ts';
import { sim } from './sim/sim.ts';

export const EXPERIMENTS: Readonly<Record<string, Experiment>> = {
  psp,
  csd,
  fairness,
  effectiveness,
  overhead,
  hvm,
  pv,
  sim,
};
