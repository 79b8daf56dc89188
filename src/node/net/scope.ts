/**
 * In which async scope a handle's callbacks run: in its own, as of all that libuv calls. So
 * async_hooks and AsyncLocalStorage see what Node alone would show them, and an idle connection has
 * no resource of ours.
 *
 *   Object.create(base, { …, ...scopeProperties() })     once per class of handle
 *   enterAtAdoption(handle, isServers)                   once per handle
 *   keepScope(handle)                                    when it is Node's again
 *   runIn(handle, f, receiver, argument)
 *
 * AsyncResource's method needs two symbols of its receiver: the handle's id, which is also its
 * socket's, and that of what it was made in. Newer Nodes keep a context frame as well, which an
 * accepted connection has none of: libuv made it. Where the symbols have other names, the handle
 * gets an AsyncResource after all.
 */
import { AsyncResource, executionAsyncId } from 'node:async_hooks';
import { type AnyFunction, type Callback, guarded } from '../forms.ts';
import { ownerOf, type StreamHandle } from './internals.ts';

const kResource = Symbol('trapless resource');

type Scope = StreamHandle & {
  getAsyncId(): number;
  readonly [kResource]?: AsyncResource;
};
/** A socket, or a server. */
type Identified = Readonly<Record<symbol, number | undefined>> & { readonly server?: Identified };

const known = Object.getOwnPropertySymbols(new AsyncResource('TRAPLESSSTREAM'));
const named = (name: string) => known.find(({ description }) => description === name);
const idSymbol = named('async_id_symbol');
const triggerSymbol = named('trigger_async_id_symbol');
const frameSymbol = named('context_frame');
/** The handle itself will do. (An AsyncLocalStorage in use has a symbol there as well.) */
const isPlain = idSymbol !== undefined && triggerSymbol !== undefined;

const { runInAsyncScope } = AsyncResource.prototype;

function idOf(handle: Scope): number {
  const socket = ownerOf(handle) as Identified | undefined;
  return socket?.[idSymbol!] ?? handle.getAsyncId();
}

/** What a connection was made in is its server. */
function triggerOf(handle: Scope): number {
  const socket = ownerOf(handle) as Identified | undefined;
  return socket?.server?.[idSymbol!] ?? idOf(handle);
}

export function scopeProperties(): PropertyDescriptorMap {
  if (!isPlain) return {};
  const getter = (get: (handle: Scope) => number): PropertyDescriptor => ({
    get(this: Scope) {
      return get(this);
    },
    configurable: true,
  });
  return { [idSymbol!]: getter(idOf), [triggerSymbol!]: getter(triggerOf) };
}

/** The context frame that we are in. */
function currentFrame(): unknown {
  const resource = new AsyncResource('TRAPLESSSTREAM') as unknown as Record<symbol, unknown>;
  return resource[frameSymbol!];
}

/** `isServers`: it was accepted. Of any other, what it was made in is noted. */
export function enterAtAdoption(handle: StreamHandle, isServers: boolean): void {
  if (!isPlain)
    Object.defineProperty(handle, kResource, { value: new AsyncResource('TRAPLESSSTREAM') });
  else if (!isServers) {
    Object.defineProperty(handle, triggerSymbol!, { value: executionAsyncId() });
    if (frameSymbol !== undefined)
      Object.defineProperty(handle, frameSymbol, { value: currentFrame() });
  }
}

/** `handle` loses the prototype with `scopeProperties`: callbacks that wait still run in its scope. */
export function keepScope(handle: StreamHandle): void {
  if (!isPlain) return;
  for (const symbol of [idSymbol!, triggerSymbol!])
    Object.defineProperty(handle, symbol, { value: Reflect.get(handle, symbol) });
}

function scopeOf(handle: StreamHandle): AsyncResource {
  return (isPlain ? handle : (handle as Scope)[kResource]) as unknown as AsyncResource;
}

/** What `f` throws has to be reported by itself: `runIn` does not. One argument: this is the way of
 *  every piece of data. */
export function runIn<T>(
  handle: StreamHandle,
  f: (argument: T) => unknown,
  receiver: unknown,
  argument: T,
): void {
  runInAsyncScope.call(scopeOf(handle), f as AnyFunction, receiver, argument);
}

/** As callBack (forms.ts). */
export function callBackIn(
  handle: StreamHandle,
  callback: Callback,
  receiver: unknown,
  ...args: unknown[]
): void {
  runInAsyncScope.call(scopeOf(handle), guarded as AnyFunction, receiver, callback, args);
}
