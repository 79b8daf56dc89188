/**
 * Byte streams and datagrams on the kernel's sockets, without node streams: what trapless/net,
 * trapless/dgram and trapless/http stand on.
 *
 *   listen(kernel, { port }, onConnection)   connect(kernel, { host, port }, handler)
 */
export { type ConnectOptions, connect } from './connect.ts';
export { Connection, type ConnectionHandler, HIGH_WATER } from './connection.ts';
export { Listener, type ListenOptions, listen, type OnConnection } from './listen.ts';
