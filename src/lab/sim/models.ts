/**
 * Every lock algorithm as a step machine, by name.
 *
 *   const model = createModel('mcs', { threads: 4 });
 */

import {
  LOCK_PARAMETERS,
  type LockModel,
  type LockName,
  type LockParameters,
} from './lock-model.ts';
import { hvmIspinlock, pvIspinlock } from './locks/ispinlock.ts';
import { hvmIspinlockPaper, pvIspinlockPaper } from './locks/ispinlock-paper.ts';
import { jsMutex } from './locks/js-mutex.ts';
import { mcs } from './locks/mcs.ts';
import { oticket } from './locks/oticket.ts';
import { pts } from './locks/pts.ts';
import { pvQspinlock } from './locks/pv-qspinlock.ts';
import { pvTicket } from './locks/pv-ticket.ts';
import { ticket } from './locks/ticket.ts';

export const LOCK_MODELS: Readonly<Record<LockName, (parameters: LockParameters) => LockModel>> = {
  ticket,
  pts,
  'pv-ticket': pvTicket,
  oticket,
  'hvm-ispinlock': hvmIspinlock,
  'pv-ispinlock': pvIspinlock,
  'hvm-ispinlock-paper': hvmIspinlockPaper,
  'pv-ispinlock-paper': pvIspinlockPaper,
  mcs,
  'pv-qspinlock': pvQspinlock,
  'js-mutex': jsMutex,
};

export const LOCK_NAMES = Object.keys(LOCK_MODELS) as LockName[];

export function createModel(
  name: LockName,
  parameters: Partial<LockParameters> & { readonly threads: number },
): LockModel {
  return LOCK_MODELS[name]({ ...LOCK_PARAMETERS, ...parameters });
}
