/**
 * Node's UDP handle with its hot half replaced: receiving and sending go through standing
 * receives and batched sends, everything else (binding, options, multicast, names, descriptors
 * given or taken) is Node's own and works on the same descriptor.
 *
 *   adopt(handle, type)        from here on it is ours, until it is closed
 *   udpOf(handle)              undefined: it is not
 *
 * The replaced methods are properties of the one handle. The cluster module passes methods on to
 * handles of its own: there they find no Udp of ours and do what Node's did.
 */
import { AsyncResource } from 'node:async_hooks';
import { ERRNO } from '../../abi/errno.ts';
import { type Sockets, socketsOf } from '../../kernel/sockets/sockets.ts';
import { setNonBlocking } from '../../ops/socket.ts';
import {
  AF_INET,
  formatIpv4,
  parseIpv4,
  readAddress,
  SIZEOF_INET6,
  writeAddress,
} from '../../ops/socket-address.ts';
import {
  DATAGRAM_MAX,
  type DatagramHandler,
  Datagrams,
  UNTAGGED,
} from '../../sockets/datagrams.ts';
import type { AnyFunction } from '../disguise.ts';
import { threadKernel } from '../environment-kernel.ts';
import { type Callback, callBack } from '../forms.ts';
import type { SendWrap, UdpHandle } from './internals.ts';

/** Senders whose text is remembered. */
const KNOWN_MAX = 4096;
const COPY_SHORT = 96;

interface Peer {
  address: string;
  family: 'IPv4' | 'IPv6';
  port: number;
  size: number;
}

type Sent = (result: number) => void;

/** Node's own methods of handles, for what is not adopted. */
interface Methods {
  readonly open: UdpHandle['open'];
  readonly recvStart: UdpHandle['recvStart'];
  readonly recvStop: UdpHandle['recvStop'];
  readonly send: UdpHandle['send'];
  readonly close: UdpHandle['close'];
  readonly ref: UdpHandle['ref'];
  readonly unref: UdpHandle['unref'];
  readonly getSendQueueSize: UdpHandle['getSendQueueSize'];
  readonly getSendQueueCount: UdpHandle['getSendQueueCount'];
}

export class Udp implements DatagramHandler {
  /** Names are looked up by dns.lookup as Node made it: addresses need no look-up at all. */
  readonly plainLookup: boolean;
  readonly ipv4: boolean;
  readonly node: Methods;

  /** What adopt() put on the handle. */
  ownSend: UdpHandle['send'] | null = null;
  readonly #lookup: AnyFunction;

  readonly #handle: UdpHandle;
  readonly #resource = new AsyncResource('TRAPLESSUDP');
  #datagrams: Datagrams | null = null;
  #sockets: Sockets | null = null;
  /** By tag: who waits for that datagram. */
  readonly #waiting: (Sent | null)[] = [];
  readonly #spare: number[] = [];
  /** Text of senders, by their address. */
  readonly #known = new Map<number, string>();

  constructor(handle: UdpHandle, ipv4: boolean, plainLookup: boolean) {
    this.#handle = handle;
    this.#lookup = handle.lookup;
    this.ipv4 = ipv4;
    this.plainLookup = plainLookup;
    const { open, recvStart, recvStop, send, close, ref, unref } = handle;
    const { getSendQueueSize, getSendQueueCount } = handle;
    this.node = {
      open,
      recvStart,
      recvStop,
      send,
      close,
      ref,
      unref,
      getSendQueueSize,
      getSendQueueCount,
    };
  }

