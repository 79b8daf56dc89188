/**
 * Progress of long work, on standard error, so that standard output stays the result.
 *
 *   const progress = new Progress({ total: trials, silent: json });
 *   progress.step('trial 1 of 5: Bun');   // before each piece of work
 *   progress.finish();                    // always, also after an error
 *
 * Nothing is shown in the first two seconds. On a terminal one line is redrawn; elsewhere plain
 * lines are written, at most one every two seconds. Silent: nothing at all.
 */

export interface ProgressStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressOptions {
  /** Steps expected; 0 if unknown. */
  readonly total?: number;
  readonly silent?: boolean;
  readonly stream?: ProgressStream;
  /** Milliseconds, monotonic; for tests. */
  readonly now?: () => number;
}

/** Work shorter than this shows no progress: nobody waits, and a flash of text only distracts. */
const quietMs = 2000;
/** Between two plain lines, so that a log of a long run stays readable. */
const linePeriodMs = 2000;

export class Progress {
  #total: number;
  readonly #silent: boolean;
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #startedMs: number;
  /** When the first counted step began: the time left is told from these alone. */
  #countedFromMs: number;
  #lastLineMs = Number.NEGATIVE_INFINITY;
  #stepsBegun = 0;
  #message = '';
  #drawn = false;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: ProgressOptions = {}) {
    this.#total = options.total ?? 0;
    this.#silent = options.silent ?? false;
    this.#stream = options.stream ?? process.stderr;
    this.#now = options.now ?? (() => performance.now());
    this.#startedMs = this.#now();
    this.#countedFromMs = this.#startedMs;
  }

  /** How many steps there will be, once that is known; the count starts anew. */
  expect(total: number): void {
    this.#total = total;
    this.#stepsBegun = 0;
    this.#countedFromMs = this.#now();
  }

  /** A piece of work begins; the one before it is finished. */
  step(message: string): void {
    this.#stepsBegun++;
    this.#message = message;
    if (this.#silent) return;
    // A step may itself be long: the timer shows it, and the passing of time, meanwhile.
    this.#timer ??= setInterval(() => this.#show(), 1000).unref();
    this.#show();
  }

  /** Lines that must stay, such as a notice, printed without disturbing the progress line. */
  note(text: string): void {
    if (this.#silent) return;
    this.#erase();
    this.#stream.write(`${text}\n`);
  }

  finish(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#erase();
  }

  #show(): void {
    const nowMs = this.#now();
    const elapsedMs = nowMs - this.#startedMs;
    if (elapsedMs < quietMs) return;
    if (this.#stream.isTTY) {
      const columns = this.#stream.columns ?? 80;
      this.#stream.write(`\r\u001b[2K${this.#line(elapsedMs).slice(0, columns - 1)}`);
      this.#drawn = true;
    } else if (nowMs - this.#lastLineMs >= linePeriodMs && this.#message !== '') {
      this.#stream.write(`${this.#line(elapsedMs)}\n`);
      this.#lastLineMs = nowMs;
      this.#message = '';
    }
  }

  #line(elapsedMs: number): string {
    const elapsed = `${Math.round(elapsedMs / 1000)} s`;
    if (this.#total === 0) return `${this.#message} (${elapsed})`;
    const done = Math.max(0, this.#stepsBegun - 1);
    const countedMs = elapsedMs - (this.#countedFromMs - this.#startedMs);
    const leftMs = done === 0 ? 0 : (countedMs / done) * (this.#total - done);
    const left = leftMs > 0 ? `, about ${Math.ceil(leftMs / 1000)} s left` : '';
    return `[${this.#stepsBegun}/${this.#total}] ${this.#message} (${elapsed}${left})`;
  }

  #erase(): void {
    if (this.#drawn) this.#stream.write('\r\u001b[2K');
    this.#drawn = false;
  }
}
