/** Sockets of trapless/net on the crew tier: see test/support/net-property.ts. */
import { netProperty } from '../support/net-property.ts';

netProperty('crew', import.meta.url);
