/**
 * Does every lock do what its algorithm says: order, wrap-around, halts and kicks, capability, and
 * the accounting? One thread steps several lock objects over the same memory (test/support/
 * fake-vcpu.ts); that they exclude each other for real is test/integration/locks.test.ts.
 */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { VCPU_STATE } from '../../src/abi/share-info.ts';
import { TicketOwners } from '../../src/locks/owners.ts';
import {
  freeVcpu,
  LOCKS,
  type Lock,
  type LockName,
  type LockOptions,
  wordsOf,
} from '../../src/locks.ts';
import { type FakeVcpu, fakeVcpu, fakeVcpus, Stop } from '../support/fake-vcpu.ts';

const NAMES = Object.keys(LOCKS) as LockName[];
const INFORMED = [
  'hvm-ispinlock',
  'pv-ispinlock',
  'hvm-ispinlock-paper',
  'pv-ispinlock-paper',
] as const;
const FIFO: LockName[] = ['ticket', 'pts', 'pv-ticket', 'oticket', ...INFORMED];
/** The ticket family: head and tail are its first words. */
const HEAD = 0;
const TAIL = 1;
const step = (name: LockName) => (name === 'pv-ticket' || name === 'oticket' ? 2 : 1);

function memoryFor(name: LockName, vcpus: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * wordsOf(LOCKS[name], vcpus)));
}

/** One lock, and an object for each of the vCPUs. */
function over(name: LockName, vcpus: FakeVcpu[], options?: LockOptions) {
  const memory = memoryFor(name, vcpus.length);
  const locks = vcpus.map((vcpu) => LOCKS[name].create(memory, vcpu, options));
  return { memory, locks };
}

/** Runs lock() until a hook throws Stop: the thread then waits, with what it has taken. */
function stopped(lock: Lock): void {
  assert.throws(() => lock.lock(), Stop);
}

const atomics = { ...pick(Atomics, ['wait', 'notify', 'load', 'and', 'exchange']) };
function pick<T extends object, K extends keyof T>(from: T, keys: K[]): Pick<T, K> {
  return Object.fromEntries(keys.map((key) => [key, from[key]])) as Pick<T, K>;
}
afterEach(() => Object.assign(Atomics, atomics));

describe('every lock', () => {
  for (const name of NAMES)
    it(`${name}: is taken, refused to others, and given back`, () => {
      const [a, b] = over(name, fakeVcpus(2)).locks;
      for (let i = 0; i < 3; i++) {
        a.lock();
        assert.equal(b.tryLock(), false);
        a.unlock();
        assert.equal(b.tryLock(), true);
        assert.equal(a.tryLock(), false);
        b.unlock();
      }
      assert.equal(a.stats.acquisitions, 3);
      assert.equal(b.stats.acquisitions, 3);
      assert.equal(a.stats.waits + a.stats.lhp + a.stats.lwp, 0);
    });

  for (const name of NAMES)
    it(`${name}: misuse is an error`, () => {
      const [a, b] = over(name, fakeVcpus(2)).locks;
      assert.throws(() => a.unlock(), /does not hold/);
      a.lock();
      assert.throws(() => a.lock(), /holds the lock already/);
      assert.throws(() => b.unlock(), /does not hold/);
      a.unlock();
      assert.throws(() => a.unlock(), /does not hold/);
      assert.equal(b.tryLock(), true);
    });

  for (const name of NAMES)
    it(`${name}: says how much memory it needs`, () => {
      const short = new Int32Array(wordsOf(LOCKS[name], 8) - 1);
      assert.throws(() => LOCKS[name].create(short, freeVcpu(0, 8)), {
        name: 'RangeError',
        message: new RegExp(`${name} for 8 vCPUs needs an Int32Array of ${short.length + 1}, not`),
      });
    });

  for (const name of NAMES.filter((it) => it !== 'js-mutex'))
    it(`${name}: a waiter gets the lock when it is released, not before`, () => {
      const vcpus = fakeVcpus(2);
      const [a, b] = over(name, vcpus).locks;
      a.lock();
      let free = false;
      vcpus[1].onRelax = (time) => {
        if (time < 20) return;
        if (!free) a.unlock();
        free = true;
      };
      b.lock();
      assert.equal(free, true);
      assert.deepEqual(
        { acquisitions: b.stats.acquisitions, waits: b.stats.waits },
        { acquisitions: 1, waits: 1 },
      );
      b.unlock();
      assert.equal(a.tryLock(), true);
    });

  it('options are checked', () => {
    const create = (name: LockName, options: object) => () =>
      LOCKS[name].create(memoryFor(name, 1), freeVcpu(), options);
    assert.throws(create('pv-ispinlock', { csdNs: Number.NaN }), /csdNs must be a finite number/);
    assert.throws(create('pts', { shift: -1 }), /shift must be/);
    assert.throws(
      create('pv-ticket', { spinThreshold: Number.POSITIVE_INFINITY }),
      /spinThreshold must/,
    );
    assert.throws(create('oticket', { spinBy: 'pauses' }), /spinBy must be 'iterations' or 'time'/);
  });
});

