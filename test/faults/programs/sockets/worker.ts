/** A worker with open sockets, in the midst of traffic, until it is terminated. */
import { parentPort, workerData } from 'node:worker_threads';
import { Kernel } from '../../../../src/kernel/kernel.ts';
import { type Connection, connect, listen } from '../../../../src/sockets/index.ts';

const { ring, count } = workerData as { ring: boolean; count: number };
const kernel = Kernel.register({ ring });
let established = 0;
const echo = {
  onBytes(c: Connection, bytes: Buffer, start: number, end: number): void {
    c.write(bytes.subarray(start, end));
  },
};
const listener = listen(kernel, { host: '127.0.0.1', backlog: count }, (c) => {
  c.handler = echo;
  if (++established === count) parentPort!.postMessage('ready');
});
const { port } = listener.address!;
for (let i = 0; i < count; i++)
  connect(
    kernel,
    { port },
    { ...echo, onConnect: (c) => void c.write('x'.repeat(1 + (i % 5000))) },
  );
