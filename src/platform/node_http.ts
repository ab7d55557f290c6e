/**
 * HTTP/1.1 by node:http, on Bun, Deno and Node alike: requests are collected whole, answers leave whole or as a
 * stream of text.
 *
 * Bounds: HEADER_BYTES_MAX for a request's head, BODY_BYTES_MAX for its body, REQUESTS_OPEN_MAX requests at once,
 * HELD_BYTES_MAX for bodies both ways, CONNECTIONS_MAX connections, IDLE_MS without a byte, REQUEST_MS for a
 * request to arrive, STREAM_BYTES_MAX for what the reader of a stream has not taken. What is above a bound is
 * refused with the reason, and its connection is closed.
 */
import * as http from "node:http";
import type { Socket } from "node:net";
import { concat, utf8 } from "../base/bytes.ts";
import type { Done } from "../base/task.ts";
import { KiB, MiB } from "../base/units.ts";
import type {
  HttpAnswer,
  HttpConnection,
  HttpHeaders,
  HttpListener,
  HttpRequest,
  HttpServe,
  HttpStream,
} from "./platform.ts";

/** A key of 16 KiB whose every byte is percent-encoded takes 48 KiB; the rest is for headers. */
const HEADER_BYTES_MAX = 64 * KiB;
/** No command is larger (wire/command.ts). */
const BODY_BYTES_MAX = MiB;
/** Each holds a body of up to 1 MiB in, then one of up to 1 MiB out: HELD_BYTES_MAX is reached long before. */
const REQUESTS_OPEN_MAX = 1024;
const HELD_BYTES_MAX = 64 * MiB;
/** 2,048 x 64 KiB of unfinished heads = 128 MiB at worst. */
const CONNECTIONS_MAX = 2048;
const IDLE_MS = 60_000;
const REQUEST_MS = 30_000;
const STREAM_BYTES_MAX = MiB;

type OnRequest = (request: HttpRequest, answer: HttpAnswer) => void;

export function createHttp(): HttpServe {
  return {
    listen: (host, port, onRequest, done) => {
      const door = new HttpDoorway(onRequest);
      const { server } = door;
      const failed = (error: Error): void => done(error, undefined as never);
      server.once("error", failed);
      server.listen({ host, port }, () => {
        server.off("error", failed);
        server.on("error", () => {}); // accept errors pass; callers see a refused connection
        const address = server.address();
        door.port = typeof address === "object" && address !== null ? address.port : port;
        done(null, door);
      });
    },
  };
}

class HttpDoorway implements HttpListener {
  readonly server: http.Server;
  port = 0;
  requestsOpen = 0;
  bytesHeld = 0;
  readonly #onRequest: OnRequest;
  readonly #connections = new WeakMap<Socket, HttpConnection>();
  readonly #streams = new Set<EventStream>();

  constructor(onRequest: OnRequest) {
    this.#onRequest = onRequest;
    this.server = http.createServer(
      {
        maxHeaderSize: HEADER_BYTES_MAX,
        headersTimeout: REQUEST_MS,
        requestTimeout: REQUEST_MS,
        keepAliveTimeout: IDLE_MS,
        noDelay: true,
      },
      (request, response) => this.#onHead(request, response),
    );
    this.server.maxConnections = CONNECTIONS_MAX;
    this.server.setTimeout(IDLE_MS);
    this.server.on("clientError", refuseBytes);
  }

  close(done: Done<void>): void {
    for (const stream of this.#streams) stream.close();
    this.server.close(() => done(null, undefined));
    this.server.closeIdleConnections(); // those with a request are closed by its answer, or by their time-out
  }

  #onHead(request: http.IncomingMessage, response: http.ServerResponse): void {
    this.requestsOpen++;
    let held = 0;
    const hold = (bytes: number): void => {
      held += bytes;
      this.bytesHeld += bytes;
    };
    let open = true;
    response.once("close", () => {
      if (!open) return;
      open = false;
      this.requestsOpen--;
      this.bytesHeld -= held;
    });
    request.on("error", () => {}); // "close" of the response tells
    response.on("error", () => {});
    if (this.requestsOpen > REQUESTS_OPEN_MAX || this.bytesHeld > HELD_BYTES_MAX)
      return refuse(response, BUSY);
    if (Number(request.headers["content-length"] ?? 0) > BODY_BYTES_MAX) return refuse(response, TOO_LARGE);
    const parts: Uint8Array[] = [];
    let size = 0;
    request.on("data", (part: Uint8Array) => {
      if (!open || size > BODY_BYTES_MAX) return;
      size += part.length;
      hold(part.length);
      if (size > BODY_BYTES_MAX) refuse(response, TOO_LARGE);
      else parts.push(part);
    });
    request.on("end", () => {
      if (!open || size > BODY_BYTES_MAX) return;
      const answer = new ResponseAnswer(response, this.#streams, hold);
      this.#onRequest(
        this.#requestOf(request, parts.length === 1 ? (parts[0] as Uint8Array) : concat(parts)),
        answer,
      );
    });
  }