describe('the ticket family', () => {
  for (const name of FIFO)
    it(`${name}: first come, first served`, () => {
      const vcpus = fakeVcpus(3);
      const { memory, locks } = over(name, vcpus);
      const [a, b, c] = locks;
      a.lock();
      // b comes, then c; the lock is released while both spin. c sees that and must go on waiting.
      vcpus[1].onRelax = () => {
        vcpus[1].onRelax = () => {};
        vcpus[2].onRelax = (time) => {
          if (time === 10) a.unlock();
          if (time === 100) throw new Stop();
        };
        stopped(c);
      };
      b.lock();
      assert.equal(c.stats.acquisitions, 0);
      assert.equal(memory[HEAD], step(name));
      assert.equal(memory[TAIL], 3 * step(name));
      b.unlock();
      assert.equal(memory[HEAD], 2 * step(name));
    });

  for (const end of [2 ** 31, 2 ** 32])
    for (const name of FIFO)
      it(`${name}: tickets wrap around at ${end}`, () => {
        // The holder's is the last ticket before, the waiter's the first one after.
        const start = (end - step(name)) | 0;
        const vcpus = fakeVcpus(2);
        const { memory, locks } = over(name, vcpus);
        const [a, b] = locks;
        memory[HEAD] = memory[TAIL] = start;
        for (let i = 0; i < 6; i++) {
          a.lock();
          assert.equal(b.tryLock(), false);
          vcpus[1].relaxes = 0;
          vcpus[1].onRelax = (time) => {
            if (time === 5) a.unlock();
          };
          b.lock();
          // On release, and for no other reason.
          assert.equal(vcpus[1].relaxes, 5);
          b.unlock();
          assert.equal(a.tryLock(), true);
          a.unlock();
        }
        assert.equal(memory[HEAD], (start + 18 * step(name)) | 0);
        assert.equal(memory[TAIL], memory[HEAD]);
      });
});

describe('pts', () => {
  const PREEMPTED_TICKET = 1;

  /** a holds the lock, the next ticket's owner does not run, b comes after it. */
  function behindPreempted(options: LockOptions, start = 0) {
    const vcpus = fakeVcpus(3);
    const { memory, locks } = over('pts', vcpus, options);
    memory[HEAD] = memory[TAIL] = start;
    locks[0].lock();
    memory[TAIL] += PREEMPTED_TICKET;
    return { vcpus, memory, locks };
  }

  for (const start of [0, 2 ** 31 - 2])
    it(`overtakes a ticket whose owner does not run when patience ends (${start})`, () => {
      const { vcpus, memory, locks } = behindPreempted({ shift: 3 }, start);
      const [a, b] = locks;
      vcpus[1].onRelax = (time) => {
        if (time === 1) a.unlock();
      };
      b.lock();
      // One, then head moves: one place left, 2^3 iterations and the first.
      assert.equal(vcpus[1].relaxes, 1 + 8 + 1);
      assert.equal(b.stats.overtakes, 1);
      assert.equal(memory[HEAD], start + 1);
    });

  it('patience is by distance', () => {
    const { vcpus, locks } = behindPreempted({ shift: 3 });
    vcpus[1].onRelax = (time) => {
      if (time === 17) locks[0].unlock();
    };
    locks[1].lock();
    // Two places at first; then it competes for the lock itself.
    assert.equal(locks[1].stats.overtakes, 1);
    assert.equal(vcpus[1].relaxes, 17);
  });

  it('patience as time', () => {
    const { vcpus, locks } = behindPreempted({ shift: 8, spinBy: 'time' });
    vcpus[1].relaxNs = 10;
    vcpus[1].onRelax = (time) => {
      if (time === 1) locks[0].unlock();
    };
    const from = vcpus[1].now;
    locks[1].lock();
    // 2^8 iterations of 5 ns; the clock is looked at every 32.
    assert.ok(vcpus[1].now - from >= 256 * 5, `${vcpus[1].now - from}`);
    assert.ok(vcpus[1].now - from <= 256 * 5 + 33 * 10, `${vcpus[1].now - from}`);
  });

  it('an overtaken owner waits for the one who overtook it', () => {
    const { vcpus, memory, locks } = behindPreempted({ shift: 0 });
    const [a, b, c] = locks;
    vcpus[1].onRelax = (time) => {
      if (time === 1) a.unlock();
    };
    b.lock();
    // c in the place of the preempted one: its ticket is head, and the lock is b's.
    memory[TAIL] -= 2;
    vcpus[2].onRelax = (time) => {
      if (time === 5) b.unlock();
    };
    c.lock();
    assert.equal(vcpus[2].relaxes, 5);
    assert.equal(c.stats.overtakes, 0);
  });

  it('a ticket that head has passed has nothing to wait for', () => {
    const { vcpus, memory, locks } = behindPreempted({});
    locks[0].unlock();
    memory[HEAD] += 2;
    locks[1].lock();
    assert.equal(vcpus[1].relaxes, 0);
    assert.equal(locks[1].stats.overtakes, 1);
  });
});

