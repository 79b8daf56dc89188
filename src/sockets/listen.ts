/**
 * Accepting connections.
 *
 *   const listener = listen(kernel, { port: 8080 }, (connection) => { connection.handler = … });
 *   listener.address      { address: '::', family: 'IPv6', port: 8080 }, or null: a path
 *   listener.close(() => …);
 *
 * One accept stands; every connection is one completion. `onConnection` sets the connection's
 * handler; receiving begins when it returns (unless it paused the connection).
 *
 *              EMFILE and the like              50 ms later, or a connection closed
 *   accepting ─────────────────────► suspended ─────────────────────────────────────► accepting
 *
 * While suspended, connections wait in Linux's backlog: none is lost.
 */

import { ERRNO } from '../abi/errno.ts';
import { CQE_MORE } from '../abi/ring.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { KIND } from '../kernel/sockets/layout.ts';
import { type SocketOwner, type Sockets, socketsOf } from '../kernel/sockets/sockets.ts';
import { socketError } from '../ops/error.ts';
import {
  bindTo,
  bindToPath,
  closeNow,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  listenOn,
  nameOf,
  openSocket,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_STREAM,
  SOL_SOCKET,
  setNonBlocking,
  setOption,
} from '../ops/socket.ts';
import { AF_INET, AF_INET6, AF_UNIX, type IpAddress } from '../ops/socket-address.ts';
import { Connection, type ConnectionHandler } from './connection.ts';

export interface ListenOptions {
  /** An IP address. Default: `::`, for both families, or 0.0.0.0 without IPv6. */
  readonly host?: string;
  readonly port?: number;
  /** A Unix socket instead. */
  readonly path?: string;
  /** A descriptor that is bound already, instead. */
  readonly fd?: number;
  readonly backlog?: number;
  readonly reusePort?: boolean;
  readonly ipv6Only?: boolean;
}

export type OnConnection = (connection: Connection) => void;

/** How long to wait for descriptors when nobody gives one back. */
const SUSPENDED_MS = 50;

const NO_HANDLER: ConnectionHandler = { onBytes() {} };

export class Listener implements SocketOwner {
  readonly fd: number;
  /** Called for every connection. */
  onConnection: OnConnection;
  /** Accepting failed for good, with -errno. */
  onError: ((error: number) => void) | null = null;

  readonly #sockets: Sockets;
  #slot: number;
  #armed = false;
  #closing = false;
  #closed: (() => void) | undefined;
  #timer: NodeJS.Timeout | null = null;
  #referenced = true;
  #holding = false;

  constructor(sockets: Sockets, fd: number, onConnection: OnConnection) {
    this.#sockets = sockets;
    this.fd = fd;
    this.onConnection = onConnection;
    this.#slot = sockets.claim(this, fd);
    this.#arm();
  }

  get address(): IpAddress | null {
    const name = this.#closing ? 0 : nameOf(this.#sockets.kernel, this.fd, 'getsockname');
    return typeof name === 'number' ? null : name;
  }

  #arm(): void {
    if (this.#armed || this.#closing) return;
    this.#armed = true;
    this.#sockets.accept(this.#slot, this.fd);
    this.#keepAlive();
  }

