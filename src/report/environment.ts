/**
 * What a measurement was taken on. A number without it says nothing.
 *
 *   const environment = readEnvironment({ directory: '/dev/shm', tier: 'ring' });
 *   console.log(formatEnvironment(environment));
 */

import { readFileSync, realpathSync } from 'node:fs';
import { arch, availableParallelism, cpus, loadavg, release, type } from 'node:os';
import { packageVersion } from './package-root.ts';

export interface Environment {
  readonly cpu: string;
  readonly cores: number;
  /** Processes running or ready over the last minute; well above 0 means a noisy machine. */
  readonly load: number;
  readonly kernel: string;
  readonly arch: string;
  /** Frequency governor of the first core; null where the machine does not tell. */
  readonly governor: string | null;
  readonly node: string;
  readonly trapless: string;
  /** Which syscall threads are in use: ring, crew, none. */
  readonly tier: string | null;
  readonly directory: string | null;
  readonly filesystem: string | null;
  /** ISO 8601, UTC. */
  readonly date: string;
}

export interface EnvironmentOptions {
  /** Where the measured files lie. */
  readonly directory?: string;
  readonly tier?: string;
}

export function readEnvironment(options: EnvironmentOptions = {}): Environment {
  const { directory, tier } = options;
  return {
    cpu: cpus()[0]?.model.trim() || 'unknown CPU',
    cores: availableParallelism(),
    load: Math.round(loadavg()[0] * 100) / 100,
    kernel: `${type()} ${release()}`,
    arch: arch(),
    governor: readLine('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor'),
    node: process.version,
    trapless: packageVersion(),
    tier: tier ?? null,
    directory: directory ?? null,
    filesystem: directory === undefined ? null : filesystemOf(directory),
    date: new Date().toISOString(),
  };
}

/** The header above a report: two or three lines. */
export function formatEnvironment(environment: Environment): string {
  const e = environment;
  const governor = e.governor === null ? '' : `, governor ${e.governor}`;
  const tier = e.tier === null ? '' : ` (tier: ${e.tier})`;
  const lines = [
    `${e.cpu}, ${e.cores} cores${governor}, load ${e.load}; ${e.kernel} ${e.arch}`,
    `Node ${e.node}, trapless ${e.trapless}${tier}, ${e.date}`,
  ];
  if (e.directory !== null) {
    const memory = e.filesystem === 'tmpfs' || e.filesystem === 'ramfs';
    const meaning = memory ? ': in memory, so the calls are measured rather than a disk' : '';
    lines.push(`files in ${e.directory} (${e.filesystem ?? 'unknown file system'}${meaning})`);
  }
  return lines.join('\n');
}

/** Type of the file system a directory lies on, as mount(8) names it; null where not known. */
export function filesystemOf(directory: string): string | null {
  try {
    return filesystemIn(readFileSync('/proc/self/mountinfo', 'utf8'), realpathSync(directory));
  } catch {
    return null;
  }
}

/** The same, from the text of /proc/self/mountinfo and a path without links. */
export function filesystemIn(mountinfo: string, path: string): string | null {
  let best: { point: string; filesystem: string } | null = null;
  for (const line of mountinfo.split('\n')) {
    // 36 35 98:0 /root /point options [optional fields] - filesystem source superoptions
    const [mount, superblock] = line.split(' - ');
    if (superblock === undefined) continue;
    const point = unescapeMount(mount.split(' ')[4]);
    const below = point === '/' || path === point || path.startsWith(`${point}/`);
    // On equal points the later mount lies on top.
    if (below && (best === null || point.length >= best.point.length)) {
      best = { point, filesystem: superblock.split(' ')[0] };
    }
  }
  return best?.filesystem ?? null;
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescapeMount(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

function readLine(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}
