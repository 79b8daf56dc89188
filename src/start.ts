/**
 * What a program's start pays for, as one small bundle (dist/start.cjs): `trapless run` and
 * trapless/register. The runtime itself (bundle.ts) is loaded at the first accelerated call.
 */
export { register } from './register.ts';
export { run } from './run.ts';
