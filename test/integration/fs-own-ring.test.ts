/** `trapless/fs` on the ring, against plain node:fs: see test/support/fs-api.ts. */
import { runBodies } from '../support/fs-api.ts';

await runBodies('ring', 'own');
