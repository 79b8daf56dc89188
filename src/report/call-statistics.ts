/**
 * The table that `--stats` prints: where the calls of a thread went, and what they cost.
 *
 *   process.stderr.write(formatStatistics({ title, statistics: kernel.statistics(), lacking }));
 */

import type { KernelStatistics } from '../kernel/counters.ts';
import { formatNumber, formatTable } from './table.ts';

export interface CallReport {
  /** Which thread of which process. */
  readonly title: string;
  /** Null: no accelerated call was made. */
  readonly statistics: KernelStatistics | null;
  /** Why there is no ring, or no acceleration at all; empty if there is. */
  readonly lacking: string;
}

export function formatStatistics({ title, statistics, lacking }: CallReport): string {
  if (statistics === null) {
    const why = lacking === '' ? 'it made no accelerated call' : lacking;
    return `${title}: nothing went through syscall pages: ${why}`;
  }
  const parts = [`${title}${lacking === '' ? '' : ` (no ring: ${lacking})`}`, calls(statistics)];
  parts.push(entries(statistics), crew(statistics));
  if (statistics.latency !== null) parts.push(latency(statistics.latency));
  return parts.filter((part) => part !== '').join('\n');
}

const count = (value: number) => String(value).replace(/\B(?=(\d{3})+$)/g, ',');

function calls({ byName, calls, wouldBlock }: KernelStatistics): string {
  const total = ({ spot, ring, crew }: { spot: number; ring: number; crew: number }) =>
    spot + ring + crew;
  const rows = Object.entries(byName)
    .sort(([, a], [, b]) => total(b) - total(a))
    .map(([name, by]) => [name, total(by), by.spot, by.ring, by.crew]);
  rows.push(['all', total(calls), calls.spot, calls.ring, calls.crew]);
  const text = rows.map((row) =>
    row.map((cell) => (typeof cell === 'number' ? count(cell) : cell)),
  );
  const table = formatTable(['begins with', 'calls', 'on the spot', 'ring', 'crew'], text, {
    indent: '  ',
  });
  if (wouldBlock === 0) return table;
  return `${table}\n  ${count(wouldBlock)} were tried on the spot first and would have blocked`;
}

/**
 * A kernel entry is a system call of the program's own thread. On the spot a call is at least
 * one (a file read whole is four: open, fstat or read, read, close); the ring takes a batch in
 * one; the crew costs one only when it must be woken. Its own system calls run on other threads.
 */
function entries({ calls, spotSystemCalls, ringEnters, crew }: KernelStatistics): string {
  const all = calls.spot + calls.ring + calls.crew;
  const made = spotSystemCalls + ringEnters + crew.wakes;
  const lines = [
    `  kernel entries of this thread: ${count(made)} or more` +
      ` (${count(spotSystemCalls)} on the spot, ${count(ringEnters)} into the ring,` +
      ` ${count(crew.wakes)} to wake the crew): ${formatNumber(all / made)} calls each`,
  ];
  if (ringEnters > 0)
    lines.push(`  ring: ${formatNumber(calls.ring / ringEnters)} calls for each entry`);
  return lines.join('\n');
}

function crew({ calls, crew, spotPauses }: KernelStatistics): string {
  if (calls.crew === 0) return '';
  const pauses = spotPauses === 0 ? '' : `, ${count(spotPauses)} pauses of the spot`;
  return (
    `  crew: woken ${count(crew.wakes)} times, ${count(crew.handoffs)} hand-offs,` +
    ` ${count(crew.pagesLocked)} pages drained (${count(crew.secondCore)} on a second core)${pauses}`
  );
}

function latency({ p50, p90, p99, max }: NonNullable<KernelStatistics['latency']>): string {
  const us = (value: number) => formatNumber(value);
  return `  from posting to delivery, us: p50 ${us(p50)}, p90 ${us(p90)}, p99 ${us(p99)}, max ${us(max)}`;
}
