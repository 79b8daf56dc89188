/**
 * The runtime's own Request, Response and Headers, kept before anything takes their place.
 */
export const NativeRequest = globalThis.Request;
export const NativeResponse = globalThis.Response;
export const NativeHeaders = globalThis.Headers;
