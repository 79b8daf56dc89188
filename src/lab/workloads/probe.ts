/**
 * The threads' part of the probes: what single things cost on this machine, for the simulator
 * (src/lab/locks/sim/probe-run.ts starts them). Each runs as a vCPU and reports numbers in ns.
 */
import { joinHypervisor } from '../../hypervisor/joined-vcpu.ts';
import type { HypervisorTicket } from '../../hypervisor/options.ts';
import { Psp } from '../../locks/psp.ts';
import type { Vcpu } from '../../share-info/vcpu.ts';
import { micro, SECTION_LENGTH, section } from './micro.ts';

export type ProbeName = 'basics' | 'transfer' | 'kick' | 'futex' | 'delays' | 'yields';

export interface ProbeOrder {
  readonly probe: ProbeName;
  readonly ticket: HypervisorTicket;
  readonly vm: number;
  readonly index: number;
  /** Of all threads of the probe. */
  readonly threads: number;
  readonly words: SharedArrayBuffer;
  readonly seconds: number;
}

/** Shared words, a cache line each. */
const JOINED = 0;
const BALL = 16;
const SENT = 32; // of a kick: its time, as a double
const PROBE_WORDS = 64;
export const PROBE_BYTES = 4 * PROBE_WORDS + micro.prepare({} as never).words.byteLength;

/** Longer than anything a loop does by itself. */
const GAP_NS = 3000;
const GAPS_MAX = 20_000;
const BATCHES = 25;

/** What `basics` reports, in this order. */
export const BASICS = [
  'clockNs',
  'pauseNs',
  'localNs',
  'atomicNs',
  'hypercallNs',
  'futexNs',
  'sectionNs',
  'waitNs',
  'ticketNs',
] as const;

export function probe(order: ProbeOrder): number[] {
  const words = new Int32Array(order.words);
  const vcpu = joinHypervisor(order.ticket, order.vm, order.index);
  try {
    Atomics.add(words, JOINED, 1);
    while (Atomics.load(words, JOINED) < order.threads) vcpu.yield();
    switch (order.probe) {
      case 'basics':
        return basics(words, vcpu);
      case 'transfer':
        return numbersOf(distance(order.words, vcpu, order.index));
      case 'kick':
        return kick(new Float64Array(order.words), words, vcpu, order.index);
      case 'futex':
        return futex(words, vcpu, order.index);
      case 'delays':
        // First for the compiler, whose work would be a delay, too.
        for (let i = 0; i < 8; i++) delays(vcpu, 0.01);
        return delays(vcpu, order.seconds);
      default:
        return yields(vcpu, order.seconds);
    }
  } finally {
    vcpu.leave();
  }
}

/** The median over batches of what one call takes; the first batches are for the compiler. */
function cost(vcpu: Vcpu, calls: number, once: (i: number) => void): number {
  const batches: number[] = [];
  for (let batch = 0; batch < BATCHES; batch++) {
    const from = vcpu.nowNs();
    for (let i = 0; i < calls; i++) once(i);
    batches.push((vcpu.nowNs() - from) / calls);
  }
  return middle(batches.slice(BATCHES / 5));
}

function middle(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1];
}

/** Written, so that what is measured is not for nothing. */
const sink = { value: 0 };

function basics(words: Int32Array, vcpu: Vcpu): number[] {
  const area = new Int32Array(micro.prepare({} as never).words);
  const psp = new Psp(vcpu);
  const empty = cost(vcpu, 100_000, (i) => {
    sink.value = i;
  });
  const less = (ns: number) => Math.max(0, ns - empty);
  return [
    less(
      cost(vcpu, 20_000, () => {
        sink.value = vcpu.nowNs();
      }),
    ),
    // As in a spin loop: PAUSE, then a look at the word.
    less(
      cost(vcpu, 20_000, () => {
        vcpu.relax(1);
        sink.value = Atomics.load(words, BALL);
      }),
    ),
    less(
      cost(vcpu, 100_000, () => {
        sink.value += words[BALL];
      }),
    ),
    less(
      cost(vcpu, 100_000, () => {
        Atomics.add(words, BALL, 1);
      }),
    ),
    // A kick of one that runs: into the hypervisor and back.
    less(cost(vcpu, 2_000, () => vcpu.kick(vcpu.id))),
    less(
      cost(vcpu, 2_000, () => {
        Atomics.notify(words, BALL, 1);
      }),
    ),
    less(cost(vcpu, 2_000, () => section(area, SECTION_LENGTH))),
    less(
      cost(vcpu, 20_000, () => {
        psp.spinBegins();
        psp.spinEnds();
      }),
    ),
    less(cost(vcpu, 100_000, () => psp.ticket())),
  ];
}

/**
 * How far two processors are from each other. Where a hypervisor below moves them among the cores of
 * a larger machine, it is one thing now and another a few seconds later.
 */
