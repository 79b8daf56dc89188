/** createServer without a ring. */
import { serverTests } from './http/server.ts';

process.env.TRAPLESS_RING = '0';
serverTests();
