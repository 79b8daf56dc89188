/**
 * Connecting to somebody who listens.
 *
 *   const connection = connect(kernel, { host: '127.0.0.1', port: 80 }, handler);
 *
 * The handler's onConnect is called when it is established, or onClose with -errno. What is
 * written before leaves then. `host` is an IP address: names are the caller's to look up.
 */
import { ERRNO } from '../abi/errno.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { type Sockets, socketsOf } from '../kernel/sockets/sockets.ts';
import { socketError } from '../ops/error.ts';
import { bindTo, closeNow, openSocket, SOCK_STREAM } from '../ops/socket.ts';
import { AF_INET, AF_INET6, AF_UNIX, writeAddress, writePath } from '../ops/socket-address.ts';
import { Connection, type ConnectionHandler } from './connection.ts';

export interface ConnectOptions {
  /** An IP address. Default 127.0.0.1. */
  readonly host?: string;
  readonly port?: number;
  /** A Unix socket instead. */
  readonly path?: string;
  readonly localAddress?: string;
  readonly localPort?: number;
}

/** Throws what cannot even begin. */
export function connect(
  kernel: Kernel,
  options: ConnectOptions,
  handler: ConnectionHandler,
): Connection {
  const sockets = socketsOf(kernel);
  const { host = '127.0.0.1', path, localAddress, localPort } = options;
  const family = path !== undefined ? AF_UNIX : host.includes(':') ? AF_INET6 : AF_INET;
  const fd = openSocket(kernel, family, SOCK_STREAM | sockets.socketFlags);
  if (fd < 0) throw socketError(fd, 'connect');
  let result = 0;
  if (localAddress !== undefined || localPort)
    result = bindTo(
      kernel,
      fd,
      localAddress ?? (family === AF_INET ? '0.0.0.0' : '::'),
      localPort ?? 0,
    );
  const connection = result < 0 ? result : connectSocket(sockets, fd, options, handler);
  if (typeof connection !== 'number') return connection;
  closeNow(kernel, fd);
  throw socketError(
    connection,
    'connect',
    path ?? host,
    path === undefined ? options.port : undefined,
  );
}

/** The same for a socket that is there already. -errno: it is still the caller's. */
export function connectSocket(
  sockets: Sockets,
  fd: number,
  { host = '127.0.0.1', port = 0, path }: ConnectOptions,
  handler: ConnectionHandler,
): Connection | number {
  const block = sockets.blocks.take(256);
  if (block === -1) return -ERRNO.ENOBUFS;
  const { arena } = sockets;
  const length =
    path === undefined ? writeAddress(arena, block, host, port) : writePath(arena, block, path);
  const connection = length === 0 ? null : new Connection(sockets, fd, handler);
  if (connection?.claimed) {
    connection.connect(block, length);
    return connection;
  }
  sockets.blocks.give(block);
  return length === 0 ? -ERRNO.EINVAL : -ERRNO.EMFILE;
}
