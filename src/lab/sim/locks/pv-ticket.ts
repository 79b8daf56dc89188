/**
 * `pv-ticket`: the paravirtual ticket spinlock of Linux 4.0 and 4.1 (I-Spinlock 3.2, 5.5.2). Spins
 * for a bounded time, then says what it waits for and halts; unlock kicks whoever waits for the
 * next ticket. The lowest bit of the head says that somebody halted: without it unlock would have
 * to look at every vCPU each time.
 *
 * As in src/locks/pv-ticket.ts: head and tail are two words, so taking the flag back is three
 * steps; what a vCPU waits for is one word with its lowest bit set.
 */
import {
  DONE,
  HALT,
  type LockModel,
  type LockName,
  type LockParameters,
  NEXT,
  type Outcome,
  type Steps,
  spinUntil,
  type Thread,
} from '../lock-model.ts';

const HEAD = 0;
const TAIL = 1;
const WANT = 2;
const FLAG = 1;
const WAITING = 1;
const STEP = 2;

/** Registers: our ticket, the bound of a spin. unlock: the ticket now served, vCPU looked at. */
const MY = 0;
const BOUND = 1;
const SERVED = 0;
const WHO = 1;

export const PV = {
  take: 0,
  look: 1,
  wait: 2,
  publish: 3,
  setFlag: 4,
  check: 5,
  halt: 6,
  unpublish: 7,
  readTail: 8,
  clearFlag: 9,
  readTailAgain: 10,
  setFlagAgain: 11,
  serve: 0,
  scan: 1,
  kick: 2,
} as const;

export interface PvTicketShape {
  readonly name: LockName;
  /** Iterations before halting, for so many tickets between us and the head. */
  threshold(places: number): number;
  /** How many tickets from the head on are kicked. */
  readonly kicks: number;
}

export function pvTicket(parameters: LockParameters): LockModel {
  return pvTicketOf(parameters, {
    name: 'pv-ticket',
    threshold: () => parameters.spinThreshold,
    kicks: 1,
  });
}

export function pvTicketOf(
  { threads }: LockParameters,
  { name, threshold, kicks }: PvTicketShape,
): LockModel {
  const to = (t: Thread, pc: number): Outcome => {
    t.pc = pc;
    return NEXT;
  };

  function lock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case PV.take:
        t.r[MY] = s.add(TAIL, STEP);
        s.ticket();
        return to(t, PV.look);
      case PV.look: {
        const head = s.load(HEAD);
        if (head === t.r[MY]) return DONE;
        t.r[BOUND] = threshold((t.r[MY] - (head & ~FLAG)) / STEP);
        t.budget = t.r[BOUND];
        return to(t, (head & ~FLAG) === t.r[MY] ? PV.readTail : PV.wait);
      }
      case PV.wait: {
        const head = s.load(HEAD);
        if ((head & ~FLAG) === t.r[MY]) return (head & FLAG) === 0 ? DONE : to(t, PV.readTail);
        if (t.budget > 0) return spinUntil(t, HEAD, t.r[MY], ~FLAG);
        return to(t, PV.publish);
      }

      // What we wait for, then the flag, then one more look: an unlock either sees the flag and
      // our word, or we see its new head.
      case PV.publish:
        s.store(WANT + t.id, t.r[MY] | WAITING);
        return to(t, PV.setFlag);
      case PV.setFlag:
        s.or(HEAD, FLAG);
        return to(t, PV.check);
      case PV.check:
        return to(t, (s.load(HEAD) & ~FLAG) === t.r[MY] ? PV.unpublish : PV.halt);
      case PV.halt:
        t.pc = PV.unpublish;
        return HALT;
      case PV.unpublish:
        s.store(WANT + t.id, 0);
        t.budget = t.r[BOUND];
        return to(t, PV.wait);

      // The lock is ours. Take the flag back if nobody waits; who came in between had its ticket
      // then, so we see it.
      case PV.readTail:
        return s.load(TAIL) === t.r[MY] + STEP ? to(t, PV.clearFlag) : DONE;
      case PV.clearFlag:
        s.and(HEAD, ~FLAG);
        return to(t, PV.readTailAgain);
      case PV.readTailAgain:
        return s.load(TAIL) === t.r[MY] + STEP ? DONE : to(t, PV.setFlagAgain);
      default:
        s.or(HEAD, FLAG);
        return DONE;
    }
  }

  function unlock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case PV.serve: {
        const head = s.add(HEAD, STEP);
        s.released();
        t.r[SERVED] = (head & ~FLAG) + STEP;
        t.r[WHO] = 0;
        return (head & FLAG) === 0 ? DONE : to(t, PV.scan);
      }
      case PV.scan: {
        const want = s.load(WANT + t.r[WHO]);
        const places = ((want & ~WAITING) - t.r[SERVED]) / STEP;
        if (want !== 0 && places >= 0 && places < kicks) return to(t, PV.kick);
        return nextVcpu(t);
      }
      default:
        s.kick(t.r[WHO]);
        return kicks === 1 ? DONE : nextVcpu(t);
    }
  }

  function nextVcpu(t: Thread): Outcome {
    t.r[WHO] += 1;
    return t.r[WHO] === threads ? DONE : to(t, PV.scan);
  }

  return { name, fifo: true, words: WANT + threads, lock, unlock };
}
