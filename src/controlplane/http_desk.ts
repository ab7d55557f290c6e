/** A control process's own HTTP port: calls to the service (service_http.ts), and the stream of events for the console. */
import { utf8 } from "../base/bytes.ts";
import { NucleusError } from "../base/errors.ts";
import { type Task, wait } from "../base/task.ts";
import type { HttpAnswer, HttpListener, HttpRequest, HttpServe, HttpStream } from "../platform/platform.ts";
import { answerConsole } from "../server/console_page.ts";
import { foreignOrigin, isLoopbackHost } from "../server/http_request.ts";
import { type HttpAnswer as Answer, EVENTS_TYPE, problem } from "./http_answer.ts";
import { eventText } from "./http_status.ts";
import type { ControlService } from "./service.ts";
import { handleHttp } from "./service_http.ts";

/** Pages that are open on the console. Each costs a snapshot a second. */
const STREAMS_MAX = 64;
const EVENT_TICKS = 100;

export type HttpPlace = { readonly host: string; readonly port: number };

export class HttpDesk {
  readonly #service: ControlService;
  readonly #at: HttpPlace;
  readonly #streams = new Set<HttpStream>();
  #listener: HttpListener | null = null;
  #ticks = 0;
  /** The log is open, and the process does not stop. */
  isOpen = false;

  constructor(service: ControlService, at: HttpPlace) {
    this.#service = service;
    this.#at = at;
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  *listen(http: HttpServe | undefined): Task<void> {
    if (http === undefined) throw new NucleusError("EUSAGE", "this platform serves no HTTP");
    const { host, port } = this.#at;
    this.#listener = yield* wait<HttpListener>((done) =>
      http.listen(host, port, (request, answer) => this.#handle(request, answer), done),
    );
  }

  #handle(request: HttpRequest, answer: HttpAnswer): void {
    const { method, path, query, headers, body } = request;
    if (foreignOrigin(headers, isLoopbackHost(this.#at.host)))
      return send(answer, problem(403, "forbidden", "not for pages of other sites, nor under other names"));
    if (!this.isOpen)
      return send(answer, problem(503, "notready", "it is starting or stopping: ask again soon"));
    if (answerConsole(request, answer)) return;
    if (path === "/events" && method === "GET") return this.#stream(answer);
    handleHttp(this.#service, { method, path, query, body }, (reply) => send(answer, reply));
  }

  #stream(answer: HttpAnswer): void {
    if (this.#streams.size >= STREAMS_MAX)
      return send(answer, problem(429, "busy", `${STREAMS_MAX} pages listen already: close some`));
    const stream = answer.stream(200, { "content-type": EVENTS_TYPE, "cache-control": "no-store" });
    this.#streams.add(stream);
    stream.onClose = () => this.#streams.delete(stream);
    stream.write(eventText(this.#service).text);
  }

  tick(): void {
    if (this.#streams.size === 0 || ++this.#ticks % EVENT_TICKS !== 0) return;
    const { text } = eventText(this.#service);
    for (const stream of this.#streams) stream.write(text);
  }

  close(): void {
    this.isOpen = false;
    for (const stream of this.#streams) stream.close();
    this.#listener?.close(() => {}); // it ends when the last connection has: nothing waits for that
  }
}

function send(answer: HttpAnswer, { status, type, text }: Answer): void {
  const headers = { "content-type": type, "cache-control": "no-store" };
  // Not here, or not now: a second is as long as most of that lasts.
  answer.send(status, status === 503 ? { ...headers, "retry-after": "1" } : headers, utf8(text));
}
