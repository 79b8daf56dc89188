/**
 * HTTP by hand: exact bytes to a server, exact bytes back.
 *
 *   await exchange(port, 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')   // all it says
 *   const client = await RawClient.connect(port); client.write('GET '); await client.until('hello');
 */
import net from 'node:net';

export class RawClient {
  received = '';
  closed = false;
  /** It was reset rather than ended. */
  reset = false;
  readonly socket: net.Socket;
  #changed: () => void = () => {};

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text) => {
      this.received += text;
      this.#changed();
    });
    socket.on('error', () => {
      this.reset = true;
    });
    socket.on('close', () => {
      this.closed = true;
      this.#changed();
    });
  }

  static connect(port: number, options: { allowHalfOpen?: boolean } = {}): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ port, host: '127.0.0.1', ...options });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawClient(socket));
      });
    });
  }

  write(text: string): void {
    this.socket.write(text, 'latin1');
  }

  /** Resolves when the text has been received, rejects if the connection ends before. */
  async until(text: string): Promise<void> {
    while (!this.received.includes(text)) {
      if (this.closed) throw new Error(`closed before '${text}': ${this.received}`);
      await this.#change();
    }
  }

  async end(): Promise<string> {
    while (!this.closed) await this.#change();
    return this.received;
  }

  #change(): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = new Error(`nothing for 10 s after: ${this.received.slice(-200)}`);
      const timer = setTimeout(() => reject(late), 10_000);
      this.#changed = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

export async function exchange(port: number, request: string): Promise<string> {
  const client = await RawClient.connect(port);
  client.write(request);
  return client.end();
}
