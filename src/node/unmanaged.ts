/**
 * Descriptors in workers. A worker with trackUnmanagedFds (Node's default) closes at its end what
 * fs.open and fs.openSync opened in it; Node keeps a list, and warns of a close that is not on it.
 * Ours are on a list of our own (kernel/own-descriptors.ts), so that each has one owner:
 *
 *                      close, closeSync          end of the worker
 *   opened by Node     Node                      Node
 *   opened by us       ours                      the addon
 *
 * Where closeSync is not ours (trapless/fs without register), neither is open.
 */
import { isMainThread } from 'node:worker_threads';
import { syscallNumber } from '../abi/syscalls.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { loadAddon } from '../native/addon.ts';
import { systemError } from '../ops/error.ts';
import { closeNow } from '../ops/socket.ts';
import { type AnyFunction, disguise } from './disguise.ts';
import { plain } from './plain.ts';
import { shared } from './shared.ts';

let tracks: boolean | undefined;

/** Whether Node closes this worker's descriptors at its end. */
export function nodeTracks(): boolean {
  tracks ??= !isMainThread && nodeMinds();
  return tracks;
}

const EFD_CLOEXEC = 0o2000000;

/** A worker is not told of the option. But with it, Node warns, at once, when a descriptor is
 *  closed that it did not open. */
function nodeMinds(): boolean {
  const fd = loadAddon().addon?.systemCall(syscallNumber('eventfd2'), 0, EFD_CLOEXEC) ?? -1;
  if (fd < 0) return false;
  const { emitWarning } = process;
  let warned = false;
  process.emitWarning = () => {
    warned = true;
  };
  try {
    plain('closeSync')(fd);
  } finally {
    process.emitWarning = emitWarning;
  }
  return warned;
}

/** Whether fs.open may open a descriptor for the program. */
export function mayOpen(): boolean {
  return shared().registered || !nodeTracks();
}

/** Whether a descriptor is on Node's list, if anybody's. */
export function isNodes(kernel: Kernel, fd: number): boolean {
  return nodeTracks() && !kernel.own.has(fd);
}

/** Closes a descriptor of ours at once, or throws. */
export function closeOwn(kernel: Kernel, fd: number): void {
  kernel.own.remove(fd);
  const result = closeNow(kernel, fd);
  if (result < 0) throw systemError(result, 'close');
}

/** fs.closeSync. */
export function closeSyncForm(original: AnyFunction): AnyFunction {
  return disguise(function (this: unknown, ...args: unknown[]) {
    const { kernel } = shared();
    if (kernel?.own.has(args[0] as number)) closeOwn(kernel, args[0] as number);
    else original.apply(this, args);
  }, original);
}
