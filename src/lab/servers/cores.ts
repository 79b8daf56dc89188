/**
 * Who runs where, and how much of a core a process has used: the server has one core to itself,
 * its load the other.
 *
 *   const { server, load } = coresFor();
 *   const before = cpuOf(pid);  …  cpuOf(pid).user - before.user      // microseconds
 */
import { readFileSync } from 'node:fs';

export interface Cores {
  readonly server: number;
  readonly load: number;
}

/** The first two of the cores this process may use. */
export function coresFor(): Cores {
  const status = readFileSync('/proc/self/status', 'utf8');
  const list = /Cpus_allowed_list:\s*(\S+)/.exec(status)?.[1] ?? '0';
  const cores = list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
  if (cores.length < 2)
    throw new Error('servers are measured on two cores, one of them for the load; there is one');
  return { server: cores[0], load: cores[1] };
}

export interface CpuTime {
  /** Microseconds. */
  readonly user: number;
  readonly kernel: number;
}

/** Linux tells in hundredths of a second, whatever its own tick. */
const TICK_US = 10_000;

/** Of all threads of a process since it began. */
export function cpuOf(pid: number): CpuTime {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The second field is the name in brackets, which may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { user: Number(fields[11]) * TICK_US, kernel: Number(fields[12]) * TICK_US };
}

/** `taskset` in front of a command, so that everything it starts stays on the core. */
export function onCore(core: number, program: string, args: readonly string[]): [string, string[]] {
  return ['taskset', ['-c', String(core), program, ...args]];
}
