/**
 * How readdir goes into subdirectories, which differs between Nodes and between the two forms.
 *
 *   recursionOf('promise')       null: not known of the running Node, which then does it itself
 */
import type { Order } from '../ops/walk.ts';

export interface Recursion {
  readonly order: Order;
  /** With withFileTypes, directories behind links are gone into too. Without, they always are. */
  readonly intoLinkedDirents: boolean;
}

type Forms = Readonly<Record<'callback' | 'promise', Recursion>>;

const QUEUE: Recursion = { order: 'queue', intoLinkedDirents: false };
const QUEUE_WITH_LINKS: Recursion = { order: 'queue', intoLinkedDirents: true };
const STACK: Recursion = { order: 'stack', intoLinkedDirents: false };

/** By major version: from which minor on (read in its sources, and compared by our tests). */
const KNOWN: Readonly<Record<string, readonly [fromMinor: number, forms: Forms]>> = {
  20: [11, { callback: QUEUE, promise: STACK }],
  22: [14, { callback: QUEUE_WITH_LINKS, promise: STACK }],
  24: [0, { callback: QUEUE_WITH_LINKS, promise: STACK }],
  26: [10, { callback: QUEUE_WITH_LINKS, promise: QUEUE_WITH_LINKS }],
};

export function recursionOf(form: keyof Forms): Recursion | null {
  const [major, minor] = process.versions.node.split('.');
  const [fromMinor, forms] = KNOWN[major] ?? [];
  return forms !== undefined && Number(minor) >= (fromMinor ?? 0) ? forms[form] : null;
}
