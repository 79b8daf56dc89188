/**
 * The runtime as one bundle (dist/trapless.cjs): what the package's entry points hand out. Every
 * part is reached through a function or a light namespace. A program that is started under trapless
 * loads it at its first accelerated call; what must be there before is in start.ts.
 */

export { syscallNumber } from './abi/syscalls.ts';
export * as index from './index.ts';
export { loadAddon } from './native/addon.ts';
export * as dgramSockets from './node/dgram/dgram.ts';
export { traplessDgram as dgram } from './node/dgram/dgram.ts';
export { threadKernel } from './node/environment-kernel.ts';
export { traplessFs as fs } from './node/fs.ts';
export { streamOf } from './node/net/adopted.ts';
export { plainWrites } from './node/net/file-pipe.ts';
export * as netSockets from './node/net/net.ts';
export { listenForm, TAKES_BYTES, traplessNet as net } from './node/net/net.ts';
export { listen } from './sockets/index.ts';
export * as syscall from './syscall.ts';
