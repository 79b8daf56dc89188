/**
 * What kernbench compiles, and with what: generated TypeScript modules, and the TypeScript
 * compiler where it is installed (it is not a dependency of trapless).
 *
 *   const { compile, missing } = await findCompiler();
 *   compile(moduleSource(7));
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Prng } from '../../kernel/sim/prng.ts';
import { packageRoot } from '../../native/addon.ts';

export interface Compiler {
  compile(source: string): string;
  /** Why this is not the TypeScript compiler, and what to do. */
  readonly missing?: string;
}

interface TypeScript {
  transpileModule(
    source: string,
    options: { compilerOptions: Record<string, unknown> },
  ): { outputText: string };
}

/** From this package or from the project one is in. */
export function findCompiler(places = [packageRoot(), process.cwd()]): Compiler {
  for (const place of places) {
    let typescript: TypeScript;
    try {
      typescript = createRequire(join(place, 'package.json'))('typescript');
    } catch {
      continue;
    }
    const compilerOptions = { module: 1, target: 2, removeComments: true };
    return {
      compile: (source) => typescript.transpileModule(source, { compilerOptions }).outputText,
    };
  }
  return {
    compile: stripped,
    missing:
      'typescript is not installed here: kernbench only strips its sources of comments and ' +
      'spaces; for a real compilation: npm install --no-save typescript',
  };
}

/** Tokens, without comments and with no more space than needed: a small, real compilation. */
export function stripped(source: string): string {
  const tokens = source.match(TOKEN) ?? [];
  let out = '';
  for (const token of tokens) {
    if (/^(\s|\/\/|\/\*)/.test(token)) continue;
    out += /[\w$]$/.test(out) && /^[\w$]/.test(token) ? ` ${token}` : token;
  }
  return out;
}

const TOKEN = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|[\w$]+|\s+|[^\w\s]/g;

const NAMES = ['inode', 'page', 'queue', 'timer', 'socket', 'buffer', 'task', 'signal', 'driver'];

/** A module of about 1 KB, the same for the same number. */
export function moduleSource(number: number): string {
  const random = new Prng(number + 1);
  const name = () => NAMES[random.below(NAMES.length)];
  const parts = [`// Module ${number}, generated.`];
  for (let i = 0; i < 3; i++) {
    const item = name();
    const type = `${item[0].toUpperCase()}${item.slice(1)}${number}_${i}`;
    parts.push(
      `export interface ${type}Options { readonly size?: number; ${name()}: string | null }`,
      `/** Keeps a ${item}. */`,
      `export class ${type}<T extends object> {`,
      '  #entries: T[] = [];',
      `  constructor(private readonly options: ${type}Options, readonly limit = ${random.below(99)}) {}`,
      `  add(entry: T): number { this.#entries.push({ ...entry }); return this.#entries.length; }`,
      `  get size(): number { return (this.options.size ?? ${random.below(999)}) & this.limit; }`,
      '}',
    );
  }
  return `${parts.join('\n')}\n`;
}
