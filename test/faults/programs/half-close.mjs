/**
 * How a connection ends, in every order: who ends first, with what, which side allows half-open
 * connections, when the other one writes, and with more data than Linux has buffers for. Prints what
 * each side saw, in order:
 *
 *   node half-close.mjs node:net
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { pattern, report, until } from './harness.mjs';

const name = process.argv[2];
const { default: net } = await import(name.startsWith('/') ? pathToFileURL(name).href : name);

/** More than a send and a receive buffer together. */
const SIZES = { tcp: { few: 10, many: 5 << 20 }, unix: { few: 10, many: 1 << 20 } };
const DATA = pattern(5 << 20);
const AT_ONCE = 6;
/** A connection that hangs is ended then; on a busy machine a whole one takes seconds. */
const PATIENCE_MS = 30_000;

function* cases() {
  for (const transport of ['tcp', 'unix'])
    for (const first of ['client', 'server', 'both'])
      for (const how of ['end', 'destroy', 'resetAndDestroy', 'destroySoon'])
        for (const open of ['neither', 'client', 'server', 'each'])
          for (const writes of ['before', 'after'])
            for (const size of ['few', 'many']) yield { transport, first, how, open, writes, size };
}

/** One end of a connection: what it sees, and what it does. */
class Side {
  constructor(socket, { size, transport, how }) {
    this.socket = socket;
    this.how = how;
    this.payload = DATA.subarray(0, SIZES[transport][size]);
    this.log = [];
    this.received = 0;
    this.closed = new Promise((resolve) => {
      this.done = resolve;
    });
    // Late, so that what does not fit into Linux's buffers stays where it was.
    if (size === 'many') setTimeout(() => this.read(), 5);
    else this.read();
    for (const event of ['end', 'finish'])
      socket.on(event, () => this.log.push(`${event} ${socket.readyState}`));
    socket.on('error', ({ code, syscall, message }) =>
      this.log.push(`error ${[code, syscall, message].join(' ')}`),
    );
    socket.on('close', (hadError) => {
      this.log.push(`close ${hadError}`);
      this.done();
    });
  }

  read() {
    this.socket.on('data', (data) => {
      const expected = DATA.subarray(this.received, this.received + data.length);
      if (data.compare(expected) !== 0) this.log.push('other bytes');
      this.received += data.length;
    });
  }

  write() {
    this.socket.write(this.payload, (error) => this.log.push(`written ${error?.code ?? ''}`));
  }

  finish() {
    if (this.how === 'end') this.socket.end(() => this.log.push('end called back'));
    else this.#giveUp();
  }

  #giveUp() {
    try {
      this.socket[this.how]();
    } catch (error) {
      this.log.push(error.code); // a Unix socket cannot be reset
      this.socket.destroy();
    }
  }

  /** How much arrives of what is given up is chance. */
  seen() {
    const { socket, log, how } = this;
    const whole = how === 'end' || how === 'destroySoon';
    const { destroyed, readable, writable, readableEnded, writableFinished } = socket;
    const flags = { destroyed, readable, writable, readableEnded, writableFinished };
    if (!whole) return { log, flags };
    return {
      log,
      flags,
      received: this.received,
      read: socket.bytesRead,
      wrote: socket.bytesWritten,
    };
  }
}

/** Both sides, connected. */
async function connected(options, dir) {
  const { open, transport } = options;
  const allows = (side) => open === side || open === 'each';
  let accept;
  const accepted = new Promise((resolve) => {
    accept = resolve;
  });
  const listening = { allowHalfOpen: allows('server'), pauseOnConnect: false };
  const server = net.createServer(listening, (socket) => accept(new Side(socket, options)));
  const path = join(dir, `${process.pid}-${counter++}`);
  await new Promise((resolve) =>
    transport === 'tcp' ? server.listen(0, '127.0.0.1', resolve) : server.listen(path, resolve),
  );
  const to = transport === 'tcp' ? { port: server.address().port, host: '127.0.0.1' } : { path };
  const socket = net.connect({ ...to, allowHalfOpen: allows('client') });
  const client = new Side(socket, options);
  await new Promise((resolve) => socket.once('connect', resolve));
  return { client, server: await accepted, listener: server };
}
let counter = 0;

const givesUp = ({ how }) => how !== 'end';

/** Where data and a reset come together, libuv tells of an end; apart, of the reset. */
async function everythingRead({ client, server }, others, { writes }) {
  const wrote = (side) => !others.includes(side) || writes === 'before';
  const has = (side, peer) => side.received === (wrote(peer) ? peer.payload.length : 0);
  await until(() => has(client, server) && has(server, client));
}

async function run(options, dir) {
  const { first, writes } = options;
  const { listener, ...sides } = await connected(options, dir);
  const starting = first === 'both' ? [sides.client, sides.server] : [sides[first]];
  const others = [sides.client, sides.server].filter((side) => !starting.includes(side));
  for (const side of others) {
    if (writes === 'before') side.write();
    side.socket.on('end', () => {
      if (writes === 'after') side.write();
      side.finish();
    });
  }
  for (const side of starting) side.write();
  if (givesUp(options) && options.size === 'few') await everythingRead(sides, others, options);
  for (const side of starting) side.finish();
  const patience = setTimeout(() => {
    for (const side of Object.values(sides)) {
      side.log.push('still open');
      side.socket.destroy();
    }
  }, PATIENCE_MS);
  await Promise.all([sides.client.closed, sides.server.closed]);
  clearTimeout(patience);
  listener.close();
  return { client: sides.client.seen(), server: sides.server.seen() };
}

await report(async (dir) => {
  const seen = {};
  const left = cases();
  const work = async () => {
    for (const options of left) seen[Object.values(options).join(' ')] = await run(options, dir);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return seen;
});
