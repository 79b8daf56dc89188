/**
 * What an HTTP server needs of a connection: bytes in, bytes out, back-pressure both ways. It is
 * the shape of our own sockets (src/sockets); where those cannot work, node:net takes it on
 * (net-transport.ts), and tests bring an in-memory one.
 *
 *   const listener = listenTransport({ host: '127.0.0.1', port: 0 }, (transport) => {
 *     transport.handler = handler;        // one object for all: state goes to transport.data
 *   });
 */
import { threadKernel } from '../node/environment-kernel.ts';
import { listen } from '../sockets/index.ts';
import { listenNet } from './net-transport.ts';

export interface TransportAddress {
  readonly address: string;
  readonly family: string;
  readonly port: number;
}

export interface TransportHandler {
  /** bytes[start … end) have come. They are lent for the call. */
  onBytes(transport: Transport, bytes: Buffer, start: number, end: number): void;
  /** The peer sends no more. */
  onEnd(transport: Transport): void;
  /** After write() returned false: there is room again. */
  onDrain(transport: Transport): void;
  /** The last call. */
  onClose(transport: Transport, error: number): void;
}

export interface Transport {
  handler: TransportHandler;
  // biome-ignore lint/suspicious/noExplicitAny: the user's own
  data: any;
  readonly closed: boolean;
  /** write() has returned false and onDrain is still to come. */
  readonly congested: boolean;
  readonly remoteAddress: TransportAddress | null;
  /** What is written in one turn leaves together. False: enough, wait for onDrain. */
  write(data: Uint8Array | string, encoding?: 'utf8' | 'latin1'): boolean;
  /** What is written, then the end; closed when the peer has ended, too. */
  end(): void;
  destroy(): void;
  pause(): void;
  resume(): void;
}

export interface TransportListener {
  /** Rejects if it cannot listen. */
  readonly ready: Promise<void>;
  readonly address: TransportAddress | null;
  close(closed?: () => void): void;
  ref(): void;
  unref(): void;
}

export interface ListenTransportOptions {
  /** An IP address; default: any. */
  readonly host?: string;
  readonly port?: number;
  /** A Unix socket instead. */
  readonly path?: string;
  readonly reusePort?: boolean;
}

export type OnTransport = (transport: Transport) => void;

/** By our own sockets where they work; throws what cannot listen. */
export function listenTransport(
  options: ListenTransportOptions,
  onTransport: OnTransport,
): TransportListener {
  const kernel = threadKernel();
  if (kernel === null) return listenNet(options, onTransport);
  const listener = listen(kernel, options, onTransport as unknown as Parameters<typeof listen>[2]);
  return {
    ready: Promise.resolve(),
    get address() {
      return listener.address;
    },
    close: (closed) => listener.close(closed),
    ref: () => listener.ref(),
    unref: () => listener.unref(),
  };
}