  completed(kind: number, result: number, flags: number): boolean {
    if (kind === KIND.close) return this.#isClosed();
    if ((flags & CQE_MORE) === 0) this.#armed = false;
    if (result >= 0) return this.#accepted(result);
    if (this.#closing) this.#closeIfQuiet();
    else if (EXHAUSTED.has(result)) this.#suspend();
    else if (PASSING.has(result)) this.#arm();
    else if (this.onError !== null) {
      this.onError(result);
      return true;
    }
    return false;
  }

  #accepted(fd: number): boolean {
    const sockets = this.#sockets;
    if (this.#closing) {
      closeNow(sockets.kernel, fd);
      this.#closeIfQuiet();
      return false;
    }
    const connection = new Connection(sockets, fd, NO_HANDLER);
    sockets.accepted();
    if (!this.#armed) this.#arm();
    if (!connection.claimed) {
      closeNow(sockets.kernel, fd);
      return false;
    }
    this.onConnection(connection);
    connection.begin();
    return true;
  }

  #suspend(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#arm();
    }, SUSPENDED_MS);
    if (!this.#referenced) this.#timer.unref();
  }

  /** Accepts no more; `closed` is called when the descriptor is closed. */
  close(closed?: () => void): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#closed = closed;
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#armed) this.#sockets.cancel(this.fd);
    else this.#closeIfQuiet();
  }

  #closeIfQuiet(): void {
    if (!this.#armed) this.#sockets.close(this.#slot, this.fd);
  }

  #isClosed(): boolean {
    this.#sockets.free(this.#slot);
    this.#slot = -1;
    this.#keepAlive();
    this.#closed?.();
    return true;
  }

  ref(): void {
    this.#referenced = true;
    this.#timer?.ref();
    this.#keepAlive();
  }

  unref(): void {
    this.#referenced = false;
    this.#timer?.unref();
    this.#keepAlive();
  }

  #keepAlive(): void {
    const holds = this.#referenced && this.#slot !== -1;
    if (holds === this.#holding) return;
    this.#holding = holds;
    this.#sockets.kernel.hold(holds ? 1 : -1);
  }
}

/** No descriptors or memory for now. */
const EXHAUSTED: ReadonlySet<number> = new Set([
  -ERRNO.EMFILE,
  -ERRNO.ENFILE,
  -ERRNO.ENOBUFS,
  -ERRNO.ENOMEM,
]);
/** The connection was gone before it was accepted, or the request was interrupted. */
const PASSING: ReadonlySet<number> = new Set([
  -ERRNO.ECONNABORTED,
  -ERRNO.EINTR,
  -ERRNO.EAGAIN,
  -ERRNO.ECANCELED,
  -ERRNO.EPERM,
  -ERRNO.EPROTO,
]);

/** Listens, or throws Node's error for the call that failed. */
export function listen(
  kernel: Kernel,
  options: ListenOptions,
  onConnection: OnConnection,
): Listener {
  const sockets = socketsOf(kernel);
  const fd = options.fd ?? bound(sockets, options);
  setNonBlocking(kernel, fd, sockets.nonBlocking);
  const result = listenOn(kernel, fd, options.backlog ?? 511);
  if (result < 0) {
    if (options.fd === undefined) closeNow(kernel, fd);
    throw listenError(result, options);
  }
  return new Listener(sockets, fd, onConnection);
}

function listenError(result: number, options: ListenOptions): Error {
  const { host = '::', port = 0, path } = options;
  return socketError(result, 'listen', path ?? host, path === undefined ? port : undefined);
}

/** A socket that is bound as the options say. */
function bound(sockets: Sockets, options: ListenOptions): number {
  const { kernel } = sockets;
  const { path, host } = options;
  const ipv6 = host === undefined || host.includes(':');
  const family = path !== undefined ? AF_UNIX : ipv6 ? AF_INET6 : AF_INET;
  const fd = openSocket(kernel, family, SOCK_STREAM | sockets.socketFlags);
  const result = fd < 0 ? fd : bindAs(kernel, fd, family, options);
  if (result >= 0) return fd;
  if (fd >= 0) closeNow(kernel, fd);
  if (family === AF_INET6 && host === undefined)
    return bound(sockets, { ...options, host: '0.0.0.0' });
  throw listenError(result, options);
}

function bindAs(kernel: Kernel, fd: number, family: number, options: ListenOptions): number {
  const { path, host, port = 0, reusePort, ipv6Only } = options;
  if (path !== undefined) return bindToPath(kernel, fd, path);
  setOption(kernel, fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (reusePort) {
    const result = setOption(kernel, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (result < 0) return result;
  }
  if (family === AF_INET6) setOption(kernel, fd, IPPROTO_IPV6, IPV6_V6ONLY, ipv6Only ? 1 : 0);
  return bindTo(kernel, fd, host ?? '::', port);
}