export interface Distance {
  /** A store until the other processor sees it. */
  readonly transferNs: number;
  /** And the micro-benchmark's section then, whose data come from there. */
  readonly roundNs: number;
}

/** Two threads at the same time, on PROBE_BYTES of zeroes; `index` 0 and 1. */
export function distance(memory: SharedArrayBuffer, vcpu: Vcpu, index: number): Distance {
  const words = new Int32Array(memory);
  const area = words.subarray(PROBE_WORDS);
  return {
    transferNs: inTurn(words, vcpu, index, () => {}),
    roundNs: inTurn(words, vcpu, index, () => section(area, SECTION_LENGTH)),
  };
}

function numbersOf({ transferNs, roundNs }: Distance): number[] {
  return [transferNs, roundNs];
}

/** Half a round. */
function inTurn(words: Int32Array, vcpu: Vcpu, index: number, once: () => void): number {
  const rounds = 1_000;
  const batches: number[] = [];
  for (let batch = 0; batch < BATCHES; batch++) {
    const from = vcpu.nowNs();
    for (let i = 0; i < rounds; i++) {
      while ((Atomics.load(words, BALL) & 1) !== index);
      once();
      Atomics.store(words, BALL, words[BALL] + 1);
    }
    batches.push((vcpu.nowNs() - from) / rounds / 2);
  }
  return middle(batches.slice(BATCHES / 5));
}

/** From a kick until the halted vCPU goes on; the second thread's numbers. */
function kick(times: Float64Array, words: Int32Array, vcpu: Vcpu, index: number): number[] {
  const latencies: number[] = [];
  for (let i = 0; i < 200; i++) {
    if (index === 1) {
      Atomics.store(words, BALL, i + 1);
      vcpu.halt();
      latencies.push(vcpu.nowNs() - times[SENT / 2]);
      continue;
    }
    while (Atomics.load(words, BALL) !== i + 1) vcpu.relax(1);
    // It says so before it halts.
    for (const until = vcpu.nowNs() + 100_000; vcpu.nowNs() < until; ) vcpu.relax(1);
    times[SENT / 2] = vcpu.nowNs();
    vcpu.kick(vcpu.first + 1);
  }
  return latencies;
}

/** Two threads wait for each other by Atomics.wait: from notify until the other goes on; and what
 *  notify itself takes where it wakes somebody. */
function futex(words: Int32Array, vcpu: Vcpu, index: number): number[] {
  const rounds = 2_000;
  let notifyNs = 0;
  let woken = 0;
  const from = vcpu.nowNs();
  for (let i = 0; i < rounds; i++) {
    for (;;) {
      const ball = Atomics.load(words, BALL);
      if ((ball & 1) === index) break;
      Atomics.wait(words, BALL, ball, 10);
    }
    Atomics.add(words, BALL, 1);
    const before = vcpu.nowNs();
    const woke = Atomics.notify(words, BALL, 1);
    if (woke === 0) continue;
    notifyNs += vcpu.nowNs() - before;
    woken += woke;
  }
  return [(vcpu.nowNs() - from) / rounds / 2, notifyNs / Math.max(1, woken)];
}

/**
 * Times in which this thread did not get on, though its vCPU was on its processor by share_info:
 * what nobody foresaw. Between two readings of the clock in one slice; and before a slice's end,
 * from the last reading on. How long it watched, how many of the former, they, and the latter.
 */
function delays(vcpu: Vcpu, seconds: number): number[] {
  const { info, id } = vcpu;
  const gaps: number[] = [];
  const ends: number[] = [];
  const endOfSlice = () => info.switchedInNs(id) + info.sliceNs(id);
  let watchedNs = 0;
  let slice = info.sliceId(id);
  let end = endOfSlice();
  let last = vcpu.nowNs();
  const until = last + seconds * 1e9;
  while (last < until) {
    const now = vcpu.nowNs();
    if (info.sliceId(id) !== slice) {
      ends.push(Math.max(0, end - last));
      slice = info.sliceId(id);
      end = endOfSlice();
      last = vcpu.nowNs();
      continue;
    }
    watchedNs += now - last;
    if (now - last > GAP_NS && gaps.length < GAPS_MAX) gaps.push(now - last);
    last = now;
  }
  return [watchedNs, gaps.length, ...gaps, ...ends];
}

/** Gives its processor away every millisecond; the hypervisor's clock says what that takes. */
function yields(vcpu: Vcpu, seconds: number): number[] {
  const until = vcpu.nowNs() + seconds * 1e9;
  while (vcpu.nowNs() < until) {
    for (const next = vcpu.nowNs() + 1e6; vcpu.nowNs() < next; ) vcpu.relax(1);
    vcpu.yield();
  }
  return [];
}
