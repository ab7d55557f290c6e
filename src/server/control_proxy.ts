/**
 * The control plane's HTTP surface at a node: calls go over the node's own line to the control process that leads, so
 * nobody needs to know where that is. The console, which needs nothing else, is served here as well.
 *
 * `/events` is a stream: the control plane is asked for one event a second, whoever listens.
 */
import type { HttpAnswer, HttpRequest, HttpStream } from "../platform/platform.ts";
import type { ControlAnswer, ControlCall } from "./client.ts";
import { answerConsole } from "./console_page.ts";
import { sendBytes, sendError } from "./http_answer.ts";

const PATHS = ["/cluster", "/reshard", "/shard", "/node", "/settings"];
const EVENTS = "/events";
const EVENT_TICKS = 100;
/** Pages that are open: a handful. */
const LISTENERS_MAX = 32;
const NOTHING = new Uint8Array(0);

type Ask = (call: ControlCall, answer: (reply: ControlAnswer | string) => void) => void;

export class ControlProxy {
  readonly #ask: Ask;
  readonly #listeners = new Set<HttpStream>();
  #ticks = 0;

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** True: the path is the control plane's, and an answer comes. */
  handle(request: HttpRequest, answer: HttpAnswer): boolean {
    const { path, query, method, body } = request;
    if (answerConsole(request, answer)) return true;
    if (path === EVENTS) {
      this.#listen(answer);
      return true;
    }
    if (!PATHS.some((prefix) => path === prefix || path.startsWith(`${prefix}/`))) return false;
    const call = { method, path: query === "" ? path : `${path}?${query}`, body };
    this.#ask(call, (reply) => {
      if (typeof reply === "string") sendError(answer, 503, "unavailable", reply);
      else sendBytes(answer, reply.status, reply.type, reply.body);
    });
    return true;
  }

  #listen(answer: HttpAnswer): void {
    if (this.#listeners.size >= LISTENERS_MAX) {
      const text = `${LISTENERS_MAX} listen already: close one of them, or ask another node`;
      return sendError(answer, 503, "unavailable", text);
    }
    const stream = answer.stream(200, { "content-type": "text/event-stream; charset=utf-8" });
    this.#listeners.add(stream);
    stream.onClose = () => this.#listeners.delete(stream);
    this.#tell([stream]);
  }

  tick(): void {
    if (++this.#ticks % EVENT_TICKS === 0 && this.#listeners.size > 0) this.#tell([...this.#listeners]);
  }

  /** One question, whoever listens. */
  #tell(streams: readonly HttpStream[]): void {
    this.#ask({ method: "GET", path: EVENTS, body: NOTHING }, (reply) => {
      const isEvent = typeof reply !== "string" && reply.status === 200;
      const text = isEvent ? new TextDecoder().decode(reply.body) : ": the control plane does not answer\n\n";
      for (const stream of streams) stream.write(text);
    });
  }

  close(): void {
    for (const stream of this.#listeners) stream.close();
  }
}