describe('pv-ticket and oticket', () => {
  for (const name of ['pv-ticket', 'oticket'] as const)
    it(`${name}: a waiter halts after its threshold, and unlock kicks it`, () => {
      const vcpus = fakeVcpus(2, 6);
      // The next in line: 2^19 times as patient with oticket.
      const spinThreshold = name === 'oticket' ? 64 / 2 ** 19 : 64;
      const { memory, locks } = over(name, vcpus, { spinThreshold });
      const [a, b] = locks;
      a.lock();
      vcpus[1].onHalt = () => {
        assert.equal(vcpus[1].relaxes, 65);
        assert.equal(memory[HEAD] & 1, 1);
        // Between its last look at head and the halt.
        a.unlock();
      };
      b.lock();
      assert.deepEqual(vcpus[0].kicked, [7]);
      assert.deepEqual([b.stats.halts, a.stats.kicks, b.stats.acquisitions], [1, 1, 1]);
      // Nobody waits: the flag is gone, and unlock kicks nobody.
      assert.equal(memory[HEAD], 2);
      b.unlock();
      assert.deepEqual(vcpus[1].kicked, []);
      assert.deepEqual([...memory], [4, 4, 0, 0]);
    });

  for (const name of ['pv-ticket', 'oticket'] as const)
    it(`${name}: a release before the last look needs no halt`, () => {
      const vcpus = fakeVcpus(2);
      const { locks } = over(name, vcpus, { spinThreshold: 0 });
      locks[0].lock();
      vcpus[1].onRelax = () => {
        // At the store of what it wants, after its last look in the loop.
        Atomics.or = ((...args: Parameters<typeof or>) => {
          Atomics.or = or;
          locks[0].unlock();
          return or(...args);
        }) as typeof or;
      };
      const { or } = Atomics;
      try {
        locks[1].lock();
      } finally {
        Atomics.or = or;
      }
      assert.equal(vcpus[1].halts, 0);
      locks[1].unlock();
    });

  for (const name of ['pv-ticket', 'oticket'] as const)
    it(`${name}: the flag stays while somebody waits`, () => {
      const vcpus = fakeVcpus(3);
      const { locks } = over(name, vcpus, { spinThreshold: 0 });
      const [a, b, c] = locks;
      a.lock();
      vcpus[1].onHalt = () => {
        vcpus[2].onHalt = () => {
          a.unlock();
          throw new Stop();
        };
        stopped(c);
      };
      b.lock();
      b.unlock();
      assert.ok(vcpus[1].kicked.includes(2));
    });

  for (const name of ['pv-ticket', 'oticket'] as const)
    it(`${name}: nor is it lost by one who comes while it is cleared`, () => {
      const vcpus = fakeVcpus(3);
      const { locks } = over(name, vcpus, { spinThreshold: 0 });
      const [a, b, c] = locks;
      a.lock();
      vcpus[1].onHalt = () => a.unlock();
      vcpus[2].onHalt = () => {
        throw new Stop();
      };
      const { and } = Atomics;
      Atomics.and = ((...args: Parameters<typeof and>) => {
        Atomics.and = and;
        stopped(c);
        return and(...args);
      }) as typeof and;
      b.lock();
      b.unlock();
      assert.deepEqual(vcpus[1].kicked, [2]);
    });

  it('oticket: the nearer, the longer it spins', () => {
    const spins = (places: number) => {
      const vcpus = fakeVcpus(2);
      const { memory, locks } = over('oticket', vcpus, { spinThreshold: 4 });
      memory[TAIL] = 2 * places;
      vcpus[1].onHalt = () => {
        throw new Stop();
      };
      stopped(locks[1]);
      return vcpus[1].relaxes - 1;
    };
    assert.equal(spins(30), 4);
    assert.equal(spins(18), 4);
    assert.equal(spins(17), 4 * 8);
    assert.equal(spins(10), 4 * 1024);
  });

  it('oticket: wakes the next four; pv-ticket the next', () => {
    for (const [name, kicked] of [
      ['oticket', [1, 2, 3, 4]],
      ['pv-ticket', [1]],
    ] as const) {
      const vcpus = fakeVcpus(8);
      const { memory, locks } = over(name, vcpus);
      locks[0].lock();
      for (let i = 1; i < 7; i++) memory[2 + i] = (2 * i) | 1;
      memory[TAIL] = 14;
      memory[HEAD] |= 1;
      locks[0].unlock();
      assert.deepEqual(vcpus[0].kicked, kicked);
    }
  });
});

