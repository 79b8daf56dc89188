#!/usr/bin/env node
/**
 * Generates `src/abi/syscalls-x64.ts` and `src/abi/syscalls-arm64.ts` from installed kernel headers.
 *
 *   node scripts/generate-abi.mjs                  write both files
 *   node scripts/generate-abi.mjs --check          compare only: exit 1 if a committed file is wrong
 *   node scripts/generate-abi.mjs --headers DIR    an include directory other than /usr/include
 *
 * Headers come with Debian's and Ubuntu's `linux-libc-dev`, Fedora's `kernel-headers`, Alpine's
 * `linux-headers`, or `make headers_install` in a kernel tree. x86_64 is read from asm/unistd_64.h.
 * arm64 has no table of its own: it is asm-generic/unistd.h with a few switches, so that file is
 * preprocessed with a C compiler (`cc`, or $CC) under arm64's switches, on any 64-bit machine.
 *
 * Each file holds the table twice: as a `const` object, one call a line, for types and for reading (a
 * bundler drops it), and as one string, which is what runs: V8 takes 0.3 ms to build the object, and
 * nothing to load the string.
 *
 * `--check` passes, with a word about it, where nothing can be compared (no headers, no compiler),
 * and where headers of *another* version merely know fewer or more calls than the committed file:
 * a distribution update must not break a checkout. A number that contradicts the headers never passes.
 */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Calls newer than the distribution's headers, up to Linux 6.18. Since 424 every architecture uses
 * the same numbers for new calls. An entry is only added where the headers lack the name, and it is an
 * error if they give its number to another call.
 */
const SUPPLEMENT = {
  cachestat: 451, // 6.5
  fchmodat2: 452, // 6.6
  map_shadow_stack: 453, // 6.6
  futex_wake: 454, // 6.7
  futex_wait: 455, // 6.7
  futex_requeue: 456, // 6.7
  statmount: 457, // 6.8
  listmount: 458, // 6.8
  lsm_get_self_attr: 459, // 6.8
  lsm_set_self_attr: 460, // 6.8
  lsm_list_modules: 461, // 6.8
  mseal: 462, // 6.10
  setxattrat: 463, // 6.13
  getxattrat: 464, // 6.13
  listxattrat: 465, // 6.13
  removexattrat: 466, // 6.13
  open_tree_attr: 467, // 6.15
  file_getattr: 468, // 6.17
  file_setattr: 469, // 6.17
};

/** The switches that arch/arm64/include/uapi/asm/unistd.h sets before it includes asm-generic. */
const ARM64_SWITCHES = [
  '__ARCH_WANT_RENAMEAT',
  '__ARCH_WANT_NEW_STAT',
  '__ARCH_WANT_SET_GET_RLIMIT',
  '__ARCH_WANT_TIME32_SYSCALLS',
  '__ARCH_WANT_SYS_CLONE3',
  '__ARCH_WANT_MEMFD_SECRET',
];

/** Names in the headers that mark a place in the table, and are no call. */
const MARKERS = new Set(['syscalls', 'arch_specific_syscall']);

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');

const TARGETS = [
  {
    arch: 'x86_64',
    path: 'src/abi/syscalls-x64.ts',
    name: 'SYSCALLS_X64',
    source: 'asm/unistd_64.h',
    read: readX64,
  },
  {
    arch: 'arm64',
    path: 'src/abi/syscalls-arm64.ts',
    name: 'SYSCALLS_ARM64',
    source: "asm-generic/unistd.h with arm64's switches",
    read: readArm64,
  },
];

/** Something this machine lacks: the target is skipped, not failed. */
class Missing extends Error {}

