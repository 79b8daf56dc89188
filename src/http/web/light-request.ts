/**
 * The Request a handler gets: made of what the parser has, everything else when it is asked for. A
 * real Request stands behind it as soon as something out of the ordinary is wanted (clone,
 * formData, the stream of its body, being passed to fetch).
 */
import { headerValues } from '../header-lines.ts';
import { forwardTo } from './forward.ts';
import { NativeRequest } from './natives.ts';
import type { RequestBody } from './request-body.ts';
import { lazyHeaders } from './request-headers.ts';

/** What a request needs of the connection it came by. */
export interface RequestOrigin {
  /** `http://host:port`, for a request that does not say. */
  readonly origin: string;
}

export class LightRequest {
  readonly method: string;
  readonly #origin: RequestOrigin;
  readonly #target: string;
  readonly #head: string;
  readonly #headersAt: number;
  readonly #body: RequestBody | null;
  #url = '';
  #headers: Headers | null = null;
  #abort: AbortController | null = null;
  #real: Request | null = null;
  #used = false;

  constructor(
    origin: RequestOrigin,
    method: string,
    target: string,
    head: string,
    headersAt: number,
    body: RequestBody | null,
  ) {
    this.method = method;
    this.#origin = origin;
    this.#target = target;
    this.#head = head;
    this.#headersAt = headersAt;
    this.#body = body;
  }

  static isOne(value: unknown): value is LightRequest {
    return typeof value === 'object' && value !== null && #origin in value;
  }

  get url(): string {
    if (this.#url === '') {
      const host = headerValues(this.#head, this.#headersAt, 'host');
      this.#url = urlOf(this.#target, typeof host === 'string' ? host : '', this.#origin.origin);
    }
    return this.#url;
  }

  get headers(): Headers {
    if (this.#real !== null) return this.#real.headers;
    this.#headers ??= lazyHeaders(this.#head, this.#headersAt);
    return this.#headers;
  }

  /** Aborted when the client goes away before it has its answer. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    return this.#abort.signal;
  }

  get bodyUsed(): boolean {
    return this.#real === null ? this.#used : this.#real.bodyUsed;
  }

  async text(): Promise<string> {
    if (this.#real !== null) return this.#real.text();
    // As TextDecoder does, which is what the standard says.
    const bytes = await this.#collect();
    return bytes === null ? '' : withoutMark(bytes).toString('utf8');
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    if (this.#real !== null) return this.#real.arrayBuffer();
    const bytes = await this.#collect();
    if (bytes === null) return new ArrayBuffer(0);
    const { buffer, byteOffset, length } = bytes;
    return buffer.slice(byteOffset, byteOffset + length) as ArrayBuffer;
  }

  async bytes(): Promise<Uint8Array> {
    return new Uint8Array(await this.arrayBuffer());
  }

  /** For the connection: the client is gone. */
  abort(reason: Error): void {
    this.#abort?.abort(reason);
  }

  real(): Request {
    if (this.#real !== null) return this.#real;
    const withBody = this.#body !== null && this.method !== 'GET' && this.method !== 'HEAD';
    const init: RequestInit & { duplex?: string } = {
      method: this.method,
      headers: this.headers,
      signal: this.signal,
    };
    if (withBody && !this.#used) {
      init.body = this.#body.stream();
      init.duplex = 'half';
    }
    this.#real = new NativeRequest(this.url, init);
    if (this.#used) void this.#real.text();
    return this.#real;
  }

  #collect(): Promise<Buffer | null> | null {
    if (this.#used) throw new TypeError('Body is unusable: Body has already been read');
    if (this.#body === null) return null;
    this.#used = true;
    return this.#body.collect();
  }
}

forwardTo(
  NativeRequest,
  LightRequest,
  new NativeRequest('http://localhost'),
  (light: LightRequest) => light.real(),
);

/** Hosts and paths that a URL would leave as they are; `/.` and `%2e` could be dots to resolve. */
const PLAIN_HOST = /^(?:[a-z0-9][a-z0-9-]*\.)*[a-z][a-z0-9-]*(?::[1-9]\d*)?$/;
const PLAIN_IPV4 = /^(?:[1-9]\d?\d?\.|0\.){3}(?:[1-9]\d?\d?|0)(?::[1-9]\d*)?$/;
const PLAIN_TARGET = /^\/[\w/?\-.~!$&()*+,;=:@%]*$/;
const DOTS = /\/\.|%2e/i;

function urlOf(target: string, host: string, origin: string): string {
  const plainHost = PLAIN_HOST.test(host) || PLAIN_IPV4.test(host);
  if (plainHost && PLAIN_TARGET.test(target) && !DOTS.test(target) && !host.endsWith(':80'))
    return `http://${host}${target}`;
  // A target may name its scheme and host itself; one that cannot be read is a path.
  if (/^[a-z]+:\/\//i.test(target) && URL.canParse(target)) return new URL(target).href;
  const base = host !== '' && URL.canParse(`http://${host}/`) ? `http://${host}` : origin;
  const path = target.startsWith('/') ? target : `/${target}`;
  return new URL(base + path).href;
}

/** A byte order mark is no part of a text. */
function withoutMark(bytes: Buffer): Buffer {
  const marked = bytes.length >= 3 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return marked ? bytes.subarray(3) : bytes;
}
