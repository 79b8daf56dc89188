/**
 * Setting up a socket: calls that Linux answers at once and of which a socket makes a handful in
 * its life. Each is a filled entry that is run on the spot by itself (Kernel.trap): there is
 * nothing to batch. Results are as Linux gives them: -errno for a failure.
 *
 *   const fd = openSocket(kernel, AF_INET, SOCK_STREAM | flags);
 *   bindTo(kernel, fd, '127.0.0.1', 0); listenOn(kernel, fd, 511);
 *   setOption(kernel, fd, SOL_SOCKET, SO_KEEPALIVE, 1);
 */

import { SLOT_SIZE } from '../abi/entry.ts';
import { ERRNO } from '../abi/errno.ts';
import type { SyscallName } from '../abi/syscalls.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { number } from './call.ts';
import { type IpAddress, readAddress, writeAddress, writePath } from './socket-address.ts';

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_BROADCAST = 6;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_KEEPALIVE = 9;
export const SO_LINGER = 13;
export const SO_REUSEPORT = 15;
export const IPPROTO_IP = 0;
export const IPPROTO_TCP = 6;
export const IPPROTO_IPV6 = 41;
export const TCP_NODELAY = 1;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;
export const IPV6_V6ONLY = 26;
export const SHUT_WR = 1;

/** Where in an entry's slot: a name or a value, and the length that goes with it. */
const VALUE = 0;
const LENGTH = 256;

type Fill = (id: number, slot: number) => void;

/** `numbers` are the arguments that are no addresses; `fill` writes the slot and sets those. */
function trap(kernel: Kernel, name: SyscallName, numbers: readonly number[], fill?: Fill): number {
  const id = kernel.pages.claim();
  if (id === -1) return -ERRNO.ENOMEM;
  const { pages } = kernel;
  pages.call(id, number(name), 6, 0);
  for (let i = 0; i < 6; i++) pages.setInt(id, i, numbers[i] ?? 0);
  fill?.(id, id * SLOT_SIZE);
  return kernel.trap(id);
}

export function openSocket(kernel: Kernel, family: number, type: number): number {
  return trap(kernel, 'socket', [family, type, 0]);
}

function withAddress(
  kernel: Kernel,
  name: 'bind' | 'connect',
  fd: number,
  write: (bytes: Buffer, at: number) => number,
): number {
  let length = 0;
  const result = trap(kernel, name, [fd], (id, slot) => {
    length = write(kernel.desk.slots, slot + VALUE);
    kernel.pages.setSlot(id, 1, VALUE);
    kernel.pages.setInt(id, 2, length);
  });
  return length === 0 ? -ERRNO.EINVAL : result;
}

export function bindTo(kernel: Kernel, fd: number, address: string, port: number): number {
  return withAddress(kernel, 'bind', fd, (bytes, at) => writeAddress(bytes, at, address, port));
}

export function bindToPath(kernel: Kernel, fd: number, path: string): number {
  return withAddress(kernel, 'bind', fd, (bytes, at) => writePath(bytes, at, path));
}

/** Only for sockets that do not wait for it: datagrams. */
export function connectNow(kernel: Kernel, fd: number, address: string, port: number): number {
  return withAddress(kernel, 'connect', fd, (bytes, at) => writeAddress(bytes, at, address, port));
}

/** connect(2) to AF_UNSPEC: a datagram socket forgets its peer. */
export function disconnectNow(kernel: Kernel, fd: number): number {
  return withAddress(kernel, 'connect', fd, (bytes, at) => {
    bytes.fill(0, at, at + 16);
    return 16;
  });
}

export function listenOn(kernel: Kernel, fd: number, backlog: number): number {
  return trap(kernel, 'listen', [fd, backlog]);
}

export function shutDown(kernel: Kernel, fd: number, how: number): number {
  return trap(kernel, 'shutdown', [fd, how]);
}

/** For descriptors that never had anything in flight. */
export function closeNow(kernel: Kernel, fd: number): number {
  return trap(kernel, 'close', [fd]);
}

export function setOption(
  kernel: Kernel,
  fd: number,
  level: number,
  option: number,
  value: number | Uint8Array,
): number {
  return trap(kernel, 'setsockopt', [fd, level, option], (id, slot) => {
    const { slots } = kernel.desk;
    if (typeof value === 'number') slots.writeInt32LE(value, slot + VALUE);
    else slots.set(value, slot + VALUE);
    kernel.pages.setSlot(id, 3, VALUE);
    kernel.pages.setInt(id, 4, typeof value === 'number' ? 4 : value.length);
  });
}

/** struct linger: close() resets the connection. */
export function resetOnClose(kernel: Kernel, fd: number): number {
  return setOption(kernel, fd, SOL_SOCKET, SO_LINGER, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]));
}

/** An option of an int, or -errno. */
export function getOption(kernel: Kernel, fd: number, level: number, option: number): number {
  let at = 0;
  const result = trap(kernel, 'getsockopt', [fd, level, option], (id, slot) => {
    at = slot;
    kernel.desk.slots.writeInt32LE(4, slot + LENGTH);
    kernel.pages.setSlot(id, 3, VALUE);
    kernel.pages.setSlot(id, 4, LENGTH);
  });
  return result < 0 ? result : kernel.desk.slots.readInt32LE(at + VALUE);
}

/** Its own name, or its peer's. A number: -errno, or 0 where there is no IP address to tell. */
export function nameOf(
  kernel: Kernel,
  fd: number,
  which: 'getsockname' | 'getpeername',
): IpAddress | number {
  let at = 0;
  const result = trap(kernel, which, [fd], (id, slot) => {
    at = slot;
    kernel.desk.slots.fill(0, slot, slot + 32);
    kernel.desk.slots.writeInt32LE(128, slot + LENGTH);
    kernel.pages.setSlot(id, 1, VALUE);
    kernel.pages.setSlot(id, 2, LENGTH);
  });
  if (result < 0) return result;
  return readAddress(kernel.desk.slots, at + VALUE) ?? 0;
}

const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** As the tier wants it (Sockets.socketFlags), or as libuv does. */
export function setNonBlocking(kernel: Kernel, fd: number, on: boolean): number {
  // Of what F_SETFL sets a socket has nothing else (but O_ASYNC, which nobody here uses).
  return trap(kernel, 'fcntl', [fd, F_SETFL, on ? O_NONBLOCK : 0]);
}
