/**
 * Lock algorithms with one fault each, of the kinds that have been made: what the explorer must
 * find. A mutant replaces single steps of the true model and is otherwise the same code.
 *
 *   for (const { of, name, create } of MUTANTS) explore(create(parameters), …).failure !== null
 */
import type { Failure } from './explorer.ts';
import {
  DONE,
  HALT,
  type LockModel,
  type LockName,
  type LockParameters,
  NEXT,
  type Outcome,
  SLICE,
  type Steps,
  spinWhile,
  type Thread,
} from './lock-model.ts';
import { INFORMED, OWNER } from './locks/ispinlock.ts';
import { PAPER } from './locks/ispinlock-paper.ts';
import { MUTEX } from './locks/js-mutex.ts';
import { MCS } from './locks/mcs.ts';
import { PTS } from './locks/pts.ts';
import { QSPIN } from './locks/pv-qspinlock.ts';
import { PV } from './locks/pv-ticket.ts';
import { HEAD, MY, TAIL, TICKET } from './locks/ticket.ts';
import { LOCK_MODELS } from './models.ts';

export interface Mutant {
  readonly of: LockName;
  readonly name: string;
  /** What it is found by: which of them comes first is a matter of the order of the search. */
  readonly finds: readonly Failure['kind'][];
  create(parameters: LockParameters): LockModel;
}

type Step = (t: Thread, s: Steps) => Outcome;
type Patch = (t: Thread, s: Steps, original: Step) => Outcome;
/** Steps by their `pc`. */
type Patches = Readonly<Record<number, Patch>>;

/** A step that the originals do not have. */
const EXTRA = 100;

/** Two threads with one ticket: both get in, or the head comes never to the last one. */
const SAME_TICKET = ['mutual exclusion', 'lost wake-up'] as const;

function mutant(
  of: LockName,
  name: string,
  finds: Failure['kind'] | readonly Failure['kind'][],
  lock: Patches,
  unlock: Patches = {},
): Mutant {
  const patched = (original: Step, patches: Patches): Step => {
    return (t, s) => patches[t.pc]?.(t, s, original) ?? original(t, s);
  };
  const create = (parameters: LockParameters): LockModel => {
    const model = LOCK_MODELS[of](parameters);
    return { ...model, lock: patched(model.lock, lock), unlock: patched(model.unlock, unlock) };
  };
  return { of, name, finds: typeof finds === 'string' ? [finds] : finds, create };
}

function go(pc: number): Patch {
  return (t) => {
    t.pc = pc;
    return NEXT;
  };
}

/** tail = tail + 1 in two instructions. */
function splitTicket(take: number, wait: number): Patches {
  return {
    [take]: (t, s) => {
      t.r[MY] = s.load(TAIL);
      t.pc = EXTRA;
      return NEXT;
    },
    [EXTRA]: (t, s) => {
      s.store(TAIL, t.r[MY] + 1);
      s.ticket();
      t.budget = Number.POSITIVE_INFINITY;
      t.pc = wait;
      return NEXT;
    },
  };
}

/** The tail was read for lql a moment ago; using it as our ticket saves an atomic, and the lock. */
const ticketOfLql: Patches = {
  [INFORMED.readTail]: (t, s, original) => {
    const load = (word: number) => {
      t.r[5] = s.load(word);
      return t.r[5];
    };
    return original(t, Object.create(s, { load: { value: load } }));
  },
  [INFORMED.take]: (t, s) => {
    t.r[MY] = t.r[5];
    s.store(TAIL, t.r[MY] + 1);
    s.ticket();
    t.pc = INFORMED.own;
    return NEXT;
  },
};

/** Joins whatever the queue does, as the paper's forms do. */
const noOwnerCheck: Patches = { [INFORMED.scanHead]: go(INFORMED.take) };

/** Whoever will have the next ticket is written down before it is taken. */
const ownerBeforeTicket: Patches = {
  [INFORMED.take]: (t, s) => {
    t.r[5] = s.load(TAIL);
    t.pc = EXTRA;
    return NEXT;
  },
  // Two threads: places are a ticket's lowest bit. Three: its lowest two.
  [EXTRA]: (t, s) => {
    s.store(OWNER + (t.r[5] & 1), t.id + 1);
    t.pc = EXTRA + 1;
    return NEXT;
  },
  [EXTRA + 1]: (t, s) => {
    t.r[5] = 0;
    t.r[MY] = s.add(TAIL, 1);
    s.ticket();
    s.took();
    t.pc = INFORMED.look;
    return NEXT;
  },
};