  /** Whether a send to an address needs nothing of the program's: nobody has replaced what Node
   *  would call. */
  get direct(): boolean {
    const { send, lookup } = this.#handle;
    if (!this.ipv4 || !this.plainLookup || this.#datagrams === null) return false;
    return send === this.ownSend && lookup === this.#lookup;
  }

  /** Null until it is bound, and where there is no kernel. */
  get datagrams(): Datagrams | null {
    return this.#datagrams;
  }

  /** False: Node has to do it. */
  start(): boolean {
    if (this.#datagrams === null) {
      const kernel = threadKernel();
      const { fd } = this.#handle;
      if (kernel === null || !(fd >= 0)) return false;
      try {
        this.#sockets = socketsOf(kernel);
        this.#datagrams = new Datagrams(this.#sockets, fd, this);
        receiving.add(fd);
      } catch {
        return false;
      }
      if (!this.#handle.hasRef()) this.#datagrams.unref();
    }
    this.#datagrams.start();
    return true;
  }

  stop(): void {
    this.#datagrams?.stop();
  }

  /** Before the descriptor is closed, or goes to somebody else. */
  release(): void {
    if (this.#datagrams === null) return;
    this.#datagrams.release();
    receiving.delete(this.#datagrams.fd);
    setNonBlocking(this.#sockets!.kernel, this.#datagrams.fd, true);
    this.#datagrams = null;
  }

  /* --- Receiving ------------------------------------------------------------------------------ */

  onMessage(bytes: Buffer, start: number, end: number, name: number): void {
    const message = copyOf(bytes, start, end);
    const peer = this.#peer(bytes, name, end - start);
    this.#tell(message.length, message, peer);
  }

  onError(error: number): void {
    this.#tell(error);
  }

  #tell(result: number, ...rest: unknown[]): void {
    const handle = this.#handle;
    callBack(this.#resource, handle.onmessage as Callback, handle, result, handle, ...rest);
  }

  #peer(bytes: Buffer, at: number, size: number): Peer {
    if (bytes[at] !== AF_INET) {
      const { address, port } = readAddress(bytes, at) ?? { address: '', port: 0 };
      return { address, family: 'IPv6', port, size };
    }
    const port = (bytes[at + 2] << 8) | bytes[at + 3];
    const key =
      (bytes[at + 4] << 24) | (bytes[at + 5] << 16) | (bytes[at + 6] << 8) | bytes[at + 7];
    let address = this.#known.get(key);
    if (address === undefined) {
      address = formatIpv4(bytes, at + 4);
      if (this.#known.size >= KNOWN_MAX) this.#known.clear();
      this.#known.set(key, address);
    }
    return { address, family: 'IPv4', port, size };
  }

  /* --- Sending -------------------------------------------------------------------------------- */

  #tag(sent: Sent): number {
    const tag = this.#spare.pop() ?? this.#waiting.length;
    this.#waiting[tag] = sent;
    return tag;
  }

  onSent(tag: number, result: number): void {
    const sent = this.#waiting[tag]!;
    this.#waiting[tag] = null;
    this.#spare.push(tag);
    sent(result);
  }

  /** The short way: bytes that fit, to an IPv4 address, from a socket that is bound. */
  send(bytes: Uint8Array | string, ipv4: number, port: number, sent: Sent | null): void {
    this.#datagrams!.send(bytes, ipv4, port, sent === null ? UNTAGGED : this.#tag(sent));
  }

  /** As the handle's own: 0, and `request.oncomplete` is called, or -errno. Null: not by us. */
  sendRequest(
    request: SendWrap,
    list: readonly Uint8Array[],
    rest: readonly unknown[],
  ): number | null {
    const datagrams = this.#datagrams;
    const bytes = list.length === 1 ? asBytes(list[0]) : Buffer.concat(list.map(asBytes));
    if (datagrams === null || bytes.length > DATAGRAM_MAX) return null;
    const named = rest.length === 3;
    let length = 0;
    if (named) {
      length = writeAddress(nameBytes, 0, rest[1] as string, rest[0] as number);
      if (length === 0 || this.ipv4 !== (parseIpv4(rest[1] as string) !== -1)) return null;
    }
    const tag = rest.at(-1) ? this.#tag(requestSent(request)) : UNTAGGED;
    datagrams.sendNamed(bytes, nameBytes, length, tag);
    return 0;
  }
}

const nameBytes = Buffer.alloc(SIZEOF_INET6);

function asBytes(view: ArrayBufferView): Uint8Array {
  if (view instanceof Uint8Array) return view;
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** The program keeps the message: it cannot stay in Linux's buffer. */
function copyOf(bytes: Buffer, start: number, end: number): Buffer {
  const length = end - start;
  const copy = Buffer.allocUnsafe(length);
  if (length <= COPY_SHORT) for (let i = 0; i < length; i++) copy[i] = bytes[start + i];
  else bytes.copy(copy, 0, start, end);
  return copy;
}

/** A send as async_hooks and AsyncLocalStorage see one of Node's own. */
class SendRequest extends AsyncResource {
  constructor() {
    super('UDPSENDWRAP');
  }
}

/** Calls back in the context of the send. */
export function sentTo(callback: Callback, results: (result: number) => unknown[]): Sent {
  const resource = new SendRequest();
  return (result) => callBack(resource, callback, undefined, ...results(result));
}

function requestSent(request: SendWrap): Sent {
  const resource = new SendRequest();
  return (result) => {
    const status = result < 0 ? result : 0;
    callBack(resource, request.oncomplete as Callback, request, status, Math.max(result, 0));
  };
}

/* --- Adopting ---------------------------------------------------------------------------------- */

/** Descriptors that we receive on: libuv, which does not know, would let another handle do so, too. */
const receiving = new Set<number>();

const adopted = new WeakMap<UdpHandle, Udp>();

export function udpOf(handle: UdpHandle): Udp | undefined {
  return adopted.get(handle);
}

export function adopt(handle: UdpHandle, ipv4: boolean, plainLookup: boolean): void {
  const udp = new Udp(handle, ipv4, plainLookup);
  adopted.set(handle, udp);
  const { node } = udp;
  const methods: Methods = {
    open(this: UdpHandle, fd) {
      return receiving.has(fd) ? -ERRNO.EEXIST : node.open.call(this, fd);
    },
    recvStart(this: UdpHandle) {
      return udpOf(this)?.start() ? 0 : node.recvStart.call(this);
    },
    recvStop(this: UdpHandle) {
      const own = udpOf(this);
      if (own?.datagrams == null) return node.recvStop.call(this);
      own.stop();
      return 0;
    },
    send(this: UdpHandle, request, list, count, ...rest) {
      const own = udpOf(this)?.sendRequest(request, list, rest) ?? null;
      return own ?? node.send.call(this, request, list, count, ...rest);
    },
    close(this: UdpHandle, callback) {
      udpOf(this)?.release();
      node.close.call(this, callback);
    },
    ref(this: UdpHandle) {
      udpOf(this)?.datagrams?.ref();
      node.ref.call(this);
    },
    unref(this: UdpHandle) {
      udpOf(this)?.datagrams?.unref();
      node.unref.call(this);
    },
    getSendQueueSize(this: UdpHandle) {
      return udpOf(this)?.datagrams?.queuedBytes ?? node.getSendQueueSize.call(this);
    },
    getSendQueueCount(this: UdpHandle) {
      return udpOf(this)?.datagrams?.queued ?? node.getSendQueueCount.call(this);
    },
  };
  for (const [name, value] of Object.entries(methods))
    Object.defineProperty(handle, name, { value, writable: true, configurable: true });
  udp.ownSend = methods.send;
}
