/** Servers under attack, without a ring. */
import { httpFaults } from './servers/http.ts';

process.env.TRAPLESS_RING = '0';
httpFaults();