describe('informed locks', () => {
  const CSD = 6000;

  function informed(name: (typeof INFORMED)[number], vcpus = fakeVcpus(1), options?: LockOptions) {
    const memory = memoryFor(name, vcpus.length);
    return { memory, vcpu: vcpus[0], lock: LOCKS[name].create(memory, vcpus[0], options) };
  }

  for (const name of INFORMED)
    it(`${name}: lock_cap = preemption time - now - (lql + 1) * csd`, () => {
      const { memory, vcpu, lock } = informed(name);
      assert.equal(lock.csdNs, CSD);
      assert.equal(lock.lockCap(), Number.POSITIVE_INFINITY);
      vcpu.slice({ endsInNs: 100_000 });
      assert.equal(lock.lql, 0);
      assert.equal(lock.lockCap(), 100_000 - CSD);
      memory[HEAD] = 0x7fffffff;
      memory[TAIL] = (0x7fffffff + 3) | 0;
      assert.equal(lock.lql, 3);
      assert.equal(lock.lockCap(), 100_000 - 4 * CSD);
      vcpu.now += 80_000;
      assert.equal(lock.lockCap(), 20_000 - 4 * CSD);
      const other = informed(name, fakeVcpus(1), { csdNs: 100 });
      other.vcpu.slice({ endsInNs: 1000 });
      assert.equal(other.lock.lockCap(), 900);
    });

  for (const name of INFORMED)
    it(`${name}: a capable thread takes its ticket, an incapable one does not`, () => {
      const { memory, vcpu, lock } = informed(name);
      vcpu.slice({ endsInNs: CSD });
      lock.lock();
      lock.unlock();
      assert.equal(memory[TAIL], 1);
      vcpu.slice({ endsInNs: CSD - 1 });
      assert.equal(lock.tryLock(), false);
      let waits = 0;
      vcpu.onRelax = vcpu.onYield = () => {
        assert.equal(memory[TAIL], 1);
        assert.equal(memory[HEAD], 1);
        if (++waits === 5) vcpu.slice({ endsInNs: 1e6 });
        // Not the hypervisor's word: HVM waits for another slice.
        else if (name.startsWith('pv')) vcpu.slice({ endsInNs: name.endsWith('paper') ? 1e6 : 10 });
      };
      lock.lock();
      assert.equal(memory[TAIL], 2);
      const times = { 'pv-ispinlock': 5, 'pv-ispinlock-paper': 1 }[name as string] ?? 1;
      assert.equal(lock.stats.incapable, times);
      assert.equal(waits, name === 'pv-ispinlock-paper' ? 1 : 5);
      assert.equal(vcpu.yields, name.startsWith('pv') ? times : 0);
      assert.equal(lock.stats.yields, vcpu.yields);
      assert.equal(vcpu.relaxes, name.startsWith('hvm') ? 5 : 0);
      assert.equal(lock.stats.lwp, 0);
    });

  for (const name of INFORMED)
    it(`${name}: checks again after the wait, or not (the paper)`, () => {
      const { vcpu, lock } = informed(name);
      vcpu.slice({ endsInNs: 10 });
      let slices = 0;
      vcpu.onRelax = vcpu.onYield = () => {
        slices++;
        vcpu.slice({ endsInNs: slices === 4 ? 1e6 : 10 });
      };
      lock.lock();
      assert.equal(slices, name.endsWith('paper') ? 1 : 4);
      // The spinning form waits once, until it is capable.
      assert.equal(lock.stats.incapable, name === 'hvm-ispinlock' ? 1 : slices);
    });

  for (const name of ['hvm-ispinlock', 'hvm-ispinlock-paper'] as const)
    it(`${name}: a slice that ends during the check is not waited for`, () => {
      const { vcpu, lock } = informed(name);
      vcpu.slice({ endsInNs: 10 });
      vcpu.onNow = () => {
        vcpu.onNow = () => {};
        vcpu.slice({ endsInNs: 1e6 });
      };
      lock.lock();
      assert.equal(vcpu.relaxes, 0);
    });

  for (const name of INFORMED)
    it(`${name}: the queue counts: a thread is incapable behind too many others`, () => {
      const vcpus = fakeVcpus(2);
      const { memory, locks } = over(name, vcpus);
      locks[0].lock();
      vcpus[1].slice({ endsInNs: 2 * CSD - 1 });
      vcpus[1].onRelax = vcpus[1].onYield = () => {
        throw new Stop();
      };
      stopped(locks[1]);
      assert.equal(memory[TAIL], 1);
    });
});

