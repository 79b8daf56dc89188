/**
 * Chains: several entries that one syscall thread runs in order, results feeding arguments (the
 * looped multi-call of FlexSC 6.1). Opening, working and closing cost one posting together.
 *
 *   open ──fd──► work ──fd──► … ──fd──► close
 *
 *   const head = claimChain(kernel, 3);        // -1: no room
 *   fillOpen(kernel, head, path, …, FLAG.link);
 *   … fill nth(kernel, head, 1), nth(kernel, head, 2) …
 */
import { FLAG, NO_LINK } from '../abi/entry.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { number } from './call.ts';

/** Claims `count` entries and links them; the first one's id, or -1. */
export function claimChain(kernel: Kernel, count: number): number {
  const pages = kernel.pages;
  if (!pages.room(count)) return -1;
  let next = NO_LINK;
  let id = -1;
  for (let i = 0; i < count; i++) {
    id = pages.claim();
    pages.link(id, next);
    next = id;
  }
  return id;
}

/** The entry behind `id`. */
export function following(kernel: Kernel, id: number): number {
  return kernel.desk.links[id];
}

/** Ends a chain: closes what its first entry opened. `when` says under which condition. */
export function fillClose(kernel: Kernel, id: number, when: number): void {
  kernel.pages.call(id, number('close'), 1, FLAG.headFd | FLAG.always | when);
}

/** Points argument 1 of `id` to a block and sets its length (argument 2). */
export function putBlock(kernel: Kernel, id: number, offset: number, length: number): void {
  kernel.pages.setAddress(id, 1, kernel.pool.addressLow + offset, kernel.pool.addressHigh);
  kernel.pages.setInt(id, 2, length);
}
