/**
 * The connections of one server: which are idle, and which have taken too long over a request.
 * It stands in the place of Node's own list, and is asked by Node's own server. As there, a new connection counts as in its first request from the start, so that one
 * that never says anything is ended by headersTimeout.
 */

export interface TrackedConnection {
  readonly socket: { destroy(): unknown };
  /** When the request that is coming in began (performance.now()); 0: none is. */
  messageStart: number;
  headersComplete: boolean;
}

export class Connections<T extends TrackedConnection> {
  readonly #all = new Set<T>();

  add(connection: T): void {
    this.#all.add(connection);
  }

  delete(connection: T): void {
    this.#all.delete(connection);
  }

  all(): T[] {
    return [...this.#all];
  }

  /** Between two requests. */
  idle(): T[] {
    return this.all().filter(({ messageStart }) => messageStart === 0);
  }

  /** Too late by either limit, in milliseconds; 0 is none. Each is told once. */
  expired(headersTimeout: number, requestTimeout: number): T[] {
    const now = performance.now();
    const late = this.all().filter(({ messageStart, headersComplete }) => {
      if (messageStart === 0) return false;
      const ms = now - messageStart;
      return (
        (headersTimeout > 0 && !headersComplete && ms > headersTimeout) ||
        (requestTimeout > 0 && ms > requestTimeout)
      );
    });
    for (const connection of late) connection.messageStart = 0;
    return late;
  }
}
