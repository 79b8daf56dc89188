/**
 * The ring against a Linux made of plain memory: is every entry turned into the right SQE, sent
 * once and completed once, whatever Linux takes, delays or refuses?
 */
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import fc from 'fast-check';
import { FLAG, NO_LINK, NUMBER_NOP, STATUS } from '../../src/abi/entry.ts';
import { OP, SETUP_SQPOLL, SQ_NEED_WAKEUP, SQ_TASKRUN, SQE } from '../../src/abi/ring.ts';
import { type SyscallName, syscallNumber } from '../../src/abi/syscalls.ts';
import { Ring } from '../../src/kernel/ring/ring.ts';
import { SyscallPages } from '../../src/page/pages.ts';
import { FakeRing, fakeDesk, fakeNative } from '../support/fake-kernel.ts';

const { errno } = constants;

interface Setup {
  sq?: number;
  cq?: number;
  flags?: number;
  pages?: number;
  /** io_uring_enter: default takes everything and completes it with 0. */
  enter?: (linux: FakeRing, submit: number, flags: number) => number;
}

function setup({ sq = 64, cq = 256, flags = 0, pages: count = 4, enter }: Setup = {}) {
  const linux = new FakeRing(sq, cq, flags);
  const entered: number[] = [];
  const takeAndComplete = (_: FakeRing, submit: number) => {
    const first = linux.taken.length;
    const took = linux.take(submit);
    for (const id of linux.taken.slice(first)) linux.complete(id, 0);
    return took;
  };
  const native = fakeNative(count, {
    ringOpen: () => linux.mapped,
    ringEnter: (submit, _min, enterFlags) => {
      entered.push(submit);
      return (enter ?? takeAndComplete)(linux, submit, enterFlags);
    },
  });
  const pages = new SyscallPages(fakeDesk(count), count);
  const options = { entries: sq, sqpollCore: null, sqpollIdleMs: 1 };
  return { linux, entered, pages, ring: Ring.open(native, pages, options) };
}

function entry(pages: SyscallPages, number = NUMBER_NOP, flags = 0): number {
  const id = pages.claim();
  pages.call(id, number, 0, flags);
  return id;
}

test('nothing reaches Linux before submit, and then all of it in one entry', () => {
  const { linux, entered, pages, ring } = setup();
  const ids = Array.from({ length: 10 }, () => entry(pages));
  for (const id of ids) assert.ok(ring.issue(id));
  assert.equal(linux.word('sqTail'), 0);
  assert.ok(ids.every((id) => pages.status(id) === STATUS.busy));
  ring.submit();
  assert.deepEqual(entered, [10]);
  assert.deepEqual(linux.taken, ids);
  const finished: number[] = [];
  ring.harvest(finished);
  assert.deepEqual(finished, ids);
  assert.ok(ids.every((id) => pages.status(id) === STATUS.done && pages.result(id) === 0));
  assert.equal(ring.inFlight, 0);
  assert.equal(entered.length, 1);
});

test('entries alike are issued in one go, up to the first that differs', () => {
  const { linux, pages, ring } = setup({ sq: 64 });
  const ids = Uint16Array.from({ length: 8 }, () => entry(pages));
  pages.call(ids[5], syscallNumber('close'), 1, 0);
  pages.call(ids[7], NUMBER_NOP, 0, FLAG.link);
  assert.equal(ring.issueAlike(ids, 0, 8), 0); // how far Linux has read is not known yet
  assert.ok(ring.issue(ids[0]));
  assert.equal(ring.issueAlike(ids, 1, 8), 5);
  assert.equal(ring.issueAlike(ids, 5, 8), 6);
  assert.equal(ring.issueAlike(ids, 6, 8), 7);
  assert.equal(ring.issueAlike(ids, 7, 8), 7); // part of a chain
  ring.submit();
  assert.deepEqual(linux.taken, [...ids.slice(0, 7)]);
  const finished: number[] = [];
  ring.harvest(finished);
  assert.deepEqual(finished, [...ids.slice(0, 7)]);
});