/** `#define __NR_name 12` and `#define __NR_name __NR_other` lines as a Map from name to number. */
function parseDefines(text) {
  const raw = new Map();
  for (const [, name, value] of text.matchAll(/^#define\s+__NR(\w+)[ \t]+(\S+)/gm)) {
    raw.set(name, value);
  }
  const resolve = (value, depth = 0) => {
    if (/^\d+$/.test(value)) return Number(value);
    const alias = /^__NR(\w+)$/.exec(value)?.[1];
    if (alias === undefined || !raw.has(alias) || depth > 4) {
      throw new Error(`cannot read the number "${value}" in the headers`);
    }
    return resolve(raw.get(alias), depth + 1);
  };
  const table = new Map();
  for (const [name, value] of raw) {
    // The other prefix, __NR3264_, holds helpers that the real names refer to.
    if (!name.startsWith('_') || MARKERS.has(name.slice(1))) continue;
    table.set(name.slice(1), resolve(value));
  }
  return table;
}

/** x86_64's table: in a multiarch folder (Debian) or directly under `headers` (others). */
function readX64(headers) {
  for (const folder of ['x86_64-linux-gnu', 'x86_64-linux-musl', '.']) {
    const path = join(headers, folder, 'asm/unistd_64.h');
    if (!existsSync(path)) continue;
    const table = parseDefines(readFileSync(path, 'utf8'));
    // Other architectures may have a file of this name too; arch_prctl is x86's alone.
    if (table.has('arch_prctl')) return table;
  }
  throw new Missing('no asm/unistd_64.h of x86_64');
}

/** arm64's table: asm-generic's, preprocessed without any header of the machine's own architecture. */
function readArm64(headers) {
  const unistd = join(headers, 'asm-generic/unistd.h');
  if (!existsSync(unistd)) throw new Missing('no asm-generic/unistd.h');
  const cc = process.env.CC || 'cc';
  const temp = mkdtempSync(join(tmpdir(), 'trapless-abi-'));
  try {
    mkdirSync(join(temp, 'asm'));
    writeFileSync(join(temp, 'asm/bitsperlong.h'), '#define __BITS_PER_LONG 64\n');
    const defines = ARM64_SWITCHES.map((name) => `-D${name}`);
    const args = ['-E', '-dM', '-nostdinc', ...defines, '-I', temp, '-I', headers, unistd];
    const { status, stdout, stderr, error } = spawnSync(cc, args, { encoding: 'utf8' });
    if (error?.code === 'ENOENT') throw new Missing(`no C compiler (${cc})`);
    if (error || status !== 0) throw new Error(`${cc} ${args.join(' ')}: ${error ?? stderr}`);
    return parseDefines(stdout);
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
}

/** "6.1.187", from linux/version.h. */
function readVersion(headers) {
  const path = join(headers, 'linux/version.h');
  if (!existsSync(path)) throw new Missing('no linux/version.h');
  const code = Number(/LINUX_VERSION_CODE\s+(\d+)/.exec(readFileSync(path, 'utf8'))?.[1]);
  if (!code) throw new Error(`${path} has no LINUX_VERSION_CODE`);
  return `${code >> 16}.${(code >> 8) & 255}.${code & 255}`;
}

/** Adds the supplement to `table`; returns the names added. */
function supplement(table) {
  const byNumber = new Map([...table].map(([name, number]) => [number, name]));
  const added = [];
  for (const [name, number] of Object.entries(SUPPLEMENT)) {
    const known = table.get(name);
    if (known === undefined && !byNumber.has(number)) {
      table.set(name, number);
      added.push(name);
    } else if (known !== number) {
      const theirs =
        known === undefined ? `${number} is ${byNumber.get(number)}` : `it is ${known}`;
      throw new Error(`SUPPLEMENT says ${name} is ${number}, but in the headers ${theirs}`);
    }
  }
  return added;
}

/** The text of one generated file. */
function render(target, version, headers) {
  const table = target.read(headers);
  const added = supplement(table);
  const rows = [...table].sort((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1));
  const from = added.length === 0 ? 'none' : `${added[0]} to ${added.at(-1)}`;
  const text = ` ${rows.map(([name, number]) => `${name}=${number}`).join(' ')} `;
  return [
    '/**',
    ` * System call numbers of Linux on ${target.arch}. Use it through \`syscalls.ts\`, which picks the table`,
    ' * of the running architecture.',
    ' *',
    ' * GENERATED by scripts/generate-abi.mjs; do not edit, run the script.',
    ` * Headers: Linux ${version}, ${target.source}.`,
    ` * From the script's supplement, because these headers lack them: ${from}.`,
    ' */',
    `export const ${target.name} = {`,
    ...rows.map(([name, number]) => `  ${name}: ${number},`),
    '} as const;',
    '',
    '/** The same as text: each call is its name, `=`, its number, with a space on both sides. */',
    '// biome-ignore format: one line, since it has to be one plain string to load fast',
    `export const ${target.name}_TEXT = '${text}';`,
    '',
  ].join('\n');
}

const rowsOf = (text) =>
  new Map([...text.matchAll(/^ {2}(\w+): (\d+),$/gm)].map(([, name, number]) => [name, number]));
const versionOf = (text) => /Headers: Linux ([\d.]+)/.exec(text)?.[1];

/** What is wrong with the `committed` text, and what is merely worth a note. */
function compare(committed, generated) {
  if (committed === generated) return { wrong: [], note: '' };
  const ours = rowsOf(committed);
  const theirs = rowsOf(generated);
  const wrong = [];
  const more = [];
  const fewer = [];
  for (const [name, number] of theirs) {
    if (!ours.has(name)) more.push(name);
    else if (ours.get(name) !== number) {
      wrong.push(`${name} is ${ours.get(name)}, the headers say ${number}`);
    }
  }
  for (const name of ours.keys()) if (!theirs.has(name)) fewer.push(name);
  if (versionOf(committed) !== versionOf(generated)) {
    const note = [
      `made from Linux ${versionOf(committed)}, these headers are ${versionOf(generated)}`,
      more.length > 0 && `and know ${more.length} more: ${more.join(', ')}`,
      fewer.length > 0 && `and know ${fewer.length} fewer: ${fewer.join(', ')}`,
    ];
    return { wrong, note: note.filter(Boolean).join(' ') };
  }
  if (more.length > 0) wrong.push(`lacks ${more.join(', ')}`);
  if (fewer.length > 0) wrong.push(`has ${fewer.join(', ')}, which the headers do not`);
  if (wrong.length === 0) wrong.push('its text differs, though its numbers do not');
  return { wrong, note: '' };
}

const USAGE = 'usage: node scripts/generate-abi.mjs [--check] [--headers DIR]';

function main(argv) {
  let check = false;
  let headers = '/usr/include';
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--check') check = true;
    else if (argv[i] === '--headers' && argv[i + 1] !== undefined) headers = argv[++i];
    else if (argv[i] === '--help') {
      console.log(USAGE);
      return 0;
    } else {
      console.error(`unknown or incomplete option ${argv[i]}\n${USAGE}`);
      return 2;
    }
  }
  const installed = existsSync(headers) && readdirSync(headers).includes('linux');
  if (!installed) {
    const advice = `no kernel headers in ${headers} (install linux-libc-dev, or give --headers DIR)`;
    console.log(`skipped: headers not installed: ${advice}`);
    return check ? 0 : 1;
  }
  let failed = false;
  for (const target of TARGETS) {
    const file = join(ROOT, target.path);
    try {
      const generated = render(target, readVersion(headers), headers);
      if (!check) {
        writeFileSync(file, generated);
        console.log(`${target.path}: ${rowsOf(generated).size} calls`);
        continue;
      }
      const committed = existsSync(file) ? readFileSync(file, 'utf8') : '';
      const { wrong, note } = compare(committed, generated);
      if (wrong.length > 0) {
        failed = true;
        console.error(`${target.path} differs from the headers in ${headers}:`);
        for (const line of wrong) console.error(`  ${line}`);
        console.error('  to fix it: node scripts/generate-abi.mjs');
      } else {
        console.log(`${target.path}: ok${note && ` (${note})`}`);
      }
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      console.log(`${target.path}: skipped: headers not installed: ${error.message}`);
      failed ||= !check;
    }
  }
  return failed ? 1 : 0;
}

process.exitCode = main(process.argv.slice(2));
