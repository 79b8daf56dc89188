/**
 * `pv-ticket`: the paravirtual ticket spinlock of Linux 4.0 and 4.1 (I-Spinlock 3.2, 5.5.2). Spins
 * for a bounded time, then says what it waits for and halts; unlock kicks whoever waits for the
 * next ticket. The lowest bit of the head says that somebody halted: without it unlock would have
 * to look at every vCPU each time.
 *
 * Head and tail are the halves of one word, as in Linux: clearing the flag is right only if nobody
 * took a ticket meanwhile, so both are compared at once.
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

const LOCK = 0;
const FLAG = 1;
const INCREMENT = 2;
const HALF = 0xffff;
const HEAD_MASK = HALF & ~FLAG;

/** Registers: our ticket, the bound of a spin; unlock: ticket, bits left, vCPU, kicks left. */
const MY = 0;
const BOUND = 1;
const NEXT_TICKET = 0;
const BITS = 1;
const WHO = 2;
const KICKS = 3;
const GROUP = 4;

export const PV = {
  take: 0,
  wait: 1,
  unpublish: 2,
  publishTicket: 3,
  publishLock: 4,
  publishWaiting: 5,
  setFlag: 6,
  check: 7,
  halt: 8,
  clearWaiting: 9,
  clearLock: 10,
  clearFlag: 11,
  serve: 0,
  scan: 1,
  readLock: 2,
  readTicket: 3,
  kick: 4,
} as const;

export interface PvTicketShape {
  readonly name: LockName;
  /** Iterations before halting, for so many tickets between us and the head. */
  threshold(distance: number): number;
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
  { threads, stride }: LockParameters,
  { name, threshold, kicks }: PvTicketShape,
): LockModel {
  // Linux's waiting_cpus, 32 vCPUs a word; then one record {lock, want} per vCPU.
  const waiting = stride === 1 ? 1 : stride;
  const groups = Math.ceil(threads / 32);
  const records = waiting + (stride === 1 ? groups : stride * Math.ceil(groups / stride));
  const record = Math.max(2, stride);
  const recordLock = (vcpu: number) => records + vcpu * record;
  const recordTicket = (vcpu: number) => records + vcpu * record + 1;

  function lock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case PV.take: {
        const old = s.add(LOCK, INCREMENT << 16);
        s.ticket();
        t.r[MY] = (old >>> 16) & HALF;
        if ((old & HALF) === t.r[MY]) return DONE;
        t.r[BOUND] = threshold(((t.r[MY] - (old & HEAD_MASK)) & HALF) / INCREMENT);
        t.budget = t.r[BOUND];
        t.pc = PV.wait;
        return NEXT;
      }
      case PV.wait: {
        const head = s.load(LOCK) & HALF;
        if ((head & HEAD_MASK) === t.r[MY]) {
          if ((head & FLAG) === 0) return DONE;
          t.pc = PV.clearFlag;
          return NEXT;
        }
        if (t.budget > 0) return spinUntil(t, LOCK, t.r[MY], HEAD_MASK);
        t.pc = PV.unpublish;
        return NEXT;
      }
      // A kicker that reads the ticket of one wait with the lock of another would kick for nothing.
      case PV.unpublish:
        s.store(recordLock(t.id), 0);
        t.pc = PV.publishTicket;
        return NEXT;
      case PV.publishTicket:
        s.store(recordTicket(t.id), t.r[MY]);
        t.pc = PV.publishLock;
        return NEXT;
      case PV.publishLock:
        s.store(recordLock(t.id), 1);
        t.pc = PV.publishWaiting;
        return NEXT;
      case PV.publishWaiting:
        s.or(waiting + (t.id >>> 5), 1 << (t.id & 31));
        t.pc = PV.setFlag;
        return NEXT;
      // Before the check: an unlock that we do not see in the check sees the flag.
      case PV.setFlag:
        s.or(LOCK, FLAG);
        t.pc = PV.check;
        return NEXT;
      case PV.check:
        t.pc = (s.load(LOCK) & HEAD_MASK) === t.r[MY] ? PV.clearWaiting : PV.halt;
        return NEXT;
      case PV.halt:
        t.pc = PV.clearWaiting;
        return HALT;
      case PV.clearWaiting:
        s.and(waiting + (t.id >>> 5), ~(1 << (t.id & 31)));
        t.pc = PV.clearLock;
        return NEXT;
      case PV.clearLock:
        s.store(recordLock(t.id), 0);
        t.budget = t.r[BOUND];
        t.pc = PV.wait;
        return NEXT;
      default: {
        const last = ((t.r[MY] + INCREMENT) & HALF) << 16;
        s.compareExchange(LOCK, last | t.r[MY] | FLAG, last | t.r[MY]);
        return DONE;
      }
    }
  }

  function unlock(t: Thread, s: Steps): Outcome {
    switch (t.pc) {
      case PV.serve: {
        const head = s.addLow(LOCK, INCREMENT) & HALF;
        s.released();
        if ((head & FLAG) === 0) return DONE;
        t.r[NEXT_TICKET] = ((head & HEAD_MASK) + INCREMENT) & HALF;
        t.r[KICKS] = kicks;
        t.r[GROUP] = 0;
        t.pc = PV.scan;
        return NEXT;
      }
      case PV.scan:
        t.r[BITS] = s.load(waiting + t.r[GROUP]);
        return nextWaiting(t);
      case PV.readLock:
        if (s.load(recordLock(t.r[WHO])) === 0) return nextWaiting(t);
        t.pc = PV.readTicket;
        return NEXT;
      case PV.readTicket: {
        const ahead = (s.load(recordTicket(t.r[WHO])) - t.r[NEXT_TICKET]) & HALF;
        if (ahead >= kicks * INCREMENT) return nextWaiting(t);
        t.pc = PV.kick;
        return NEXT;
      }
      default:
        s.kick(t.r[WHO]);
        t.r[KICKS] -= 1;
        return t.r[KICKS] === 0 ? DONE : nextWaiting(t);
    }
  }

  /** Arithmetic only: the next vCPU of the bits read, or the next group of them. */
  function nextWaiting(t: Thread): Outcome {
    const bits = t.r[BITS];
    if (bits === 0) {
      t.r[GROUP] += 1;
      t.pc = PV.scan;
      return t.r[GROUP] === groups ? DONE : NEXT;
    }
    const bit = 31 - Math.clz32(bits & -bits);
    t.r[BITS] = bits & ~(1 << bit);
    t.r[WHO] = t.r[GROUP] * 32 + bit;
    t.pc = PV.readLock;
    return NEXT;
  }

  return { name, fifo: true, words: records + threads * record, lock, unlock };
}