test('more than the queue holds is submitted in between', () => {
  const { linux, entered, pages, ring } = setup({ sq: 64, cq: 256 });
  const ids = Uint16Array.from({ length: 200 }, () => entry(pages));
  for (let i = 0; i < ids.length; ) {
    const stop = ring.issueAlike(ids, i, ids.length);
    if (stop === i) assert.ok(ring.issue(ids[i++]));
    else i = stop;
  }
  ring.submit();
  assert.deepEqual(entered, [64, 64, 64, 8]);
  assert.deepEqual(linux.taken, [...ids]);
  const finished: number[] = [];
  ring.harvest(finished);
  assert.equal(finished.length, 200);
});

test('what Linux does not take is offered again, and nothing is overwritten meanwhile', () => {
  let takes = 0;
  const { linux, pages, ring } = setup({
    sq: 64,
    enter: (linux, submit) => {
      if (takes++ === 0) return -errno.EBUSY;
      const took = linux.take(Math.min(submit, 3));
      for (const id of linux.taken.slice(-took)) linux.complete(id, 0);
      return took;
    },
  });
  const ids = Array.from({ length: 70 }, () => entry(pages));
  const issued = ids.filter((id) => ring.issue(id));
  assert.ok(issued.length >= 64 && issued.length < 70, `${issued.length} issued`);
  const finished: number[] = [];
  for (let i = 0; i < 100 && finished.length < issued.length; i++) ring.harvest(finished);
  assert.deepEqual(finished, issued);
  assert.deepEqual(linux.taken, issued);
});

test('no more is in flight than the completion queue holds', () => {
  const { linux, pages, ring } = setup({ sq: 64, cq: 64, enter: (it, n) => it.take(n) });
  const ids = Array.from({ length: 65 }, () => entry(pages));
  const issued = ids.map((id) => ring.issue(id));
  assert.deepEqual(issued, [...new Array(64).fill(true), false]);
  assert.equal(pages.status(ids[64]), STATUS.submitted);
  ring.submit();
  linux.complete(ids[0], 0);
  ring.harvest([]);
  assert.equal(ring.issue(ids[64]), true);
});

test('each call becomes its SQE', () => {
  const { linux, pages, ring } = setup({ enter: () => 0 });
  const sent = (name: SyscallName, ...args: (number | bigint)[]) => {
    const id = entry(pages, syscallNumber(name));
    for (const [i, arg] of args.entries()) pages.setBigInt(id, i, BigInt(arg));
    // Whatever an earlier request left in the slot must not shine through.
    const slot = (linux.word('sqTail') + ring.inFlight) & 63;
    linux.sqes.fill(-1, slot * 16, slot * 16 + SQE.userData);
    assert.ok(ring.issue(id), name);
    const sqe = linux.sqes.subarray(slot * 16, slot * 16 + 16);
    assert.equal(sqe[SQE.userData], id);
    assert.deepEqual([...sqe.subarray(9)], [0, 0, 0, 0, 0, 0, 0]);
    const pair = (at: number) => (BigInt(sqe[at + 1]) << 32n) | BigInt(sqe[at] >>> 0);
    return {
      op: sqe[SQE.op],
      fd: sqe[SQE.fd],
      off: pair(SQE.off),
      addr: pair(SQE.addr),
      len: sqe[SQE.len],
      flags: sqe[SQE.opFlags],
    };
  };
  const address = 0x7f12_3456_789an;
  const big = 2n ** 53n + 1n;
  const plain = { off: 0n, addr: 0n, len: 0, flags: 0 };
  assert.deepEqual(sent('pread64', 5, address, 1024, big), {
    ...plain,
    ...{ op: OP.read, fd: 5, off: big, addr: address, len: 1024 },
  });
  assert.deepEqual(sent('read', 5, address, 10), {
    ...plain,
    ...{ op: OP.read, fd: 5, off: -1n, addr: address, len: 10 },
  });
  assert.deepEqual(sent('pwrite64', 5, address, 7, 3), {
    ...plain,
    ...{ op: OP.write, fd: 5, off: 3n, addr: address, len: 7 },
  });
  assert.deepEqual(sent('write', 1, address, 7), {
    ...plain,
    ...{ op: OP.write, fd: 1, off: -1n, addr: address, len: 7 },
  });
  assert.deepEqual(sent('fsync', 9), { ...plain, op: OP.fsync, fd: 9 });
  assert.deepEqual(sent('fdatasync', 9), { ...plain, op: OP.fsync, fd: 9, flags: 1 });
  assert.deepEqual(sent('close', 9), { ...plain, op: OP.close, fd: 9 });
  assert.deepEqual(sent('openat', -100, address, 0o102, 0o644), {
    ...plain,
    ...{ op: OP.openat, fd: -100, addr: address, len: 0o644, flags: 0o102 },
  });
  assert.deepEqual(sent('statx', -100, address, 0x100, 0xfff, big), {
    ...plain,
    ...{ op: OP.statx, fd: -100, addr: address, len: 0xfff, flags: 0x100, off: big },
  });
  assert.deepEqual(sent('unlinkat', 3, address, 0x200), {
    ...plain,
    ...{ op: OP.unlinkat, fd: 3, addr: address, flags: 0x200 },
  });
  assert.deepEqual(sent('mkdirat', 3, address, 0o755), {
    ...plain,
    ...{ op: OP.mkdirat, fd: 3, addr: address, len: 0o755 },
  });
});

