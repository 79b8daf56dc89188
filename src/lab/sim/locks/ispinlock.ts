/**
 * `hvm-ispinlock` and `pv-ispinlock` as they are in src/locks/: a thread takes a ticket if it is
 * capable (capability.ts) and everybody with a ticket runs (src/locks/owners.ts); an incapable one
 * looks again, HVM in a PAUSE loop, PV after a yield. Who waits with a ticket spins; PV yields while
 * who is next does not run.
 *
 * Words: head, tail, then a place for the owner of each ticket, by the ticket's lowest bits.
 */
import {
  DONE,
  type LockModel,
  type LockName,
  type LockParameters,
  NEXT,
  type Outcome,
  type Steps,
  spinUntil,
  spinUntilChange,
  type Thread,
  YIELD,
} from '../lock-model.ts';
import { CAPABILITY, lockCap } from './capability.ts';
import { awaitTicket, HEAD, MY, TAIL, ticketUnlock } from './ticket.ts';

export const OWNER = 2;

/** Registers, beside the ticket's: the ticket looked at, how many are left, whose it is. */
const AT = 2;
const LEFT = 3;
const MARK = 4;

export const INFORMED = {
  ...CAPABILITY,
  scanHead: 5,
  scanTail: 6,
  readOwner: 7,
  readState: 8,
  incapable: 9,
  take: 10,
  own: 11,
  look: 12,
  wait: 13,
  nextHead: 14,
  nextOwner: 15,
  nextState: 16,
} as const;

export const hvmIspinlock = (parameters: LockParameters) =>
  informedOf(parameters, 'hvm-ispinlock', true);
export const pvIspinlock = (parameters: LockParameters) =>
  informedOf(parameters, 'pv-ispinlock', false);

function to(t: Thread, pc: number): Outcome {
  t.pc = pc;
  return NEXT;
}

/** A place for every vCPU, and a power of two of them. */
function slots(threads: number): number {
  let size = 1;
  while (size < threads) size *= 2;
  return size;
}

function informedOf(parameters: LockParameters, name: LockName, spins: boolean): LockModel {
  const { csdNs, lookEvery, threads } = parameters;
  const size = slots(threads);
  const owner = (ticket: number) => OWNER + (ticket & (size - 1));

  function lock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      // owners.allRun()
      case INFORMED.scanHead:
        t.r[AT] = s.load(HEAD);
        return to(t, INFORMED.scanTail);
      case INFORMED.scanTail:
        t.r[LEFT] = (s.load(TAIL) - t.r[AT]) | 0;
        return scan(t);
      case INFORMED.readOwner:
        t.r[MARK] = s.load(owner(t.r[AT]));
        return t.r[MARK] === 0 ? nextTicket(t) : to(t, INFORMED.readState);
      case INFORMED.readState:
        if (s.runs(t.r[MARK] - 1)) return nextTicket(t);
        clear(t);
        return to(t, INFORMED.incapable);

      case INFORMED.incapable:
        return incapable(t);
      case INFORMED.take:
        t.r[MY] = s.add(TAIL, 1);
        s.ticket();
        return to(t, INFORMED.own);
      case INFORMED.own:
        s.store(owner(t.r[MY]), t.id + 1);
        s.took();
        return to(t, INFORMED.look);
      case INFORMED.look:
        if (s.load(HEAD) === t.r[MY]) return DONE;
        return waitFor(t);
      case INFORMED.wait:
        if (spins) return awaitTicket(t, s);
        if (s.load(HEAD) === t.r[MY]) return DONE;
        return t.budget > 0 ? spinUntil(t, HEAD, t.r[MY]) : to(t, INFORMED.nextHead);

      // owners.nextRuns()
      case INFORMED.nextHead:
        t.r[AT] = s.load(HEAD);
        return to(t, INFORMED.nextOwner);
      case INFORMED.nextOwner:
        t.r[MARK] = s.load(owner(t.r[AT]));
        return t.r[MARK] === 0 ? waitFor(t) : to(t, INFORMED.nextState);
      case INFORMED.nextState: {
        const runs = s.runs(t.r[MARK] - 1);
        waitFor(t);
        return runs ? NEXT : YIELD;
      }
      default:
        return lockCap(t, s, csdNs, INFORMED.scanHead, INFORMED.incapable);
    }
  }

  function scan(t: Thread): Outcome {
    if (t.r[LEFT] > 0) return to(t, INFORMED.readOwner);
    clear(t);
    return to(t, INFORMED.take);
  }

  function nextTicket(t: Thread): Outcome {
    t.r[AT] = (t.r[AT] + 1) | 0;
    t.r[LEFT] -= 1;
    t.r[MARK] = 0;
    return scan(t);
  }

  function incapable(t: Thread): Outcome {
    t.pc = INFORMED.readPreemption;
    if (!spins) return YIELD;
    t.budget = Number.POSITIVE_INFINITY;
    return spinUntilChange(t);
  }

  function waitFor(t: Thread): Outcome {
    clear(t);
    t.budget = spins ? Number.POSITIVE_INFINITY : lookEvery;
    return to(t, INFORMED.wait);
  }

  function clear(t: Thread): void {
    t.r[AT] = 0;
    t.r[LEFT] = 0;
    t.r[MARK] = 0;
  }

  return { name, fifo: true, owners: true, words: OWNER + size, lock, unlock: ticketUnlock };
}
