/**
 * `oticket`: opportunistic ticket spinlock (Kashyap, Min, Kim, APSys'15 and SIGOPS OSR'16, figure
 * 5). The paravirtual ticket lock with two changes: the nearer to the head, the longer a waiter
 * spins before it halts; and unlock kicks the next four, so that they are awake when it is their
 * turn.
 */
import type { LockModel, LockParameters } from '../lock-model.ts';
import { pvTicketOf } from './pv-ticket.ts';

/** Up to so far from the head the bound is 2^34 halved per ticket; farther, the usual one. */
const NEAR = 18;
const KICKS = 4;

export function oticket(parameters: LockParameters): LockModel {
  return pvTicketOf(parameters, {
    name: 'oticket',
    threshold: (distance) =>
      distance < NEAR ? 2 ** (34 - (Math.max(1, distance) - 1)) : parameters.spinThreshold,
    kicks: KICKS,
  });
}
