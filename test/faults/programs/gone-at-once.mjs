/** A socket that is destroyed is gone for its peer before the next statement: /proc/net/tcp says so. */
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { report } from './harness.mjs';

const ESTABLISHED = '01';

/** Linux's state of the connection from this port: proc(5), net/tcp. */
function state(port) {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = fs.readFileSync('/proc/net/tcp', 'latin1').split('\n').slice(1);
  const fields = lines.map((line) => line.trim().split(/\s+/));
  return fields.find(([, from]) => from?.endsWith(local))?.[3] ?? 'gone';
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
    const { localPort } = socket;
    const before = state(localPort) === ESTABLISHED;
    socket[how]();
    seen[how] = { before, after: state(localPort) === ESTABLISHED };
    peer.destroy();
  }
  server.close();
  return seen;
});
