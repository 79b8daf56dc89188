/**
 * Doors: functions on node:fs and fs.promises in the place of those that are accelerated. The
 * first call through any of them loads the runtime (dist/trapless.cjs), which has the real ones;
 * a program that makes none never pays for it.
 *
 *   installDoors();
 *
 * A door stays for good: fs.stat is the same function before the first call and after it.
 */
import dgram, { type Socket } from 'node:dgram';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import { isMainThread } from 'node:worker_threads';
import { httpServers, runtime } from './bundles.ts';
import { type AnyFunction, disguise } from './disguise.ts';
import { shared } from './shared.ts';

/** What the runtime accelerates: of node:fs, in callback form, … */
export const CALLBACK_NAMES =
  'access appendFile chmod chown close copyFile exists fchmod fchown fdatasync fstat fsync ' +
  'ftruncate futimes lchown link lstat lutimes mkdir mkdtemp open opendir read readFile readdir ' +
  'readlink readv rename rm rmdir stat statfs symlink truncate unlink utimes write writeFile writev';
/** … and of fs.promises. FileHandle's methods are seen to when the first one is opened. */
export const PROMISE_NAMES =
  'access appendFile chmod chown copyFile lchown link lstat lutimes mkdir mkdtemp open opendir ' +
  'readFile readdir readlink rename rm rmdir stat statfs symlink truncate unlink utimes writeFile';

type Functions = Record<string, AnyFunction>;

export function installDoors(): void {
  const { originals } = shared();
  const callbacks = () => runtime().fs() as unknown as Functions;
  const promises = () => runtime().fs().promises as unknown as Functions;
  put(fs as unknown as Functions, CALLBACK_NAMES, originals.fs, callbacks);
  put(fs.promises as unknown as Functions, PROMISE_NAMES, originals.promises, promises);
  if (!isMainThread) closeSyncDoor();
  streamDoors();
  dgram.createSocket = datagramDoor(dgram.createSocket) as typeof dgram.createSocket;
  syncBuiltinESMExports();
  shared().prepare = prepare;
  // Node's own tests replace its internals before the first call: be there before them.
  if (process.execArgv.includes('--expose-internals')) runtime().fs();
}

function put(
  target: Functions,
  names: string,
  originals: Functions,
  inside: () => Functions,
): void {
  for (const name of names.split(' ')) {
    const original = target[name];
    if (typeof original !== 'function') continue;
    originals[name] = original;
    target[name] = door(original, () => inside()[name]);
    if (name === 'read') shared().reads.add(target[name]);
  }
}

function door(original: AnyFunction, open: () => AnyFunction): AnyFunction {
  let inside: AnyFunction | undefined;
  return disguise(function (this: unknown, ...args: unknown[]) {
    if (inside === undefined) {
      if (ofNode(args[0])) return original.apply(this, args);
      inside = openOr(open, original);
    }
    return inside.apply(this, args);
  }, original);
}

/** In a worker: what was opened by us is closed by us (unmanaged.ts). */
function closeSyncDoor(): void {
  const target = fs as unknown as Functions;
  const original = target.closeSync;
  shared().originals.fs.closeSync = original;
  target.closeSync = disguise(function (this: unknown, ...args: unknown[]) {
    const { kernel } = shared();
    const close = kernel?.own.has(args[0] as number) ? runtime().fs().closeSync : original;
    return close.apply(this, args as [number]);
  }, original);
}

/** A socket is Node's own; the runtime takes over the half of it that receives and sends. */
function datagramDoor(original: AnyFunction): AnyFunction {
  return disguise(function (this: unknown, ...args: unknown[]) {
    const socket = original.apply(this, args) as Socket;
    adopt ??= openOr(
      () => {
        const { adoptSocket, shortenSend } = runtime().dgramSockets;
        shortenSend();
        return adoptSocket;
      },
      () => {},
    );
    adopt(socket, args[0]);
    return socket;
  }, original);
}

/** Every server listens through the one, every client connects through the other. */
function streamDoors(): void {
  const server = net.Server.prototype as unknown as Functions;
  const socket = net.Socket.prototype as unknown as Functions;
  const { _listen2: listen } = server;
  const { connect } = socket;
  if (typeof listen !== 'function' || typeof connect !== 'function') return;
  const inside = door(listen, () => runtime().netSockets.listenForm(listen));
  server._listen2 = process.env.TRAPLESS_HTTP === '0' ? inside : httpDoor(inside);
  socket.connect = door(connect, () => runtime().netSockets.connectForm(connect));
}

/** An HTTP server gets our parser and connections before it listens; one of https does not. */
function httpDoor(listen: AnyFunction): AnyFunction {
  return disguise(function (this: object, ...args: unknown[]) {
    if ('closeIdleConnections' in this && !('setSecureContext' in this)) {
      const open = () => httpServers().takeOver as AnyFunction;
      takeOver ??= openOr(open, () => false);
      takeOver(this);
    }
    return listen.apply(this, args);
  }, listen);
}

let takeOver: AnyFunction | undefined;
let adopt: AnyFunction | undefined;

/** Without a runtime to be read (another user, another root) there is still Node. */
function openOr(open: () => AnyFunction, original: AnyFunction): AnyFunction {
  try {
    return open();
  } catch (error) {
    const reason = `the runtime cannot be loaded: ${(error as Error).message.split('\n')[0]}`;
    shared().tier ??= () => ({ name: 'passthrough', reason });
    return original;
  }
}

/** Node 20 reads ES modules by `fs.promises.readFile(url)`: loading one is no use of trapless. */
function ofNode(path: unknown): boolean {
  if (!(path instanceof URL)) return false;
  const caller = new Error().stack?.split('\n')[3];
  return caller?.includes('node:internal/modules/') === true;
}

/** The next call may come when the files of trapless cannot be read any more (credentials.ts). */
function prepare(): void {
  try {
    runtime().loadAddon();
  } catch {
    // Nor can they now: the doors pass through.
  }
}
