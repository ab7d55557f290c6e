/** HTTP requests to a node of a simulated cluster: its door's handlers are called, no socket is needed. */
import { fromUtf8, utf8 } from "../../src/base/bytes.ts";
import type { HttpConnection, HttpHeaders, HttpRequest } from "../../src/platform/platform.ts";
import type { Cluster } from "./cluster.ts";

export type Answered = { readonly status: number; readonly headers: HttpHeaders; readonly body: Uint8Array };

export type Ask = {
  readonly headers?: HttpHeaders;
  readonly body?: string | Uint8Array;
  readonly connection?: HttpConnection;
};

export function requestOf(method: string, target: string, ask: Ask = {}): HttpRequest {
  const [path = "", query = ""] = target.split("?");
  const { headers = {}, body = "", connection = { remote: "test:1" } } = ask;
  const bytes = typeof body === "string" ? utf8(body) : body;
  return { method, path, query, headers: { host: "127.0.0.1:8001", ...headers }, body: bytes, connection };
}

/** Asks node `i`; the answer is null until it comes. */
export function askSoon(cluster: Cluster, i: number, method: string, target: string, ask: Ask = {}) {
  const asked: { answer: Answered | null } = { answer: null };
  cluster.node(i).server?.http.door.handle(requestOf(method, target, ask), {
    send: (status, headers, body) => {
      if (asked.answer !== null) throw new Error(`${method} ${target} was answered twice`);
      asked.answer = { status, headers, body: body.slice() };
    },
    stream: () => {
      throw new Error("nothing here streams");
    },
  });
  return asked;
}

/** Asks node `i` and waits for the answer. */
export function http(cluster: Cluster, i: number, method: string, target: string, ask: Ask = {}): Answered {
  const asked = askSoon(cluster, i, method, target, ask);
  cluster.until(`an answer to ${method} ${target}`, () => asked.answer !== null);
  return asked.answer as unknown as Answered;
}

export function textOf({ body }: Answered): string {
  return fromUtf8(body);
}

export function jsonOf(answer: Answered): Record<string, unknown> {
  return JSON.parse(textOf(answer)) as Record<string, unknown>;
}
