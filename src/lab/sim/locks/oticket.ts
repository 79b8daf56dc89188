/**
 * `oticket`: opportunistic ticket spinlock (Kashyap, Min, Kim, APSys'15 and SIGOPS OSR'16, figure
 * 5). The paravirtual ticket lock with two changes: the nearer to the head, the longer a waiter
 * spins before it halts; and unlock kicks the next four, so that they are awake when it is their
 * turn.
 */
import type { LockModel, LockParameters } from '../lock-model.ts';
import { pvTicketOf } from './pv-ticket.ts';

/** Nearer than so many tickets, the bound doubles with each ticket less: 2^34 for the next. */
const NEAR = 18;
const NEAREST = 20;
const KICKS = 4;

export function oticket(parameters: LockParameters): LockModel {
  const { spinThreshold } = parameters;
  return pvTicketOf(parameters, {
    name: 'oticket',
    threshold: (places) =>
      places < NEAR ? spinThreshold * 2 ** (NEAREST - places) : spinThreshold,
    kicks: KICKS,
  });
}
