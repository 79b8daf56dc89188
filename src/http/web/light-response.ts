/**
 * A Response that is as much as the text of its head and a string or bytes for a body: the usual
 * answer, at a twentieth of the cost. Anything else (other kinds of bodies, headers looked at or
 * changed afterwards, a body read by the program itself) is a real Response behind it.
 *
 *   return new Response('hello', { headers: { 'content-type': 'text/plain' } });
 *   return Response.json({ ok: true });
 *
 * What is right and wrong is the runtime's business: whatever is not plainly right is handed to it.
 */
import { headerPairs } from '../header-lines.ts';
import { forwardTo } from './forward.ts';
import { NativeHeaders, NativeResponse } from './natives.ts';

type Body_ = ConstructorParameters<typeof Response>[0];

const TEXT_TYPE = 'content-type: text/plain;charset=UTF-8\r\n';

/** Names that say how a message ends or goes on: never copied as they are. */
const FRAMING = new Set([
  'connection',
  'content-length',
  'date',
  'keep-alive',
  'transfer-encoding',
]);
const NAME = /^[\w!#$%&'*+.^`|~-]+$/;
/** Printing characters of ASCII with blanks between, as almost all values are. */
const VALUE = /^[!-~](?:[ -~]*[!-~])?$/;

export class LightResponse {
  /** What is sent, unless there is a real one. */
  readonly #body: string | Uint8Array | null;
  readonly #status: number;
  readonly #headerText: string;
  #real: Response | null = null;

  constructor(body?: Body_, init?: ResponseInit) {
    const plainBody = isPlainBody(body);
    const headerText = plainBody ? headerTextOf(init, typeof body === 'string') : null;
    if (headerText === null || !isPlainStatus(init, body)) {
      this.#real = new NativeResponse(body, init);
      this.#body = null;
      this.#status = 200;
      this.#headerText = '';
    } else {
      this.#body = (body as string | Uint8Array | null | undefined) ?? null;
      this.#status = init?.status ?? 200;
      this.#headerText = headerText;
    }
  }

  static json(data: unknown, init?: ResponseInit): LightResponse {
    const text = JSON.stringify(data);
    if (text === undefined || !(init?.headers === undefined || isRecord(init.headers)))
      return LightResponse.around(NativeResponse.json(data, init));
    const headers: Record<string, unknown> = { 'content-type': 'application/json' };
    for (const name in init?.headers as Record<string, unknown> | undefined)
      headers[name.toLowerCase()] = (init!.headers as Record<string, unknown>)[name];
    return new LightResponse(text, { ...init, headers: headers as Record<string, string> });
  }

  static redirect(...how: Parameters<typeof Response.redirect>): LightResponse {
    return LightResponse.around(NativeResponse.redirect(...how));
  }

  static error(): LightResponse {
    return LightResponse.around(NativeResponse.error());
  }

  /** Any Response at all is one: this class may stand in the place of the runtime's. */
  static [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof NativeResponse;
  }

  static isOne(value: unknown): value is LightResponse {
    return typeof value === 'object' && value !== null && #body in value;
  }

  /** A real one in our clothes. */
  static around(real: Response): LightResponse {
    const light = new LightResponse();
    light.#real = real;
    return light;
  }

  get status(): number {
    return this.#real === null ? this.#status : this.#real.status;
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  /** For the connection: nothing real behind it, so head and body are these. */
  get isLight(): boolean {
    return this.#real === null;
  }
  get lightBody(): string | Uint8Array | null {
    return this.#body;
  }
  get headerText(): string {
    return this.#headerText;
  }

  real(): Response {
    if (this.#real !== null) return this.#real;
    const pairs = headerPairs(this.#headerText, 0);
    const headers = new NativeHeaders();
    for (let i = 0; i < pairs.length; i += 2) headers.append(pairs[i], pairs[i + 1]);
    this.#real = new NativeResponse(this.#body as Body_, { status: this.#status, headers });
    return this.#real;
  }
}

forwardTo(NativeResponse, LightResponse, new NativeResponse(), (light: LightResponse) =>
  light.real(),
);

function isPlainBody(body: unknown): boolean {
  if (body === null || body === undefined || typeof body === 'string') return true;
  return body instanceof Uint8Array;
}

function isPlainStatus(init: ResponseInit | undefined, body: unknown): boolean {
  if (init === undefined) return true;
  const { status = 200, statusText = '' } = init;
  if (statusText !== '' || !Number.isInteger(status) || status < 200 || status > 599) return false;
  if (status === 204 || status === 205 || status === 304)
    return body === null || body === undefined;
  return true;
}

function isRecord(headers: unknown): boolean {
  if (typeof headers !== 'object' || headers === null) return false;
  return Object.getPrototypeOf(headers) === Object.prototype;
}

/** The header lines, or null: the runtime is to look at them. */
function headerTextOf(init: ResponseInit | undefined, isText: boolean): string | null {
  const headers: unknown = init?.headers;
  if (headers === undefined) return isText ? TEXT_TYPE : '';
  if (headers instanceof NativeHeaders) return linesOf([...headers], isText);
  if (!isRecord(headers)) return null;
  return linesOf(Object.entries(headers as object), isText);
}

function linesOf(entries: [name: string, value: unknown][], isText: boolean): string | null {
  let text = '';
  let typed = !isText;
  for (const [name, value] of entries) {
    if (typeof value !== 'string' || !NAME.test(name) || !VALUE.test(value)) return null;
    const lower = name.toLowerCase();
    if (FRAMING.has(lower)) return null;
    if (lower === 'content-type') typed = true;
    text += `${lower}: ${value}\r\n`;
  }
  return typed ? text : text + TEXT_TYPE;
}
