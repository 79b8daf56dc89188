/** A socket that is destroyed is gone for its peer before the next statement: /proc/net/tcp says so. */
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { report, until } from './harness.mjs';

const ESTABLISHED = '01';

const hex = (port) => `:${port.toString(16).toUpperCase().padStart(4, '0')}`;

/** Whether Linux has the connection as established: proc(5), net/tcp. */
function isEstablished({ localPort, remotePort }) {
  const lines = fs.readFileSync('/proc/net/tcp', 'latin1').split('\n').slice(1);
  return lines.some((line) => {
    const [, from, to, state] = line.trim().split(/\s+/);
    return from?.endsWith(hex(localPort)) && to.endsWith(hex(remotePort)) && state === ESTABLISHED;
  });
}

await report(async () => {
  const server = net.createServer((socket) => socket.on('error', () => {}));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const seen = {};
  for (const how of ['destroy', 'resetAndDestroy']) {
    const connected = once(server, 'connection');
    const socket = net.connect(server.address().port, '127.0.0.1');
    await once(socket, 'connect');
    const [peer] = await connected;
    peer.write('x');
    await once(socket, 'data');
    const { localPort, remotePort } = socket;
    // A long table is read in pieces, and a line may be missed: it is there if it is seen once.
    await until(() => isEstablished({ localPort, remotePort }));
    socket[how]();
    seen[how] = isEstablished({ localPort, remotePort });
    peer.destroy();
  }
  server.close();
  return seen;
});
