/**
 * Loads a bundle with V8's code cache, if there is one for this very V8 and this very bundle: a
 * fifth of the time that compiling it takes. scripts/code-cache.mjs makes it.
 *
 *   const runtime = loadCached('/…/dist/trapless.cjs') ?? require('/…/dist/trapless.cjs');
 *
 *   trapless.<V8 version>.<arch>.cache:  length of the bundle, u32 │ the bundle │ V8's data
 *
 * V8 looks at its own version and flags, but of the source only at the length: hence the copy.
 * The module is in require.cache as if it had been required: it exists once in a thread.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { shared } from './shared.ts';

/** As Node wraps CommonJS; scripts/code-cache.mjs has the same. */
const HEAD = '(function (exports, require, module, __filename, __dirname) { ';
const TAIL = '\n})';

// Taken now: a program may replace them later. Not readFileSync, which calls what is on fs at the
// moment: a program that counts its files would count ours.
const openNow = openSync;
const statNow = fstatSync;
const readSomeNow = readSync;
const closeNow = closeSync;

function readNow(path: string): Buffer {
  const fd = openNow(path, 'r');
  try {
    const data = Buffer.allocUnsafeSlow(statNow(fd).size);
    let length = 0;
    for (;;) {
      const bytes = readSomeNow(fd, data, length, data.length - length, null);
      if (bytes === 0) return data.subarray(0, length);
      length += bytes;
    }
  } finally {
    closeNow(fd);
  }
}

type Wrapped = (
  exports: unknown,
  require: NodeJS.Require,
  module: NodeJS.Module,
  filename: string,
  dirname: string,
) => void;

/** The bundle's exports; null without a usable cache: then require() it. */
export function loadCached(file: string): unknown {
  const loaded = requireCache()[file];
  if (loaded !== undefined) return loaded.exports;
  let source: Buffer;
  let cache: Buffer;
  try {
    const name = file.replace(/\.cjs$/, `.${process.versions.v8}.${process.arch}.cache`);
    cache = readNow(name);
    source = readNow(file);
  } catch {
    return null;
  }
  const end = 4 + source.length;
  if (cache.readUInt32LE(0) !== source.length || !source.equals(cache.subarray(4, end)))
    return null;
  const requireHere = createRequire(file);
  const { Script } = requireHere('node:vm') as typeof import('node:vm');
  const script = new Script(HEAD + source.toString('latin1') + TAIL, {
    filename: file,
    cachedData: cache.subarray(end),
  });
  shared().codeCache = script.cachedDataRejected ? 'rejected' : 'used';
  const module = new Module(file) as NodeJS.Module;
  module.filename = file;
  requireCache()[file] = module;
  const run = script.runInThisContext() as Wrapped;
  run.call(module.exports, module.exports, requireHere, module, file, dirname(file));
  module.loaded = true;
  return module.exports;
}

function requireCache(): Record<string, NodeJS.Module | undefined> {
  return (Module as unknown as { _cache: Record<string, NodeJS.Module | undefined> })._cache;
}