/** Whose ticket it is is never said. */
const noOwner: Patches = {
  [INFORMED.own]: (t, s) => {
    s.took();
    t.pc = INFORMED.look;
    return NEXT;
  },
};

/** One place for all: the last one to come. */
const oneOwner: Patches = {
  [INFORMED.own]: (t, s) => {
    s.store(OWNER, t.id + 1);
    s.took();
    t.pc = INFORMED.look;
    return NEXT;
  },
  [INFORMED.readOwner]: (t, s, original) =>
    original(t, Object.create(s, { load: { value: () => s.load(OWNER) } })),
};

/** Only the holder is asked for. */
const onlyTheHolder: Patches = {
  [INFORMED.scanTail]: (t, s, original) => {
    const outcome = original(t, s);
    if (t.r[3] > 1) t.r[3] = 1;
    return outcome;
  },
};

export const MUTANTS: readonly Mutant[] = [
  mutant(
    'ticket',
    'ticket not taken atomically',
    SAME_TICKET,
    splitTicket(TICKET.take, TICKET.wait),
  ),
  mutant('pts', 'lock word tested, then set', 'mutual exclusion', {
    [PTS.grab]: (t, s) => {
      if (s.load(2) !== 0) {
        t.budget = Number.POSITIVE_INFINITY;
        return spinWhile(t, 2, 1);
      }
      t.pc = EXTRA;
      return NEXT;
    },
    [EXTRA]: (_t, s) => {
      s.store(2, 1);
      return DONE;
    },
  }),
  mutant('pts', 'a ticket in turn counts as the lock', 'mutual exclusion', {
    [PTS.wait]: (t, s, original) => {
      original(t, s);
      return t.pc === PTS.grab && t.budget > 0 ? DONE : t.pc === PTS.grab ? NEXT : 2;
    },
  }),
  mutant('pv-ticket', 'halts without looking again', 'lost wake-up', {
    [PV.check]: go(PV.halt),
  }),
  mutant('pv-ticket', 'looks again before it has said what it waits for', 'lost wake-up', {
    [PV.publish]: go(PV.setFlag),
    [PV.check]: (t, s, original) => {
      original(t, s);
      if (t.pc === PV.halt) t.pc = EXTRA;
      return NEXT;
    },
    [EXTRA]: (t, s, original) => {
      t.pc = PV.publish;
      original(t, s);
      t.pc = PV.halt;
      return NEXT;
    },
  }),
  mutant('pv-ticket', 'slow path without its flag', 'lost wake-up', {
    [PV.setFlag]: go(PV.check),
  }),
  mutant('pv-ticket', 'flag cleared although others wait', 'lost wake-up', {
    [PV.readTailAgain]: () => DONE,
  }),
  mutant(
    'oticket',
    'kicks the four after the next',
    'lost wake-up',
    {},
    {
      [PV.serve]: (t, s, original) => {
        const outcome = original(t, s);
        t.r[0] += 2;
        return outcome;
      },
    },
  ),
  mutant('oticket', 'slow path without its flag', 'lost wake-up', {
    [PV.setFlag]: go(PV.check),
  }),
  mutant('hvm-ispinlock', 'the tail read for lql is the ticket', SAME_TICKET, ticketOfLql),
  mutant('hvm-ispinlock', 'joins a queue that stands still', 'standstill', noOwnerCheck),
  mutant('hvm-ispinlock', 'owner written before the ticket', 'standstill', ownerBeforeTicket),
  mutant('hvm-ispinlock', 'owner not written', 'standstill', noOwner),
  mutant('hvm-ispinlock', 'one place for all owners', 'standstill', oneOwner),
  mutant('hvm-ispinlock', 'looks whether the holder runs, and not the waiters', 'standstill', {
    ...onlyTheHolder,
  }),
  mutant('hvm-ispinlock', 'waits for a change of one word only', ['lost wake-up', 'livelock'], {
    [INFORMED.incapable]: (t, s) => {
      t.budget = Number.POSITIVE_INFINITY;
      t.pc = INFORMED.readPreemption;
      return spinWhile(t, HEAD, s.load(HEAD));
    },
  }),
  mutant('pv-ispinlock', 'the tail read for lql is the ticket', SAME_TICKET, ticketOfLql),
  mutant('pv-ispinlock', 'joins a queue that stands still', 'standstill', noOwnerCheck),
  mutant('pv-ispinlock', 'owner written before the ticket', 'standstill', ownerBeforeTicket),
  mutant('pv-ispinlock', 'an incapable thread halts', 'lost wake-up', {
    [INFORMED.incapable]: (t) => {
      t.pc = INFORMED.readPreemption;
      return HALT;
    },
  }),
  mutant('pv-ispinlock', 'a waiter does not yield', ['lost wake-up', 'livelock'], {
    [INFORMED.nextState]: (t, s, original) => {
      original(t, s);
      return NEXT;
    },
  }),
  mutant('pv-ispinlock', 'a waiter looks at itself', ['lost wake-up', 'livelock'], {
    [INFORMED.nextOwner]: (t, s, original) => {
      const load = () => {
        s.load(OWNER);
        return t.id + 1;
      };
      return original(t, Object.create(s, { load: { value: load } }));
    },
  }),
  mutant('hvm-ispinlock-paper', 'slice id read anew in each turn of the loop', 'livelock', {
    [PAPER.incapable]: (t, s) => {
      t.r[4] = s.sliceId();
      t.budget = Number.POSITIVE_INFINITY;
      return spinWhile(t, SLICE, t.r[4]);
    },
  }),
  mutant(
    'hvm-ispinlock-paper',
    'ticket not taken atomically',
    SAME_TICKET,
    splitTicket(PAPER.take, PAPER.wait),
  ),
  // The listing to the letter: __halt_cpu, which only an interrupt of the guest's timer ends.
  mutant('pv-ispinlock-paper', 'an incapable thread halts', 'lost wake-up', {
    [PAPER.incapable]: (t) => {
      t.pc = PAPER.take;
      return HALT;
    },
  }),
  mutant(
    'mcs',
    'queue closed by a plain store',
    'lost wake-up',
    {},
    {
      [MCS.close]: (_t, s) => {
        s.store(0, 0);
        s.released();
        return DONE;
      },
    },
  ),
  mutant('mcs', 'node made ready after it was linked', 'lost wake-up', {
    [MCS.setWaiting]: go(MCS.enqueue),
    [MCS.link]: (t, s, original) => {
      original(t, s);
      t.pc = EXTRA;
      return NEXT;
    },
    [EXTRA]: (t, s, original) => {
      t.pc = MCS.setWaiting;
      original(t, s);
      t.pc = MCS.wait;
      return NEXT;
    },
  }),
  mutant('pv-qspinlock', 'halts without looking again', 'lost wake-up', {
    [QSPIN.recheck]: go(QSPIN.halt),
  }),
  mutant('pv-qspinlock', 'SLOW before whom to kick', ['model', 'lost wake-up'], {
    [QSPIN.note]: go(QSPIN.setSlow),
    [QSPIN.setSlow]: (t, s, original) => {
      original(t, s);
      if (t.pc === QSPIN.setHashed) t.pc = EXTRA;
      return NEXT;
    },
    [EXTRA]: (t, s, original) => {
      t.pc = QSPIN.note;
      original(t, s);
      t.pc = QSPIN.setHashed;
      return NEXT;
    },
  }),
  mutant('pv-qspinlock', 'head takes the lock without forbidding to steal it', 'mutual exclusion', {
    [QSPIN.setPending]: (t) => {
      t.budget = 1;
      t.pc = QSPIN.headWait;
      return NEXT;
    },
    [QSPIN.take]: (t, s) => {
      s.exchangePart(0, 0xff, 1);
      t.pc = QSPIN.readTail;
      return NEXT;
    },
  }),
  mutant('js-mutex', 'a woken thread takes it as uncontended', 'lost wake-up', {
    [MUTEX.retry]: (t, s) => {
      const state = s.compareExchange(0, 0, 1);
      if (state === 0) return DONE;
      t.pc = state === 2 ? MUTEX.sleep : MUTEX.mark;
      return NEXT;
    },
  }),
  mutant('js-mutex', 'unlock forgets who sleeps', 'lost wake-up', {}, { [MUTEX.wake]: () => DONE }),
];
