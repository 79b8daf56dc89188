/**
 * Addresses of sockets, between text and struct sockaddr_in, sockaddr_in6 and sockaddr_un.
 *
 *   const length = writeAddress(bytes, at, { address: '::1', port: 80 })   0: not an IP address
 *   readAddress(bytes, at, length)    { address: '127.0.0.1', family: 'IPv4', port: 80 }
 *   writePath(bytes, at, '/run/x')    0: too long
 */
import { networkInterfaces } from 'node:os';

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
/** sizeof(struct sockaddr_in6), the larger of the two for IP. */
export const SIZEOF_INET = 16;
export const SIZEOF_INET6 = 28;
/** sun_path. */
const PATH_MAX = 108;

export interface IpAddress {
  readonly address: string;
  readonly family: 'IPv4' | 'IPv6';
  readonly port: number;
}

/** The four bytes of a dotted address as a number, or -1. */
export function parseIpv4(text: string): number {
  let value = 0;
  let part = -1;
  let parts = 0;
  for (let i = 0; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : 46;
    if (code === 46) {
      if (part === -1 || ++parts > 4) return -1;
      value = value * 256 + part;
      part = -1;
    } else if (code >= 48 && code <= 57 && part !== 0) {
      part = (part === -1 ? 0 : part * 10) + code - 48;
      if (part > 255) return -1;
    } else return -1;
  }
  return parts === 4 ? value : -1;
}

/** The eight groups of an IPv6 address without zone, or null. */
function parseIpv6(text: string): number[] | null {
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const groups = (half: string): number[] | null => {
    if (half === '') return [];
    const values: number[] = [];
    const parts = half.split(':');
    for (const [i, part] of parts.entries()) {
      if (i === parts.length - 1 && part.includes('.')) {
        const ipv4 = parseIpv4(part);
        if (ipv4 === -1) return null;
        values.push(ipv4 >>> 16, ipv4 & 0xffff);
      } else if (/^[0-9a-f]{1,4}$/i.test(part)) values.push(Number.parseInt(part, 16));
      else return null;
    }
    return values;
  };
  const head = groups(halves[0]);
  const tail = halves.length === 2 ? groups(halves[1]) : [];
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  return [...head, ...new Array(missing).fill(0), ...tail];
}

/** The interface's number; its name may be the number itself. 0: none such. */
function scopeId(zone: string): number {
  if (/^\d+$/.test(zone)) return Number(zone);
  const found = networkInterfaces()[zone]?.find((one) => one.family === 'IPv6');
  return found?.family === 'IPv6' ? found.scopeid : 0;
}

/** Writes a struct sockaddr; returns its length, or 0 for what is no IP address. */
export function writeAddress(bytes: Buffer, at: number, address: string, port: number): number {
  if (!address.includes(':')) {
    const ipv4 = parseIpv4(address);
    if (ipv4 === -1) return 0;
    writeIpv4(bytes, at, ipv4, port);
    return SIZEOF_INET;
  }
  const [host, zone] = address.split('%');
  const groups = parseIpv6(host);
  if (groups === null) return 0;
  bytes.writeUInt16LE(AF_INET6, at);
  bytes.writeUInt16BE(port, at + 2);
  bytes.writeUInt32LE(0, at + 4);
  for (let i = 0; i < 8; i++) bytes.writeUInt16BE(groups[i], at + 8 + i * 2);
  bytes.writeUInt32LE(zone === undefined ? 0 : scopeId(zone), at + 24);
  return SIZEOF_INET6;
}

/** The same for an address that is parsed already. */
export function writeIpv4(bytes: Uint8Array, at: number, ipv4: number, port: number): void {
  bytes[at] = AF_INET;
  bytes[at + 1] = 0;
  bytes[at + 2] = port >>> 8;
  bytes[at + 3] = port;
  bytes[at + 4] = ipv4 >>> 24;
  bytes[at + 5] = ipv4 >>> 16;
  bytes[at + 6] = ipv4 >>> 8;
  bytes[at + 7] = ipv4;
  bytes.fill(0, at + 8, at + SIZEOF_INET);
}

export function formatIpv4(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/** As inet_ntop(3) writes it. */
export function formatIpv6(bytes: Uint8Array, at: number): string {
  const groups = Array.from(
    { length: 8 },
    (_, i) => (bytes[at + i * 2] << 8) | bytes[at + i * 2 + 1],
  );
  let from = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let zeros = 0;
    while (i + zeros < 8 && groups[i + zeros] === 0) zeros++;
    if (zeros > length) [from, length] = [i, zeros];
    i += zeros;
  }
  // Mapped and compatible addresses end in dots.
  if (from === 0 && (length === 6 || (length === 5 && groups[5] === 0xffff)))
    return `::${length === 5 ? 'ffff:' : ''}${formatIpv4(bytes, at + 12)}`;
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(':');
  if (from === -1) return text(groups);
  return `${text(groups.slice(0, from))}::${text(groups.slice(from + length))}`;
}

/** Null for what is no IP address. A link-local one names its interface, as in Node. */
export function readAddress(bytes: Buffer, at: number): IpAddress | null {
  const family = bytes.readUInt16LE(at);
  const port = bytes.readUInt16BE(at + 2);
  if (family === AF_INET) return { address: formatIpv4(bytes, at + 4), family: 'IPv4', port };
  if (family !== AF_INET6) return null;
  const scope = bytes.readUInt32LE(at + 24);
  let address = formatIpv6(bytes, at + 8);
  if (scope !== 0) address += `%${interfaceName(scope)}`;
  return { address, family: 'IPv6', port };
}

function interfaceName(scope: number): string {
  for (const [name, addresses] of Object.entries(networkInterfaces()))
    if (addresses?.some((one) => one.family === 'IPv6' && one.scopeid === scope)) return name;
  return String(scope);
}

/** A Unix socket's path, or, beginning with a zero byte, its abstract name. */
export function writePath(bytes: Buffer, at: number, path: string): number {
  const length = Buffer.byteLength(path);
  const abstract = path.startsWith('\0');
  if (length > PATH_MAX - (abstract ? 0 : 1)) return 0;
  bytes.writeUInt16LE(AF_UNIX, at);
  bytes.write(path, at + 2);
  if (abstract) return 2 + length;
  bytes[at + 2 + length] = 0;
  return 2 + length + 1;
}