describe('a queue that stands still', () => {
  const STANDING = ['hvm-ispinlock', 'pv-ispinlock'] as const;

  for (const name of STANDING)
    it(`${name}: nobody joins it; everybody does once it moves again`, () => {
      const vcpus = fakeVcpus(3);
      const { memory, locks } = over(name, vcpus);
      locks[0].lock();
      vcpus[0].state = VCPU_STATE.preempted;
      let times = 0;
      vcpus[1].onRelax = vcpus[1].onYield = () => {
        times++;
        if (times < 5) assert.equal(memory[TAIL], 1);
        if (times === 5) vcpus[0].state = VCPU_STATE.running;
        if (times === 6) locks[0].unlock();
      };
      assert.equal(locks[1].tryLock(), false);
      locks[1].lock();
      assert.equal(times, 6);
      assert.equal(locks[1].stats.waits, 1);
      assert.equal(locks[1].stats.lwp, 0);
    });

  for (const name of STANDING)
    it(`${name}: somebody further back who does not run counts, too`, () => {
      const vcpus = fakeVcpus(3);
      const { memory, locks } = over(name, vcpus);
      locks[0].lock();
      vcpus[1].onRelax = () => {
        vcpus[1].onRelax = () => {};
        vcpus[1].state = VCPU_STATE.preempted;
        vcpus[2].onRelax = vcpus[2].onYield = () => {
          throw new Stop();
        };
        stopped(locks[2]);
        assert.equal(memory[TAIL], 2);
        locks[0].unlock();
      };
      locks[1].lock();
    });

  it('pv-ispinlock: a waiter yields while who is next does not run', () => {
    const vcpus = fakeVcpus(2);
    const [a, b] = over('pv-ispinlock', vcpus).locks;
    a.lock();
    vcpus[1].onRelax = (time) => {
      if (time === 10) vcpus[0].state = VCPU_STATE.preempted;
    };
    vcpus[1].onYield = () => {
      vcpus[0].state = VCPU_STATE.running;
      a.unlock();
    };
    b.lock();
    assert.equal(vcpus[1].yields, 1);
    assert.equal(b.stats.yields, 1);
    assert.equal(b.stats.incapable, 0);
  });

  for (const vcpus of [1, 2, 3, 24, 64])
    it(`every one of ${vcpus} vCPUs has a place of its own`, () => {
      const all = fakeVcpus(vcpus, 5);
      const memory = memoryFor('pv-ispinlock', vcpus);
      const owners = all.map((vcpu) => new TicketOwners(memory, vcpu));
      memory[HEAD] = -7; // tickets wrap around
      memory[TAIL] = -7 + vcpus;
      for (const [i, owner] of owners.entries()) owner.took(-7 + i);
      assert.equal(owners[0].allRun(), true);
      for (const vcpu of all) {
        vcpu.state = VCPU_STATE.halted;
        assert.equal(owners[0].allRun(), false);
        assert.equal(owners[0].nextRuns(), vcpu !== all[0]);
        vcpu.state = VCPU_STATE.running;
      }
    });
});

