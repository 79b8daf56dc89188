/**
 * Connections taken out of Linux's backlog as soon as our loop comes by, all at once: a burst of
 * them does not overflow it while JavaScript is busy with those that came before.
 *
 *   const backlog = new Backlog(handle);   when listening has begun; costs nothing yet
 *   backlog.accepted();                    libuv has accepted one, and tells it next: from here on
 *                                          the backlog stands
 *
 * The handle is Node's, and libuv goes on watching it: whoever comes first accepts, the other finds
 * nothing. So descriptors that run out (EMFILE), or a listening socket that another process shares,
 * are as without us.
 *
 *   unused ──accepted()──► standing ──handle.close()──► closed
 *                         └──failed: libuv alone──────┘
 */
import { AsyncResource } from 'node:async_hooks';
import { CQE_MORE } from '../../abi/ring.ts';
import { KIND } from '../../kernel/sockets/layout.ts';
import type { SocketOwner, Sockets } from '../../kernel/sockets/sockets.ts';
import { closeNow, resetOnClose } from '../../ops/socket.ts';
import { callBack } from '../forms.ts';
import type { StreamHandle } from './internals.ts';
import { threadSockets } from './stream.ts';

/** In TCPConstants and PipeConstants. */
const SOCKET = 0;
/** Kernel entries in which a cancelled request must have ended. */
const TRIES_MAX = 3;

type HandleClass = new (type: number) => StreamHandle & { open(fd: number): number };

export class Backlog extends AsyncResource implements SocketOwner {
  readonly #handle: StreamHandle;
  #sockets: Sockets | null = null;
  #slot = -1;
  #fd = -1;
  #armed = false;
  #used = false;
  #telling = false;

  constructor(handle: StreamHandle) {
    super('TRAPLESSBACKLOG');
    this.#handle = handle;
  }

  /** A connection comes from libuv. Those of ours that wait to be told were accepted before it. Where
   *  there is one there may be more: libuv would tell of them one by one, and the next ones overflow
   *  the backlog meanwhile. False: the server was closed by one that came before. */
  accepted(): boolean {
    if (!this.#used) this.#stand();
    else if (!this.#telling && this.#slot !== -1) {
      this.#sockets!.deliverTo(this.#slot);
      if (this.#fd === -1) return false;
      this.#take();
    }
    return true;
  }

  #stand(): void {
    this.#used = true;
    this.#fd = this.#handle.fd;
    this.#sockets = this.#fd < 0 ? null : threadSockets();
    if (this.#sockets === null) return; // libuv alone
    this.#slot = this.#sockets.claim(this, -1);
    if (this.#slot === -1) return;
    this.#leaveWithHandle();
    this.#arm();
  }

  /** A request that stands keeps the socket listening, and so its port in use. */
  #leaveWithHandle(): void {
    const handle = this.#handle;
    const { close } = handle;
    handle.close = (callback) => {
      this.#leave();
      return close.call(handle, callback);
    };
  }

  #arm(): void {
    this.#armed = true;
    this.#sockets!.acceptBeside(this.#slot, this.#fd);
  }

  completed(kind: number, result: number, flags: number): boolean {
    if ((flags & CQE_MORE) === 0) this.#armed = false;
    if (kind === KIND.accept && result >= 0) return this.#connected(result);
    if (this.#fd === -1) this.#freeIfQuiet();
    if (this.#fd === -1 || result < 0) return false;
    this.#take();
    if (!this.#armed) this.#arm();
    return false;
  }

  #take = (): void => {
    if (this.#fd !== -1) this.#sockets!.takeBacklog(this.#slot, this.#fd, this.#take);
  };

  /** As libuv's: a handle of the same class, told to the server. */
  #connected(fd: number): boolean {
    const handle = this.#handle;
    const client = this.#fd === -1 ? null : new (handle.constructor as HandleClass)(SOCKET);
    if (client === null || client.open(fd) !== 0) {
      // Nobody accepted it: Linux would have reset it when the listening socket was closed.
      resetOnClose(this.#sockets!.kernel, fd);
      closeNow(this.#sockets!.kernel, fd);
      client?.close();
      return false;
    }
    this.#telling = true;
    callBack(this, handle.onconnection as (...args: unknown[]) => void, handle, 0, client);
    this.#telling = false;
    return true;
  }

  /** Nothing of ours touches the descriptor when this returns. */
  #leave(): void {
    const sockets = this.#sockets;
    if (sockets === null || this.#fd === -1) return;
    const fd = this.#fd;
    this.#fd = -1;
    sockets.cancel(fd);
    for (let tries = 0; tries < TRIES_MAX && this.#slot !== -1; tries++)
      sockets.advance(this.#slot);
    this.#freeIfQuiet();
  }

  /** A slot is another's only when nothing more can complete for it. */
  #freeIfQuiet(): void {
    if (this.#armed || this.#slot === -1) return;
    this.#sockets!.free(this.#slot);
    this.#slot = -1;
  }
}
