/** `serve` without a ring. */
import { serveTests } from './http/serve.ts';

process.env.TRAPLESS_RING = '0';
serveTests();
