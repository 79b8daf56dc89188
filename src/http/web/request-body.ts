/**
 * The body of a request that is being received: collected whole, or streamed. Until somebody wants
 * it only so much is kept as the connection has brought anyway; then it is paused.
 *
 *   body.push(bytes, start, end) …  body.finish()  or  body.fail(error)     the connection
 *   await body.collect()   or   body.stream()                               the program, once
 */

export interface BodySource {
  /** Somebody wants the body: the client may be waiting for that (Expect: 100-continue). */
  bodyWanted(): void;
  pauseBody(): void;
  resumeBody(): void;
}

/** Kept while nobody reads; one receive more may come on top. */
const KEPT_BYTES_MAX = 64 * 1024;

export class RequestBody {
  /** Taken by collect or stream. */
  used = false;
  /** Bytes so far. */
  received = 0;
  ended = false;

  readonly #source: BodySource;
  #chunks: Uint8Array[] = [];
  #kept = 0;
  #error: Error | null = null;
  #whole: { resolve(bytes: Buffer): void; reject(error: Error): void } | null = null;
  #controller: ReadableByteStreamController | null = null;
  /** Nobody will read it any more. */
  #discarded = false;

  constructor(source: BodySource) {
    this.#source = source;
  }

  push(bytes: Buffer, start: number, end: number): void {
    this.received += end - start;
    if (this.#discarded || this.#error !== null) return;
    // Not from Buffer's pool: a byte stream takes the whole ArrayBuffer away from its chunks.
    const chunk = new Uint8Array(end - start);
    chunk.set(bytes.subarray(start, end));
    if (this.#controller !== null) {
      this.#controller.enqueue(chunk);
      if ((this.#controller.desiredSize ?? 0) <= 0) this.#source.pauseBody();
      return;
    }
    this.#chunks.push(chunk);
    this.#kept += chunk.length;
    if (this.#whole === null && this.#kept >= KEPT_BYTES_MAX) this.#source.pauseBody();
  }

  finish(): void {
    this.ended = true;
    if (this.#whole !== null) this.#whole.resolve(this.#take());
    this.#controller?.close();
  }

  fail(error: Error): void {
    if (this.ended || this.#error !== null) return;
    this.#error = error;
    this.#whole?.reject(error);
    this.#controller?.error(error);
    this.#chunks = [];
  }

  /** Whatever comes is thrown away: the response is out. */
  discard(): void {
    if (this.used) return;
    this.#discarded = true;
    this.#chunks = [];
    this.#source.resumeBody();
  }

  collect(): Promise<Buffer> {
    this.used = true;
    if (this.#error !== null) return Promise.reject(this.#error);
    if (this.ended) return Promise.resolve(this.#take());
    this.#source.bodyWanted();
    this.#source.resumeBody();
    return new Promise((resolve, reject) => {
      this.#whole = { resolve, reject };
    });
  }

  stream(): ReadableStream<Uint8Array> {
    this.used = true;
    return new ReadableStream({
      type: 'bytes',
      start: (controller) => {
        for (const chunk of this.#chunks) controller.enqueue(chunk);
        this.#chunks = [];
        if (this.#error !== null) controller.error(this.#error);
        else if (this.ended) controller.close();
        else this.#controller = controller;
      },
      pull: () => {
        this.#source.bodyWanted();
        this.#source.resumeBody();
      },
      cancel: () => {
        this.#controller = null;
        this.#discarded = true;
        this.#source.resumeBody();
      },
    });
  }

  #take(): Buffer {
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks.length === 1 ? Buffer.from(chunks[0].buffer) : Buffer.concat(chunks);
  }
}
