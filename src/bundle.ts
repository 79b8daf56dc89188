/**
 * The runtime as one bundle (dist/trapless.cjs): what the package's entry points hand out. Every
 * part is reached through a function or a light namespace, so that loading it stays cheap.
 */
export * as index from './index.ts';
export { traplessFs as fs } from './node/fs.ts';
export { register } from './register.ts';
export { run } from './run.ts';
export * as syscall from './syscall.ts';