describe('mcs', () => {
  it('waiters are served in the order they came, each on its own word', () => {
    const vcpus = fakeVcpus(3);
    const { memory, locks } = over('mcs', vcpus);
    const [a, b, c] = locks;
    a.lock();
    vcpus[1].onRelax = () => {
      vcpus[1].onRelax = () => {};
      vcpus[2].onRelax = (time) => {
        if (time === 5) a.unlock();
        if (time === 50) throw new Stop();
      };
      stopped(c);
    };
    b.lock();
    const lockedOf = (vcpu: number) => memory[16 * (1 + vcpu) + 1];
    assert.equal(lockedOf(2), 1);
    b.unlock();
    assert.equal(lockedOf(2), 0);
  });

  it('unlock waits for a successor that has not said yet who it is', () => {
    const vcpus = fakeVcpus(2);
    const { memory, locks } = over('mcs', vcpus);
    locks[0].lock();
    memory[0] = 2; // vCPU 1 exchanged tail
    memory[2 * 16 + 1] = 1;
    vcpus[0].onRelax = (time) => {
      if (time === 3) memory[16] = 2;
    };
    locks[0].unlock();
    assert.equal(vcpus[0].relaxes, 3);
    assert.equal(memory[2 * 16 + 1], 0);
  });
});

describe('pv-qspinlock', () => {
  const PENDING = 1 << 8;

  it('the head halts after its threshold, and unlock kicks it', () => {
    const vcpus = fakeVcpus(2, 3);
    const { memory, locks } = over('pv-qspinlock', vcpus, { spinThreshold: 10 });
    const [a, b] = locks;
    a.lock();
    vcpus[1].onRelax = () => assert.equal(memory[0] & PENDING, PENDING);
    vcpus[1].onHalt = () => {
      assert.equal(vcpus[1].relaxes, 10);
      assert.equal(memory[0] & 0xffff, 3); // SLOW, and open to thieves
      a.unlock();
    };
    b.lock();
    assert.deepEqual(vcpus[0].kicked, [4]);
    assert.equal(memory[0], 1);
    b.unlock();
    assert.equal(memory[0], 0);
    assert.deepEqual(vcpus[1].kicked, []);
  });

  it('a halted second is not woken before it is its turn, but then by the unlock', () => {
    const vcpus = fakeVcpus(3);
    const { memory, locks } = over('pv-qspinlock', vcpus, { spinThreshold: 10 });
    const [a, b, c] = locks;
    a.lock();
    vcpus[1].onRelax = () => {
      vcpus[1].onRelax = () => {};
      vcpus[2].onHalt = () => {
        throw new Stop();
      };
      stopped(c);
      a.unlock();
    };
    b.lock();
    // b has told c that it is the head, and left the lock marked: c halts.
    assert.equal(memory[3 * 16], 1);
    assert.equal(memory[0] & 0xff, 3);
    assert.deepEqual([...vcpus[0].kicked, ...vcpus[1].kicked], []);
    b.unlock();
    assert.deepEqual(vcpus[1].kicked, [2]);
    assert.equal(memory[0] & 0xff, 0);
  });

  it('a free lock is stolen from the queue, unless its head has set pending', () => {
    for (const pending of [0, PENDING]) {
      const vcpus = fakeVcpus(2);
      const { memory, locks } = over('pv-qspinlock', vcpus);
      memory[0] = (1 << 16) | pending; // vCPU 0 is queued
      vcpus[1].onRelax = () => {
        throw new Stop();
      };
      if (pending === 0) locks[1].lock();
      else stopped(locks[1]);
      assert.equal(locks[1].stats.overtakes, pending === 0 ? 1 : 0);
    }
  });

  it('a waiter halts early when the one before it does not spin', () => {
    const vcpus = fakeVcpus(2);
    const { memory, locks } = over('pv-qspinlock', vcpus);
    memory[0] = (1 << 16) | PENDING | 1;
    memory[16 + 2] = 1; // vCPU 0: halted
    vcpus[1].onHalt = () => {
      throw new Stop();
    };
    stopped(locks[1]);
    assert.equal(vcpus[1].relaxes, 255);
  });

  it('a lock that comes free as the head goes to halt is taken', () => {
    const vcpus = fakeVcpus(2);
    const { memory, locks } = over('pv-qspinlock', vcpus, { spinThreshold: 0 });
    locks[0].lock();
    const { and } = Atomics;
    Atomics.and = ((...args: Parameters<typeof and>) => {
      Atomics.and = and;
      const before = and(...args);
      locks[0].unlock();
      return before;
    }) as typeof and;
    locks[1].lock();
    assert.equal(memory[0], 1);
    assert.equal(vcpus[1].halts, 0);
  });
});

