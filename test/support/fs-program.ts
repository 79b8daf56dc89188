/**
 * Little programs for file systems: random, but data, so that the same one can be run anywhere.
 *
 *   fc.array(anyStep)                          a program
 *   const outcomes = await run(program, world) what it saw: results and errors, comparable
 *   await furnish(world)                       the tree that programs begin with
 *
 * Paths are relative to the world's directory; descriptors live in numbered slots. Some paths lead
 * out of the directory, upwards: all that a program can reach is below the world's own `top`.
 */
import fs from 'node:fs';
import fc from 'fast-check';
import type { AsyncFs } from './kernel-fs.ts';

/** Where a program runs. */
export interface World {
  /** Nobody else's: what is compared afterwards, and removed. */
  readonly top: string;
  /** Below the top, deeper than any program climbs. */
  readonly dir: string;
  /** Operations; called with the index of the step, so that forms can alternate. */
  readonly fs: AsyncFs;
  readonly fds: (number | undefined)[];
  /** Whether times of access and facts of the device are part of what is compared. */
  readonly precise: boolean;
}

/** A world of its own below `top`; furnish() makes its directory. */
export function world(top: string, fs: AsyncFs, precise: boolean): World {
  // A program climbs by a path with `..` in it, and by a link to `../d` that it moved up.
  return { top, dir: `${top}/up/up/dir`, fs, fds: [], precise };
}

/* --- Steps ---------------------------------------------------------------------------------- */

export interface Step {
  readonly op: string;
  readonly path?: string;
  readonly to?: string;
  readonly slot?: number;
  readonly size?: number;
  readonly fill?: number;
  readonly position?: number | null;
  readonly flag?: string;
  readonly mode?: number;
  readonly encoding?: string | null;
  readonly option?: boolean;
  readonly time?: number;
  readonly steps?: readonly Step[];
}

const name = fc.constantFrom('a', 'b', 'c', 'f', 'd', 'e', 'l', 'big', 'mid', 'dangling', 'ünï');
const path = fc.oneof(
  { weight: 10, arbitrary: name },
  { weight: 8, arbitrary: fc.tuple(name, name).map((names) => names.join('/')) },
  { weight: 2, arbitrary: fc.tuple(name, name, name).map((names) => names.join('/')) },
  { weight: 1, arbitrary: name.map((it) => `${it}/`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '.',
      '..//x/../a',
      'd/.',
      'd/..',
      'f/.',
      'd//f',
      './a',
      'loop',
      'loop/a',
      'n'.repeat(255),
      'n'.repeat(256),
      `d/${'p/'.repeat(60)}x`,
    ),
  },
);

const size = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 64 }) },
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 9000 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(65535, 65536, 65537, 69631, 69632, 69633, 100_000, 1_100_000),
  },
);
const fill = fc.integer({ min: 0, max: 255 });
const mode = fc.constantFrom(0o777, 0o755, 0o700, 0o644, 0o600, 0o555, 0o444, 0o333, 0);
const slot = fc.integer({ min: 0, max: 2 });
const position = fc.oneof(
  fc.constant(null),
  fc.integer({ min: 0, max: 200 }),
  fc.constantFrom(4096, 65536, 199_999, 1_000_000),
);
const writeFlag = fc.constantFrom('w', 'w', 'w', 'a', 'wx', 'r+', 'ax', 'w+', 'a+');
const anyFlag = fc.constantFrom('r', 'r', 'r+', 'w', 'w+', 'a', 'a+', 'wx', 'ax+', 'rs+');
const encoding = fc.constantFrom(null, 'utf8', 'latin1', 'base64', 'hex');
const time = fc.oneof(
  fc.integer({ min: 0, max: 1_000_000_000 }),
  fc.constantFrom(0.5, 1.25, 86400.001),
);

type Fields = Partial<Record<keyof Step, fc.Arbitrary<unknown>>>;
function step(op: string, fields: Fields): fc.Arbitrary<Step> {
  return fc.record({ op: fc.constant(op), ...fields }) as unknown as fc.Arbitrary<Step>;
}

const readFile = step('readFile', { path, encoding, option: fc.boolean() });
const stats = fc.oneof(step('stat', { path, option: fc.boolean() }), step('lstat', { path }));
const readdir = step('readdir', {
  path,
  option: fc.boolean(),
  fill: fc.integer({ min: 0, max: 3 }),
});

