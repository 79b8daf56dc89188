/**
 * Makes the requests and responses of one server: Node's own, or of the classes its options name.
 *
 *   const messages = new Messages(server);
 *   messages.request(socket)   messages.response(request, options)
 *   messages.answered(response)        looks at what the program has done with it
 *
 * Where the program changes prototypes (Express), they are made to bear it: bare-object.ts.
 */
import http from 'node:http';
import { bareMaker } from './bare-object.ts';
import {
  type InnerRequest,
  type InnerResponse,
  type InnerSocket,
  requestClass,
  responseClass,
} from './internals.ts';

type MakeRequest = (socket: InnerSocket) => InnerRequest;
type MakeResponse = (request: InnerRequest, options: object) => InnerResponse;

const { IncomingMessage, ServerResponse } = http;

export class Messages {
  readonly #server: http.Server;
  #watching = true;
  #makeRequest: MakeRequest | undefined;
  #makeResponse: MakeResponse | undefined;

  constructor(server: http.Server) {
    this.#server = server;
  }

  request(socket: InnerSocket): InnerRequest {
    const Request = requestClass(this.#server);
    if (this.#makeRequest !== undefined && (Request as unknown) === IncomingMessage)
      return this.#makeRequest(socket);
    return new Request(socket);
  }

  response(request: InnerRequest, options: object): InnerResponse {
    const Response = responseClass(this.#server);
    if (this.#makeResponse !== undefined && (Response as unknown) === ServerResponse)
      return this.#makeResponse(request, options);
    return new Response(request, options);
  }

  answered(response: InnerResponse): void {
    if (!this.#watching || Object.getPrototypeOf(response) === ServerResponse.prototype) return;
    this.#watching = false;
    if ((responseClass(this.#server) as unknown) !== ServerResponse) return;
    this.#makeRequest = bareMaker(IncomingMessage) as MakeRequest | undefined;
    this.#makeResponse = bareMaker(ServerResponse as never) as MakeResponse | undefined;
  }
}
