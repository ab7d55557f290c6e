/**
 * The HTTP door of a node: a table of routes, and the way of commands to their shard and back.
 *
 *     /kv/<key>, /kv                    http_kv.ts, http_list.ts
 *     /whoami /health /livez /readyz    who this node is, what its shards are, whether to send it work
 *     /metrics                          figures for Prometheus
 *     everything else                   offered to `extra`: the control plane's paths, the console
 *
 * Handlers are functions of (request, answer): the simulator and tests call them without a socket. Bounds are those
 * of the sockets (platform/node_http.ts) and of the shard's router: what finds no room waits in its connection's
 * lane, in order, and is offered again after each turn.
 */
import { utf8 } from "../base/bytes.ts";
import type { Clock, HttpAnswer, HttpConnection, HttpRequest } from "../platform/platform.ts";
import { CommandView } from "../wire/command.ts";
import type { Origin } from "./bundle.ts";
import { sendBytes, sendCommandError, sendError, sendJson } from "./http_answer.ts";
import { type CallReply, HttpCall, HttpLane } from "./http_call.ts";
import { type HttpFacts, type Metric, metricsText } from "./http_facts.ts";
import { serveKey } from "./http_kv.ts";
import { serveList } from "./http_list.ts";
import { foreignOrigin, shown } from "./http_request.ts";
import type { Lane } from "./lane.ts";
import type { ReplicaReads } from "./replica_reads.ts";

/** Bytes of answers on their way above which reads wait in their shard: a quarter of what the sockets hold. */
const HELD_BYTES_HIGH = 16 * 1024 * 1024;

export type HttpHost = {
  readonly clock: Clock;
  readonly facts: HttpFacts;
  /** Reads that this node's replicas answer; null: all go to the leader. */
  readonly reads: ReplicaReads | null;
  /** The door listens on loopback only. */
  readonly isLoopback: boolean;
  /** False while the node starts, and when it stops: commands are refused. */
  isOpen(): boolean;
  admit(view: CommandView, frameAt: number, lane: Lane, origin: Origin, tag: number): boolean;
  /** Bytes of bodies that the sockets hold. */
  bytesHeld(): number;
  /** Paths that are not this door's; false: not that one's either. */
  extra(request: HttpRequest, answer: HttpAnswer): boolean;
};

export const NOT_OPEN = "LOADING this node starts or stops; nothing was done, ask another node";

type Route = (door: HttpDoor, answer: HttpAnswer) => void;

const PAGES: Readonly<Record<string, Route>> = {
  "/whoami": whoami,
  "/health": health,
  "/livez": (_door, answer) => sendJson(answer, 200, { status: "alive" }),
  "/ready": ready,
  "/readyz": ready,
  "/metrics": metrics,
};

export class HttpDoor {
  readonly #host: HttpHost;
  readonly #lanes = new WeakMap<HttpConnection, HttpLane>();
  /** Lanes with commands that found no room. */
  readonly #waiting = new Set<HttpLane>();
  readonly #view = new CommandView();
  readonly #hasRoom = (): boolean => this.#host.bytesHeld() < HELD_BYTES_HIGH;
  /** Answers ever, by status. */
  readonly #answers = new Map<number, number>();

  constructor(host: HttpHost) {
    this.#host = host;
  }

  get clock(): Clock {
    return this.#host.clock;
  }

  get facts(): HttpFacts {
    return this.#host.facts;
  }

  get reads(): ReplicaReads | null {
    return this.#host.reads;
  }