/** Steps that change nothing: any number of them may run at a time. */
const looking: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: readFile },
  { weight: 3, arbitrary: stats },
  { weight: 1, arbitrary: step('access', { path, mode: fc.constantFrom(0, 1, 2, 4, 7) }) },
  { weight: 1, arbitrary: readdir },
  { weight: 1, arbitrary: step('readlink', { path, encoding: fc.constantFrom(null, 'buffer') }) },
);

const together = step('together', {
  steps: fc.oneof(
    fc.array(looking, { minLength: 1, maxLength: 6 }),
    fc.array(looking, { minLength: 20, maxLength: 48 }),
  ),
});

/** Whole files written at a time, and read back. */
const many = step('many', { size: fc.integer({ min: 1, max: 3000 }), fill, slot });

/** A file that is read again and again, and sometimes is another one by then. */
const reread = step('reread', {
  size: fc.constantFrom(16_384, 30_000, 65_536),
  fill,
  option: fc.boolean(),
});

const onPaths: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: step('writeFile', { path, size, fill, flag: writeFlag, mode, option: fc.boolean() }),
  },
  { weight: 2, arbitrary: step('appendFile', { path, size, fill }) },
  { weight: 1, arbitrary: step('truncate', { path, size }) },
  { weight: 2, arbitrary: step('mkdir', { path, option: fc.boolean() }) },
  { weight: 1, arbitrary: step('rmdir', { path }) },
  { weight: 1, arbitrary: step('rm', { path: name }) },
  { weight: 1, arbitrary: step('unlink', { path }) },
  { weight: 2, arbitrary: step('rename', { path, to: path }) },
  { weight: 1, arbitrary: step('link', { path, to: path }) },
  { weight: 1, arbitrary: step('symlink', { path: fc.oneof(path, fc.constant('')), to: path }) },
  { weight: 1, arbitrary: step('chmod', { path, mode }) },
  { weight: 1, arbitrary: step('chown', { path, option: fc.boolean(), fill }) },
  { weight: 1, arbitrary: step('utimes', { path, time, option: fc.boolean() }) },
);

/** At most 1 MiB: longer transfers are Node's. */
const transferSize = size.map((bytes) => Math.min(bytes, 600_000));

/** Reads and writes of an open file: what they return may be less than was asked for. */
const transfers: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: step('read', { slot, size: transferSize, position }) },
  { weight: 3, arbitrary: step('write', { slot, size: transferSize, fill, position }) },
  { weight: 1, arbitrary: step('readv', { slot, size: transferSize, position }) },
  { weight: 1, arbitrary: step('writev', { slot, size: transferSize, fill, position }) },
);

const onDescriptors: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: step('open', { slot, path, flag: anyFlag, mode }) },
  { weight: 2, arbitrary: step('close', { slot }) },
  { weight: 1, arbitrary: step('fstat', { slot, option: fc.boolean() }) },
  { weight: 1, arbitrary: step('ftruncate', { slot, size }) },
  { weight: 1, arbitrary: step('fsync', { slot, option: fc.boolean() }) },
  { weight: 1, arbitrary: step('fchmod', { slot, mode }) },
  { weight: 1, arbitrary: step('futimes', { slot, time }) },
);

/** Everything but transfers on descriptors: what a short transfer must not show in. */
export const wholeStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: onPaths },
  { weight: 2, arbitrary: looking },
  { weight: 2, arbitrary: onDescriptors },
  { weight: 1, arbitrary: together },
  { weight: 1, arbitrary: many },
  { weight: 1, arbitrary: reread },
);

/** What ends in Node's own function now and then: not for the in-memory kernel. */
export const nodeStep: fc.Arbitrary<Step> = step('copyFile', {
  path,
  to: path,
  option: fc.boolean(),
});

export const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: wholeStep },
  { weight: 1, arbitrary: transfers },
);

/* --- Outcomes ------------------------------------------------------------------------------- */

export type Outcome = unknown;

/** Bytes that are all different for a while, and differ by `fill`. */
export function content(size = 0, fill = 0): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i < size; i++) bytes[i] = (i * 7 + (i >> 8) + fill) & 0xff;
  return bytes;
}

/** Short bytes as they are, long ones by length and sum. */
function bytesSeen(bytes: Buffer): string {
  if (bytes.length <= 64) return bytes.toString('hex');
  let sum = 0;
  for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) >>> 0;
  return `${bytes.length} bytes, sum ${sum}`;
}

/** Times that a program set are exact, all later ones the same. */
const RECENT_MS = 1_600_000_000_000;
function timeSeen(ms: number): number | string {
  return ms < RECENT_MS ? ms : 'recent';
}

