/** Sockets of trapless/net on the ring tier: see test/support/net-property.ts. */
import { netProperty } from '../support/net-property.ts';

netProperty('ring', import.meta.url);