describe('js-mutex', () => {
  it('sleeps with the word at 2, and is woken by unlock', () => {
    const vcpus = fakeVcpus(2);
    const { memory, locks } = over('js-mutex', vcpus);
    const [a, b] = locks;
    const notified: number[] = [];
    Atomics.notify = ((_words: Int32Array, _index: number, count: number) => {
      notified.push(count);
      return 0;
    }) as typeof Atomics.notify;
    Atomics.wait = ((words: Int32Array, index: number, value: number) => {
      assert.equal(words[index], value);
      a.unlock();
      return 'ok';
    }) as typeof Atomics.wait;
    a.lock();
    a.unlock();
    assert.deepEqual(notified, []);
    a.lock();
    b.lock();
    assert.deepEqual(notified, [1]);
    assert.equal(memory[0], 2); // others may sleep
    b.unlock();
    assert.deepEqual(notified, [1, 1]);
    assert.equal(memory[0], 0);
    assert.deepEqual([b.stats.waits, b.stats.halts], [1, 1]);
  });
});

describe('problematic spin preemptions', () => {
  for (const name of NAMES)
    it(`${name}: LHP: released in another slice`, () => {
      const vcpu = fakeVcpu();
      const lock = over(name, [vcpu]).locks[0];
      lock.lock();
      lock.unlock();
      vcpu.slice({ stolenNs: 5 }); // not held
      lock.lock();
      vcpu.slice({ stolenNs: 700 });
      lock.unlock();
      assert.equal(lock.tryLock(), true);
      vcpu.slice({ stolenNs: 11 });
      lock.unlock();
      assert.deepEqual([lock.stats.lhp, lock.stats.lwp], [2, 0]);
      assert.equal(lock.stats.holderPreemptedNs, 711);
    });

  for (const name of NAMES.filter((it) => it !== 'js-mutex'))
    it(`${name}: LWP: acquired in another slice than the ticket's`, () => {
      const vcpus = fakeVcpus(2);
      const [a, b] = over(name, vcpus).locks;
      a.lock();
      vcpus[1].onRelax = (time) => {
        if (time === 5) vcpus[1].slice({ stolenNs: 1000 });
        if (time === 10) a.unlock();
      };
      b.lock();
      assert.deepEqual([b.stats.lhp, b.stats.lwp], [0, 1]);
      assert.equal(b.stats.waiterPreemptedNs, 1000);
      // On the processor for ten iterations, not for the time it was off.
      assert.equal(b.stats.spinNs, 10);
      b.unlock();
      assert.deepEqual([b.stats.lhp, b.stats.lwp], [0, 1]);
    });

  for (const name of ['pv-ticket', 'pv-qspinlock'] as const)
    it(`${name}: a halt is not spinning`, () => {
      const vcpus = fakeVcpus(2);
      const [a, b] = over(name, vcpus, { spinThreshold: 8 }).locks;
      a.lock();
      vcpus[1].onHalt = () => {
        vcpus[1].now += 5000;
        vcpus[1].slice({ stolenNs: 300 });
        a.unlock();
      };
      b.lock();
      assert.equal(b.stats.spinNs, vcpus[1].relaxes);
    });
});