function statsSeen(stats: fs.Stats | fs.BigIntStats, precise: boolean): Outcome {
  const directory = stats.isDirectory();
  const number = (value: number | bigint) => Number(value);
  return {
    kind: stats.constructor.name,
    types: [typeof stats.size, stats.isFile(), directory, stats.isSymbolicLink()],
    mode: number(stats.mode),
    uid: number(stats.uid),
    gid: number(stats.gid),
    size: directory ? 'any' : number(stats.size),
    nlink: directory && !precise ? 'any' : number(stats.nlink),
    mtime: timeSeen(number(stats.mtimeMs)),
    mtimeDate: timeSeen(stats.mtime.getTime()),
    mtimeNs: 'mtimeNs' in stats ? timeSeen(number(stats.mtimeNs / 1_000_000n)) : 'no',
    atime: precise ? timeSeen(number(stats.atimeMs)) : 'any',
    birthtime: timeSeen(number(stats.birthtimeMs)),
    device: precise ? [number(stats.dev), number(stats.rdev), number(stats.blksize)] : 'any',
    keys: Object.keys(stats),
  };
}

function valueSeen(value: unknown, { top, precise }: Pick<World, 'top' | 'precise'>): Outcome {
  const within = (path: string) => path.replace(top, '<top>');
  if (Buffer.isBuffer(value)) return bytesSeen(value);
  if (typeof value === 'string' && value.length > 200) return bytesSeen(Buffer.from(value));
  if (Array.isArray(value)) return value.map((element) => valueSeen(element, { top, precise }));
  if (value instanceof fs.Dirent)
    return {
      name: value.name,
      within: within(value.path),
      types: [value.isFile(), value.isDirectory(), value.isSymbolicLink()],
    };
  if (typeof value === 'object' && value !== null && 'isSymbolicLink' in value)
    return statsSeen(value as fs.Stats, precise);
  return value;
}

export function errorSeen(error: unknown, top: string): Outcome {
  const { name, message, code, errno, syscall, path, dest } = error as NodeJS.ErrnoException & {
    dest?: string;
  };
  const within = (text: string | undefined) => text?.replaceAll(top, '<top>');
  return {
    error: name,
    message: within(message),
    code,
    errno,
    syscall,
    path: within(path),
    dest: within(dest),
    keys: Object.keys(error as Error),
  };
}

/* --- Running -------------------------------------------------------------------------------- */

/** Never open. */
const NO_DESCRIPTOR = 19_999;
const VECTOR = 3;

/** One step: what it returned, or the error. */
export async function attempt(world: World, step: Step): Promise<Outcome> {
  try {
    return valueSeen(await perform(world, step), world);
  } catch (error) {
    return errorSeen(error, world.top);
  }
}

/** Cuts `bytes` for readv and writev. */
function parts(bytes: Buffer): Buffer[] {
  const length = Math.ceil(bytes.length / VECTOR) || 1;
  return Array.from({ length: VECTOR }, (_, i) => bytes.subarray(i * length, (i + 1) * length));
}

/** With a signal, though it never comes, an operation goes step by step. */
function abortable({ option }: Step): { signal?: AbortSignal } {
  return option ? { signal: new AbortController().signal } : {};
}

