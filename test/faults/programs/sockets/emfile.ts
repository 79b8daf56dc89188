/**
 * No descriptor left when connections come (`ulimit -n`): the listener waits and recovers, and no
 * connection is lost. Prints how many were served.
 */
import { closeSync, openSync } from 'node:fs';
import { Kernel } from '../../../../src/kernel/kernel.ts';
import { connect, listen } from '../../../../src/sockets/index.ts';

const COUNT = 10;
const kernel = Kernel.register({ ring: process.argv[2] === 'ring' });
let served = 0;
let answered = 0;
const listener = listen(kernel, { host: '127.0.0.1' }, (c) => {
  c.handler = {
    onBytes(connection) {
      served++;
      connection.write('answer');
      connection.end();
    },
  };
});
const { port } = listener.address!;
for (let i = 0; i < COUNT; i++)
  connect(
    kernel,
    { port },
    {
      onConnect: (c) => void c.write('x'),
      onBytes: () => void answered++,
      onClose() {
        if (answered === COUNT) listener.close();
      },
    },
  );
// Our ends of them are there, and nothing is left for the others.
const taken: number[] = [];
for (;;)
  try {
    taken.push(openSync('/dev/null', 'r'));
  } catch {
    break;
  }
setTimeout(() => {
  const before = served;
  for (const fd of taken) closeSync(fd);
  process.on('exit', () => console.log(JSON.stringify({ before, served, answered })));
}, 200);
