/** `serve` on a ring. */
import { serveTests } from './http/serve.ts';

serveTests();
