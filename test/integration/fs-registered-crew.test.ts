/** node:fs under `trapless/register` on the crew, against plain node:fs: see test/support/fs-api.ts. */
import { runBodies } from '../support/fs-api.ts';

await runBodies('crew', 'registered');
