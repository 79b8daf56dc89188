/** Where node:http's server tells of requests (diagnostics_channel). */
import { channel } from 'node:diagnostics_channel';

export const channels = {
  requestStart: channel('http.server.request.start'),
  responseFinish: channel('http.server.response.finish'),
};
