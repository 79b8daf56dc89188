/** `serve` on node:net, where trapless cannot work. */
import { serveTests } from './http/serve.ts';

process.env.TRAPLESS = '0';
serveTests();