async function perform(world: World, step: Step): Promise<unknown> {
  const { top, dir, fs, fds } = world;
  const at = (path = '') => `${dir}/${path}`;
  const path = at(step.path);
  const fd = fds[step.slot ?? 0] ?? NO_DESCRIPTOR;
  const data = () => content(step.size, step.fill);
  const target = Buffer.alloc(step.size || 1);
  switch (step.op) {
    case 'readFile':
      return fs.readFile(path, { encoding: step.encoding, ...abortable(step) });
    case 'writeFile':
      return fs.writeFile(path, data(), { flag: step.flag, mode: step.mode, ...abortable(step) });
    case 'appendFile':
      return fs.appendFile(path, data().toString('latin1'), 'latin1');
    case 'truncate':
      return fs.truncate(path, step.size);
    case 'mkdir': {
      const made = await fs.mkdir(path, step.option ? { recursive: true } : undefined);
      return typeof made === 'string' ? made.replace(top, '<top>') : made;
    }
    case 'rename':
    case 'link':
      return fs[step.op](path, at(step.to));
    case 'symlink':
      return fs.symlink(step.path, at(step.to));
    case 'rm':
      return fs.rm(path, { recursive: true, force: true });
    case 'copyFile':
      return fs.copyFile(path, at(step.to), step.option ? 1 : undefined);
    case 'chmod':
      return fs.chmod(path, step.mode);
    case 'chown':
      return (step.option ? fs.chown : fs.lchown)(path, step.fill, step.fill);
    case 'utimes':
      return (step.option ? fs.utimes : fs.lutimes)(path, step.time, new Date(step.time! * 1000));
    case 'stat':
      return fs.stat(path, step.option ? { bigint: true } : undefined);
    case 'access':
      return fs.access(path, step.mode);
    case 'readdir':
      return fs.readdir(path, {
        withFileTypes: step.option,
        recursive: step.fill === 0,
        encoding: step.fill === 1 && !step.option ? 'buffer' : 'utf8',
      });
    case 'readlink':
      return fs.readlink(path, step.encoding === 'buffer' ? 'buffer' : undefined);
    case 'lstat':
    case 'rmdir':
    case 'unlink':
      return fs[step.op](path);
    case 'open': {
      if (fds[step.slot!] !== undefined) return 'slot taken';
      fds[step.slot!] = (await fs.open(path, step.flag, step.mode)) as number;
      return 'open';
    }
    case 'close':
      fds[step.slot!] = undefined;
      return fs.close(fd);
    case 'read': {
      const count = await fs.read(fd, target, 0, target.length, step.position);
      return [count, target];
    }
    case 'readv': {
      const count = await fs.readv(fd, parts(target), step.position);
      return [count, target];
    }
    case 'write':
      return step.size === 0 ? 0 : fs.write(fd, data(), 0, step.size, step.position);
    case 'writev':
      return fs.writev(fd, parts(data()), step.position);
    case 'fstat':
      return fs.fstat(fd, step.option ? { bigint: true } : undefined);
    case 'ftruncate':
      return fs.ftruncate(fd, step.size);
    case 'fsync':
      return (step.option ? fs.fsync : fs.fdatasync)(fd);
    case 'fchmod':
      return fs.fchmod(fd, step.mode);
    case 'futimes':
      return fs.futimes(fd, step.time, step.time);
    case 'together':
      return Promise.all(step.steps!.map((one) => attempt(world, one)));
    case 'many':
      return writeMany(world, step);
    case 'reread':
      return readAgain(world, step);
    default:
      throw new Error(`unknown step ${step.op}`);
  }
}

async function writeMany({ dir, fs }: World, { size, fill, slot }: Step): Promise<Outcome> {
  const count = [3, 25, 40][slot!];
  const files = Array.from({ length: count }, (_, i) => ({
    path: `${dir}/many${i}`,
    data: content(size, (fill ?? 0) + i),
  }));
  await all(files.map(({ path, data }) => fs.writeFile(path, data)));
  const read = await all(files.map(({ path }) => fs.readFile(path)));
  const wrong = files.findIndex(({ data }, i) => !data.equals(read[i] as Buffer));
  return wrong === -1 ? `${count} files` : `file ${wrong} differs`;
}

/** Promise.all, but nothing is on its way any more when it rejects. */
async function all<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

async function readAgain({ dir, fs }: World, { size, fill, option }: Step): Promise<Outcome> {
  const path = `${dir}/again`;
  const seen: Outcome[] = [];
  for (const times of [1, 2, 3]) {
    await fs.writeFile(path, content(option ? size! * times - 5000 : size, fill));
    for (const _ of [1, 2]) seen.push(bytesSeen((await fs.readFile(path)) as Buffer));
  }
  return seen;
}

/** Runs a program; every step's outcome. Descriptors left open are closed. */
export async function run(program: readonly Step[], world: World): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const step of program) outcomes.push(await attempt(world, step));
  await closeAll(world);
  return outcomes;
}

export async function closeAll({ fs, fds }: World): Promise<void> {
  for (const fd of fds.splice(0)) if (fd !== undefined) await fs.close(fd);
}

/** What is there before the first step. */
export async function furnish({ dir, fs }: World): Promise<void> {
  await fs.mkdir(`${dir}/d`, { recursive: true });
  await fs.mkdir(`${dir}/e`);
  await fs.mkdir(`${dir}/d/d`);
  await fs.writeFile(`${dir}/f`, content(100, 1));
  await fs.writeFile(`${dir}/big`, content(200_000, 2));
  await fs.writeFile(`${dir}/mid`, content(30_000, 4));
  await fs.writeFile(`${dir}/d/f`, content(5000, 3));
  await fs.writeFile(`${dir}/d/a`, Buffer.alloc(0));
  await fs.symlink('d/f', `${dir}/l`);
  await fs.symlink('nowhere', `${dir}/dangling`);
  await fs.symlink('loop', `${dir}/loop`);
  await fs.symlink('../d', `${dir}/d/l`);
}
