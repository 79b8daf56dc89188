/**
 * `trapless lab EXPERIMENT`: the experiments of the I-Spinlock paper, on this machine.
 *
 *   run(['psp', '--vcpus', '4,8', '--json']);
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { nearMiss } from '../abi/near-miss.ts';
import { SCHEDULERS, type SchedulerName } from '../hypervisor/options.ts';
import { killRunning, runAsChild } from '../lab/locks/children.ts';
import { savedCsd } from '../lab/locks/csd-of-machine.ts';
import {
  type Experiment,
  measure,
  type Options,
  pointsOf,
  type Sample,
  type Variant,
  variants,
} from '../lab/locks/experiment.ts';
import { EXPERIMENTS } from '../lab/locks/index.ts';
import { exitOnSignals } from '../lab/scratch.ts';
import { WORKLOADS, type WorkloadName } from '../lab/workloads/index.ts';
import { CSD_NS } from '../locks/index.ts';
import { formatEnvironment, readEnvironment } from '../report/environment.ts';
import { Progress } from '../report/progress.ts';
import { median } from '../report/statistics.ts';
import { formatNumber } from '../report/table.ts';
import { listed, UsageError, wholeNumber } from '../report/usage.ts';
import { explainFailure } from './failure.ts';

const DEFAULTS = { vms: 2, vcpus: [4, 8, 16, 24], seconds: 2, repeats: 3 };

/** The user-level hypervisor takes no more vCPUs in one virtual machine. */
const VCPUS_MAX = 64;

export const help = `Usage: trapless lab EXPERIMENT [options]

Locks that know when they will be preempted (I-Spinlock, EuroSys 2017) beside those that do not, on
virtual CPUs that really are preempted: threads, scheduled by a hypervisor in this process.

Experiments
${Object.values(EXPERIMENTS)
  .map(({ name, what }) => `  ${name.padEnd(14)}${what}`)
  .join('\n')}

Options
  --locks A,B      ${wrapped(variants())}
                   (ts-…: ticket, with slices of that length instead of 30 ms)
  --workloads A,B  ${Object.keys(WORKLOADS).join(', ')}
  --vcpus N,N      vCPUs per virtual machine, one run each (default ${DEFAULTS.vcpus.join(',')})
  --vms N          virtual machines, all with the same workload (default ${DEFAULTS.vms})
  --pcpus N        physical CPUs they share (default: the cores here, ${availableParallelism()})
  --seconds S      length of a run; work with an end of its own is sized for it (default ${DEFAULTS.seconds})
  --repeats N      runs of each kind, taking turns; medians are shown (default ${DEFAULTS.repeats})
  --scheduler S    ${SCHEDULERS.join(', ')} (default credit)
  --csd NS         critical section duration the informed locks reckon with, nanoseconds (default:
                   what \`trapless lab csd\` last found here, else the paper's ${CSD_NS})
  --spin-by HOW    iterations or time: how constants that were chosen as PAUSEs in 2013 are taken
                   (default iterations)
  --json           one object per line instead of tables and plots; no progress

Where an experiment has other defaults (or fixes something, as overhead its one VM), it says so in
its report. Each run has a process of its own, checks its result, and is void if that is wrong.

With --json the first line tells the environment; each other line is one figure:
  {"experiment","workload","lock","vms","vcpus","pcpus","metric","value","unit"}

First steps
  trapless lab psp --vcpus 4,8 --seconds 1 --repeats 1     the problem, in a minute
  trapless lab effectiveness --workloads micro             the cure
`;

function wrapped(names: readonly string[]): string {
  const lines = [''];
  for (const name of names) {
    if (lines[lines.length - 1].length + name.length > 70) lines.push('');
    lines[lines.length - 1] += `${name}, `;
  }
  return lines.join(`\n${' '.repeat(19)}`).replace(/, $/, '');
}

export async function run(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    console.log(help.trimEnd());
    return name === undefined ? 2 : 0;
  }
  if (!Object.hasOwn(EXPERIMENTS, name)) return unknown(name);
  return explainFailure(`lab ${name}`, () => experiment(EXPERIMENTS[name], rest));
}

function unknown(name: string): number {
  const names = Object.keys(EXPERIMENTS);
  const meant = nearMiss(name, names);
  const hint =
    meant === undefined
      ? `Experiments: ${names.join(', ')}; \`trapless lab --help\` explains them.`
      : `Did you mean \`trapless lab ${meant}\`?`;
  console.error(`trapless lab: there is no experiment '${name}'. ${hint}`);
  return 2;
}

const OPTIONS = {
  locks: { type: 'string' },
  workloads: { type: 'string' },
  vcpus: { type: 'string' },
  vms: { type: 'string' },
  pcpus: { type: 'string' },
  seconds: { type: 'string' },
  repeats: { type: 'string' },
  scheduler: { type: 'string' },
  csd: { type: 'string' },
  'spin-by': { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
  // This program's own children: a plan.
  point: { type: 'string' },
} as const;

async function experiment(which: Experiment, argv: readonly string[]): Promise<number> {
  const values = parsed(argv);
  if (values.help) {
    console.log(help.trimEnd());
    return 0;
  }
  if (values.point !== undefined) return runAsChild(JSON.parse(values.point));

  const options = optionsOf(which, values);
  const json = values.json ?? false;
  const progress = new Progress({ silent: json });
  const restoreSignals = exitOnSignals(killRunning);
  try {
    const environment = readEnvironment();
    const samples = await measure(which, options, progress);
    const more = await which.more?.(samples, options, progress);
    progress.finish();
    if (json) {
      const points = [...pointsOf(which.name, samples), ...(more?.points ?? [])];
      const lines = [{ experiment: which.name, environment }, ...points];
      console.log(lines.map((line) => JSON.stringify(line)).join('\n'));
    } else {
      const sections = [formatEnvironment(environment), headingOf(which, options)];
      sections.push(...which.report(samples, options), ...(more?.sections ?? []));
      sections.push(...accuracyOf(samples), ...voidsOf(samples));
      console.log(sections.join('\n\n'));
    }
    return samples.every(({ results }) => results.length > 0) ? 0 : 1;
  } finally {
    progress.finish();
    restoreSignals();
  }
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS }).values;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const option = /'(--?[\w-]+)/.exec(message)?.[1];
    if (code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION' || option === undefined) throw error;
    const names = Object.keys(OPTIONS).filter((name) => name !== 'point');
    const meant = nearMiss(option.replace(/^-+/, ''), names);
    const hint = meant === undefined ? '' : ` Did you mean --${meant}?`;
    throw new UsageError(`there is no option ${option}.${hint}`);
  }
}