  #requestOf({ method, url, headers, socket }: http.IncomingMessage, body: Uint8Array): HttpRequest {
    const target = url ?? "/";
    const mark = target.indexOf("?");
    const flat: Record<string, string> = {};
    for (const [name, value] of Object.entries(headers)) {
      if (value !== undefined) flat[name] = Array.isArray(value) ? value.join(", ") : value;
    }
    return {
      method: method ?? "GET",
      path: mark < 0 ? target : target.slice(0, mark),
      query: mark < 0 ? "" : target.slice(mark + 1),
      headers: flat,
      body,
      connection: this.#connectionOf(socket),
    };
  }

  #connectionOf(socket: Socket): HttpConnection {
    const known = this.#connections.get(socket);
    if (known !== undefined) return known;
    const connection = { remote: `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? 0}` };
    this.#connections.set(socket, connection);
    return connection;
  }
}

class ResponseAnswer implements HttpAnswer {
  readonly #response: http.ServerResponse;
  readonly #streams: Set<EventStream>;
  readonly #hold: (bytes: number) => void;

  constructor(response: http.ServerResponse, streams: Set<EventStream>, hold: (bytes: number) => void) {
    this.#response = response;
    this.#streams = streams;
    this.#hold = hold;
  }

  send(status: number, headers: HttpHeaders, body: Uint8Array): void {
    const response = this.#response;
    if (response.destroyed) return; // nobody waits any more
    const isHead = response.req.method === "HEAD";
    const hasBody = status !== 204 && status !== 304;
    const length: HttpHeaders = hasBody ? { "content-length": String(body.length) } : {};
    response.writeHead(status, { ...headers, ...length });
    if (isHead || !hasBody) {
      response.end();
      return;
    }
    this.#hold(body.length);
    response.end(body);
  }

  stream(status: number, headers: HttpHeaders): HttpStream {
    const response = this.#response;
    const stream = new EventStream(response);
    this.#streams.add(stream);
    response.once("close", () => {
      this.#streams.delete(stream);
      stream.onClose();
    });
    response.req.socket.setTimeout(0); // silence is what a stream is for
    response.writeHead(status, headers);
    response.flushHeaders();
    return stream;
  }
}

class EventStream implements HttpStream {
  onClose: () => void = () => {};
  readonly #response: http.ServerResponse;
  #ended = false;

  constructor(response: http.ServerResponse) {
    this.#response = response;
  }

  write(text: string): boolean {
    const response = this.#response;
    if (this.#ended || response.destroyed) return false;
    response.write(text);
    if (response.writableLength <= STREAM_BYTES_MAX) return true;
    this.#ended = true;
    response.destroy();
    return false;
  }

  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#response.end();
  }
}

type Refusal = { readonly status: number; readonly headers: HttpHeaders; readonly body: string };

function refusal(status: number, error: string, message: string, headers: HttpHeaders = {}): Refusal {
  const body = `${JSON.stringify({ error, message })}\n`;
  return { status, headers: { ...headers, "content-type": "application/json" }, body };
}

const BUSY = refusal(503, "busy", "too many requests at once on this node; nothing was done, try again", {
  "retry-after": "1",
});
const TOO_LARGE = refusal(413, "too_large", `a body has at most ${BODY_BYTES_MAX} bytes; nothing was done`);

/** What is still on its way is not read: the connection ends with this answer. */
function refuse(response: http.ServerResponse, { status, headers, body }: Refusal): void {
  response.writeHead(status, {
    ...headers,
    "content-length": String(utf8(body).length),
    connection: "close",
  });
  response.end(body);
}

/** Bytes that are no HTTP, or a head that is too large: there is no request to answer. */
function refuseBytes(
  error: NodeJS.ErrnoException,
  socket: { end(text: string): void; destroy(): void },
): void {
  const isLarge = error.code === "HPE_HEADER_OVERFLOW";
  const status = isLarge ? "431 Request Header Fields Too Large" : "400 Bad Request";
  const { body } = isLarge
    ? refusal(431, "too_large", `a request's head has at most ${HEADER_BYTES_MAX} bytes`)
    : refusal(400, "bad_request", "this is no HTTP/1.1; Redis and native clients have another port");
  const head = `content-type: application/json\r\ncontent-length: ${utf8(body).length}\r\nconnection: close`;
  try {
    socket.end(`HTTP/1.1 ${status}\r\n${head}\r\n\r\n${body}`);
  } catch {
    socket.destroy();
  }
}