test('a call that the ring does not know is left alone', () => {
  const { pages, ring } = setup();
  const id = entry(pages, syscallNumber('nanosleep'));
  assert.equal(ring.can(syscallNumber('nanosleep')), false);
  assert.equal(ring.issue(id), false);
  assert.equal(pages.status(id), STATUS.submitted);
});

test('results are taken over; those that ask for the blocking call go to the crew', () => {
  const { linux, pages, ring } = setup({ enter: (it, n) => it.take(n) });
  const refused: number[] = [];
  ring.onRefused = (head) => refused.push(head);
  const results = [17, 0, -errno.ENOENT, -errno.EAGAIN, -errno.EINTR, -errno.EBADF];
  const ids = results.map(() => entry(pages));
  for (const id of ids) ring.issue(id);
  ring.submit();
  for (const [i, id] of ids.entries()) linux.complete(id, results[i]);
  const finished: number[] = [];
  ring.harvest(finished);
  assert.deepEqual(refused, [ids[3], ids[4]]);
  assert.equal(pages.status(ids[3]), STATUS.submitted);
  assert.deepEqual(finished, [ids[0], ids[1], ids[2], ids[5]]);
  assert.deepEqual(
    finished.map((id) => pages.result(id)),
    [17, 0, -errno.ENOENT, -errno.EBADF],
  );
});

test('an abandoned call is not tried again', () => {
  const { linux, pages, ring } = setup({ enter: (it, n) => it.take(n) });
  const id = entry(pages);
  ring.issue(id);
  ring.submit();
  assert.equal(pages.abandon(id), true);
  linux.complete(id, -errno.EINTR);
  const finished: number[] = [];
  ring.harvest(finished);
  assert.deepEqual(finished, [id]);
  assert.equal(pages.status(id), STATUS.done);
});

test('a chain goes entry by entry, results feeding arguments', () => {
  const { linux, pages, ring } = setup({ enter: (it, n) => it.take(n) });
  const steps: number[] = [];
  ring.onChainStep = (head) => steps.push(head);
  const open = entry(pages, syscallNumber('openat'), FLAG.link);
  const read = entry(pages, syscallNumber('pread64'), FLAG.link | FLAG.headFd);
  const more = entry(pages, syscallNumber('pread64'), FLAG.headFd | FLAG.after);
  pages.link(open, read);
  pages.link(read, more);
  pages.link(more, NO_LINK);
  pages.setInt(more, 3, 100);

  const finished: number[] = [];
  const complete = (id: number, result: number) => {
    ring.submit();
    linux.complete(id, result);
    ring.harvest(finished);
  };
  ring.issue(open);
  complete(open, 33);
  assert.deepEqual(steps, [open]);
  ring.issue(open); // the first entry that is not done
  complete(read, 5);
  assert.equal(pages.argInt(read, 0), 33);
  ring.issue(open);
  complete(more, 0);
  assert.equal(pages.argInt(more, 0), 33);
  assert.equal(pages.arg(more, 3), 105n);
  assert.deepEqual(linux.taken, [open, read, more]);
  assert.deepEqual(finished, [open]);
  assert.deepEqual(steps, [open, open]);
});

