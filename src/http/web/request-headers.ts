/**
 * The headers of a request, read out of the head's text when asked for. Everything but the plain
 * questions is answered by a real Headers, made then.
 *
 *   const headers = lazyHeaders(head, headersAt);
 *   headers.get('accept');  headers instanceof Headers
 */
import { headerPairs, headerValues } from '../header-lines.ts';
import { forwardTo } from './forward.ts';
import { NativeHeaders } from './natives.ts';

export class RequestHeaders {
  readonly #head: string;
  readonly #at: number;
  #real: Headers | null = null;

  constructor(head: string, headersAt: number) {
    this.#head = head;
    this.#at = headersAt;
  }

  real(): Headers {
    if (this.#real !== null) return this.#real;
    const pairs = headerPairs(this.#head, this.#at);
    this.#real = new NativeHeaders();
    for (let i = 0; i < pairs.length; i += 2) this.#real.append(pairs[i], pairs[i + 1]);
    return this.#real;
  }

  get(name: string): string | null {
    if (this.#real !== null || !PLAIN_NAME.test(name)) return this.real().get(name);
    const values = headerValues(this.#head, this.#at, name.toLowerCase());
    if (values === null || typeof values === 'string') return values;
    return values.join(name.length === 6 && name.toLowerCase() === 'cookie' ? '; ' : ', ');
  }

  has(name: string): boolean {
    if (this.#real !== null || !PLAIN_NAME.test(name)) return this.real().has(name);
    return headerValues(this.#head, this.#at, name.toLowerCase()) !== null;
  }
}

const PLAIN_NAME = /^[a-zA-Z][\w-]*$/;

forwardTo(NativeHeaders, RequestHeaders, new NativeHeaders(), (it: RequestHeaders) => it.real());

export function lazyHeaders(head: string, headersAt: number): Headers {
  return new RequestHeaders(head, headersAt) as unknown as Headers;
}
