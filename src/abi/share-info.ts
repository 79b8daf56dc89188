/**
 * Where things lie in a vCPU's line of share_info (I-Spinlock 4.2.1): byte offsets, as in
 * native/share_info.h. Line n, of SHARE_INFO.size bytes, is the vCPU with the global number n:
 * VMs in order, their vCPUs within.
 */
export const SHARE_INFO = {
  size: 64,
  /** f64: the end of the quantum, ns of CLOCK_MONOTONIC; +Infinity: never. */
  preemptionNs: 0,
  /** u32: +1 with every quantum. */
  sliceId: 8,
  /** i32: VCPU_STATE. */
  state: 12,
  /** f64: could run, but did not; as of the last switch in. */
  stealNs: 16,
  /** u32: times preempted. */
  preemptions: 24,
  /** u32: times switched in. */
  switches: 28,
  /** f64: ran, as of the last switch out or new quantum. */
  runNs: 32,
  /** f64: the quantum's length. */
  sliceNs: 40,
  /** f64: when it was switched in. */
  switchedInNs: 48,
} as const;

export const VCPU_STATE = {
  /** Waits for a kick. */
  halted: 0,
  running: 1,
  /** Could run, waits for a pCPU. */
  preempted: 2,
  /** Waits for something outside, or has not joined yet. */
  blocked: 3,
  gone: 4,
} as const;

/** Throws when the addon was built from another layout. */
export function checkShareInfo(native: Readonly<Record<string, number>>): void {
  for (const [name, offset] of Object.entries(SHARE_INFO)) {
    if (native[name] === offset) continue;
    throw new Error(
      `trapless: the addon's share_info differs (${name}: ${native[name]}, expected ${offset}); rebuild it: npm run build`,
    );
  }
}
