/**
 * HTTP as one bundle (dist/servers.cjs): what trapless/http hands out. The runtime's kernel and
 * sockets are shared, not copied: there is one kernel per thread.
 */
export * as http from './http.ts';