type Values = ReturnType<typeof parsed>;

function optionsOf({ defaults }: Experiment, values: Values): Options {
  const pick = <T>(
    own: T | undefined,
    text: string | undefined,
    parse: (text: string) => T,
    or: T,
  ) => (text === undefined ? (own ?? or) : parse(text));
  const pcpus = pick(
    defaults.pcpus,
    values.pcpus,
    (text) => wholeNumber('--pcpus', text, 1024),
    availableParallelism(),
  );
  return {
    locks: pick<readonly Variant[]>(
      defaults.locks,
      values.locks,
      (text) => known('--locks', text, variants()),
      ['ticket', 'hvm-ispinlock', 'pv-ispinlock'],
    ),
    workloads: pick<readonly WorkloadName[]>(
      defaults.workloads,
      values.workloads,
      (text) => known('--workloads', text, Object.keys(WORKLOADS) as WorkloadName[]),
      ['kernbench', 'pbzip2', 'ebizzy', 'micro'],
    ),
    vcpus: pick<readonly number[]>(
      defaults.vcpus,
      values.vcpus,
      (text) => listed('--vcpus', text).map((one) => wholeNumber('--vcpus', one, VCPUS_MAX)),
      DEFAULTS.vcpus,
    ),
    vms: pick(defaults.vms, values.vms, (text) => wholeNumber('--vms', text, 16), DEFAULTS.vms),
    pcpus,
    seconds: pick(defaults.seconds, values.seconds, positive, DEFAULTS.seconds),
    repeats: pick(
      defaults.repeats,
      values.repeats,
      (text) => wholeNumber('--repeats', text, 1000),
      DEFAULTS.repeats,
    ),
    scheduler: pick<SchedulerName>(
      defaults.scheduler,
      values.scheduler,
      (text) => oneOf('--scheduler', text, SCHEDULERS),
      'credit',
    ),
    lockOptions: {
      csdNs: pick(
        defaults.lockOptions?.csdNs,
        values.csd,
        (text) => wholeNumber('--csd', text, 100_000_000),
        savedCsd()?.csdNs ?? CSD_NS,
      ),
      spinBy: pick<'iterations' | 'time'>(
        defaults.lockOptions?.spinBy,
        values['spin-by'],
        (text) => oneOf('--spin-by', text, ['iterations', 'time']),
        'iterations',
      ),
    },
  };
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 3600))
    throw new UsageError(`--seconds takes a number above 0, up to 3600, not '${text}'`);
  return value;
}

/** In the order given: that is the order of the columns. */
function known<T extends string>(option: string, text: string, names: readonly T[]): T[] {
  return listed(option, text).map((item) => oneOf(option, item, names));
}

function oneOf<T extends string>(option: string, item: string, names: readonly T[]): T {
  if (names.includes(item as T)) return item as T;
  const meant = nearMiss(item, names);
  throw new UsageError(
    meant === undefined
      ? `${option}: there is no '${item}'; choose from ${names.join(', ')}`
      : `${option}: there is no '${item}'. Did you mean '${meant}'?`,
  );
}

function headingOf({ name, what }: Experiment, options: Options): string {
  const { vms, pcpus, seconds, repeats, scheduler, lockOptions } = options;
  return `${name}: ${what}\n${vms} virtual machine${vms === 1 ? '' : 's'} on ${pcpus} pCPUs (${scheduler}), runs of ${seconds} s, medians of ${repeats}; csd ${lockOptions.csdNs} ns (the paper: ${CSD_NS})`;
}

/** How far the hypervisor keeps what it publishes: an informed lock is as good as that. */
function accuracyOf(samples: readonly Sample[]): string[] {
  const results = samples.flatMap((sample) => sample.results);
  const late = results.flatMap(({ latenessNs = 0 }) => (latenessNs > 0 ? [latenessNs] : []));
  const switching = results.flatMap(({ switchingNs = 0 }) =>
    switchingNs > 0 ? [switchingNs] : [],
  );
  if (late.length === 0 || switching.length === 0) return [];
  const us = (values: readonly number[]) => `${formatNumber(median(values) / 1000)} us`;
  return [
    `The hypervisor: 99 % of preemptions at most ${us(late)} after the end of the quantum (what was published is earlier by a margin); a switch takes ${us(switching)} (medians over runs). What Linux or a hypervisor below it take from a vCPU meanwhile, no lock can know.`,
  ];
}

/** Void runs are never silent. */
function voidsOf(samples: readonly Sample[]): string[] {
  const lines = samples.flatMap(({ workload, lock, vcpus, voids }) =>
    voids.map((why) => `  ${workload}, ${lock}, ${vcpus} vCPUs: ${why}`),
  );
  return lines.length === 0 ? [] : [`Void runs\n${lines.join('\n')}`];
}
