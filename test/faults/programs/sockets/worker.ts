/** A worker with open sockets, in the midst of traffic, until it is terminated. */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Kernel } from '../../../../src/kernel/kernel.ts';
import { socketsOf } from '../../../../src/kernel/sockets/sockets.ts';
import { type Connection, connect, listen } from '../../../../src/sockets/index.ts';

const { ring, count } = workerData as { ring: boolean; count: number };
const kernel = Kernel.register({ ring });
let established = 0;
const echo = {
  onBytes(c: Connection, bytes: Buffer, start: number, end: number): void {
    c.write(bytes.subarray(start, end));
  },
};
/** A callback that accepts on the way, by queueing more than fits, and never returns. */
const stuck = {
  onBytes(c: Connection): void {
    parentPort!.postMessage('busy');
    while (receiveMessageOnPort(parentPort!) === undefined) {}
    const sockets = socketsOf(kernel);
    for (let i = 0; i < 600; i++) sockets.cancelReceive(0x3ffff, c.fd);
    parentPort!.postMessage('accepted');
    for (;;);
  },
};
const listener = listen(kernel, { host: '127.0.0.1', backlog: 511 }, (c) => {
  c.handler = count === 0 ? stuck : echo;
  if (++established === count) parentPort!.postMessage('ready');
});
const { port } = listener.address!;
if (count === 0) parentPort!.postMessage(port);
for (let i = 0; i < count; i++)
  connect(
    kernel,
    { port },
    { ...echo, onConnect: (c) => void c.write('x'.repeat(1 + (i % 5000))) },
  );
