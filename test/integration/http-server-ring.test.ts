/** createServer on a ring. */
import { serverTests } from './http/server.ts';

serverTests();