  /** Requests need not be answered when this returns. */
  handle(request: HttpRequest, plain: HttpAnswer): void {
    const answer = this.#counted(plain);
    const { path, method } = request;
    if (foreignOrigin(request.headers, this.#host.isLoopback)) {
      return sendError(
        answer,
        403,
        "forbidden",
        "this door is not for pages of other sites, nor under other names",
      );
    }
    if (/^\/kv(\/|$)/.test(path) && !this.#host.isOpen()) return sendCommandError(answer, NOT_OPEN);
    if (path.startsWith("/kv/")) return serveKey(this, request, answer);
    if (path === "/kv") return serveList(this, request, answer);
    const page = PAGES[path];
    if (page !== undefined) {
      if (method === "GET" || method === "HEAD") return page(this, answer);
      return sendError(answer, 405, "method_not_allowed", `${path} takes GET`, { allow: "GET, HEAD" });
    }
    if (this.#host.extra(request, answer)) return;
    const known = `/kv/<key>, /kv?prefix=, ${Object.keys(PAGES).join(", ")}`;
    sendError(answer, 404, "not_found", `nothing is at ${shown(path)}; there is ${known}`);
  }

  #counted(answer: HttpAnswer): HttpAnswer {
    const count = (status: number): void => {
      this.#answers.set(status, (this.#answers.get(status) ?? 0) + 1);
    };
    return {
      send: (status, headers, body) => {
        count(status);
        answer.send(status, headers, body);
      },
      stream: (status, headers) => {
        count(status);
        return answer.stream(status, headers);
      },
    };
  }

  /** Brings a command to its shard; `done` may be called before this returns. */
  call(connection: HttpConnection, frame: Uint8Array, done: (reply: CallReply) => void): void {
    let lane = this.#lanes.get(connection);
    if (lane === undefined) {
      lane = new HttpLane();
      this.#lanes.set(connection, lane);
    }
    const call = new HttpCall(frame, lane, this.#hasRoom, done);
    if (lane.held.length === 0 && this.#admit(lane, call)) return;
    lane.held.push(call);
    this.#waiting.add(lane);
  }

  #admit({ lane }: HttpLane, call: HttpCall): boolean {
    this.#view.readGood(call.frame, 0, call.frame.length);
    return this.#host.admit(this.#view, 0, lane, call, 0);
  }

  /** The end of a turn: what found no room is offered again. */
  flush(): void {
    for (const lane of this.#waiting) {
      while (lane.held.length > 0 && this.#admit(lane, lane.held[0] as HttpCall)) lane.held.shift();
      if (lane.held.length === 0) this.#waiting.delete(lane);
    }
  }

  ownMetrics(): Metric[] {
    const samples = [...this.#answers]
      .sort()
      .map(([status, count]) => [{ code: String(status) }, count] as const);
    return [
      { name: "nucleus_http_responses_total", kind: "counter", help: "HTTP answers by status.", samples },
      {
        name: "nucleus_http_held_bytes",
        kind: "gauge",
        help: "Bytes of HTTP bodies in memory, both ways.",
        samples: [[{}, this.#host.bytesHeld()]],
      },
    ];
  }
}

function whoami({ facts }: HttpDoor, answer: HttpAnswer): void {
  const shards = facts.shards().map(({ id, role, term, leader }) => ({ id, role, term, leader }));
  sendJson(answer, 200, { node: facts.node, version: facts.version, shards });
}

/** What keeps this node from serving; empty: nothing. */
function obstacles({ facts }: HttpDoor): string[] {
  if (facts.waits !== null) return [facts.waits];
  const shards = facts.shards();
  if (shards.length === 0 && !facts.knowsCluster) return ["this node has no map of the cluster yet"];
  return shards.filter(({ leader }) => leader === null).map(({ id }) => `no leader of ${id} is known`);
}

function health(door: HttpDoor, answer: HttpAnswer): void {
  const { facts } = door;
  const problems = obstacles(door);
  sendJson(answer, 200, {
    node: facts.node,
    status: problems.length === 0 ? "ok" : "degraded",
    problems,
    shards: facts.shards(),
  });
}

function ready(door: HttpDoor, answer: HttpAnswer): void {
  const problems = obstacles(door);
  const shards = door.facts
    .shards()
    .map(({ id, role, term, lastContactMs }) => ({ id, role, term, lastContactMs }));
  const isReady = problems.length === 0;
  sendJson(answer, isReady ? 200 : 503, { ready: isReady, problems, shards });
}

function metrics(door: HttpDoor, answer: HttpAnswer): void {
  const text = metricsText([...door.facts.metrics(), ...door.ownMetrics()]);
  sendBytes(answer, 200, "text/plain; version=0.0.4; charset=utf-8", utf8(text));
}