test('completions that need another entry are fetched', () => {
  const { linux, entered, pages, ring } = setup({
    enter: (linux, submit) => {
      if (submit > 0) {
        linux.setWord('sqFlags', SQ_TASKRUN);
        return linux.take(submit);
      }
      const next = linux.taken.find((id) => pages.status(id) === STATUS.busy);
      if (next !== undefined) linux.complete(next, 0);
      if (linux.word('cqTail') === 3) linux.setWord('sqFlags', 0);
      return 0;
    },
  });
  const ids = [entry(pages), entry(pages), entry(pages)];
  for (const id of ids) ring.issue(id);
  ring.submit();
  const finished: number[] = [];
  ring.harvest(finished);
  assert.deepEqual(finished, ids);
  assert.deepEqual(entered, [3, 0, 0, 0]);
  assert.equal(linux.word('cqHead'), 3);
});

test('a polling kernel thread is entered only to wake it', () => {
  const { linux, entered, pages, ring } = setup({ flags: SETUP_SQPOLL, enter: () => 0 });
  assert.ok(ring.sqpoll);
  const id = entry(pages);
  ring.issue(id);
  ring.submit();
  assert.deepEqual(entered, []);
  assert.equal(linux.word('sqTail'), 1);
  linux.setWord('sqFlags', SQ_NEED_WAKEUP);
  ring.issue(entry(pages));
  ring.submit();
  assert.deepEqual(entered, [0]);
  linux.take(2);
  linux.complete(id, 0);
  const finished: number[] = [];
  ring.harvest(finished);
  assert.deepEqual(finished, [id]);
});

test('recalling everything completes nothing of ours by itself', () => {
  const { linux, pages, ring } = setup({ enter: (it, n) => it.take(n) });
  const refused: number[] = [];
  ring.onRefused = (head) => refused.push(head);
  const id = entry(pages);
  ring.issue(id);
  ring.submit();
  assert.equal(ring.recall(), true);
  assert.deepEqual(linux.taken, [id, -1]);
  linux.complete(-1, 1);
  linux.complete(id, -errno.ECANCELED);
  const finished: number[] = [];
  ring.harvest(finished);
  assert.deepEqual([finished, refused], [[], [id]]);
  assert.equal(ring.inFlight, 0);
  assert.equal(ring.recall(), false);
});

test('completions are silent until the loop sleeps', () => {
  const { linux } = setup();
  assert.equal(linux.word('cqFlags'), 1);
});

test('exactly once, in whatever portions and order Linux takes and completes', () => {
  const portions = fc.array(fc.integer({ min: 0, max: 90 }), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(portions, (sizes) => {
      let at = 0;
      const next = () => sizes[at++ % sizes.length];
      // A row of its own: in step with the other it might be 0 for ever.
      let entered = 0;
      const portion = () => sizes[entered++ % sizes.length];
      const pending: number[] = [];
      const { pages, ring } = setup({
        sq: 64,
        cq: 128,
        enter: (linux, submit) => {
          const first = linux.taken.length;
          const took = linux.take(Math.min(submit, portion()));
          pending.push(...linux.taken.slice(first));
          for (let i = Math.min(pending.length, 1 + next()); i > 0; i--)
            linux.complete(pending.splice(next() % pending.length, 1)[0], 1);
          linux.setWord('sqFlags', pending.length > 0 ? SQ_TASKRUN : 0);
          return took;
        },
      });
      const total = 500;
      const open = new Set<number>();
      const waiting: number[] = [];
      const finished: number[] = [];
      let posted = 0;
      let done = 0;
      for (let turn = 0; turn < 10_000 && done < total; turn++) {
        while (posted < total && waiting.length < 20 && pages.room(1)) {
          waiting.push(entry(pages));
          posted++;
        }
        while (waiting.length > 0 && ring.issue(waiting[0])) open.add(waiting.shift()!);
        ring.harvest(finished);
        for (const id of finished.splice(0)) {
          assert.ok(open.delete(id), 'completed though not in flight');
          assert.equal(pages.status(id), STATUS.done);
          assert.equal(pages.result(id), 1);
          pages.free(id);
          done++;
        }
      }
      // A Linux that never takes anything leaves all of it to us.
      if (sizes.some((size) => size > 0)) assert.equal(done, total);
      assert.equal(ring.inFlight, open.size);
    }),
    { numRuns: 50 },
  );
});
