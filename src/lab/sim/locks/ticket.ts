/**
 * `ticket`: the ticket spinlock of Linux 2.6.25 and later (I-Spinlock 2.1). Words: the ticket now
 * served, the next ticket to give out. FIFO by construction, so a preempted waiter holds up all
 * behind it.
 */
import {
  DONE,
  type LockModel,
  type LockParameters,
  NEXT,
  type Outcome,
  type Steps,
  spinUntil,
  type Thread,
} from '../lock-model.ts';

export const HEAD = 0;
export const TAIL = 1;
/** Registers: our ticket, the head as the owner read it. */
export const MY = 0;
const SERVED = 1;

export const TICKET = { take: 0, wait: 1, readHead: 0, writeHead: 1 } as const;

export function ticket(_parameters: LockParameters): LockModel {
  return { name: 'ticket', fifo: true, words: 2, lock: ticketLock, unlock: ticketUnlock };
}

function ticketLock(t: Thread, s: Steps): Outcome {
  switch (t.pc) {
    case TICKET.take:
      return takeTicket(t, s, TICKET.wait);
    default:
      return awaitTicket(t, s);
  }
}

export function takeTicket(t: Thread, s: Steps, next: number): Outcome {
  t.r[MY] = s.add(TAIL, 1);
  s.ticket();
  t.budget = Number.POSITIVE_INFINITY;
  t.pc = next;
  return NEXT;
}

export function awaitTicket(t: Thread, s: Steps): Outcome {
  if (s.load(HEAD) === t.r[MY]) return DONE;
  return spinUntil(t, HEAD, t.r[MY]);
}

/** head++ without a locked instruction: only the owner writes it. */
export function ticketUnlock(t: Thread, s: Steps): Outcome {
  if (t.pc === TICKET.readHead) {
    t.r[SERVED] = s.load(HEAD);
    t.pc = TICKET.writeHead;
    return NEXT;
  }
  s.store(HEAD, (t.r[SERVED] + 1) | 0);
  s.released();
  return DONE;
}
