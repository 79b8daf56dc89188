/**
 * The runtime's globals while a web server runs: `new Response(…)` makes light ones, and whatever
 * takes a Request takes ours, too.
 *
 *   installGlobals();      // again is harmless
 *
 * Newer Nodes keep the state of a Request in private fields, which only a real one has: there,
 * `new Request(ours)` and `fetch(ours)` have to be given the real one behind it.
 */
import { LightRequest } from './light-request.ts';
import { LightResponse } from './light-response.ts';
import { NativeRequest } from './natives.ts';

const stateIsPrivate =
  Object.getOwnPropertySymbols(new NativeRequest('http://localhost')).length === 0;

const nativeFetch = globalThis.fetch;

export function installGlobals(): void {
  globalThis.Response = LightResponse as unknown as typeof globalThis.Response;
  if (!stateIsPrivate || globalThis.Request !== NativeRequest) return;
  globalThis.Request = UnwrappingRequest;
  if (globalThis.fetch === nativeFetch) globalThis.fetch = unwrappingFetch;
}

type Input = ConstructorParameters<typeof Request>[0];

const unwrapped = (input: unknown) => (LightRequest.isOne(input) ? input.real() : input) as Input;

class UnwrappingRequest extends NativeRequest {
  constructor(input: Input, init?: RequestInit) {
    super(unwrapped(input), init);
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof NativeRequest;
  }
}
Object.defineProperty(UnwrappingRequest, 'name', { value: 'Request' });

const unwrappingFetch: typeof fetch = function fetch(input, init) {
  return nativeFetch(unwrapped(input), init);
};
