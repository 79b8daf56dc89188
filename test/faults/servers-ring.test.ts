/** Servers under attack, on a ring. */
import { httpFaults } from './servers/http.ts';

httpFaults();
