/**
 * Connections by node:net, where our own sockets cannot work (no addon, another OS). Slower; the
 * same to whoever uses it, but that it listens a little later, when `ready` is fulfilled.
 */
import net from 'node:net';
import type {
  ListenTransportOptions,
  OnTransport,
  Transport,
  TransportAddress,
  TransportHandler,
  TransportListener,
} from './transport.ts';

class NetTransport implements Transport {
  handler!: TransportHandler;
  // biome-ignore lint/suspicious/noExplicitAny: the user's own
  data: any = undefined;
  readonly #socket: net.Socket;
  #corked = false;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    let error = 0;
    socket.on('data', (bytes) => this.handler.onBytes(this, bytes, 0, bytes.length));
    socket.on('end', () => this.handler.onEnd(this));
    socket.on('drain', () => this.handler.onDrain(this));
    socket.on('error', ({ errno }: NodeJS.ErrnoException) => {
      error = errno ?? -1;
    });
    socket.on('close', () => this.handler.onClose(this, error));
  }

  get closed(): boolean {
    return this.#socket.destroyed;
  }

  get congested(): boolean {
    return this.#socket.writableNeedDrain;
  }

  get remoteAddress(): TransportAddress | null {
    const { remoteAddress, remoteFamily, remotePort } = this.#socket;
    if (remoteAddress === undefined) return null;
    return { address: remoteAddress, family: remoteFamily ?? 'IPv4', port: remotePort ?? 0 };
  }

  write(data: Uint8Array | string, encoding: 'utf8' | 'latin1' = 'utf8'): boolean {
    if (!this.#socket.writable) return false;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    return this.#socket.write(data, encoding);
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}

export function listenNet(
  options: ListenTransportOptions,
  onTransport: OnTransport,
): TransportListener {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
    onTransport(new NetTransport(socket)),
  );
  const { host, port = 0, path } = options;
  if (path === undefined) server.listen({ host, port });
  else server.listen({ path });
  const ready = new Promise<void>((resolve, reject) => {
    server.once('listening', resolve).once('error', reject);
  });
  return {
    ready,
    get address() {
      const address = server.address();
      return typeof address === 'object' ? address : null;
    },
    close: (closed) => void server.close(closed),
    ref: () => void server.ref(),
    unref: () => void server.unref(),
  };
}
