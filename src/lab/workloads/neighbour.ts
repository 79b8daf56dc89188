/**
 * The CPU-bound neighbour: digits of pi, y-cruncher's part in the paper (I-Spinlock 5.5.1). It
 * takes no lock: what it loses, it loses to how the machine is shared.
 *
 * Every vCPU computes the same digits again and again by Machin's formula; the check computes them
 * once by the Gauss-Legendre iteration, which has nothing in common with it.
 */
import { type Outcome, VoidRun, type Workload } from './workload.ts';

/** Digits of one unit of work: about a millisecond, so that the end of a run is met closely. */
const DIGITS = 1000;
/** Beyond the digits wanted, for the rounding of some hundred terms. */
const GUARD = 10;

const KNOWN = '31415926535897932384626433832795028841971693993751';

export const neighbour: Workload<void> = {
  name: 'neighbour',
  unit: 'digits',
  locks: 0,

  prepare: () => ({}),

  load() {
    machin(DIGITS);
  },

  work(site): Outcome {
    const batches = site.plan.size ?? Number.POSITIVE_INFINITY;
    const proof = machin(DIGITS);
    let done = DIGITS;
    for (let batch = 1; batch < batches && !site.over(); batch++) {
      if (machin(DIGITS) !== proof) throw new VoidRun('the same digits of pi differ');
      done += DIGITS;
    }
    return { done, proof };
  },

  check(_plan, _memory, outcomes) {
    const right = gaussLegendre(DIGITS);
    if (!right.startsWith(KNOWN)) throw new VoidRun(`pi is not ${right.slice(0, KNOWN.length)}`);
    for (const { proof } of outcomes)
      if (proof !== right) throw new VoidRun("Machin's digits of pi are not Gauss-Legendre's");
    return undefined;
  },
};

/** 3, 1, 4, …: `digits` of them, as a string. */
export function machin(digits: number): string {
  const one = 10n ** BigInt(digits + GUARD);
  const pi = 16n * arctanOfInverse(5n, one) - 4n * arctanOfInverse(239n, one);
  return pi.toString().slice(0, digits);
}

/** one * arctan(1 / x), by its series. */
function arctanOfInverse(x: bigint, one: bigint): bigint {
  const square = x * x;
  let power = one / x;
  let sum = power;
  for (let n = 3n, minus = true; power !== 0n; n += 2n, minus = !minus) {
    power /= square;
    sum += minus ? -power / n : power / n;
  }
  return sum;
}

export function gaussLegendre(digits: number): string {
  const one = 10n ** BigInt(digits + GUARD);
  let a = one;
  let b = squareRoot((one * one) / 2n);
  let t = one / 4n;
  let p = 1n;
  // Right digits double with every step.
  for (let right = 1; right < digits + GUARD; right *= 2) {
    const mean = (a + b) / 2n;
    b = squareRoot(a * b);
    t -= (p * (a - mean) * (a - mean)) / one;
    a = mean;
    p *= 2n;
  }
  return (((a + b) * (a + b)) / (4n * t)).toString().slice(0, digits);
}

/** The integer part of the square root, by Newton's iteration from above. */
function squareRoot(value: bigint): bigint {
  let root = 1n << BigInt((value.toString(2).length >> 1) + 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}
